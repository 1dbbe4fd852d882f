"""What each corruption does to a picture, against plain loops and other libraries."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage

from cvtl.data import UInt8Image
from cvtl.errors import DataError
from cvtl.evaluation.corruptions.kinds import CORRUPTIONS, STRENGTHS, corrupt
from cvtl.evaluation.corruptions.settings import KINDS, Kind

SEED = 3
PHOTOMETRIC: tuple[Kind, ...] = ("blur", "noise", "brightness", "contrast", "jpeg")


def photograph(size_hw: tuple[int, int] = (90, 120), number: int = 0) -> UInt8Image:
    """Colours that change smoothly, with a few edges and a little grain."""
    random = np.random.default_rng(number)
    height, width = size_hw
    smooth = ndimage.gaussian_filter(random.normal(0, 1, (height, width, 3)), (height / 12, width / 12, 0))
    image = 128 + 90 * smooth / max(float(smooth.std()), 1e-9) / 2
    image[height // 3 : height // 2, width // 4 : width // 2] += 50
    return np.asarray(np.clip(image + random.normal(0, 3, image.shape), 0, 255), np.uint8)


def corrupted(image: UInt8Image, kind: Kind, strength: int, name: str = "a.jpg") -> UInt8Image:
    return corrupt(image, kind, strength, seed=SEED, name=name)


def difference(image: UInt8Image, other: npt.NDArray[np.generic]) -> float:
    return float(np.abs(image.astype(np.float64) - other.astype(np.float64)).mean())


# What holds for all of them


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (9, 1), (2, 2), (3, 5), (17, 31), (90, 120)])
def test_pictures_of_every_size_keep_it(kind: Kind, size_hw: tuple[int, int]) -> None:
    image = photograph(size_hw)
    before = image.copy()
    for strength in STRENGTHS:
        made = corrupted(image, kind, strength)
        assert made.shape == image.shape
        assert made.dtype == np.uint8
        assert made.flags.c_contiguous
    assert np.array_equal(image, before)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_0_changes_nothing(kind: Kind) -> None:
    image = photograph()
    assert np.array_equal(corrupted(image, kind, 0), image)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_and_name_give_the_same_picture(kind: Kind) -> None:
    image = photograph()
    assert np.array_equal(corrupted(image, kind, 3), corrupted(image.copy(), kind, 3))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("blur", "contrast", "jpeg")])
def test_names_and_seeds_differ(kind: Kind) -> None:
    image = photograph()
    by_name = {corrupt(image, kind, 3, seed=0, name=str(number)).tobytes() for number in range(12)}
    by_seed = {corrupt(image, kind, 3, seed=number, name="a").tobytes() for number in range(12)}
    ways = 12 if kind in ("noise", "shift") else 2
    assert len(by_name) == len(by_seed) == ways


def test_names_need_not_be_text() -> None:
    assert corrupt(photograph(), "noise", 1, seed=0, name="\udcff.jpg").shape == (90, 120, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_more_strength_is_further_from_the_picture(kind: Kind) -> None:
    images = [photograph(number=number) for number in range(6)]
    means = [
        np.mean([difference(image, corrupted(image, kind, strength, str(i))) for i, image in enumerate(images)])
        for strength in (0, *STRENGTHS)
    ]
    assert means[0] == 0
    assert (np.diff(means) > 0.2).all()


@pytest.mark.parametrize("kind", KINDS)
def test_amounts_grow_worse_in_one_direction(kind: Kind) -> None:
    steps = np.diff(CORRUPTIONS[kind].amounts)
    assert (steps < 0).all() if kind in ("contrast", "jpeg") else (steps > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_grey_pictures_stay_grey(kind: Kind) -> None:
    grey = np.repeat(photograph()[..., :1], 3, axis=2)
    made = corrupted(grey, kind, 4)
    assert np.array_equal(made, np.repeat(made[..., :1], 3, axis=2))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "noise"])
@pytest.mark.parametrize("shade", [0, 77, 255])
def test_a_plain_wall_stays_plain(kind: Kind, shade: int) -> None:
    made = corrupted(np.full((40, 53, 3), shade, np.uint8), kind, 5)
    assert len(np.unique(made)) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "noise"])
def test_red_and_blue_are_not_mixed_up(kind: Kind) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0] = 200
    made = corrupted(image, kind, 1)
    assert made[..., 0].mean() > made[..., 2].mean() + 100


# Noise is about single pixels and JPEG about blocks of eight: `shrink` brings pictures to one size for them.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("noise", "jpeg")])
def test_a_picture_twice_as_large_is_changed_as_much(kind: Kind) -> None:
    small = photograph((120, 160))
    large = np.asarray(Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC))
    for strength in STRENGTHS:
        ours, theirs = (difference(each, corrupted(each, kind, strength)) for each in (small, large))
        assert theirs == pytest.approx(ours, rel=0.15, abs=0.6)


def test_a_huge_picture_passes() -> None:
    image = np.tile(photograph((100, 120)), (10, 50, 1))
    for kind in KINDS:
        assert corrupted(image, kind, 5).shape == (1000, 6000, 3)


# Each against another implementation


def moved(image: UInt8Image, matrix: npt.NDArray[np.float64], shift_xy: tuple[float, float]) -> npt.NDArray[np.float64]:
    """The picture whose point `centre + matrix @ p + shift` shows what is at `centre + p`, by SciPy."""
    height, width = image.shape[:2]
    centre = np.array([height - 1, width - 1]) / 2
    # SciPy asks where each point comes from, in rows and columns.
    back = np.linalg.inv(matrix)[::-1, ::-1]
    offset = centre - back @ (centre + shift_xy[::-1])
    channels = [
        ndimage.affine_transform(channel.astype(np.float64), back, offset, order=1, mode="mirror")
        for channel in np.moveaxis(image, 2, 0)
    ]
    return np.stack(channels, axis=2)


def turn(degrees: float) -> npt.NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize("size_hw", [(90, 120), (31, 77)])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_rotation_is_that_of_scipy_either_way(size_hw: tuple[int, int], strength: int) -> None:
    image, degrees = photograph(size_hw), CORRUPTIONS["rotation"].amounts[strength - 1]
    ways = [moved(image, turn(sign * degrees), (0, 0)) for sign in (1, -1)]
    assert_one_of_two_ways(image, "rotation", strength, ways)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_scale_is_that_of_scipy_larger_or_smaller(strength: int) -> None:
    image, factor = photograph(), CORRUPTIONS["scale"].amounts[strength - 1]
    ways = [moved(image, np.eye(2) * each, (0, 0)) for each in (factor, 1 / factor)]
    assert_one_of_two_ways(image, "scale", strength, ways)


def assert_one_of_two_ways(
    image: UInt8Image, kind: Kind, strength: int, ways: Sequence[npt.NDArray[np.float64]]
) -> None:
    """Every picture is made one of them, and each of them is made of some."""
    made = [corrupted(image, kind, strength, str(i)) for i in range(8)]
    distances = np.array([[difference(each, way) for way in ways] for each in made])
    assert distances.min(axis=1).max() < 0.8
    assert set(distances.argmin(axis=1).tolist()) == {0, 1}


@pytest.mark.parametrize("strength", STRENGTHS)
def test_shift_moves_by_its_part_of_the_sides(strength: int) -> None:
    height, width = 100, 160
    part = CORRUPTIONS["shift"].amounts[strength - 1]
    rows, columns = np.mgrid[:height, :width]
    blob = 250 * np.exp(-((rows - 49.5) ** 2 + (columns - 79.5) ** 2) / 50)
    image = np.repeat(blob.round().astype(np.uint8)[..., None], 3, axis=2)
    directions = []
    for i in range(12):
        made = corrupted(image, "shift", strength, str(i))[..., 0].astype(np.float64)
        y, x = (float((axis * made).sum() / made.sum()) for axis in (rows, columns))
        y, x = (y - 49.5) / height, (x - 79.5) / width
        assert np.hypot(x, y) == pytest.approx(part, abs=0.003)
        directions.append(np.arctan2(y, x))
    assert np.ptp(directions) > np.pi


@pytest.mark.parametrize("size_hw", [(90, 120), (28, 28), (400, 520)])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_blur_is_scipys_gaussian(size_hw: tuple[int, int], strength: int) -> None:
    image = photograph(size_hw)
    sigma = CORRUPTIONS["blur"].amounts[strength - 1] * min(size_hw)
    expected = ndimage.gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="mirror")
    assert difference(corrupted(image, "blur", strength), expected) < 0.8


@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_is_gaussian_of_its_deviation_and_free_of_what_is_there(strength: int) -> None:
    image = np.dstack([np.full((200, 200), shade, np.uint8) for shade in (126, 128, 130)])
    deviation = 255 * CORRUPTIONS["noise"].amounts[strength - 1]
    noise = corrupted(image, "noise", strength).astype(np.float64) - image
    inside = np.random.default_rng(0).normal(0, deviation, (400, 400))
    clipped = np.clip(inside + 128, 0, 255).std()
    assert noise.std() == pytest.approx(clipped, rel=0.03)
    assert noise.mean() == pytest.approx(0, abs=1)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("strength", STRENGTHS)
def test_more_noise_is_the_same_grain(strength: int) -> None:
    image = np.full((64, 64, 3), 128, np.uint8)
    weak, strong = (corrupted(image, "noise", each).astype(np.float64).ravel() for each in (1, strength))
    assert np.corrcoef(weak, strong)[0, 1] > 0.9


@pytest.mark.parametrize("strength", STRENGTHS)
def test_brightness_adds_to_every_value_or_takes_away(strength: int) -> None:
    image = photograph((12, 15))
    part = CORRUPTIONS["brightness"].amounts[strength - 1]
    ways = []
    for sign in (1, -1):
        expected = np.zeros(image.shape, np.uint8)
        for index, value in np.ndenumerate(image):
            expected[index] = min(255, max(0, round(int(value) + sign * 255 * part)))
        ways.append(expected.tobytes())
    assert {corrupted(image, "brightness", strength, str(i)).tobytes() for i in range(12)} == set(ways)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_contrast_draws_every_channel_to_its_mean(strength: int) -> None:
    image = photograph((12, 15))
    factor = CORRUPTIONS["contrast"].amounts[strength - 1]
    expected = np.zeros(image.shape)
    for row, column, channel in np.ndindex(image.shape):
        mean = sum(int(value) for value in image[..., channel].ravel()) / (12 * 15)
        expected[row, column, channel] = mean + (int(image[row, column, channel]) - mean) * factor
    assert np.abs(corrupted(image, "contrast", strength) - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("strength", STRENGTHS)
def test_jpeg_is_pillows_of_that_quality(strength: int) -> None:
    image = photograph()
    quality = int(CORRUPTIONS["jpeg"].amounts[strength - 1])
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    assert difference(corrupted(image, "jpeg", strength), np.asarray(Image.open(file))) < 0.5


def test_a_picture_that_no_jpeg_can_hold_is_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match="a JPEG cannot hold 70000 x 2 pixels"):
        corrupted(np.zeros((2, 70000, 3), np.uint8), "jpeg", 1)


def test_only_what_moves_says_so() -> None:
    assert tuple(kind for kind in KINDS if not CORRUPTIONS[kind].moves) == PHOTOMETRIC
    assert tuple(CORRUPTIONS) == KINDS
