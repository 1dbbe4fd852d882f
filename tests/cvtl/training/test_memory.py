"""Pictures in memory at a size, and targets that move along."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, Target
from cvtl.preprocessing import InputSpec, place, resize
from cvtl.training.memory import at_size, in_memory

SIZES = [(40, 60), (64, 32), (1, 200), (48, 48)]


def sample(index: int, target: Target | None) -> Sample:
    height, width = SIZES[index % len(SIZES)]
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample(f"{index}.png", lambda: image, target)


def boxes(*corners: float) -> BoxesTarget:
    return BoxesTarget(np.array(corners).reshape(-1, 4), np.zeros(len(corners) // 4, np.int64))


def data(*targets: Target | None) -> Dataset:
    return Dataset([sample(index, target) for index, target in enumerate(targets)], ("thing",), "made")


@pytest.mark.parametrize("rule", ["stretch", "letterbox", "crop"])
def test_boxes_and_points_move_as_the_picture_does(rule: Any) -> None:
    spec = InputSpec(size_hw=(48, 48), resize=rule)
    points = PointsTarget(np.array([[3.0, 4], [20, 30]]), np.array([True, False]), np.array([[1.0, 2, 30, 32]]))
    targets: tuple[Target, ...] = (boxes(1, 2, 30, 32), points)
    for index, target in enumerate(targets):
        image, moved = at_size(sample(index, target), spec)
        placed = place(SIZES[index], spec)
        assert torch.equal(image, resize(torch.from_numpy(sample(index, None).read()).permute(2, 0, 1), spec))
        assert isinstance(moved, BoxesTarget | PointsTarget)
        assert moved.boxes is not None
        expected = placed.to_input(torch.tensor([[1.0, 2, 30, 32]], dtype=torch.float64))
        assert moved.boxes == pytest.approx(expected.numpy())
        if isinstance(moved, PointsTarget):
            assert moved.points == pytest.approx(placed.to_input(torch.from_numpy(points.points)).numpy())
            assert moved.visible.tolist() == [[True, False]]


def test_areas_grow_with_the_picture() -> None:
    target = BoxesTarget(np.array([[0, 0, 10, 10]]), np.array([0]), areas=np.array([50.0]))
    _, moved = at_size(sample(0, target), InputSpec(size_hw=(80, 180)))
    assert isinstance(moved, BoxesTarget)
    assert moved.areas == pytest.approx([50 * 2 * 3])


@pytest.mark.parametrize("target", [None, ClassTarget(2), boxes()])
def test_what_has_no_place_in_the_picture_stays_as_it_is(target: Target | None) -> None:
    _, moved = at_size(sample(0, target), InputSpec(size_hw=(16, 16)))
    assert moved is target or (isinstance(moved, BoxesTarget) and len(moved.boxes) == 0)


def test_samples_from_memory_are_the_same_to_the_bit() -> None:
    spec = InputSpec(size_hw=(48, 48), resize="letterbox")
    made = data(boxes(1, 2, 30, 32), boxes(), boxes(0.1, 0, 7.3, 1), None)
    kept = in_memory(made, spec)
    for before, after in zip(made, kept, strict=True):
        (image, target), (image_kept, target_kept) = at_size(before, spec), at_size(after, spec)
        assert torch.equal(image, image_kept)
        assert (before.name, type(target)) == (after.name, type(target_kept))
        if isinstance(target, BoxesTarget) and isinstance(target_kept, BoxesTarget):
            assert target.boxes.tobytes() == target_kept.boxes.tobytes()


def test_what_does_not_fit_the_budget_is_left_alone() -> None:
    made = data(boxes(1, 2, 3, 4))
    assert in_memory(made, InputSpec(size_hw=(48, 48)), budget_bytes=48 * 48 * 3 - 1) is made


def test_no_pictures_need_no_memory() -> None:
    assert len(in_memory(data(), InputSpec(size_hw=(48, 48)))) == 0
