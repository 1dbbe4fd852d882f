from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from cvtl.data import BoxesTarget, PointsTarget, Sample
from cvtl_datasets.checks.findings import Finding
from cvtl_datasets.checks.targets import Indices, same_boxes, target_findings

WH = (100, 50)


def boxes_found(
    boxes: list[list[float]],
    labels: list[int] | None = None,
    crowd: list[bool] | None = None,
    wh: tuple[int, int] = WH,
) -> list[Finding]:
    target = BoxesTarget(
        np.array(boxes, float).reshape(-1, 4), np.array(labels or [0] * len(boxes)), np.array(crowd or [], bool)
    )
    return list(target_findings(Sample("a.jpg", list, target), wh, ["cat", "dog"]))  # type: ignore[arg-type]


def points_found(
    points: list[list[float]], visible: list[bool] | None = None, wh: tuple[int, int] | None = WH
) -> list[Finding]:
    target = PointsTarget(np.array(points, float), np.array(visible or [True] * len(points)))
    return list(target_findings(Sample("a.jpg", list, target), wh, ["eye", "nose"]))  # type: ignore[arg-type]


def pairs(blocks: Iterator[tuple[Indices, Indices]]) -> set[tuple[int, int]]:
    return {pair for one, other in blocks for pair in zip(one.tolist(), other.tolist(), strict=True)}


@pytest.mark.parametrize(
    ("box", "kind", "words"),
    [
        ([120, 10, 140, 20], "box outside the picture", "outside"),
        ([10, -30, 20, -5], "box outside the picture", "outside"),
        ([90, 10, 130, 20], "box sticks out", "30 px on the right"),
        ([-7.5, 10, 30, 20], "box sticks out", "7.5 px on the left"),
        ([10, -3, 20, 54], "box sticks out", "3 px at the top and 4 px at the bottom"),
        ([10, 10, 10.5, 20], "tiny box", "only 0.5 x 10 pixels"),
    ],
)
def test_a_box_that_is_wrong_by_itself_is_found(box: list[float], kind: str, words: str) -> None:
    (finding,) = boxes_found([box])
    assert (finding.kind, finding.boxes) == (kind, (tuple(box),))
    assert words in finding.what
    assert "cat" in finding.what


@pytest.mark.parametrize("box", [[0, 0, 100, 50], [-1, -1, 101, 51], [10, 10, 11, 11]])
def test_a_box_up_to_a_pixel_over_the_edge_is_fine(box: list[float]) -> None:
    assert boxes_found([box]) == []


def test_boxes_of_a_picture_of_unknown_size_are_inside() -> None:
    target = BoxesTarget(np.array([[10.0, 10, 5000, 5000]]), np.array([0]))
    assert not list(target_findings(Sample("a.jpg", list, target), None, ["cat"]))  # type: ignore[arg-type]


def test_equal_boxes_of_one_class_are_duplicates() -> None:
    (finding,) = boxes_found([[10, 10, 30, 30], [50, 10, 70, 30], [10, 10, 30, 30]])
    assert finding.kind == "duplicate boxes"
    assert "equal" in finding.what


def test_boxes_that_overlap_all_but_wholly_are_duplicates() -> None:
    (finding,) = boxes_found([[10, 10, 50, 50], [10, 10, 50, 49]])
    assert finding.kind == "duplicate boxes"
    assert "IoU 0.975" in finding.what


def test_equal_boxes_of_two_classes_are_another_finding() -> None:
    assert [each.kind for each in boxes_found([[10, 10, 30, 30]] * 2, [0, 1])] == ["box of two classes"]


def test_boxes_that_overlap_less_are_fine() -> None:
    assert boxes_found([[10, 10, 50, 50], [10, 10, 50, 40]]) == []


def test_crowds_are_no_duplicates() -> None:
    assert boxes_found([[10, 10, 30, 30]] * 2, crowd=[True, False]) == []


def test_no_boxes_at_all_are_no_mistake_of_a_box() -> None:
    assert boxes_found([]) == []


def test_same_boxes_finds_the_pairs_that_a_plain_loop_finds() -> None:
    random = np.random.default_rng(0)
    corner = random.integers(0, 6, (600, 2))
    boxes = np.concatenate([corner, corner + random.integers(15, 25, (600, 2))], axis=1).astype(float)
    expected = set()
    for i, (ax1, ay1, ax2, ay2) in enumerate(boxes):
        for j, (bx1, by1, bx2, by2) in enumerate(boxes[:i]):
            shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
            if shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared) > 0.9:
                expected.add((j, i))
    assert len(expected) > 1000
    within = pairs(same_boxes(boxes, boxes, more_than=0.9))
    assert {(i, j) for i, j in within if i < j} == expected
    across = pairs(same_boxes(boxes[:100], boxes[100:], more_than=0.9))
    assert {(i, j + 100) for i, j in across} == {(i, j) for i, j in expected if i < 100 <= j}


@pytest.mark.parametrize("axis", [0, 1])
def test_boxes_far_from_each_other_are_not_compared(axis: int) -> None:
    row = np.zeros((20_000, 4))
    row[:, [axis, axis + 2]] = 10.0 * np.arange(20_000)[:, None] + (0, 8)
    row[:, 3 - axis] = 5
    tracemalloc.start()
    assert boxes_found(row.tolist(), wh=(200_000, 200_000)) == []
    # Of 64 x 20,000 pairs the coordinates alone take more.
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()


def test_of_many_boxes_that_are_the_same_each_is_told_once() -> None:
    found = boxes_found([[10, 10, 30, 30]] * 2000)
    assert len(found) == 1999


def test_points_outside_the_picture_are_found_together() -> None:
    (finding,) = points_found([[10, 10], [112, 20], [50, 57]])
    assert finding.kind == "point outside the picture"
    assert finding.what == "2 of 3 points are up to 12 px outside"
    assert finding.points == ((112, 20), (50, 57))


def test_what_a_missing_point_says_means_nothing() -> None:
    assert points_found([[10, 10], [20, 20], [-500, 0]], [True, True, False]) == []


def test_points_of_a_picture_of_unknown_size_are_inside_to_the_right_only() -> None:
    assert points_found([[10, 10], [999, 999]], wh=None) == []
    assert [each.kind for each in points_found([[10, 10], [-9, 9]], wh=None)] == ["point outside the picture"]


def test_points_that_are_all_equal_are_found() -> None:
    assert [each.kind for each in points_found([[10, 10], [10, 10]])] == ["points all equal"]


def test_one_point_alone_is_equal_to_nothing() -> None:
    assert points_found([[10, 10]]) == []


def test_an_object_without_any_point_is_found() -> None:
    assert [each.kind for each in points_found([[10, 10], [12, 10]], [False, False])] == ["no points"]


def test_an_object_with_a_box_may_have_no_points() -> None:
    target = PointsTarget(np.zeros((1, 2, 2)), np.zeros((1, 2), bool), np.array([[10.0, 10, 30, 30]]))
    assert not list(target_findings(Sample("a.jpg", list, target), WH, ["eye", "nose"]))  # type: ignore[arg-type]


def test_the_boxes_of_objects_with_points_are_checked_too() -> None:
    target = PointsTarget(np.array([[[10.0, 10], [20, 20]]]), np.ones((1, 2), bool), np.array([[10.0, 10, 190, 30]]))
    found = target_findings(Sample("a.jpg", list, target), WH, ["eye", "nose"])  # type: ignore[arg-type]
    assert [each.kind for each in found] == ["box sticks out"]
