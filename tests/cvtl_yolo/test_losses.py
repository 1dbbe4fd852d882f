"""Both losses against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from tiny_yolo import ONE, TWO, random_objects
from torch import Tensor

from cvtl_yolo.assignment import assign
from cvtl_yolo.grid import Grid, encode, flat, slots_of
from cvtl_yolo.losses import Objects, activate, modern_loss, squared_loss

Loss = Callable[[Tensor, Objects, Grid], dict[str, Tensor]]

LOSSES = (squared_loss, modern_loss)
PICTURES = 3


def total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def batch(seed: int, grid: Grid, count: int = 10) -> tuple[Tensor, Objects]:
    """Outputs of three pictures; the second has no object."""
    boxes, labels = random_objects(seed, count, grid)
    generator = torch.Generator().manual_seed(seed)
    places = sum(rows * columns * anchors for rows, columns, anchors, _ in grid.shapes)
    pictures = torch.arange(count) * 2 // max(1, count) * 2
    return torch.randn(PICTURES, places, 5 + grid.classes, generator=generator), Objects(boxes, labels, pictures)


def no_objects() -> Objects:
    none = torch.zeros(0, dtype=torch.int64)
    return Objects(torch.zeros(0, 4), none, none)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def plain_answers(outputs: Tensor, grid: Grid) -> list[list[list[float]]]:
    """Vectors of each place of each picture, place by place."""
    found = []
    for picture in outputs.tolist():
        place, rows_of_picture = 0, []
        for level, (rows, columns, _, _) in zip(grid.levels, grid.shapes, strict=True):
            for _ in range(rows * columns):
                for width, height in level.anchors:
                    t = picture[place]
                    place += 1
                    sizes = [math.exp(t[3]) * height / level.stride, math.exp(t[4]) * width / level.stride]
                    centre = [2 * sigmoid(t[1]) - 0.5, 2 * sigmoid(t[2]) - 0.5]
                    rows_of_picture.append([sigmoid(t[0]), *centre, *sizes, *map(sigmoid, t[5:])])
        found.append(rows_of_picture)
    return found


def plain_places(grid: Grid) -> list[tuple[int, int, int]]:
    """Stride, row and column of each place."""
    return [
        (level.stride, row, column)
        for level, (rows, columns, anchors, _) in zip(grid.levels, grid.shapes, strict=True)
        for row in range(rows)
        for column in range(columns)
        for _ in range(anchors)
    ]


def plain_squared(outputs: Tensor, objects: Objects, grid: Grid, coord: float, noobj: float) -> float:
    places, total, (height, width) = plain_places(grid), 0.0, grid.size_hw
    for number, answers in enumerate(plain_answers(outputs, grid)):
        of = objects.pictures == number
        targets = flat(encode(objects.boxes[of], objects.labels[of], grid)[0]).tolist()
        for answer, y, (stride, _, _) in zip(answers, targets, places, strict=True):
            if y[0] == 0:
                total += noobj * answer[0] ** 2
                continue
            total += (answer[0] - 1) ** 2
            total += coord * ((answer[1] - y[1]) ** 2 + (answer[2] - y[2]) ** 2)
            total += coord * (math.sqrt(answer[3] * stride / height) - math.sqrt(y[3] * stride / height)) ** 2
            total += coord * (math.sqrt(answer[4] * stride / width) - math.sqrt(y[4] * stride / width)) ** 2
            total += sum((a - b) ** 2 for a, b in zip(answer[5:], y[5:], strict=True))
    return total / len(outputs)


def plain_ciou(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float]:
    """CIoU and IoU."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    iou = shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    distance = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    angles = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (a, b)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return iou - distance / diagonal - (v * v / (1 - iou + v) if v else 0), iou


def plain_modern(outputs: Tensor, objects: Objects, grid: Grid, ratio: float) -> float:
    assigned = assign(objects.boxes, objects.pictures, grid, ratio)
    owners = {
        (int(objects.pictures[number]), place): number
        for number, place in zip(assigned.objects.tolist(), assigned.places.tolist(), strict=True)
    }
    places, total = plain_places(grid), 0.0
    for picture, answers in enumerate(plain_answers(outputs, grid)):
        for place, answer in enumerate(answers):
            wanted = 0.0
            if (picture, place) in owners:
                number, (stride, row, column) = owners[picture, place], places[place]
                x, y = (column + answer[1]) * stride, (row + answer[2]) * stride
                h, w = answer[3] * stride / 2, answer[4] * stride / 2
                ciou, wanted = plain_ciou((x - w, y - h, x + w, y + h), tuple(objects.boxes[number].tolist()))
                total += 5 * (1 - ciou)
                for k, c in enumerate(answer[5:]):
                    total -= math.log(c if k == objects.labels[number] else 1 - c)
            total -= wanted * math.log(answer[0]) + (1 - wanted) * math.log(1 - answer[0])
    return total / max(1, len(owners))


