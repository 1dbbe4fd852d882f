"""What is trained on: views and mosaics, and the boxes that they show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_objects import CLASSES, SIDE, made_sample, make_data

from cvtl.augmentation import Variation, View, plain_view
from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample
from cvtl.errors import DataError
from cvtl.preprocessing import InputSpec
from cvtl.training.memory import in_memory
from cvtl.training.objects import (
    LEAST_VISIBLE,
    Seen,
    TrainingSamples,
    ValidationSamples,
    check_objects,
    part_of,
    plain_objects,
    sample_spec,
    seen_objects,
)

SPEC = InputSpec(size_hw=(SIDE, SIDE), resize="letterbox")
MOVING = Variation(flip=True, scale=1.5, shift=0.2)


def samples(data: Dataset, variation: Variation = MOVING, mosaic: float = 0.5, epoch: int = 0) -> TrainingSamples:
    return TrainingSamples(data, SPEC, variation, mosaic=mosaic, seed=0, epoch=epoch)


def colours_in(image: torch.Tensor, seen: Seen) -> list[bool]:
    """Of each box, whether its middle has the colour of its class."""
    found = []
    for (left, top, right, bottom), label in zip(seen.boxes.tolist(), seen.labels.tolist(), strict=True):
        pixel = image[:, int((top + bottom) / 2), int((left + right) / 2)]
        found.append(bool(pixel[label] > 180 and pixel.argmax() == label))
    return found


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_move_with_what_they_are_round(mosaic: float) -> None:
    count = 0
    for image, seen in samples(make_data(24), mosaic=mosaic):
        assert image.shape == (3, SIDE, SIDE)
        assert image.dtype == torch.uint8
        assert all(colours_in(image, seen))
        count += len(seen.boxes)
    assert count > 24


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_lie_in_the_input_and_have_an_extent(mosaic: float) -> None:
    for _, seen in samples(make_data(24), mosaic=mosaic):
        assert ((seen.boxes >= 0) & (seen.boxes <= SIDE)).all()
        assert (seen.boxes[:, 2:] - seen.boxes[:, :2] >= 2 - 1e-4).all()


def test_a_mosaic_shows_parts_of_four_pictures() -> None:
    """Of pictures of four colours, all can be in one."""
    plain = [np.full((60, 60, 3), 40 * number, np.uint8) for number in range(1, 5)]
    target = BoxesTarget(np.array([[20.0, 20, 40, 40]]), np.array([0]))
    data = Dataset(
        [Sample(f"{i}", lambda image=image: image, target) for i, image in enumerate(plain)], CLASSES, "made"
    )
    shown = [set(image.unique().tolist()) - {114} for image, _ in samples(data, Variation(), mosaic=1.0)]
    shown += [set(image.unique().tolist()) - {114} for image, _ in samples(data, Variation(), mosaic=1.0, epoch=1)]
    assert max(len(each) for each in shown) >= 3
    corners = [image[0][[0, 0, -1, -1], [0, -1, 0, -1]] for image, _ in samples(data, Variation(), mosaic=1.0)]
    assert max(len(set(each.tolist())) for each in corners) >= 3


def test_a_mosaics_pictures_have_the_size_that_they_have_alone() -> None:
    target = BoxesTarget(np.array([[20.0, 20, 40, 40]]), np.array([0]))
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    data = Dataset([Sample("a", lambda: image, target)], CLASSES, "made")
    for epoch in range(8):
        _, seen = samples(data, Variation(), mosaic=1.0, epoch=epoch)[0]
        whole = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(dim=1).values
        assert (whole <= 20).all()


def test_samples_depend_on_seed_epoch_and_index_alone() -> None:
    data = make_data(6)
    for (a, seen_a), (b, seen_b) in zip(samples(data), samples(data), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(seen_a.boxes, seen_b.boxes)
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(samples(data), samples(data, epoch=1), strict=True))


def test_samples_of_pictures_kept_in_memory_are_the_same_to_the_bit() -> None:
    data = make_data(6)
    kept = in_memory(data, sample_spec(SPEC, MOVING))
    assert kept is not data
    for (a, seen_a), (b, seen_b) in zip(samples(data), samples(kept), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(seen_a.boxes, seen_b.boxes)


def test_validation_shows_pictures_as_they_are_predicted() -> None:
    sample = made_sample(3)
    ((image, seen),) = ValidationSamples(Dataset([sample], CLASSES, "made"), SPEC)
    assert all(colours_in(image, seen))
    assert isinstance(sample.target, BoxesTarget)
    expected = plain_view((0, 0, 90, 60), SPEC).boxes(sample.target.boxes)
    assert seen.boxes.numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("left", "kept"),
    [(0, True), (-10 * (1 - LEAST_VISIBLE) + 0.01, True), (-10 * (1 - LEAST_VISIBLE) - 0.01, False), (-20, False)],
)
def test_objects_that_lose_most_of_their_box_are_left_out(left: float, kept: bool) -> None:
    view = View(np.array([[1.0, 0, left], [0, 1, 0]]), (50, 50))
    seen = seen_objects(BoxesTarget(np.array([[0.0, 0, 10, 10]]), np.array([2])), view)
    assert seen.boxes.flatten().tolist() == pytest.approx([0.0, 0, 10 + left, 10] if kept else [])
    assert len(seen.labels) == kept


def test_slivers_and_crowds_are_left_out() -> None:
    boxes = np.array([[0.0, 0, 1.5, 40], [0, 0, 40, 40], [5, 5, 9, 9]])
    target = BoxesTarget(boxes, np.array([0, 1, 2]), crowd=np.array([False, True, False]))
    seen = seen_objects(target, plain_view((0, 0, 50, 50), InputSpec(size_hw=(50, 50))))
    assert seen.labels.tolist() == [2]


def test_a_part_of_a_view_lies_in_it() -> None:
    random = np.random.default_rng(0)
    whole = plain_view((0, 0, 100, 100), InputSpec(size_hw=(50, 50)))
    for _ in range(20):
        moved = part_of(whole, (20, 50), random).points(np.array([[0.0, 0.0]]))[0]
        assert moved[0] == 0
        assert -30 <= moved[1] <= 0


def test_objects_are_the_same_in_memory_and_on_disk() -> None:
    data = make_data(8)
    kept = plain_objects(in_memory(data, sample_spec(SPEC, MOVING)), SPEC)
    for one, other in zip(plain_objects(data, SPEC), kept, strict=True):
        assert torch.equal(one.labels, other.labels)
        # Letterboxing rounds to whole pixels of the larger size, too.
        assert torch.allclose(one.boxes, other.boxes, atol=1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (ClassTarget(0), "learns from pictures with boxes"),
        (None, "learns from pictures with boxes"),
        (BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64)), "has an object to learn from"),
        (BoxesTarget(np.ones((1, 4)), np.zeros(1, np.int64), crowd=np.array([True])), "has an object to learn from"),
    ],
)
def test_data_without_objects_are_refused(target: ClassTarget | BoxesTarget | None, message: str) -> None:
    data = Dataset([replace(made_sample(0), target=target)], CLASSES, "made", "here")
    with pytest.raises(DataError, match=message):
        check_objects(data, "yolo")
