"""Which pictures are corrupted, and how large they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cvtl.data import ClassTarget, Dataset, PointsTarget, Sample, Target, UInt8Image
from cvtl.evaluation.corruptions.passes import choose_pictures, shrink
from cvtl.preprocessing import InputSpec


def no_picture() -> UInt8Image:
    raise AssertionError("choosing reads no picture")


def samples_of(targets: Sequence[Target | None]) -> Dataset:
    samples = [Sample(f"{i}.jpg", no_picture, target) for i, target in enumerate(targets)]
    return Dataset(samples, ("a", "b", "c"), "memory")


@pytest.mark.parametrize(
    ("size_hw", "resize", "expected"),
    [
        ((80, 120), "crop", (20, 30)),
        ((80, 120), "letterbox", (13, 20)),
        ((80, 120), "stretch", (20, 30)),
        ((10, 120), "crop", (10, 120)),
        ((10, 120), "stretch", (10, 120)),
        ((10, 120), "letterbox", (2, 20)),
        ((1, 4000), "letterbox", (1, 20)),
        ((1, 1), "crop", (1, 1)),
        ((20, 20), "stretch", (20, 20)),
    ],
)
def test_pictures_are_shrunk_in_their_proportions_and_never_enlarged(
    size_hw: tuple[int, int], resize: Any, expected: tuple[int, int]
) -> None:
    assert shrink(np.zeros((*size_hw, 3), np.uint8), InputSpec(size_hw=(20, 20), resize=resize)).shape == (*expected, 3)


# Which pictures


@pytest.mark.parametrize("most", [1, 7, 30, 60, 100, 1000])
def test_of_every_class_its_share_is_chosen(most: int) -> None:
    labels = [0] * 60 + [1] * 30 + [2] * 10
    data = samples_of([ClassTarget(label) for label in labels])
    chosen = choose_pictures(data, most, seed=1)
    assert len(chosen) == min(most, 100)
    names = [sample.name for sample in chosen]
    assert names == [sample.name for sample in data if sample.name in set(names)]
    counts = Counter(sample.target.label for sample in chosen if isinstance(sample.target, ClassTarget))
    for label, total in ((0, 60), (1, 30), (2, 10)):
        assert abs(counts[label] - total * len(chosen) / 100) <= 2


def test_the_choice_is_the_seeds() -> None:
    data = samples_of([ClassTarget(i % 2) for i in range(100)])
    by_seed = [[sample.name for sample in choose_pictures(data, 20, seed)] for seed in (0, 0, 1)]
    assert by_seed[0] == by_seed[1] != by_seed[2]


def test_pictures_that_nothing_is_known_about_are_not_chosen() -> None:
    chosen = choose_pictures(samples_of([ClassTarget(0) if i % 2 else None for i in range(10)]), 100, seed=0)
    assert [sample.name for sample in chosen] == ["1.jpg", "3.jpg", "5.jpg", "7.jpg", "9.jpg"]


def test_samples_without_a_class_are_chosen_from_as_one() -> None:
    target = PointsTarget(np.zeros((2, 2)), np.ones(2, bool))
    assert len(choose_pictures(samples_of([target] * 30), 12, seed=0)) == 12
