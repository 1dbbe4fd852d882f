"""Contact sheets show what is in a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, Target, UInt8Image, load_data
from cvtl.errors import DataError
from cvtl_datasets.contact_sheet import contact_sheet

# A tile is 320 x 240, below 4 pixels of frame; its caption is 18 high.
TOP, LEFT, HEIGHT, WIDTH = 4, 4, 240, 320


def plain(name: str, target: Target | None = None, size_hw: tuple[int, int] = (240, 320), grey: int = 128) -> Sample:
    return Sample(name, lambda: np.full((*size_hw, 3), grey, np.uint8), target)


def tile_of(sample: Sample, classes: tuple[str, ...] = ("cat", "dog"), **keywords: Any) -> UInt8Image:
    sheet = contact_sheet(Dataset([sample], classes, "test", **keywords), columns=1, rows=1, seed=0)
    return sheet[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]


def is_drawn(tile: UInt8Image, x: int, y: int, grey: int = 128) -> bool:
    """Whether something was drawn within two pixels of a place."""
    return bool((tile[y - 2 : y + 3, x - 2 : x + 3] != grey).any())


def test_the_same_seed_gives_the_same_sheet_and_another_seed_another() -> None:
    dataset = Dataset([plain(f"{i}", grey=i) for i in range(100)], (), "test")
    first, again, other = (contact_sheet(dataset, columns=3, rows=2, seed=seed) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert (first != other).any()


def test_samples_are_chosen_without_repetition_and_in_order() -> None:
    dataset = Dataset([plain(f"{i}", grey=50 + i) for i in range(6)], (), "test")
    sheet = contact_sheet(dataset, columns=3, rows=2, seed=5)
    middles = [sheet[TOP + 120 + row * 262, LEFT + 160 + column * 324, 0] for row in range(2) for column in range(3)]
    assert middles == [50, 51, 52, 53, 54, 55]


@pytest.mark.parametrize(("count", "rows"), [(0, 1), (1, 1), (3, 1), (4, 2), (100, 2)])
def test_the_sheet_has_as_many_rows_as_it_needs(count: int, rows: int) -> None:
    dataset = Dataset([plain(f"{i}") for i in range(count)], (), "test")
    assert contact_sheet(dataset, columns=3, rows=2, seed=0).shape == (rows * 262 + 4, 3 * 324 + 4, 3)


@pytest.mark.parametrize(
    ("size_hw", "shown"),
    [
        ((240, 320), (slice(0, 240), slice(0, 320))),
        ((480, 160), (slice(0, 240), slice(120, 200))),
        ((50, 200), (slice(80, 160), slice(0, 320))),
        ((1, 5000), (slice(119, 120), slice(0, 320))),
    ],
)
def test_pictures_keep_their_shape(size_hw: tuple[int, int], shown: tuple[slice, slice]) -> None:
    tile = tile_of(plain("a", size_hw=size_hw, grey=200))
    assert (tile[shown] == 200).all()
    assert (tile == 200).all(axis=-1).sum() == np.prod(tile[shown].shape[:2])


def test_boxes_are_drawn_where_they_are_in_the_colours_of_their_classes() -> None:
    # Shown at half its size.
    target = BoxesTarget(np.array([[100, 200, 300, 400], [400, 200, 600, 400.0]]), np.array([0, 1]))
    tile = tile_of(plain("a", target, (480, 640)))
    for x, y in ((50, 150), (150, 150), (100, 200), (200, 150), (250, 200)):
        assert is_drawn(tile, x, y)
    assert not is_drawn(tile, 100, 150)
    assert (tile[200, 100] != tile[200, 250]).any()


def test_the_classes_of_the_boxes_are_named_below() -> None:
    target = BoxesTarget(np.array([[100, 200, 300, 400.0]]), np.array([1]))
    with_boxes, without = (
        contact_sheet(Dataset([plain("a", each)], ("cat", "dog"), "test"), columns=1, rows=1, seed=0)
        for each in (target, None)
    )
    assert len(with_boxes) == len(without) + 22


def test_a_picture_full_of_boxes_has_no_captions() -> None:
    boxes = np.array([[i * 20, 100, i * 20 + 10, 110] for i in range(13)], np.float64)
    few = tile_of(plain("a", BoxesTarget(boxes[:12], np.zeros(12, np.int64))))
    many = tile_of(plain("a", BoxesTarget(boxes, np.zeros(13, np.int64))))
    drawn_few, drawn_many = ((tile != 128).any(axis=-1).sum() for tile in (few, many))
    assert drawn_few > 1.5 * drawn_many


def test_a_class_is_written_into_the_corner() -> None:
    tile = tile_of(plain("a", ClassTarget(1)))
    assert (tile[:18, :20] != 128).any()
    assert (tile[60:, 60:] == 128).all()


def test_points_and_edges_are_drawn_and_missing_ones_are_not() -> None:
    points = np.array([[40, 40], [240, 40], [240, 200], [40, 200.0]])
    target = PointsTarget(points, np.array([True, True, True, False]))
    tile = tile_of(plain("a", target), ("a", "b", "c", "d"), edges=((0, 1), (2, 3)))
    for x, y in ((40, 40), (240, 40), (240, 200), (140, 40)):
        assert is_drawn(tile, x, y)
    for x, y in ((40, 200), (140, 200), (10, 10)):
        assert not is_drawn(tile, x, y)


def test_boxes_of_points_are_drawn() -> None:
    target = PointsTarget(np.array([[[40, 40.0]]]), np.array([[True]]), boxes=np.array([[100, 100, 200, 200.0]]))
    assert is_drawn(tile_of(plain("a", target), ("nose",)), 150, 100)


def test_a_picture_that_cannot_be_read_says_so_in_its_tile() -> None:
    def fail() -> UInt8Image:
        raise DataError("cannot read the picture 'a/very/long/path/to/some/where/that/does/not/fit/x.jpg': it is empty")

    tile = tile_of(Sample("a", fail, BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))))
    assert (tile[:40] > 200).any()


@pytest.mark.parametrize("name", ["", "\x1b[31m", "été ☃", "x" * 500, "\ud800"])
def test_odd_names_of_samples_and_classes_do_no_harm(name: str) -> None:
    target = BoxesTarget(np.array([[-1e9, -1e9, 1e9, 1e9], [0, 0, 5, 5]]), np.array([0, 0]))
    dataset = Dataset([plain(name, target), plain(name, ClassTarget(0))], (name,), "test")
    assert contact_sheet(dataset, columns=1, rows=2, seed=0).shape[1] == 328


@pytest.mark.shared
def test_real_boxes_are_drawn_round_their_objects(shared_data: Path) -> None:
    dataset = load_data(shared_data / "detection_raccoon")
    sheet = contact_sheet(dataset, columns=4, rows=2, seed=0)
    assert sheet.shape == (2 * 262 + 4 + 22, 4 * 324 + 4, 3)
    purple = np.array([163, 81, 251])
    assert (np.abs(sheet[:528].astype(int) - purple).max(axis=-1) < 30).sum() > 1000