@pytest.mark.parametrize("grid", [ONE, TWO])
@pytest.mark.parametrize(("coord", "noobj"), [(5.0, 0.5), (1.0, 1.0)])
def test_the_squared_loss_equals_a_plain_loop(grid: Grid, coord: float, noobj: float) -> None:
    outputs, objects = batch(1, grid)
    found = total(squared_loss(outputs, objects, grid, coord=coord, noobj=noobj)).item()
    assert found == pytest.approx(plain_squared(outputs, objects, grid, coord, noobj), rel=1e-5)


@pytest.mark.parametrize("grid", [ONE, TWO])
@pytest.mark.parametrize("ratio", [2.0, 4.0])
def test_the_modern_loss_equals_a_plain_loop(grid: Grid, ratio: float) -> None:
    outputs, objects = batch(2, grid)
    found = total(modern_loss(outputs, objects, grid, ratio=ratio)).item()
    assert found == pytest.approx(plain_modern(outputs, objects, grid, ratio), rel=1e-5)


@pytest.mark.parametrize("loss", [*LOSSES, partial(squared_loss, coord=1, noobj=1)])
def test_where_nothing_is_there_only_pc_learns(loss: Loss) -> None:
    outputs, objects = batch(3, TWO)
    outputs.requires_grad_()
    total(loss(outputs, objects, TWO)).backward()
    assert outputs.grad is not None
    assert (outputs.grad[1, :, 1:] == 0).all()
    assert (outputs.grad[1, :, 0] != 0).all()
    learning = (outputs.grad[[0, 2], :, 1:] != 0).any(dim=2).sum()
    assert 0 < learning < outputs.shape[1]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_objects_has_a_loss_and_gradients_that_are_finite(loss: Loss) -> None:
    outputs = batch(4, TWO)[0].requires_grad_()
    terms = loss(outputs, no_objects(), TWO)
    total(terms).backward()
    assert terms["box"] == terms["class"] == 0
    assert terms["object"] > 0
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_outputs_leave_loss_and_gradients_finite(loss: Loss) -> None:
    outputs, objects = batch(5, TWO)
    outputs = (1000 * outputs).requires_grad_()
    terms = loss(outputs, objects, TWO)
    total(terms).backward()
    assert outputs.grad is not None
    assert all(term.isfinite() for term in terms.values())
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_right_answer_costs_next_to_nothing(loss: Loss) -> None:
    # Far apart, each in the middle of its cell.
    boxes = torch.tensor([[18.0, 22, 30, 26], [66, 34, 78, 46]])
    objects = Objects(boxes, torch.tensor([0, 2]), torch.tensor([0, 0]))
    targets = flat(encode(boxes, objects.labels, ONE)[0])[None]
    outputs = torch.full_like(targets, -20.0)
    outputs[..., 1:3] = 0
    sizes = targets[..., 3:5] / (slots_of(ONE, targets).anchors / 16).flip(-1)
    outputs[..., 3:5] = torch.where(sizes > 0, sizes.log(), 0)
    outputs[targets == 1] = 20
    outputs[..., 3:5] = torch.where(sizes > 0, sizes.log(), 0)
    kept = assign(boxes, objects.pictures, ONE, 4)
    if loss is modern_loss:
        # Neighbours have to say the same, half a cell and more away.
        for number, place in zip(kept.objects.tolist(), kept.places.tolist(), strict=True):
            at = (boxes[number, :2] + boxes[number, 2:]) / 32 - slots_of(ONE, targets).cells[place]
            wide = boxes[number, 2:] - boxes[number, :2]
            outputs[0, place, 1:3] = ((at + 0.5) / 2).clamp(1e-6, 1 - 1e-6).logit()
            outputs[0, place, 3:5] = (wide / 20).log().flip(0)
            outputs[0, place, [0, 5 + int(objects.labels[number])]] = 20
    assert total(loss(outputs, objects, ONE)).item() < 1e-3


def test_answers_lie_where_vectors_can() -> None:
    outputs = 50 * batch(6, TWO)[0]
    answers = activate(outputs, slots_of(TWO, outputs))
    others = answers[..., [0, 5, 6, 7]]
    assert ((others >= 0) & (others <= 1)).all()
    assert ((answers[..., 1:3] >= -0.5) & (answers[..., 1:3] <= 1.5)).all()
    assert (answers[..., 3:5] > 0).all()


def test_what_an_assigned_place_should_say_can_be_said() -> None:
    boxes, _ = random_objects(7, 40, TWO)
    assigned = assign(boxes, torch.zeros(40, dtype=torch.int64), TWO, 4)
    slots = slots_of(TWO, boxes)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[assigned.objects]
    offsets = centres / slots.strides[assigned.places] - slots.cells[assigned.places]
    assert ((offsets >= -0.5) & (offsets <= 1.5)).all()


def test_half_precision_is_made_whole_first() -> None:
    outputs, objects = batch(8, TWO)
    for loss in LOSSES:
        assert all(term.dtype == torch.float32 for term in loss(outputs.bfloat16(), objects, TWO).values())
