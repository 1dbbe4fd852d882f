"""Which pictures are measured with, and how they are divided."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tiny_classify import make_data

from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample
from cvtl.errors import DataError
from cvtl.features import Features, FeatureSpace
from cvtl.splits import Groups
from cvtl.training.settings import TrainSettings
from cvtl_classify.advice.material import choose_pictures, divide_in_folds, make_material

NAMES = ("a", "b", "c")


def black() -> np.ndarray:
    return np.zeros((8, 8, 3), np.uint8)


def labelled(*labels: int) -> Dataset:
    samples = [Sample(f"{i}.png", black, ClassTarget(k)) for i, k in enumerate(labels)]
    return Dataset(samples, NAMES, "made", "nowhere")


def test_pictures_published_for_testing_are_left_out() -> None:
    data = make_data(9)
    marked = replace(data, samples=[replace(each, split="test" if i < 3 else None) for i, each in enumerate(data)])
    assert [each.name for each in choose_pictures(marked, TrainSettings())] == [f"{i}.png" for i in range(3, 9)]


def test_of_many_pictures_a_part_is_taken_in_which_every_class_has_its_share() -> None:
    data = labelled(*[0] * 600, *[1] * 300, *[2] * 100)
    chosen = choose_pictures(data, TrainSettings(), most=100)
    counts = Counter(each.target.label for each in chosen)  # type: ignore[union-attr]
    assert counts == {0: 60, 1: 30, 2: 10}
    assert chosen.samples == choose_pictures(data, TrainSettings(), most=100).samples


def test_of_many_classes_five_pictures_each_are_taken() -> None:
    data = Dataset(
        [Sample(f"{i}", black, ClassTarget(i % 50)) for i in range(1000)],
        tuple(map(str, range(50))),
        "made",
    )
    chosen = choose_pictures(data, TrainSettings(), most=20)
    assert set(Counter(each.target.label for each in chosen).values()) == {5}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (labelled(1, 1, 1), "all of one class"),
        (labelled(), "no pictures to train on"),
        (
            Dataset(
                [Sample("x", black, BoxesTarget(np.zeros((0, 4)), np.zeros(0)))],
                NAMES,
                "",
            ),
            "one class each, which 'x' is not",
        ),
    ],
)
def test_data_that_nothing_can_be_measured_on_are_refused(data: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_pictures(data, TrainSettings())


def test_folds_do_not_divide_groups_and_divide_classes_evenly() -> None:
    labels = np.repeat([0, 1, 2], 40)
    groups = np.arange(120) // 4
    folds = divide_in_folds(labels, groups, 5, 0, NAMES)
    assert all(len(set(folds[groups == group])) == 1 for group in range(30))
    assert [np.bincount(labels[folds == fold]).tolist() for fold in range(5)] == [[8, 8, 8]] * 5


@pytest.mark.parametrize(("counts", "folds"), [((10, 10, 10), 5), ((3, 3, 3), 3), ((2, 2, 2), 2), ((2, 10, 10), 5)])
def test_there_are_fewer_folds_where_classes_are_small(counts: tuple[int, ...], folds: int) -> None:
    labels = np.repeat([0, 1, 2], counts)
    assert divide_in_folds(labels, np.arange(len(labels)), 5, 0, NAMES).max() + 1 == folds


def test_the_only_picture_of_a_class_is_never_held_out() -> None:
    labels = np.array([0] * 6 + [1] * 6 + [2])
    assert (divide_in_folds(labels, np.arange(13), 3, 0, NAMES) == -1).tolist() == [False] * 12 + [True]


@pytest.mark.parametrize(
    ("labels", "groups"), [([0, 1], [0, 1]), ([0, 0, 1, 1], [0, 0, 1, 1]), ([0, 0, 0, 1], [0, 1, 2, 3])]
)
def test_one_picture_or_group_of_a_class_is_too_few(labels: list[int], groups: list[int]) -> None:
    with pytest.raises(DataError, match=r"nothing can be held out.*class '[ab]' has one picture"):
        divide_in_folds(np.array(labels), np.array(groups), 5, 0, NAMES)


def test_pictures_that_cannot_be_read_are_left_out_and_counted() -> None:
    space = FeatureSpace("conv2")
    broken = {2: DataError("'2.png' is empty")}
    features = Features({space: np.arange(8, dtype=np.float32)[:, None]}, broken, computed=7)
    data = labelled(0, 1, 0, 1, 0, 1, 0, 1)
    material, kept = make_material(data, features, Groups(range(8)), TrainSettings(), most_folds=2, total=80)
    assert [each.name for each in material.data] == [f"{i}.png" for i in (0, 1, 3, 4, 5, 6, 7)]
    assert kept.vectors[space][:, 0].tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert (material.unreadable, material.total, material.pictures_per_class) == (1, 70, 35)
    assert material.notes == (
        "measured on 8 of 80 pictures, chosen by chance with about the same share of every class",
        "pictures that cannot be read and are left out: 1, such as: '2.png' is empty",
    )


def test_data_of_which_nothing_can_be_read_are_refused() -> None:
    broken = {index: DataError(f"'{index}.png' is empty") for index in range(2)}
    with pytest.raises(DataError, match=r"no picture of 'nowhere' can be read, such as: '0.png' is empty"):
        make_material(labelled(0, 1), Features({}, broken), Groups(range(2)), TrainSettings(), most_folds=2, total=2)
