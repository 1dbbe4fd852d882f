"""What the network learns from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from kites import COLOURS, NAMES, PAIRS, corners, make_data, make_flocks, make_options

from cvtl.augmentation import View
from cvtl.data import BoxesTarget, Dataset, PointsTarget
from cvtl.errors import DataError
from cvtl.preprocessing import InputSpec, resize
from cvtl.training.memory import in_memory
from cvtl_landmarks.samples import (
    PlacedPoints,
    PointSamples,
    mirrored_order,
    placed,
    sample_spec,
    variation_of,
)

INPUT = InputSpec(size_hw=(32, 32))
SETTLED = {"flip_pairs": PAIRS, "crop": "picture"}


def samples(data: Dataset | None = None, *, seed: tuple[int, ...] | None = None, **options: Any) -> PointSamples:
    return PointSamples(data or make_data(6), INPUT, make_options(**SETTLED | options), seed)


def spot(image: torch.Tensor, colour: tuple[int, int, int]) -> np.ndarray:
    """The middle of the pixels nearest to a colour, as fractions of the picture."""
    apart = (image.float() - torch.tensor(colour).view(3, 1, 1)).abs().sum(dim=0)
    rows, columns = torch.where(apart < 180)
    assert len(rows), "the spot is not in the picture"
    return np.array([columns.float().mean() + 0.5, rows.float().mean() + 0.5]) / image.shape[-1]


def test_validation_sees_pictures_as_prediction_does() -> None:
    data = make_data(3)
    for index in range(3):
        seen, target = samples(data)[index]
        assert torch.equal(seen, resize(torch.from_numpy(data[index].read()).permute(2, 0, 1), INPUT))
        expected = corners(index) / [48, 40]
        assert target.places.numpy() == pytest.approx(expected, abs=1e-6)
        assert target.visible.all()


@pytest.mark.parametrize("flips", [True, False])
def test_points_move_with_the_picture_and_pairs_change_places_in_a_mirror(flips: bool) -> None:
    """The left corner is always the one further to the left, though it was painted red."""
    mirrored = 0
    for epoch in range(12):
        seen, target = samples(seed=(0, epoch), flip=flips, rotation=10)[epoch % 6]
        red_is_left = spot(seen, COLOURS[0])[0] < spot(seen, COLOURS[1])[0]
        mirrored += not red_is_left
        left, right = (COLOURS[0], COLOURS[1]) if red_is_left else (COLOURS[1], COLOURS[0])
        for point, colour in zip(target.places.numpy(), (left, right, COLOURS[2]), strict=True):
            assert np.abs(point - spot(seen, colour)).max() < 0.04
    assert bool(mirrored) == flips


def slow_placed(points: np.ndarray, visible: np.ndarray, view: View, pairs: tuple[tuple[int, int], ...]) -> list:
    """Point by point: where it goes, which one it then is, whether it can be seen."""
    found = [None] * len(points)
    for k, (x, y) in enumerate(points):
        matrix = view.matrix
        new_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
        new_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
        partner = k
        for a, b in pairs:
            if view.mirrored and k in (a, b):
                partner = b if k == a else a
        inside = 0 <= new_x <= view.size_hw[1] and 0 <= new_y <= view.size_hw[0]
        found[partner] = (new_x / view.size_hw[1], new_y / view.size_hw[0], bool(visible[k] and inside))
    return found


@pytest.mark.parametrize("mirrored", [True, False])
def test_placed_points_are_those_of_a_plain_loop(mirrored: bool) -> None:
    random = np.random.default_rng(4)
    pairs = ((0, 3), (2, 5))
    for _ in range(20):
        view = View(random.normal(size=(2, 3)) * [1, 1, 20], (40, 50), mirrored)
        points, visible = random.uniform(0, 40, (7, 2)), random.random(7) < 0.7
        target = placed(points, visible, view, pairs)
        expected = slow_placed(points, visible, view, pairs)
        assert target.visible.tolist() == [seen for _, _, seen in expected]
        assert target.places.numpy() == pytest.approx(np.array([each[:2] for each in expected]), abs=1e-4)


def test_mirroring_twice_changes_nothing() -> None:
    order = mirrored_order(6, [(0, 4), (1, 2)])
    assert [order[order[k]] for k in range(6)] == list(range(6))


def test_a_missing_point_is_missing_whatever_the_file_says_of_it() -> None:
    _, target = samples(make_data(3, missing=[1]))[1]
    assert target.visible.tolist() == [True, True, False]


def test_a_picture_without_an_object_is_a_sample_without_points() -> None:
    data = make_data(2)
    empty = PointsTarget(np.zeros((0, 3, 2)), np.zeros((0, 3), bool))
    data = replace(data, samples=[data[0], replace(data[1], target=empty)])
    found = samples(data)
    assert len(found) == 2
    assert not found[1][1].visible.any()


def test_in_boxes_every_object_is_a_sample() -> None:
    flocks = make_flocks(3)
    found = samples(flocks, crop="box", margin=0.0)
    assert len(found) == 6
    for index in range(6):
        seen, target = found[index]
        # The square about a box of 48 by 40 is 48 by 48, four pixels more above and below.
        assert target.places.numpy() == pytest.approx((corners(index) + np.array([0, 4])) / 48, abs=1e-6)
        assert np.abs(target.places[2].numpy() - spot(seen, COLOURS[2])).max() < 0.04


def test_an_object_without_visible_points_is_no_sample_in_boxes() -> None:
    flocks = make_flocks(1)
    target = flocks[0].target
    hidden = PointsTarget(target.points, np.array([[True] * 3, [False] * 3]), target.boxes)
    assert len(samples(replace(flocks, samples=[replace(flocks[0], target=hidden)]), crop="box")) == 1


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (PointsTarget(np.zeros((2, 3, 2)), np.ones((2, 3))), {"crop": "picture"}, "shows 2 objects"),
        (PointsTarget(np.zeros((1, 3, 2)), np.ones((1, 3))), {"crop": "box"}, "without a box"),
        (BoxesTarget(np.zeros((0, 4)), np.zeros(0)), {"crop": "picture"}, "which '0.png' is not"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_name(target: object, options: dict, message: str) -> None:
    data = make_data(1)
    with pytest.raises(DataError, match=message):
        samples(replace(data, samples=[replace(data[0], target=target)]), **options)


def test_views_depend_on_nothing_but_seed_epoch_and_index() -> None:
    one, other = samples(seed=(3, 1)), samples(seed=(3, 1))
    other[0], other[3]
    assert torch.equal(one[2][0], other[2][0])
    assert not torch.equal(one[2][0], samples(seed=(3, 2))[2][0])
    assert not torch.equal(one[2][0], samples(seed=(4, 1))[2][0])


def test_nothing_is_mirrored_unless_it_is_known_what_changes_places() -> None:
    assert not variation_of(make_options(flip_pairs=None)).flip
    assert variation_of(make_options(flip_pairs=())).flip
    assert not variation_of(make_options(flip_pairs=PAIRS, flip=False)).flip


def test_points_that_a_view_leaves_out_are_not_there() -> None:
    view = View(np.array([[1.0, 0, 30], [0, 1, 0]]), (32, 32))
    target = placed(np.array([[10.0, 5], [1, 5], [0, 40]]), np.ones(3, bool), view, ())
    assert isinstance(target, PlacedPoints)
    assert target.visible.tolist() == [False, True, False]
    assert NAMES[1] == "right"


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_samples_from_memory_are_those_from_files_to_the_bit(resize: str) -> None:
    data, input = make_data(5, missing=[2]), INPUT.model_copy(update={"resize": resize})
    options = make_options(**SETTLED)
    kept = in_memory(data, sample_spec(input, variation_of(options)))
    for seed, one in (((1, 2), kept), (None, in_memory(data, input))):
        for index in range(5):
            seen, target = PointSamples(one, input, options, seed)[index]
            expected, at = PointSamples(data, input, options, seed)[index]
            assert torch.equal(seen, expected)
            assert torch.equal(target.places[target.visible], at.places[at.visible])
            assert torch.equal(target.visible, at.visible)


def test_data_without_a_single_point_are_refused() -> None:
    hidden = PointsTarget(np.zeros((1, 3, 2)), np.zeros((1, 3), bool))
    data = make_data(3)
    with pytest.raises(DataError, match="not one point is there in the 3 pictures"):
        samples(replace(data, samples=[replace(sample, target=hidden) for sample in data]))
