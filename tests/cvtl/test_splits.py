from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample, Split, Target, UInt8Image
from cvtl.errors import DataError, UsageError
from cvtl.splits import hold_out, train_and_val


def unread() -> UInt8Image:
    raise AssertionError("splitting must not read pictures")


def dataset_of(*targets: Target | None, splits: list[Split | None] | None = None) -> Dataset:
    samples = [
        Sample(f"{i:05d}.jpg", unread, target, splits[i] if splits else None) for i, target in enumerate(targets)
    ]
    return Dataset(samples, ("a", "b", "c"), "test", "some/data")


def of_classes(*counts: int) -> Dataset:
    return dataset_of(*(ClassTarget(label) for label, count in enumerate(counts) for _ in range(count)))


def of_boxes(count: int) -> Dataset:
    return dataset_of(*(BoxesTarget(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)) for _ in range(count)))


def names(dataset: Dataset) -> list[str]:
    return [sample.name for sample in dataset]


@pytest.mark.parametrize("dataset", [of_classes(30, 7, 1), of_boxes(25), dataset_of(*[None] * 9), dataset_of()])
def test_every_sample_is_in_one_part_in_its_old_order(dataset: Dataset) -> None:
    train, held_out = hold_out(dataset, 0.3, seed=4)
    assert sorted(names(train) + names(held_out)) == names(dataset)
    assert names(train) == sorted(names(train))
    assert names(held_out) == sorted(names(held_out))
    assert train.classes == held_out.classes == dataset.classes


@pytest.mark.parametrize(
    ("counts", "fraction", "held_out"),
    [
        ((100, 50, 10), 0.2, (20, 10, 2)),
        ((100, 3, 2), 0.1, (10, 1, 1)),
        ((10, 1, 2), 0.9, (9, 0, 1)),
        ((3, 3, 0), 0.5, (2, 2, 0)),
    ],
)
def test_every_class_is_held_out_in_its_share(
    counts: tuple[int, ...], fraction: float, held_out: tuple[int, ...]
) -> None:
    _, part = hold_out(of_classes(*counts), fraction, seed=0)
    labels = Counter(sample.target.label for sample in part if isinstance(sample.target, ClassTarget))
    assert tuple(labels[label] for label in range(3)) == held_out


@pytest.mark.parametrize(("count", "held_out"), [(0, 0), (1, 0), (2, 1), (10, 2), (1000, 200)])
def test_pictures_with_boxes_are_divided_together(count: int, held_out: int) -> None:
    train, part = hold_out(of_boxes(count), 0.2, seed=0)
    assert (len(train), len(part)) == (count - held_out, held_out)


def test_the_choice_is_the_same_on_every_platform_and_version() -> None:
    _, held_out = hold_out(of_boxes(20), 0.2, seed=0)
    assert names(held_out) == ["00000.jpg", "00012.jpg", "00017.jpg", "00019.jpg"]


def test_seeds_choose_differently() -> None:
    assert len({tuple(names(hold_out(of_boxes(100), 0.2, seed)[1])) for seed in range(5)}) == 5


def test_every_place_in_the_order_is_equally_likely_to_be_held_out() -> None:
    chosen = Counter(name for seed in range(400) for name in names(hold_out(of_boxes(10), 0.2, seed)[1]))
    assert all(50 <= chosen[name] <= 110 for name in names(of_boxes(10)))  # 80 expected, standard deviation 8


def test_the_choice_does_not_depend_on_the_order_of_the_samples() -> None:
    dataset = of_classes(40, 20, 5)
    backwards = dataset.subset(reversed(range(len(dataset))))
    assert names(hold_out(dataset, 0.2, 1)[1]) == sorted(names(hold_out(backwards, 0.2, 1)[1]))


def test_a_new_picture_changes_places_with_one_other_at_most() -> None:
    before = set(names(hold_out(of_boxes(100), 0.2, 3)[1]))
    after = set(names(hold_out(of_boxes(101), 0.2, 3)[1]))
    assert len(before - after) <= 1


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        hold_out(of_boxes(5), fraction, seed=0)


def test_a_published_validation_split_is_used() -> None:
    splits: list[Split | None] = ["train", "val", "test", "val", None]
    train, val, how = train_and_val(dataset_of(*[ClassTarget(0)] * 5, splits=splits), 0.2, seed=0)
    assert (names(train), names(val)) == (["00000.jpg", "00004.jpg"], ["00001.jpg", "00003.jpg"])
    assert how == "Validating on the 2 pictures of the data set's own validation split."


def test_without_one_a_part_is_held_out_and_test_pictures_stay_untouched() -> None:
    splits: list[Split | None] = ["train", "test", "train"]
    train, val, how = train_and_val(dataset_of(*[ClassTarget(0)] * 15, splits=splits * 5), 0.2, seed=7)
    assert {sample.split for sample in (*train, *val)} == {"train"}
    assert (len(train), len(val)) == (8, 2)
    assert how == "No validation split: 2 of 10 training pictures are held out (seed 7)."


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (dataset_of(), "'some/data' has no training pictures"),
        (dataset_of(ClassTarget(0), splits=["test"]), "no training pictures"),
        (dataset_of(ClassTarget(0), splits=["val"]), "no training pictures"),
        (of_boxes(1), "too few pictures"),
        (of_classes(1, 1, 1), "too few pictures"),
    ],
)
def test_too_little_data_is_refused(dataset: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        train_and_val(dataset, 0.2, seed=0)
