"""Which places learn which object, against a plain loop."""

from __future__ import annotations

import pytest
import torch
from tiny_yolo import ONE, TWO, random_objects
from torch import Tensor

from cvtl_yolo.assignment import assign
from cvtl_yolo.grid import Grid, encode, flat


def plain_assign(boxes: Tensor, pictures: Tensor, grid: Grid, ratio: float) -> dict[tuple[int, int], int]:
    """The object of each place of each picture that has one."""
    claims: dict[tuple[int, int], list[tuple[float, int]]] = {}
    anchors = [(i, j, anchor) for i, level in enumerate(grid.levels) for j, anchor in enumerate(level.anchors)]
    starts = [0]
    for rows, columns, count, _ in grid.shapes:
        starts.append(starts[-1] + rows * columns * count)
    for number, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        w, h = x2 - x1, y2 - y1

        def iou(anchor: tuple[float, float], w: float = w, h: float = h) -> float:
            shared = min(w, anchor[0]) * min(h, anchor[1])
            return shared / (w * h + anchor[0] * anchor[1] - shared)

        best = max(iou(anchor) for *_, anchor in anchors)
        first_best = next(each for each in anchors if iou(each[2]) == best)
        for i, j, anchor in anchors:
            fits = max(w / anchor[0], anchor[0] / w, h / anchor[1], anchor[1] / h) < ratio
            if not fits and (i, j, anchor) != first_best:
                continue
            rows, columns, count, _ = grid.shapes[i]
            x, y = (x1 + x2) / 2 / grid.levels[i].stride, (y1 + y2) / 2 / grid.levels[i].stride
            beside = int(x) + (1 if x % 1 >= 0.5 else -1), int(y) + (1 if y % 1 >= 0.5 else -1)
            for column, row in ((int(x), int(y)), (beside[0], int(y)), (int(x), beside[1])):
                if 0 <= column < columns and 0 <= row < rows:
                    place = starts[i] + (row * columns + column) * count + j
                    distance = (x - column - 0.5) ** 2 + (y - row - 0.5) ** 2
                    claims.setdefault((int(pictures[number]), place), []).append((distance, number))
    return {place: min(each)[1] for place, each in claims.items()}


@pytest.mark.parametrize("ratio", [1.5, 4.0])
@pytest.mark.parametrize("grid", [ONE, TWO])
@pytest.mark.parametrize("count", [1, 9, 80])
def test_places_equal_those_of_a_plain_loop(grid: Grid, count: int, ratio: float) -> None:
    boxes, _ = random_objects(count, count, grid)
    # Halves and quarters, so that distances tie and centres lie between cells.
    boxes = (boxes.double() * 4).round() / 4
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 0.5)
    boxes = boxes - (boxes[:, :2] + boxes[:, 2:]).clamp(max=0).repeat(1, 2) / 2
    pictures = torch.arange(count) // 30
    assigned = assign(boxes, pictures, grid, ratio)
    found = {
        (int(pictures[number]), place): number
        for number, place in zip(assigned.objects.tolist(), assigned.places.tolist(), strict=True)
    }
    assert len(found) == len(assigned.places)  # no place is given twice
    assert found == plain_assign(boxes, pictures, grid, ratio)


def test_an_object_alone_learns_in_its_cell_and_the_two_it_is_nearest_to() -> None:
    boxes = torch.tensor([[24.0, 24, 44, 44]])  # centre (34, 34): cell 2, 2, towards 1 and 1
    assigned = assign(boxes, torch.tensor([0]), ONE, 4)
    assert sorted(assigned.places.tolist()) == [1 * 6 + 2, 2 * 6 + 1, 2 * 6 + 2]


def test_cells_beyond_the_edge_are_left_out() -> None:
    boxes = torch.tensor([[-8.0, -8, 10, 10]])
    assert assign(boxes, torch.tensor([0]), ONE, 4).places.tolist() == [0]


def test_an_object_that_fits_no_anchor_goes_to_the_best() -> None:
    boxes = torch.tensor([[0.0, 0, 95, 2]])
    assigned = assign(boxes, torch.tensor([0]), TWO, 1.2)
    assert 1 <= len(assigned.places) <= 3


def test_the_place_of_the_lectures_is_among_those_assigned() -> None:
    boxes, labels = random_objects(5, 6, TWO)
    for number in range(6):
        alone = boxes[number : number + 1]
        place = flat(encode(alone, labels[number : number + 1], TWO)[0])[:, 0].argmax()
        assert place in assign(alone, torch.tensor([0]), TWO, 1.01).places


def test_objects_of_different_pictures_do_not_compete() -> None:
    boxes = torch.tensor([[24.0, 24, 44, 44]] * 2)
    together = assign(boxes, torch.tensor([0, 0]), ONE, 4)
    apart = assign(boxes, torch.tensor([0, 1]), ONE, 4)
    assert set(together.objects.tolist()) == {0}
    assert len(apart.places) == 2 * len(together.places)


def test_no_objects_have_no_places() -> None:
    assigned = assign(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), TWO, 4)
    assert assigned.objects.shape == assigned.places.shape == (0,)
