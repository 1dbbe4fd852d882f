"""The lectures' grid: for each of S x S cells a vector y = [pc, bx, by, bh, bw, c1, ..., cC].

- pc: 1 where an object has its centre in the cell, else 0; in an answer, the probability of it.
- bx, by: where in the cell the centre lies: (0, 0) is the cell's top left corner, (1, 1) its bottom right one.
- bh, bw: height and width of the box in cells; they may exceed 1.
- c1 to cC: 1 for the object's class, 0 for the others; in an answer, probabilities.

Where pc is 0 the other numbers mean nothing; `encode` leaves them 0. A grid with one level and one anchor is exactly
that. With A anchors a cell has A such vectors, one for each of A shapes of boxes; with several levels there are several
grids, of smaller and larger cells. An object belongs to one cell and anchor of all levels.

Source: Ng, Convolutional Neural Networks, week 3; Redmon et al. 2016, arXiv 1506.02640, section 2; of anchors, Redmon
and Farhadi 2017, arXiv 1612.08242, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PRESENT = 0
CENTRE = slice(1, 3)
HEIGHT, WIDTH = 3, 4
CLASSES = slice(5, None)


@dataclass(frozen=True)
class Level:
    """A grid of cells of one size.

    Attributes:
        stride: side of a cell in pixels of the input.
        anchors: width and height in pixels of the input of each of A shapes.
    """

    stride: int
    anchors: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Grid:
    """The grids of a network: what a vector's place in its answer means.

    Attributes:
        size_hw: of the input; a multiple of every stride.
        levels: the finest first, all with as many anchors.
        classes: C.

    Example:
        >>> Grid((64, 96), (Level(16, ((20.0, 20.0),)),), classes=2).shapes
        [(4, 6, 1, 7)]
    """

    size_hw: tuple[int, int]
    levels: tuple[Level, ...]
    classes: int

    @property
    def shapes(self) -> list[tuple[int, int, int, int]]:
        """Of each level's vectors: rows, columns, anchors, 5 + C."""
        height, width = self.size_hw
        return [
            (height // level.stride, width // level.stride, len(level.anchors), 5 + self.classes)
            for level in self.levels
        ]


@dataclass(frozen=True, eq=False)
class Slots:
    """The P = sum of S x S x A places for a vector, in the order of `flat`: level, row, column, anchor.

    Attributes:
        cells: float (P, 2), column and row.
        strides: float (P, 1).
        anchors: float (P, 2), width and height in pixels of the input.
    """

    cells: Tensor
    strides: Tensor
    anchors: Tensor


def slots_of(grid: Grid, like: Tensor) -> Slots:
    """The places of a grid, of the type and on the device of a tensor."""
    cells, strides, anchors = [], [], []
    for level, (rows, columns, count, _) in zip(grid.levels, grid.shapes, strict=True):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cells.append(torch.stack([x, y], dim=-1)[:, :, None].expand(rows, columns, count, 2).reshape(-1, 2))
        anchors.append(torch.tensor(level.anchors, dtype=torch.float64).repeat(rows * columns, 1))
        strides.append(torch.full((rows * columns * count, 1), level.stride))
    return Slots(*(torch.cat(parts).to(like) for parts in (cells, strides, anchors)))


def flat(levels: Sequence[Tensor]) -> Tensor:
    """Vectors of all levels, each (..., S, S, A, 5 + C), as one tensor (..., P, 5 + C)."""
    return torch.cat([level.flatten(-4, -2) for level in levels], dim=-2)


def levels_of(answers: Tensor, grid: Grid) -> list[Tensor]:
    """Vectors (P, 5 + C) of one picture as one tensor for each level, (S, S, A, 5 + C): `flat` undone."""
    sizes = [rows * columns * count for rows, columns, count, _ in grid.shapes]
    return [part.view(shape) for part, shape in zip(torch.split(answers, sizes), grid.shapes, strict=True)]


def encode(boxes: Tensor, labels: Tensor, grid: Grid) -> tuple[list[Tensor], Tensor]:
    """What a network should say of the objects in its input.

    An object goes to the cell that its centre lies in and, of the anchors of all levels, the one whose shape has the
    largest IoU with its own, the first of equal ones. Of two objects that want one place the first has it.

    Args:
        boxes: float (N, 4), xyxy in pixels of the input. Their centres lie in the input, left and top edges included.
        labels: integer (N,).
        grid: what the network's answer is like.

    Returns:
        One tensor for each level, (S, S, A, 5 + C), of the boxes' type; and int64 (K,), the objects that are lost
        because another has their place.

    Raises:
        ValueError: a box has no extent, or its centre lies outside of the input.

    Example:
        >>> grid = Grid((64, 64), (Level(32, ((20.0, 20.0),)),), classes=2)
        >>> (level,), lost = encode(torch.tensor([[40.0, 8, 48, 40]]), torch.tensor([1]), grid)
        >>> level[0, 1, 0].tolist(), lost.tolist()
        ([1.0, 0.375, 0.75, 1.0, 0.25, 0.0, 1.0], [])
    """
    slots = slots_of(grid, boxes)
    targets = boxes.new_zeros(len(slots.cells), 5 + grid.classes)
    wanted = places_of(boxes, grid)
    kept, lost = _first_of_each(wanted)
    place, size = wanted[kept], boxes[kept, 2:] - boxes[kept, :2]
    stride = slots.strides[place]
    targets[place, PRESENT] = 1
    targets[place, CENTRE] = (boxes[kept, :2] + size / 2) / stride - slots.cells[place]
    targets[place, HEIGHT : WIDTH + 1] = size.flip(1) / stride
    targets[place, 5 + labels[kept]] = 1
    return levels_of(targets, grid), lost


def decode(levels: Sequence[Tensor], grid: Grid, *, threshold: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """The objects that vectors speak of: `encode` undone, or what a network's answer says.

    Args:
        levels: one tensor for each level, (S, S, A, 5 + C).
        grid: what they are like.
        threshold: least score.

    Returns:
        Boxes (N, 4), xyxy in pixels of the input and not cut to it; scores (N,), pc times the probability of the most
        probable class; labels int64 (N,), that class. In the order of level, row, column and anchor.

    Example:
        >>> grid = Grid((64, 64), (Level(32, ((20.0, 20.0),)),), classes=2)
        >>> boxes, labels = torch.tensor([[40.0, 8, 48, 40]]), torch.tensor([1])
        >>> decode(encode(boxes, labels, grid)[0], grid)
        (tensor([[40.,  8., 48., 40.]]), tensor([1.]), tensor([1]))
    """
    answers = flat(levels)
    best, labels = answers[:, CLASSES].max(dim=1)
    scores = answers[:, PRESENT] * best
    (good,) = torch.where(scores >= threshold)
    boxes = boxes_of(answers, slots_of(grid, answers))
    return boxes[good], scores[good], labels[good]


def boxes_of(answers: Tensor, slots: Slots) -> Tensor:
    """The boxes (..., P, 4) of vectors (..., P, 5 + C), xyxy in pixels of the input."""
    centres = (slots.cells + answers[..., CENTRE]) * slots.strides
    half = answers[..., [WIDTH, HEIGHT]] * slots.strides / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def places_of(boxes: Tensor, grid: Grid) -> Tensor:
    """Where boxes belong, int64 (N,): see `encode`."""
    sizes, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    height, width = grid.size_hw
    if not bool(((sizes > 0) & (centres >= 0) & (centres < centres.new_tensor([width, height]))).all()):
        raise ValueError(f"boxes must have an extent, and their centres must lie in the input of {width} x {height}")
    count = len(grid.levels[0].anchors)
    shapes = torch.tensor([each for level in grid.levels for each in level.anchors]).to(boxes)
    anchor = shape_iou(sizes, shapes).argmax(dim=1)
    strides = torch.tensor([level.stride for level in grid.levels], device=boxes.device)
    columns = torch.tensor([shape[1] for shape in grid.shapes], device=boxes.device)
    rows = torch.tensor([shape[0] for shape in grid.shapes], device=boxes.device)
    places = rows * columns * count
    level, within = anchor // count, anchor % count
    # Rounding must not lead out of the last cell.
    cells = torch.minimum((centres / strides[level, None]).long(), torch.stack([columns, rows], dim=1)[level] - 1)
    column, row = cells.unbind(dim=1)
    start = places.cumsum(0) - places
    wanted: Tensor = start[level] + (row * columns[level] + column) * count + within
    return wanted


def shape_iou(sizes: Tensor, others: Tensor) -> Tensor:
    """IoU (N, M) of boxes with one centre, of widths and heights (N, 2) and (M, 2).

    Example:
        >>> shape_iou(torch.tensor([[2.0, 2.0]]), torch.tensor([[2.0, 2.0], [2.0, 4.0]])).tolist()
        [[1.0, 0.5]]
    """
    shared = torch.minimum(sizes[:, None], others[None]).prod(dim=2)
    return shared / (sizes.prod(dim=1)[:, None] + others.prod(dim=1)[None] - shared)


def _first_of_each(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of those who are the first to want their place, and of the others; both in order."""
    order = wanted.argsort(stable=True)
    first = torch.ones_like(order, dtype=torch.bool)
    first[order[1:]] = wanted[order[1:]] != wanted[order[:-1]]
    return torch.where(first)[0], torch.where(~first)[0]
