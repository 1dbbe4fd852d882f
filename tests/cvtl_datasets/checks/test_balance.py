from __future__ import annotations

import numpy as np
import pytest

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Problem, Sample, Split, Target
from cvtl_datasets.checks.balance import balance_findings

EVERY_SPLIT: tuple[Split, ...] = ("train", "val", "test")


def kinds(
    targets: list[Target | None], classes: tuple[str, ...], splits: list[Split | None] | None = None
) -> dict[str, str]:
    samples = [
        Sample(f"{i}.jpg", list, target, split)  # type: ignore[arg-type]
        for i, (target, split) in enumerate(zip(targets, splits or [None] * len(targets), strict=True))
    ]
    return {each.kind: each.what for each in balance_findings(Dataset(samples, classes, "example"))}


def boxes(*labels: int) -> BoxesTarget:
    return BoxesTarget(np.tile([10.0, 10, 20, 20], (len(labels), 1)), np.array(labels))


def points(*visible: bool) -> PointsTarget:
    return PointsTarget(np.ones((len(visible), 2)), np.array(visible))


def test_balanced_classes_are_no_finding() -> None:
    assert kinds([ClassTarget(i % 2) for i in range(40)], ("cat", "dog")) == {}


def test_ten_times_as_many_of_one_class_are_an_imbalance() -> None:
    found = kinds([ClassTarget(int(i < 15)) for i in range(165)], ("cat", "dog"))
    assert list(found) == ["class imbalance"]
    assert "150 pictures of cat, 15 of dog: 10.0 times" in found["class imbalance"]
    assert "91%" in found["class imbalance"]


def test_fewer_than_ten_of_a_class_are_rare() -> None:
    found = kinds([ClassTarget(int(i < 9)) for i in range(50)], ("cat", "dog"))
    assert found == {"rare class": "fewer than 10 pictures: dog (9)"}


def test_boxes_are_counted_one_by_one() -> None:
    assert kinds([boxes(0, 0, 0, 0, 0, 1, 1, 1, 1, 1)] * 2, ("cat", "dog")) == {}


def test_a_class_of_which_there_is_nothing_is_named() -> None:
    found = kinds([boxes(0, 2)] * 10, ("cat", "dog", "owl"))
    assert found == {"class without examples": "there are no boxes of dog"}


def test_a_class_that_one_split_lacks_is_named() -> None:
    splits: list[Split | None] = [*["train"] * 20, *["val"] * 10]  # type: ignore[list-item]
    targets: list[Target | None] = [*(ClassTarget(i % 2) for i in range(20)), *[ClassTarget(0)] * 10]
    assert kinds(targets, ("cat", "dog"), splits) == {"class missing from a split": "val has no pictures of dog"}


def test_long_lists_of_classes_are_cut_off() -> None:
    found = kinds([ClassTarget(i) for i in range(50)], tuple(f"c{i}" for i in range(50)))
    assert found["rare class"].endswith("and 30 more")


def test_a_point_that_is_hardly_ever_visible_is_named() -> None:
    found = kinds([points(True, i == 0) for i in range(20)], ("eye", "ear"))
    assert found == {"rarely visible point": "visible in fewer than 10% of 20 objects: ear (5%)"}


def test_a_picture_without_objects_is_a_note() -> None:
    assert list(kinds([boxes(), *[boxes(0)] * 10], ("cat",))) == ["picture without objects"]


def test_a_picture_without_a_target_has_no_label() -> None:
    assert list(kinds([None, *[boxes(0)] * 10], ("cat",))) == ["picture without label"]


@pytest.mark.parametrize(("kind", "target"), [("picture without label", None), ("zero-area box", boxes())])
def test_what_the_reader_has_explained_is_not_reported_again(kind: str, target: Target | None) -> None:
    problem = Problem(kind=kind, where="a.jpg", what="", sample="a.jpg")
    dataset = Dataset([Sample("a.jpg", list, target)], (), "example", problems=(problem,))  # type: ignore[arg-type]
    assert not list(balance_findings(dataset))
