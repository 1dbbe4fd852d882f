"""Parts of pictures as the network sees them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvtl.preprocessing import LETTERBOX_GREY, InputSpec, resize
from cvtl_landmarks.regions import look, region_of, to_picture, view_of, whole

SPEC = InputSpec(size_hw=(32, 32))
sides = st.floats(0.5, 300)
places = st.floats(-100, 400)


@given(left=places, top=places, width=sides, height=sides, margin=st.floats(0, 1))
def test_a_region_is_a_square_about_its_box(
    left: float, top: float, width: float, height: float, margin: float
) -> None:
    x1, y1, x2, y2 = region_of([left, top, left + width, top + height], margin)
    wanted = max(width, height) * (1 + margin)
    assert x2 - x1 == y2 - y1
    assert wanted <= x2 - x1 <= wanted + 1.001
    assert (x1 + x2) / 2 == pytest.approx(left + width / 2, abs=1)
    assert (y1 + y2) / 2 == pytest.approx(top + height / 2, abs=1)


def test_the_whole_picture_is_seen_as_it_is_resized() -> None:
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    assert torch.equal(look(image, whole((50, 70)), SPEC), resize(image, SPEC))


@pytest.mark.parametrize("region", [(-10, 5, 30, 45), (50, 30, 90, 70), (-20, -20, 100, 100), (10, 10, 20, 20)])
def test_a_region_is_cut_from_a_picture_with_grey_all_round(region: tuple[int, int, int, int]) -> None:
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    wide = torch.full((3, 250, 270), LETTERBOX_GREY, dtype=torch.uint8)
    wide[:, 100:150, 100:170] = image
    left, top, right, bottom = (each + 100 for each in region)
    assert torch.equal(look(image, region, SPEC), resize(wide[:, top:bottom, left:right], SPEC))


@pytest.mark.parametrize("region", [(80, 0, 120, 40), (-50, -50, -10, -10), (0, 60, 40, 100)])
def test_a_region_outside_the_picture_is_grey(region: tuple[int, int, int, int]) -> None:
    image = torch.zeros(3, 50, 70, dtype=torch.uint8)
    assert look(image, region, SPEC).unique().tolist() == [LETTERBOX_GREY]


@pytest.mark.parametrize("rule", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("region", [(-10, 5, 30, 45), (0, 0, 70, 50)])
def test_places_in_the_input_come_back_to_the_picture(region: tuple[int, int, int, int], rule: str) -> None:
    view = view_of(region, SPEC.model_copy(update={"resize": rule}))
    points = np.random.default_rng(0).uniform(0, 50, (2, 5, 2))
    assert to_picture(view.points(points) / 32, view) == pytest.approx(points)
