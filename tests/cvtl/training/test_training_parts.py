"""Batches, seeds and learning rates."""

from __future__ import annotations

import multiprocessing
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from cvtl.errors import DataError
from cvtl.training.samples import Loading, RandomStream, seed_all, training_batches, validation_batches
from cvtl.training.schedule import PLATEAU_EPOCHS, PLATEAU_FACTOR, Mode, rate_factor


class Numbers:
    """Sample i is a picture of i, with a random target."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, float]:
        return torch.full((3, 1, 1), index, dtype=torch.uint8), random.random()


def seen(batches: object) -> list[int]:
    return [int(image[0, 0, 0]) for images, _ in batches for image in images]


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_batches_are_stacked_pictures_and_a_list_of_targets() -> None:
    ((images, targets),) = validation_batches(Numbers(3), Loading(4, 0, False), seed=0)
    assert (images.shape, images.dtype) == ((3, 3, 1, 1), torch.uint8)
    assert isinstance(targets, list)
    assert len(targets) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_training_sees_every_sample_once_in_an_order_of_its_epoch(workers: int) -> None:
    loading = Loading(4, workers, False)
    orders = [seen(training_batches(Numbers(10), loading, seed=0, epoch=epoch)) for epoch in (0, 1, 1)]
    assert [sorted(order) for order in orders] == [list(range(10))] * 3
    assert orders[0] != orders[1] == orders[2]


def test_validation_sees_every_sample_in_order_at_every_pass() -> None:
    batches = validation_batches(Numbers(10), Loading(4, 2, False), seed=0)
    assert seen(batches) == seen(batches) == list(range(10))


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(9, 4, [4, 4]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 1, 1])],
)
def test_a_single_sample_left_over_is_dropped(count: int, batch_size: int, sizes: list[int]) -> None:
    batches = training_batches(Numbers(count), Loading(batch_size, 0, False), seed=0, epoch=0)
    assert [len(images) for images, _ in batches] == sizes
    assert len(batches) == len(sizes)


def test_what_a_sample_draws_depends_on_seed_epoch_and_index_alone() -> None:
    def drawn(workers: int, batch_size: int, seed: int, epoch: int) -> dict[int, float]:
        batches = training_batches(Numbers(10), Loading(batch_size, workers, False), seed=seed, epoch=epoch)
        return {int(image[0, 0, 0]): target for images, ts in batches for image, target in zip(images, ts, strict=True)}

    reference = drawn(0, 2, 0, 0)
    assert drawn(2, 5, 0, 0) == reference
    assert len(set(reference.values())) == 10
    assert not set(drawn(0, 2, 0, 1).values()) & set(reference.values())
    assert not set(drawn(0, 2, 1, 0).values()) & set(reference.values())


def test_an_unfinished_pass_ends_its_processes() -> None:
    batches = training_batches(Numbers(100), Loading(2, 2, False), seed=0, epoch=0)
    iterator = iter(batches)
    next(iterator)
    assert len(multiprocessing.active_children()) >= 2
    before = {process.pid for process in multiprocessing.active_children()}
    batches.close()
    assert len(before - {process.pid for process in multiprocessing.active_children()}) >= 2


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="no samples to train on"):
        training_batches([], Loading(4, 0, False), seed=0, epoch=0)


def test_a_seed_sets_all_three_generators() -> None:
    seed_all(1, RandomStream.STEP, 2, 3)
    first = draws()
    draws()
    seed_all(1, RandomStream.STEP, 2, 3)
    assert draws() == first


def test_seeds_of_different_parts_have_nothing_in_common() -> None:
    paths = [(seed, stream, a, b) for seed in (0, 1) for stream in RandomStream for a in range(3) for b in range(3)]
    results = set()
    for seed, *path in paths:
        seed_all(seed, *path)
        results.update(draws())
    assert len(results) == 3 * len(paths)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_plateau_is_that_of_torch(mode: Mode) -> None:
    random_walk = np.random.default_rng(1).normal(size=200).cumsum().round(1)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, factor=PLATEAU_FACTOR, patience=PLATEAU_EPOCHS - 1, threshold=0.0, eps=0.0
    )
    seen: list[float] = []
    for value in random_walk.tolist():
        scheduler.step(value)
        seen.append(value)
        expected = optimizer.param_groups[0]["lr"]
        assert rate_factor("plateau", len(seen), 200, seen, mode) == pytest.approx(expected, rel=1e-9)
    assert expected < PLATEAU_FACTOR


def test_the_cosine_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    for epoch in range(12):
        assert rate_factor("cosine", epoch, 12, [], "min") == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        scheduler.step()
