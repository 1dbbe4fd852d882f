"""What is kept of a picture's own colours, and of its pixels' sizes."""

from __future__ import annotations

import pytest
import torch
from tiny_style import noise, stripes

from cvtl.preprocessing import InputSpec
from cvtl_style.colours import luminance, recoloured, with_colours_of
from cvtl_style.pictures import fitted_hw, from_unit, level_sides, to_bytes, to_network, to_unit


def unit(image: torch.Tensor) -> torch.Tensor:
    return image.float() / 255


def test_the_painted_picture_gets_the_contents_colours_and_keeps_its_luminance() -> None:
    content = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    painted = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    mixed = with_colours_of(content, painted)
    assert torch.allclose(luminance(mixed), luminance(painted), atol=1e-6)
    # Differences of channels are what colour is.
    assert torch.allclose(mixed[0] - mixed[2], content[0] - content[2], atol=1e-6)


def test_a_recoloured_style_has_the_contents_mean_and_covariance_of_colours() -> None:
    style = unit(stripes(20, 24)) * 0.2 + 0.4
    content = unit(noise(30, 25)) * 0.2 + 0.4
    moved = recoloured(style, content).flatten(1)
    assert torch.allclose(moved.mean(1), content.flatten(1).mean(1), atol=1e-4)
    assert torch.allclose(moved.cov(correction=0), content.flatten(1).cov(correction=0), atol=1e-4)


def test_a_style_of_one_colour_can_be_recoloured() -> None:
    moved = recoloured(torch.full((3, 4, 4), 0.25), unit(noise(8, 8)))
    assert bool(moved.isfinite().all())


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_pixels_survive_the_way_to_the_network_and_back(channels: str) -> None:
    image = noise(9, 7)
    spec = InputSpec.model_validate({"size_hw": (9, 7), "channels": channels})
    seen = to_network(image, spec)
    assert torch.equal(to_bytes(to_unit(seen, spec)), image)
    assert torch.allclose(from_unit(unit(image)[None], spec), seen, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "levels", "expected"),
    [(512, 3, [128, 256, 512]), (512, 1, [512]), (200, 3, [100, 200]), (40, 3, [40]), (64, 2, [64])],
)
def test_levels_halve_the_size_as_long_as_there_is_something_to_see(
    side: int, levels: int, expected: list[int]
) -> None:
    assert level_sides(side, levels) == expected


def test_thin_pictures_keep_a_pixel() -> None:
    assert fitted_hw((1, 1000), 100) == (1, 100)
