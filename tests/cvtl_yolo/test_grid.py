"""The grid: `encode` and `decode` are inverses of one another, and what they mean is what a plain loop says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_yolo import ONE, TWO, random_objects
from torch import Tensor

from cvtl.boxes import clip_to_image
from cvtl_yolo.grid import Grid, Level, decode, encode, flat, levels_of, slots_of

LARGE = Grid(
    (1280, 1280), tuple(Level(s, ((2.0 * s, 3.0 * s), (4.0 * s, 3.0 * s), (8.0 * s, 9.0 * s))) for s in (8, 16, 32)), 80
)


@st.composite
def objects(draw: st.DrawFn, grid: Grid, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Any boxes with an extent whose centres lie in the input: at its edge, larger than it, alike.

    In single precision they are cut to the input, as those that are trained on: far outside of it pixels of 1e-4 have
    no numbers of their own.
    """
    height, width = grid.size_hw
    width_of = 64 if dtype == torch.float64 else 32
    rows, labels = [], []
    for _ in range(draw(st.integers(0, 6))):
        x = draw(st.floats(0, width, exclude_max=True, width=width_of))
        y = draw(st.floats(0, height, exclude_max=True, width=width_of))
        half_w, half_h = (draw(st.floats(0.5, 1.5 * side, width=width_of)) for side in (width, height))
        rows.append([x - half_w, y - half_h, x + half_w, y + half_h])
        labels.append(draw(st.integers(0, grid.classes - 1)))
    boxes = torch.tensor(rows, dtype=dtype).reshape(-1, 4)
    boxes = clip_to_image(boxes, grid.size_hw) if dtype == torch.float32 else boxes
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((centres >= 0) & (centres < torch.tensor([width, height]))).all(dim=1)
    return boxes[inside], torch.tensor(labels, dtype=torch.int64)[inside]


