"""Which places of a grid learn which object, where several may."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cvtl_yolo.grid import Grid, shape_iou


@dataclass(frozen=True, eq=False)
class Assigned:
    """Places that learn an object.

    Attributes:
        objects: int64 (K,), the object.
        places: int64 (K,), the place as `cvtl_yolo.grid.Slots` counts them; no two of one picture are equal.
    """

    objects: Tensor
    places: Tensor


def assign(boxes: Tensor, pictures: Tensor, grid: Grid, ratio: float) -> Assigned:
    """Several places for each object, as YOLOv5 has it, but each place with one object.

    - An object goes to every anchor of every level whose width and height both differ from its own by less than the
      factor `ratio`, and in any case to the one whose shape has the largest IoU with its own.
    - There it goes to the cell that its centre lies in, and to the two neighbours, left or right and above or below,
      that the centre is nearer to, where the grid has them.
    - Of several objects that want one place that one has it whose centre is nearest to the middle of the cell, the
      first of equal ones.

    Source: Jocher et al., YOLOv5, `utils/loss.py` (its places may have several objects).

    Args:
        boxes: float (N, 4), xyxy in pixels of the input; centres lie in it.
        pictures: int64 (N,), which picture of a batch each object is in.
        grid: of all pictures.
        ratio: above 1.

    Example:
        >>> from cvtl_yolo.grid import Level
        >>> grid = Grid((64, 64), (Level(16, ((20.0, 20.0),)),), classes=1)
        >>> assigned = assign(torch.tensor([[20.0, 20, 38, 38]]), torch.tensor([0]), grid, ratio=4)
        >>> assigned.places.tolist()    # of 4 x 4: its centre is (29, 29), in the cell of row 1 and column 1
        [5, 6, 9]
    """
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    fits = _fitting(sizes, grid, ratio)
    objects, places, distances = [], [], []
    start = index = 0
    for level, (rows, columns, count, _) in zip(grid.levels, grid.shapes, strict=True):
        of, anchor = torch.where(fits[:, index : index + count])
        at = centres[of] / level.stride
        own = torch.minimum(at.long(), torch.tensor([columns - 1, rows - 1], device=at.device))
        towards = torch.where(at - own >= 0.5, 1, -1)
        for step in ((0, 0), (1, 0), (0, 1)):
            cell = own + towards * torch.tensor(step, device=at.device)
            column, row = cell.unbind(dim=1)
            there = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            objects.append(of[there])
            places.append((start + (row * columns + column) * count + anchor)[there])
            distances.append((at - cell - 0.5).square().sum(dim=1)[there])
        start, index = start + rows * columns * count, index + count
    return _nearest(torch.cat(objects), torch.cat(places), torch.cat(distances), pictures, start)


def _fitting(sizes: Tensor, grid: Grid, ratio: float) -> Tensor:
    """Which anchors of all levels are for which of N objects, bool (N, L * A)."""
    shapes = torch.tensor([each for level in grid.levels for each in level.anchors]).to(sizes)
    factors = sizes[:, None] / shapes[None]
    fits = torch.maximum(factors, 1 / factors).amax(dim=2) < ratio
    best = shape_iou(sizes, shapes).argmax(dim=1, keepdim=True)
    return fits.scatter(1, best, True)


def _nearest(objects: Tensor, places: Tensor, distances: Tensor, pictures: Tensor, count: int) -> Assigned:
    """Of those who want one place of one of several pictures, the nearest, then the first."""
    order = objects.argsort(stable=True)
    order = order[distances[order].argsort(stable=True)]
    wanted = pictures[objects] * count + places
    order = order[wanted[order].argsort(stable=True)]
    wanted = wanted[order]
    first = torch.ones_like(wanted, dtype=torch.bool)
    first[1:] = wanted[1:] != wanted[:-1]
    kept = order[first]
    return Assigned(objects[kept], places[kept])
