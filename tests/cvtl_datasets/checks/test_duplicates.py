from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from cvtl.data import BoxesTarget, ClassTarget, PointsTarget, Sample, Split, Target, UInt8Image
from cvtl.images import decode, encode
from cvtl_datasets.checks import Finding

Picture = Callable[..., UInt8Image]
Found = Callable[..., list[Finding]]
CAT, DOG = ClassTarget(0), ClassTarget(1)


def sample(name: str, image: UInt8Image, target: Target | None = CAT, split: Split | None = None) -> Sample:
    return Sample(name, lambda: image, target, split)


def saved_again(image: UInt8Image) -> UInt8Image:
    again = decode(encode(image, ".jpg")).image
    assert again is not None
    return again


def boxes(*rows: list[float], labels: list[int] | None = None) -> BoxesTarget:
    return BoxesTarget(np.array(rows, float), np.array(labels or [0] * len(rows)))


def test_equal_pictures_are_exact_duplicates_and_no_near_ones(found: Found, picture: Picture) -> None:
    pair = [sample("a", picture(0)), sample("b", picture(1)), sample("c", picture(0))]
    (finding,) = found("exact duplicates", pair)
    assert (finding.samples, finding.where, finding.severity) == (("a", "c"), "a, c", "warning")
    assert not found("near duplicates", pair)


def test_a_picture_that_was_saved_again_is_a_near_duplicate(found: Found, picture: Picture) -> None:
    pair = [sample("a", picture(0)), sample("b", saved_again(picture(0)))]
    assert [each.samples for each in found("near duplicates", pair)] == [("a", "b")]
    assert not found("exact duplicates", pair)


def test_different_pictures_are_no_duplicates(found: Found, picture: Picture) -> None:
    different = [sample(str(i), picture(i)) for i in range(20)]
    assert not found("exact duplicates", different)
    assert not found("near duplicates", different)


@pytest.mark.parametrize("change", [np.copy, saved_again])
def test_duplicates_in_two_splits_are_an_error(
    found: Found, picture: Picture, change: Callable[[UInt8Image], UInt8Image]
) -> None:
    pair = [sample("a", picture(0), CAT, "train"), sample("b", change(picture(0)), CAT, "val")]
    (finding,) = found("duplicates across splits", pair)
    assert finding.severity == "error"
    assert "train and val" in finding.what


def test_duplicates_in_one_split_are_not_across_splits(found: Found, picture: Picture) -> None:
    pair = [sample("a", picture(0), CAT, "train"), sample("b", picture(0), CAT, "train")]
    assert not found("duplicates across splits", pair)


@pytest.mark.parametrize("change", [np.copy, saved_again])
def test_duplicates_of_two_classes_are_an_error(
    found: Found, picture: Picture, change: Callable[[UInt8Image], UInt8Image]
) -> None:
    pair = [sample("a", picture(0), CAT), sample("b", change(picture(0)), DOG)]
    (finding,) = found("duplicates under different labels", pair)
    assert "cat, dog" in finding.what


def test_duplicates_of_many_classes_name_the_first(found: Found, picture: Picture) -> None:
    classes = tuple(f"c{number}" for number in range(100))
    copies = [sample(name, picture(0), ClassTarget(label)) for label, name in enumerate(classes)]
    (finding,) = found("duplicates under different labels", copies, classes=classes)
    assert finding.what.endswith("c18, c19 and 80 more")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CAT, CAT),
        (boxes([10, 10, 40, 40]), boxes([12, 9, 41, 40])),
        (boxes([10, 10, 40, 40], [1, 1, 9, 9]), boxes([1, 1, 9, 9], [10, 10, 40, 40])),
        (PointsTarget([[0, 0], [40, 40]], [1, 1]), PointsTarget([[1, 0], [40, 39]], [1, 1])),  # type: ignore[arg-type]
        (PointsTarget([[0, 0], [40, 40]], [0, 0]), PointsTarget([[1, 0], [90, 39]], [0, 0])),  # type: ignore[arg-type]
    ],
)
def test_duplicates_that_mean_the_same_objects_are_labelled_alike(
    found: Found, picture: Picture, one: Target, other: Target
) -> None:
    pair = [sample("a", picture(0), one), sample("b", picture(0), other)]
    assert not found("duplicates under different labels", pair)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (boxes([10, 10, 40, 40]), boxes([10, 10, 40, 40], labels=[1])),
        (boxes([10, 10, 40, 40]), boxes([10, 10, 40, 40], [1, 1, 9, 9])),
        (boxes([10, 10, 40, 40]), boxes([30, 10, 60, 40])),
        (PointsTarget([[0, 0], [40, 40]], [1, 1]), PointsTarget([[9, 0], [40, 40]], [1, 1])),  # type: ignore[arg-type]
        (PointsTarget([[0, 0], [40, 40]], [1, 1]), PointsTarget([[0, 0], [40, 40]], [1, 0])),  # type: ignore[arg-type]
    ],
)
def test_equal_pictures_with_different_objects_are_labelled_differently(
    found: Found, picture: Picture, one: Target, other: Target
) -> None:
    pair = [sample("a", picture(0), one), sample("b", picture(0), other)]
    assert [each.samples for each in found("duplicates under different labels", pair)] == [("a", "b")]


def test_the_boxes_of_near_duplicates_may_differ(found: Found, picture: Picture) -> None:
    pair = [
        sample("a", picture(0), boxes([10, 10, 40, 40])),
        sample("b", saved_again(picture(0)), boxes([30, 10, 60, 40])),
    ]
    assert not found("duplicates under different labels", pair)


def test_a_group_in_two_splits_is_an_error(found: Found, picture: Picture) -> None:
    faces = [
        sample("train/ann_1.png", picture(0), CAT, "train"),
        sample("train/ann_2.png", picture(1), CAT, "train"),
        sample("test/ann_3.png", picture(2), CAT, "test"),
        sample("train/bob_1.png", picture(3), CAT, "train"),
    ]
    (finding,) = found("group in two splits", faces, group_by=re.compile(r"([^/]+)_\d+"))
    assert finding.what == "the group 'ann' has 2 in train, 1 in test"
    assert len(finding.samples) == 3