def as_rows(boxes: Tensor, labels: Tensor) -> list[tuple[float, ...]]:
    return sorted((*box, label) for box, label in zip(boxes.tolist(), labels.tolist(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", [ONE, TWO, LARGE], ids=["one object a cell", "two levels", "1280 pixels"])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_every_box_that_has_its_place_comes_back(grid: Grid, dtype: torch.dtype, data: st.DataObject) -> None:
    boxes, labels = data.draw(objects(grid, dtype))
    levels, lost = encode(boxes, labels, grid)
    found, scores, found_labels = decode(levels, grid)
    kept = torch.ones(len(boxes), dtype=torch.bool)
    kept[lost] = False
    assert len(found) == kept.sum() == len(boxes) - len(lost)
    assert scores.tolist() == [1.0] * len(found)
    expected, back = as_rows(boxes[kept], labels[kept]), as_rows(found, found_labels)
    unmatched = list(back)
    for row in expected:
        nearest = min(unmatched, key=lambda other: max(abs(a - b) for a, b in zip(row, other, strict=True)))
        # Beyond 1,000 pixels, neighbouring numbers of single precision are further apart than that.
        finest = max(1e-4, 2 * torch.finfo(dtype).eps * max(grid.size_hw))
        assert max(abs(a - b) for a, b in zip(row, nearest, strict=True)) <= finest
        unmatched.remove(nearest)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_what_a_grid_says_is_said_again_of_what_it_is_decoded_to(data: st.DataObject) -> None:
    boxes, labels = data.draw(objects(TWO, torch.float64))
    once = encode(boxes, labels, TWO)[0]
    found, _, found_labels = decode(once, TWO)
    twice, lost = encode(found, found_labels, TWO)
    assert len(lost) == 0
    # A shape in the middle between two anchors may fall to the other by rounding; nothing else may move.
    for a, b in zip(decode(once, TWO), decode(twice, TWO), strict=True):
        assert a.shape == b.shape


def plain_iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    shared = min(a[0], b[0]) * min(a[1], b[1])
    return shared / (a[0] * a[1] + b[0] * b[1] - shared)


def plain_encode(boxes: Tensor, labels: Tensor, grid: Grid) -> tuple[list[Tensor], list[int]]:
    """Cell by cell, as the lectures draw it."""
    levels, lost = [torch.zeros(shape, dtype=boxes.dtype) for shape in grid.shapes], []
    for number, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        size, x, y = (x2 - x1, y2 - y1), (x1 + x2) / 2, (y1 + y2) / 2
        best, where = -1.0, (0, 0)
        for i, level in enumerate(grid.levels):
            for j, anchor in enumerate(level.anchors):
                if plain_iou(size, anchor) > best:
                    best, where = plain_iou(size, anchor), (i, j)
        stride = grid.levels[where[0]].stride
        vector = levels[where[0]][int(y / stride), int(x / stride), where[1]]
        if vector[0] == 1:
            lost.append(number)
            continue
        numbers = [1, x / stride % 1, y / stride % 1, size[1] / stride, size[0] / stride]
        vector[:5] = torch.tensor(numbers, dtype=boxes.dtype)
        vector[5 + int(labels[number])] = 1
    return levels, lost


@pytest.mark.parametrize("count", [0, 1, 12, 300])
@pytest.mark.parametrize("grid", [ONE, TWO])
def test_encoding_equals_a_plain_loop(grid: Grid, count: int) -> None:
    boxes, labels = random_objects(count, count, grid)
    found, lost = encode(boxes.double(), labels, grid)
    expected, expected_lost = plain_encode(boxes.double(), labels, grid)
    assert lost.tolist() == expected_lost
    assert count < 300 or len(lost) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_one_level_and_one_anchor_are_the_lectures_grid() -> None:
    # 3 x 3 cells of 32 pixels; a car of 80 x 24 pixels in the middle of the lower right cell.
    grid = Grid((96, 96), (Level(32, ((40.0, 40.0),)),), classes=3)
    (level,), _ = encode(torch.tensor([[40.0, 68, 120, 92]]), torch.tensor([1]), grid)
    assert level.shape == (3, 3, 1, 8)
    # [pc, bx, by, bh, bw, c1, c2, c3]
    assert level[2, 2, 0].tolist() == [1, 0.5, 0.5, 0.75, 2.5, 0, 1, 0]
    level[2, 2] = 0
    assert not level.any()


def test_of_two_objects_in_one_cell_the_first_is_kept_and_the_other_counted() -> None:
    boxes = torch.tensor([[33.0, 33, 47, 47], [34, 34, 46, 46], [1, 1, 9, 9]])
    levels, lost = encode(boxes, torch.tensor([0, 1, 2]), ONE)
    assert lost.tolist() == [1]
    assert as_rows(*decode(levels, ONE)[::2]) == as_rows(boxes[[0, 2]], torch.tensor([0, 2]))


def test_with_anchors_two_objects_of_different_shapes_share_a_cell() -> None:
    grid = Grid((64, 64), (Level(32, ((10.0, 30.0), (30.0, 10.0))),), classes=1)
    boxes = torch.tensor([[11.0, 1, 21, 31], [1, 11, 31, 21]])
    levels, lost = encode(boxes, torch.tensor([0, 0]), grid)
    assert len(lost) == 0
    assert as_rows(*decode(levels, grid)[::2]) == as_rows(boxes, torch.tensor([0, 0]))


def test_small_and_large_objects_go_to_levels_of_their_own() -> None:
    (fine, coarse), _ = encode(torch.tensor([[0.0, 0, 10, 11], [0, 0, 40, 40]]), torch.tensor([0, 0]), TWO)
    assert fine[..., 0].sum() == coarse[..., 0].sum() == 1


@pytest.mark.parametrize(
    "box", [(5.0, 5, 5, 9), (9, 5, 5, 9), (90, 10, 110, 20), (-30, 10, 10, 20), (0, 60, 9, 68), (0, 0, 0, float("nan"))]
)
def test_boxes_without_a_place_in_the_input_are_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must lie in the input of 96 x 64"):
        encode(torch.tensor([box]), torch.tensor([0]), ONE)


def test_only_what_scores_enough_is_decoded() -> None:
    levels = [torch.zeros(shape) for shape in ONE.shapes]
    levels[0][1, 2, 0] = torch.tensor([0.8, 0.5, 0.5, 1, 1, 0.1, 0.9, 0.2])
    boxes, scores, labels = decode(levels, ONE, threshold=0.7)
    assert (boxes.tolist(), labels.tolist()) == ([[32, 16, 48, 32]], [1])
    assert scores.item() == pytest.approx(0.72)
    assert len(decode(levels, ONE, threshold=0.73)[0]) == 0


def test_levels_and_one_long_list_of_places_are_the_same() -> None:
    levels = encode(*random_objects(3, 9, TWO), TWO)[0]
    together = flat(levels)
    slots = slots_of(TWO, together)
    assert len(together) == len(slots.cells) == 8 * 12 * 2 + 2 * 3 * 2
    for one, other in zip(levels, levels_of(together, TWO), strict=True):
        assert torch.equal(one, other)
    column, row, anchor = 7, 3, 1
    index = (row * 12 + column) * 2 + anchor
    assert slots.cells[index].tolist() == [column, row]
    assert slots.anchors[index].tolist() == [16, 10]
    assert slots.strides.unique().tolist() == [8, 32]
