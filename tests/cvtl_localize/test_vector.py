"""The lectures' vector, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvtl.augmentation import Variation, View, draw_view, plain_view
from cvtl.data import BoxesTarget
from cvtl.preprocessing import InputSpec
from cvtl_localize import decode, encode
from cvtl_localize.vector import visible_share

CLASSES = ("cat", "dog", "owl")
EMPTY = BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))


def target(*box: float, label: int = 0) -> BoxesTarget:
    return BoxesTarget(np.array([box]), np.array([label]))


def stretched(width: int = 200, height: int = 100, side: int = 50) -> View:
    return plain_view((0, 0, width, height), InputSpec(size_hw=(side, side)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[View, BoxesTarget]:
    """A view that shows a whole picture, and an object in it."""
    width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    rule: Any = draw(st.sampled_from(["stretch", "letterbox"]))
    spec = InputSpec(size_hw=(draw(st.integers(16, 300)), draw(st.integers(16, 300))), resize=rule)
    shares = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2)))
    tops = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2)))
    if shares[1] - shares[0] < 1e-3 or tops[1] - tops[0] < 1e-3:
        shares, tops = [0.0, 1.0], [0.0, 1.0]
    box = (shares[0] * width, tops[0] * height, shares[1] * width, tops[1] * height)
    region = (0.0, 0.0, float(width), float(height))
    if draw(st.booleans()):
        view = draw_view(region, spec, Variation(flip=True), np.random.default_rng(draw(st.integers(0, 9))))
    else:
        view = plain_view(region, spec)
    return view, target(*box, label=draw(st.integers(0, 2)))


@given(cases())
def test_decoding_undoes_encoding(case: tuple[View, BoxesTarget]) -> None:
    view, wanted = case
    found = decode(encode(wanted, view, len(CLASSES)), view, CLASSES)
    assert found.present == 1
    assert found.scores.tolist() == [float(label == wanted.labels[0]) for label in range(3)]
    # A ten-thousandth of the picture's longer side, in pixels.
    assert found.box.numpy() == pytest.approx(wanted.boxes[0], abs=1e-4 * 5000)
    size = float(np.abs(view.back(np.array([[0.0, 0.0], view.size_hw[::-1]]))).max())
    assert found.box.numpy() == pytest.approx(wanted.boxes[0], abs=1e-5 * size + 1e-3)


def test_the_numbers_stand_in_the_lectures_order() -> None:
    vector = encode(target(20, 10, 60, 90, label=2), stretched(), 3)
    assert vector.dtype == torch.float32
    assert vector.tolist() == pytest.approx([1, 0.2, 0.5, 0.2, 0.8, 0, 0, 1])


def test_without_an_object_all_numbers_are_0() -> None:
    assert encode(EMPTY, stretched(), 3).tolist() == [0] * 8


def test_the_largest_object_that_is_no_crowd_counts() -> None:
    boxes = np.array([[0.0, 0, 20, 20], [100, 50, 150, 100], [0, 0, 200, 100]])
    many = BoxesTarget(boxes, np.array([0, 1, 2]), np.array([False, False, True]))
    assert torch.equal(encode(many, stretched(), 3), encode(target(*boxes[1], label=1), stretched(), 3))


def test_fractions_are_those_of_the_input_where_a_picture_is_padded_to_it() -> None:
    view = plain_view((0, 0, 200, 100), InputSpec(size_hw=(40, 40), resize="letterbox"))
    assert encode(target(0, 0, 200, 100), view, 1).tolist() == pytest.approx([1, 0.5, 0.5, 1, 0.5, 1])


def test_a_box_is_cut_to_the_input() -> None:
    assert encode(target(-100, 0, 100, 300), stretched(), 1).tolist() == pytest.approx([1, 0.25, 0.5, 0.5, 1, 1])


@pytest.mark.parametrize("box", [(200, 0, 300, 50), (-50, 10, 0, 20), (0, 100, 50, 120)])
def test_an_object_outside_of_the_input_is_none(box: tuple[float, ...]) -> None:
    assert encode(target(*box), stretched(), 1)[0] == 0


@pytest.mark.parametrize(
    ("box", "share"),
    [((0, 0, 200, 100), 1), ((-50, 0, 50, 100), 0.5), ((150, 50, 250, 150), 0.25), ((300, 0, 400, 9), 0)],
)
def test_how_much_of_an_object_a_view_shows(box: tuple[float, ...], share: float) -> None:
    assert visible_share(target(*box), stretched()) == pytest.approx(share)


def test_nothing_is_hidden_where_there_is_no_object() -> None:
    assert visible_share(EMPTY, stretched()) == 1


def test_a_turned_box_comes_back_as_a_hull_that_holds_it() -> None:
    spec = InputSpec(size_hw=(64, 64))
    view = draw_view((0, 0, 100, 100), spec, Variation(rotation=30), np.random.default_rng(1))
    found = decode(encode(target(40, 45, 60, 55), view, 1), view, ("cat",)).box.tolist()
    assert found[0] <= 40
    assert found[1] <= 45
    assert found[2] >= 60
    assert found[3] >= 55
