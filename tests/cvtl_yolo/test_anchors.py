"""Anchors: k-means with the distance 1 - IoU."""

from __future__ import annotations

import numpy as np
import pytest

from cvtl_yolo.anchors import cluster_sizes, default_anchors, ious_of_sizes, mean_best_iou


def made_sizes(seed: int, count: int = 400) -> np.ndarray:
    """Boxes of three kinds."""
    random = np.random.default_rng(seed)
    kinds = np.array([[12.0, 10], [50, 45], [60, 140]])
    return kinds[random.choice(3, count, p=[0.1, 0.8, 0.1])] * random.uniform(0.9, 1.1, (count, 2))


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = min(a[0], b[0]) * min(a[1], b[1])
    return float(shared / (a[0] * a[1] + b[0] * b[1] - shared))


def test_each_kind_of_box_gets_an_anchor() -> None:
    sizes = made_sizes(0)
    anchors = cluster_sizes(sizes, 3)
    assert anchors == pytest.approx(np.array([[12, 10], [50, 45], [60, 140]]), rel=0.05)
    assert mean_best_iou(sizes, anchors) > 0.85


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_each_anchor_is_the_mean_of_the_boxes_that_it_fits_best(count: int) -> None:
    sizes = made_sizes(1)
    anchors = cluster_sizes(sizes, count)
    nearest = np.array([max(range(count), key=lambda k: plain_iou(size, anchors[k])) for size in sizes])
    for k in range(count):
        assert anchors[k] == pytest.approx(sizes[nearest == k].mean(axis=0))


def test_more_anchors_fit_better() -> None:
    sizes = made_sizes(2)
    fits = [mean_best_iou(sizes, cluster_sizes(sizes, count)) for count in (1, 2, 3, 6)]
    assert fits == sorted(fits)
    assert fits[0] < fits[-1]


def test_the_same_boxes_in_any_order_give_the_same_anchors() -> None:
    sizes = made_sizes(3)
    anchors = cluster_sizes(sizes, 6)
    assert (cluster_sizes(sizes.copy(), 6) == anchors).all()
    assert cluster_sizes(np.random.default_rng(0).permutation(sizes), 6) == pytest.approx(anchors)


def test_anchors_are_sorted_by_area() -> None:
    areas = cluster_sizes(made_sizes(4), 6).prod(axis=1)
    assert (np.diff(areas) >= 0).all()


@pytest.mark.parametrize("sizes", [[[10.0, 20]], [[10.0, 20]] * 5, [[10.0, 20], [30, 30]]])
def test_fewer_kinds_of_boxes_than_anchors_are_no_trouble(sizes: list[list[float]]) -> None:
    anchors = cluster_sizes(np.array(sizes), 4)
    assert anchors.shape == (4, 2)
    assert np.isfinite(anchors).all()
    assert {tuple(each) for each in anchors.tolist()} == {tuple(each) for each in sizes}


def test_boxes_stay_as_they_were() -> None:
    sizes = made_sizes(5)
    before = sizes.copy()
    cluster_sizes(sizes, 3)
    assert (sizes == before).all()


def test_overlaps_of_shapes_equal_a_plain_loop() -> None:
    sizes, others = made_sizes(6, 20), made_sizes(7, 5)
    expected = [[plain_iou(a, b) for b in others] for a in sizes]
    assert ious_of_sizes(sizes, others) == pytest.approx(np.array(expected))


def test_without_data_anchors_are_squares_of_some_cells() -> None:
    assert default_anchors(16, 1) == ((64.0, 64.0),)
