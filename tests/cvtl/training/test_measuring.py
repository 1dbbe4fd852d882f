"""The figure that the best epoch is chosen by."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cvtl.results import Detections
from cvtl.training.measuring import COCO_THRESHOLDS, picture_ap

CLASSES = ("a", "b")
THERE = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
NOWHERE = [80.0, 80, 90, 90]


def found(rows: list[list[float]], labels: list[int] | None = None) -> Detections:
    """Detections, the first the best."""
    scores = torch.linspace(0.9, 0.1, len(rows)) if rows else torch.zeros(0)
    kinds = torch.tensor(labels or [0] * len(rows), dtype=torch.int64)
    return Detections(torch.tensor(rows).reshape(-1, 4), scores, kinds, CLASSES)


def picture_ap50(seen: Detections, boxes: Tensor, labels: Tensor) -> float:
    return picture_ap(seen, boxes, labels, thresholds=(0.5,))


def one_class(count: int) -> tuple[Tensor, Tensor]:
    return THERE[:count], torch.zeros(count, dtype=torch.int64)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], 0.0),
        (THERE.tolist(), 1.0),
        ([NOWHERE, *THERE.tolist()], 3 / 4),
        ([*THERE.tolist(), NOWHERE, NOWHERE], 1.0),
        ([THERE[0].tolist(), NOWHERE, THERE[1].tolist()], (1 + 2 / 3) / 3),
        # A second box of an object is wrong.
        ([THERE[0].tolist(), THERE[0].tolist(), THERE[1].tolist()], (1 + 2 / 3) / 3),
        ([[0.0, 0, 10, 4.9]], 0.0),
        ([[0.0, 0, 10, 5]], 1 / 3),
    ],
)
def test_precision_is_averaged_over_the_objects(rows: list[list[float]], expected: float) -> None:
    assert picture_ap50(found(rows), *one_class(3)) == pytest.approx(expected)


def test_precision_is_held_to_what_is_reached_later() -> None:
    rows = [NOWHERE, THERE[0].tolist(), THERE[1].tolist()]
    assert picture_ap50(found(rows), *one_class(2)) == pytest.approx(2 / 3)


def test_each_class_counts_alike_and_only_with_its_own_boxes() -> None:
    labels = torch.tensor([0, 0, 1])
    assert picture_ap50(found(THERE.tolist(), [0, 0, 1]), THERE, labels) == 1
    assert picture_ap50(found(THERE.tolist(), [0, 0, 0]), THERE, labels) == 0.5
    assert picture_ap50(found(THERE.tolist(), [1, 1, 1]), THERE, labels) == pytest.approx(1 / 6)


def test_a_picture_without_objects_says_nothing() -> None:
    assert math.isnan(picture_ap50(found([NOWHERE]), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)))


def test_a_detection_takes_the_free_object_that_it_overlaps_most() -> None:
    near = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10]])
    assert picture_ap50(found([[0.4, 0, 10.4, 10], [0, 0, 10, 10]]), near, torch.tensor([0, 0])) == 1


def test_better_boxes_count_at_more_thresholds() -> None:
    fitting = found([[0.0, 0, 10, 7.4]])
    assert picture_ap(fitting, *one_class(1)) == pytest.approx(0.5)
    assert picture_ap(found([[0.0, 0, 10, 10]]), *one_class(1)) == 1
    assert pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]) == list(COCO_THRESHOLDS)
