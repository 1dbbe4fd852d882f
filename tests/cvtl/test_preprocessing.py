"""The preprocessing against its formulas, and the pixels against the coordinates."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cvtl.preprocessing import InputSpec, normalize, place, prepare, resize, resize_to

Rule = Literal["stretch", "letterbox", "crop"]
RULES: tuple[Rule, ...] = ("stretch", "letterbox", "crop")

GREY = 114  # what letterbox pads with
side = st.integers(30, 130)


def painted(image_hw: tuple[int, int], centre_xy: tuple[float, float], radius: int = 5) -> torch.Tensor:
    """A grey picture with a white square round the pixel at `centre_xy`."""
    image = torch.full((3, *image_hw), GREY, dtype=torch.uint8)
    x, y = (int(value) for value in centre_xy)
    image[:, y - radius : y + radius + 1, x - radius : x + radius + 1] = 255
    return image


def centroid(image: torch.Tensor) -> tuple[float, float]:
    """x and y of the middle of what is not grey; pixel centres are at half-integers."""
    weight = (image[0].double() - GREY).clamp(min=0)
    columns, rows = weight.sum(dim=0), weight.sum(dim=1)
    x = (columns * (torch.arange(len(columns)) + 0.5)).sum() / columns.sum()
    y = (rows * (torch.arange(len(rows)) + 0.5)).sum() / rows.sum()
    return float(x), float(y)


@settings(deadline=None)
@given(image_hw=st.tuples(side, side), size_hw=st.tuples(side, side), rule=st.sampled_from(RULES))
def test_a_painted_spot_lands_where_the_placement_says(
    image_hw: tuple[int, int], size_hw: tuple[int, int], rule: Rule
) -> None:
    spec = InputSpec(size_hw=size_hw, resize=rule)
    x, y = image_hw[1] // 2 + 2, image_hw[0] // 2 - 3
    placement = place(image_hw, spec)
    left, top, right, bottom = placement.to_input(torch.tensor([x - 7.0, y - 7, x + 8, y + 8])).tolist()
    assume(min(left, top) >= 0 and right <= size_hw[1] and bottom <= size_hw[0])  # not cut off, blur included
    expected = placement.to_input(torch.tensor([x + 0.5, y + 0.5])).tolist()
    # Half of the pixel step of rounding to uint8, spread over the spot, is far below a tenth of a pixel.
    assert centroid(resize(painted(image_hw, (x, y)), spec)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("image_hw", [(55, 50), (50, 55), (53, 50)])
def test_an_odd_remainder_is_cropped_where_the_placement_says(image_hw: tuple[int, int]) -> None:
    spec = InputSpec(size_hw=(50, 50), resize="crop")
    expected = place(image_hw, spec).to_input(torch.tensor([25.5, 25.5])).tolist()
    assert centroid(resize(painted(image_hw, (25, 25)), spec)) == pytest.approx(expected)


@given(image_hw=st.tuples(side, side), size_hw=st.tuples(side, side), rule=st.sampled_from(RULES))
def test_points_and_boxes_come_back_from_the_input(
    image_hw: tuple[int, int], size_hw: tuple[int, int], rule: Rule
) -> None:
    placement = place(image_hw, InputSpec(size_hw=size_hw, resize=rule))
    for coordinates in (torch.rand(3, 2) * 100, torch.rand(2, 5, 4) * 100):
        back = placement.to_picture(placement.to_input(coordinates))
        torch.testing.assert_close(back, coordinates, rtol=0, atol=1e-3)


def test_stretch_maps_the_corners_of_the_picture_to_those_of_the_input() -> None:
    placement = place((40, 100), InputSpec(size_hw=(80, 50)))
    assert placement.to_input(torch.tensor([0.0, 0, 100, 40])).tolist() == [0, 0, 50, 80]


def test_letterbox_keeps_the_aspect_ratio_and_pads_with_grey() -> None:
    spec = InputSpec(size_hw=(60, 60), resize="letterbox")
    result = resize(torch.full((3, 40, 80), 255, dtype=torch.uint8), spec)
    assert (result[:, 15:45] == 255).all()
    assert (result[:, :15] == GREY).all()
    assert (result[:, 45:] == GREY).all()
    assert place((40, 80), spec).to_input(torch.tensor([0.0, 0, 80, 40])).tolist() == [0, 15, 60, 45]


def test_crop_fills_the_input_from_the_middle_of_the_picture() -> None:
    picture = torch.zeros(3, 40, 120, dtype=torch.uint8)
    picture[:, :, 40:80] = 255
    assert (resize(picture, InputSpec(size_hw=(40, 40), resize="crop")) == 255).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("image_hw", [(1, 1), (1, 500), (500, 1), (33, 77), (64, 48)])
def test_every_picture_gets_the_size_of_the_input(image_hw: tuple[int, int], rule: Rule) -> None:
    spec = InputSpec(size_hw=(64, 48), resize=rule)
    picture = torch.full((3, *image_hw), GREY, dtype=torch.uint8)
    result = resize(picture, spec)
    assert (result.shape, result.dtype) == ((3, 64, 48), torch.uint8)
    assert (result == GREY).all()


def test_a_stack_is_resized_like_its_pictures() -> None:
    stack = torch.randint(0, 256, (4, 3, 30, 50), dtype=torch.uint8)
    spec = InputSpec(size_hw=(20, 20), resize="letterbox")
    assert torch.equal(resize(stack, spec), torch.stack([resize(picture, spec) for picture in stack]))


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    picture = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    assert torch.equal(resize_to(picture, (20, 30)), picture)


def test_shrinking_is_antialiased() -> None:
    stripes = torch.zeros(3, 64, 64, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    middle = resize_to(stripes, (16, 16))[:, 4:-4, 4:-4].float()
    assert (middle - 127.5).abs().max() < 10


def test_normalizing_equals_its_formula_and_leaves_the_picture() -> None:
    spec = InputSpec(size_hw=(4, 6), mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    images = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    before = images.clone()
    result = normalize(images, spec)
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - spec.mean[channel]) / spec.std[channel]
        torch.testing.assert_close(result[:, channel].double(), expected, rtol=0, atol=2e-6)
    assert result.dtype == torch.float32
    assert torch.equal(images, before)


def test_normalizing_in_half_precision_stays_near_the_formula() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 1, 1)
    spec = InputSpec(size_hw=(1, 256))
    result = normalize(images, spec, torch.float16)
    assert result.dtype == torch.float16
    torch.testing.assert_close(result.float(), normalize(images, spec), rtol=0, atol=0.01)


def test_pictures_of_any_sizes_become_one_batch() -> None:
    spec = InputSpec(size_hw=(16, 24), resize="letterbox")
    pictures = [torch.randint(0, 256, (3, *hw), dtype=torch.uint8) for hw in ((16, 24), (90, 20), (5, 7))]
    batch = prepare(pictures, spec)
    assert batch.shape == (3, 3, 16, 24)
    for one, picture in zip(batch, pictures, strict=True):
        assert torch.equal(one, normalize(resize(picture, spec), spec))


def test_the_rule_survives_json() -> None:
    spec = InputSpec(size_hw=(64, 48), resize="crop", interpolation="bicubic", mean=(0.1, 0.2, 0.3))
    assert InputSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("change", [{"resize": "pad"}, {"interpolation": "nearest"}, {"size": 3}, {"mean": (0, 0)}])
def test_a_wrong_rule_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        InputSpec.model_validate({"size_hw": (8, 8)} | change)


@pytest.mark.parametrize("image_hw", [(90, 60), (40, 120), (17, 33)])
def test_a_letterboxed_picture_may_lie_in_the_corner(image_hw: tuple[int, int]) -> None:
    spec = InputSpec(size_hw=(48, 64), resize="letterbox", align="top-left")
    made = resize(torch.zeros(3, *image_hw, dtype=torch.uint8), spec)
    placed = place(image_hw, spec)
    assert (placed.offset_x, placed.offset_y) == (0, 0)
    right, bottom = placed.to_input(torch.tensor([float(image_hw[1]), float(image_hw[0])])).round().int().tolist()
    assert (made[:, :bottom, :right] == 0).all()
    assert (made[:, bottom:] == GREY).all()
    assert (made[:, :, right:] == GREY).all()


def test_channels_come_out_in_the_order_that_the_network_takes() -> None:
    spec = InputSpec(size_hw=(4, 4), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    images = torch.randint(0, 256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(
        normalize(images, spec.model_copy(update={"channels": "bgr"})), normalize(images, spec)[:, [2, 1, 0]]
    )


@pytest.mark.parametrize("size_hw", [(20, 30), (50, 31), (90, 120)])
def test_without_averaging_pictures_are_resized_as_opencv_does(size_hw: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (60, 80, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    made = resize_to(image.permute(2, 0, 1), size_hw, antialias=False).permute(1, 2, 0)
    expected = cv2.resize(image.numpy(), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(made.numpy().astype(int) - expected).max() <= 1
