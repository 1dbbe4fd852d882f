"""Windows that agree become one box."""

from __future__ import annotations

import pytest
import torch

from cvtl.boxes import iou
from cvtl_windows.merging import merge_windows


def square(left: float, top: float, side: float) -> list[float]:
    return [float(value) for value in (left, top, left + side, top + side)]


def test_no_windows_merge_to_none() -> None:
    boxes, scores, labels = merge_windows(
        torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), torch.zeros(0), iou_threshold=0.3
    )
    assert (boxes.shape, len(scores), len(labels)) == ((0, 4), 0, 0)


def test_the_average_is_weighted_by_score_and_keeps_the_best_score() -> None:
    boxes = torch.tensor([square(0, 0, 10), square(4, 0, 10)])
    merged, scores, _ = merge_windows(
        boxes, torch.tensor([0.9, 0.3]), torch.zeros(2), torch.zeros(2), iou_threshold=0.3
    )
    assert torch.allclose(merged, torch.tensor([square(1, 0, 10)]))
    assert scores.tolist() == pytest.approx([0.9])


def test_many_that_agree_win_against_one_that_is_surest() -> None:
    crowd = [square(20 + shift, 20, 40) for shift in (-2, -1, 0, 1, 2)]
    boxes = torch.tensor([square(40, 40, 30), *crowd])
    merged, scores, _ = merge_windows(
        boxes, torch.tensor([1.0, *[0.9] * 5]), torch.zeros(6), torch.zeros(6), iou_threshold=0.3
    )
    assert len(merged) == 1
    assert float(iou(merged, torch.tensor([square(20, 20, 40)]))) > 0.95
    assert scores.tolist() == pytest.approx([0.9])


def test_a_small_window_inside_a_merged_box_is_dropped() -> None:
    boxes = torch.tensor([square(0, 0, 100), square(5, 0, 100), square(40, 40, 20)])
    merged, _, _ = merge_windows(
        boxes, torch.tensor([0.9, 0.9, 0.9]), torch.zeros(3), torch.zeros(3), iou_threshold=0.3
    )
    assert len(merged) == 1


@pytest.mark.parametrize(("among", "expected"), [("class", [1, 0]), ("all", [1])])
def test_classes_do_not_merge_but_may_compete(among: str, expected: list[int]) -> None:
    boxes = torch.tensor([square(0, 0, 10), square(0, 0, 10)])
    found = torch.tensor([0, 1])
    groups = found if among == "class" else torch.zeros_like(found)
    _, _, labels = merge_windows(boxes, torch.tensor([0.5, 0.6]), found, groups, iou_threshold=0.3)
    assert labels.tolist() == expected


def test_boxes_without_extent_stay_as_they_are() -> None:
    boxes = torch.tensor([[5.0, 5, 5, 9], [50.0, 50, 50, 50]])
    merged, _, _ = merge_windows(boxes, torch.tensor([0.8, 0.7]), torch.zeros(2), torch.zeros(2), iou_threshold=0.3)
    assert torch.equal(merged, boxes)


def test_every_window_lies_on_a_merged_box_or_was_merged() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 2, generator=generator) * 200
    boxes = torch.cat([corners, corners + 10 + 40 * torch.rand(300, 2, generator=generator)], dim=1)
    merged, scores, _ = merge_windows(
        boxes, torch.rand(300, generator=generator), torch.zeros(300), torch.zeros(300), iou_threshold=0.3
    )
    assert 1 < len(merged) < 300
    assert (scores[:-1] >= scores[1:]).all()
    top_left = torch.maximum(boxes[:, None, :2], merged[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], merged[None, :, 2:])
    assert ((bottom_right - top_left).clamp(min=0).prod(-1).amax(1) > 0).all()
