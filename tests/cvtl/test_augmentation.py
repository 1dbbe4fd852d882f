"""Views and colours, against plain loops."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from cvtl.augmentation import Variation, View, draw_view, jitter, plain_view
from cvtl.preprocessing import LETTERBOX_GREY, InputSpec, resize

SPEC = InputSpec(size_hw=(48, 64))


def photograph(height: int = 90, width: int = 120) -> np.ndarray:
    """Smooth, so that one pixel's shift shows but rounding does not."""
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


def spotted(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """A black picture with a round white spot at each point."""
    y, x = np.mgrid[:height, :width] + 0.5
    spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points]
    return np.repeat((255 * np.max(spots, axis=0)).astype(np.uint8)[..., None], 3, axis=2)


def brightest(image: torch.Tensor) -> np.ndarray:
    """The centre of mass of a picture's bright spot."""
    weights = (image[0].double() - 128).clamp(min=0).numpy()
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def drawn(variation: Variation, *, seed: int = 0, spec: InputSpec = SPEC) -> View:
    return draw_view((0, 0, 120, 90), spec, variation, np.random.default_rng(seed))


@pytest.mark.parametrize("rule", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("image_hw", [(90, 120), (30, 40), (200, 70)])
def test_a_plain_view_shows_what_prediction_sees(rule: str, image_hw: tuple[int, int]) -> None:
    spec = SPEC.model_copy(update={"resize": rule})
    image = photograph(*image_hw)
    seen = plain_view((0, 0, image_hw[1], image_hw[0]), spec).show(image).int()
    expected = resize(torch.from_numpy(image).permute(2, 0, 1), spec).int()
    inside = (slice(None), slice(3, -3), slice(3, -3))
    assert (seen[inside] - expected[inside]).abs().float().mean() < 1.0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size_hw", [(48, 64), (160, 160)])
def test_points_move_with_what_they_lie_on(seed: int, size_hw: tuple[int, int]) -> None:
    variation = Variation(flip=True, rotation=40, scale=1.3, shift=0.1)
    spec = InputSpec(size_hw=size_hw)
    view = draw_view((20, 10, 110, 80), spec, variation, np.random.default_rng(seed))
    point = np.array([66.0, 44.0])
    found = brightest(view.show(spotted(point[None], 90, 120)))
    assert np.abs(found - view.points(point)).max() < 0.3


def test_a_view_is_the_slow_way_of_its_steps() -> None:
    """Mirror, turn and scale about the region's centre, shift, then stretch to the input."""
    region, variation = (20.0, 10.0, 100.0, 70.0), Variation(flip=True, rotation=30, scale=1.5, shift=0.2)
    for seed in range(20):
        random = np.random.default_rng(seed)
        turn, log_scale, shift_x, shift_y = random.uniform(-1, 1, 4)
        mirrored = random.random() < 0.5
        view = draw_view(region, SPEC, variation, np.random.default_rng(seed))
        assert view.mirrored == mirrored
        for x, y in [(20, 10), (63.5, 12.25), (100, 70)]:
            dx, dy = x - 60, y - 40
            angle, scale = math.radians(30 * turn), 1.5**log_scale
            turned_x = scale * (dx * math.cos(angle) - dy * math.sin(angle))
            turned_y = scale * (dx * math.sin(angle) + dy * math.cos(angle))
            turned_x = -turned_x if mirrored else turned_x
            in_region = 40 + turned_x + 0.2 * shift_x * 80, 30 + turned_y + 0.2 * shift_y * 60
            expected = in_region[0] * 64 / 80, in_region[1] * 48 / 60
            assert view.points(np.array([x, y], float)) == pytest.approx(expected)


def test_back_undoes_points() -> None:
    view = drawn(Variation(flip=True, rotation=90, scale=2, shift=0.5))
    points = np.random.default_rng(1).uniform(-50, 150, (7, 3, 2))
    assert view.back(view.points(points)) == pytest.approx(points)


def test_boxes_become_the_hulls_of_their_corners() -> None:
    view = drawn(Variation(rotation=45, flip=True), seed=2)
    boxes = np.array([[10.0, 20, 40, 50], [0, 0, 5, 90]])
    for box, hull in zip(boxes, view.boxes(boxes), strict=True):
        corners = view.points(np.array([[x, y] for x in box[[0, 2]] for y in box[[1, 3]]]))
        assert hull.tolist() == pytest.approx([*corners.min(axis=0), *corners.max(axis=0)])
    assert view.boxes(np.zeros((0, 4))).shape == (0, 4)


def test_no_variation_is_the_plain_view() -> None:
    for seed in range(5):
        view = drawn(Variation(), seed=seed)
        assert not view.mirrored
        assert view.matrix == pytest.approx(plain_view((0, 0, 120, 90), SPEC).matrix)


def test_half_of_the_views_are_mirrored_if_that_is_allowed() -> None:
    mirrored = sum(drawn(Variation(flip=True), seed=seed).mirrored for seed in range(400))
    assert 150 < mirrored < 250


def test_beyond_the_picture_a_view_is_grey() -> None:
    assert plain_view((-300, 0, -180, 90), SPEC).show(photograph()).unique().tolist() == [LETTERBOX_GREY]
    half = plain_view((-60, 0, 60, 90), SPEC).show(photograph())
    assert half[:, :, :31].unique().tolist() == [LETTERBOX_GREY]
    assert half[:, :, 33:].float().std() > 5


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 300), (2000, 3)])
def test_pictures_of_extreme_shapes_have_views(image_hw: tuple[int, int]) -> None:
    image = np.full((*image_hw, 3), 200, np.uint8)
    view = draw_view((0, 0, image_hw[1], image_hw[0]), SPEC, Variation(scale=1.2), np.random.default_rng(0))
    assert view.show(image).shape == (3, 48, 64)


def test_a_view_leaves_the_picture_as_it_was() -> None:
    image = photograph()
    before = image.copy()
    drawn(Variation(rotation=20)).show(image)
    assert (image == before).all()


def test_jitter_changes_each_picture_in_its_own_way_and_keeps_the_order_of_shades() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(60, 180, dtype=torch.uint8).view(1, 1, 1, -1).expand(40, 3, 2, -1).contiguous()
    changed = jitter(ramp, 0.3)
    assert len(changed.float().mean(dim=(1, 2, 3)).unique()) > 30
    assert (changed[..., 1:].int() >= changed[..., :-1].int()).all()
    assert (ramp[0, 0, 0] == torch.arange(60, 180)).all()


def test_jitter_of_no_strength_or_no_pictures_is_nothing() -> None:
    images = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8)
    assert jitter(images, 0) is images
    assert jitter(images[:0], 0.5).shape == (0, 3, 4, 4)
