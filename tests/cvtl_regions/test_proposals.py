"""Proposals: boxes of what is of one piece, whatever it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_objects import made_sample

import cvtl
from cvtl.boxes import iou
from cvtl.data import BoxesTarget, UInt8Image
from cvtl_regions import propose
from cvtl_regions.proposals import _region_boxes


def best_ious(image: UInt8Image, objects: list[list[float]], **options: int) -> list[float]:
    """How well the best proposal fits each object; cells are of three pixels in a picture of `plain`."""
    found = torch.from_numpy(propose(image, **{"cells": 40} | options))
    best: list[float] = iou(torch.tensor(objects, dtype=torch.float64), found).max(dim=1).values.tolist()
    return best


def plain(height: int = 90, width: int = 120, shade: int = 60) -> UInt8Image:
    noise = np.random.default_rng(0).integers(-8, 9, (height, width, 3))
    return (shade + noise).astype(np.uint8)


def test_objects_of_other_colours_are_proposed() -> None:
    image = plain()
    image[21:51, 30:60] = (200, 40, 40)
    image[60:84, 69:111] = (40, 40, 220)
    assert min(best_ious(image, [[30, 21, 60, 51], [69, 60, 111, 84]])) > 0.8


def test_an_object_and_its_parts_are_proposed() -> None:
    image = plain()
    image[21:69, 30:90] = (200, 40, 40)
    image[36:57, 45:66] = (40, 200, 40)
    assert min(best_ious(image, [[30, 21, 90, 69], [45, 36, 66, 57]])) > 0.8


def test_two_alike_that_are_apart_are_two() -> None:
    image = plain()
    image[30:60, 9:39] = (200, 200, 40)
    image[30:60, 75:105] = (200, 200, 40)
    assert min(best_ious(image, [[9, 30, 39, 60], [75, 30, 105, 60]])) > 0.8


def test_what_differs_in_texture_only_is_proposed() -> None:
    image = plain(shade=128)
    stripes = np.where(np.arange(48) % 8 < 4, 60, 196).astype(np.uint8)
    image[20:68, 40:88] = stripes[None, :, None]
    assert min(best_ious(image, [[40, 20, 88, 68]])) > 0.6


def test_the_whole_picture_comes_first_and_no_box_twice() -> None:
    found = propose(plain(70, 50))
    assert found[0].tolist() == [0, 0, 50, 70]
    assert len(np.unique(found, axis=0)) == len(found)
    assert ((found[:, 2:] - found[:, :2]) > 0).all()
    assert (found >= 0).all()
    assert (found <= [50, 70, 50, 70]).all()


def test_fewer_are_the_first_of_more() -> None:
    image = made_sample(3).read()
    assert np.array_equal(propose(image, most=20, cells=40), propose(image, cells=40)[:20])


def test_the_same_picture_has_the_same_proposals_and_stays_as_it_is() -> None:
    image = made_sample(5).read()
    before = image.copy()
    assert np.array_equal(propose(image, cells=40), propose(image, cells=40))
    assert np.array_equal(image, before)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (7, 1), (2, 2), (3, 400)])
def test_pictures_of_any_shape_have_proposals(size_hw: tuple[int, int]) -> None:
    found = propose(np.full((*size_hw, 3), 90, np.uint8))
    assert found[0].tolist() == [0, 0, size_hw[1], size_hw[0]]


def test_a_picture_of_one_colour_is_at_least_proposed_as_a_whole() -> None:
    assert propose(np.zeros((40, 60, 3), np.uint8))[0].tolist() == [0, 0, 60, 40]


def test_each_region_is_the_hull_of_the_two_it_is_joined_of() -> None:
    """A tree over n cells has n - 1 regions, and no region reaches beyond a larger one that holds it."""
    values = np.random.default_rng(1).random((6, 7, 2))
    found = _region_boxes(values)
    assert found[0].tolist() == [0, 0, 7, 6]
    assert len(found) <= 41
    for number, box in enumerate(found[1:], 1):
        holds = (found[:number, :2] <= box[:2]).all(axis=1) & (found[:number, 2:] >= box[2:]).all(axis=1)
        assert holds.any()


@pytest.mark.shared
@pytest.mark.parametrize(("name", "least"), [("detection_bccd", 0.75), ("detection_raccoon", 0.85)])
def test_most_objects_of_real_pictures_are_proposed(shared_data: Path, name: str, least: float) -> None:
    data = cvtl.load_data(shared_data / name, "detect")
    best: list[float] = []
    for sample in data.subset(range(0, len(data), len(data) // 3)):
        assert isinstance(sample.target, BoxesTarget)
        best += best_ious(sample.read(), sample.target.boxes.tolist(), most=500, cells=64)
    assert np.mean(np.array(best) >= 0.5) > least
