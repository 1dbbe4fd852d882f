"""Augmentation in batches, against a plain loop over pictures and pixels with the same random numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cvtl.augmentation import colour
from cvtl.preprocessing import resize_to
from cvtl_classify.augmentation import Changes, _affine, _grid, augment_batch, draw_changes, view
from cvtl_classify.options import ClassifyOptions

OFF: dict[str, Any] = {"flip": False, "crop": 1.0, "rotation": 0.0, "jitter": 0.0}
SIZE_HW = (9, 12)
Array = npt.NDArray[np.float64]


def options(**changes: Any) -> ClassifyOptions:
    return ClassifyOptions(**(OFF | changes))


def pictures(count: int = 5, size_hw: tuple[int, int] = (11, 16)) -> Tensor:
    return torch.randint(0, 256, (count, 3, *size_hw), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def coloured(images: Tensor, changes: Changes) -> Tensor:
    return colour(images, changes.brightness, changes.contrast, changes.saturation)


def slow_view(image: Array, size_hw: tuple[int, int], changes: Changes, index: int) -> Array:
    """One picture (3, h, w), pixel by pixel."""
    height, width = image.shape[1:]
    part_width, part_height = (changes.part_wh[index].double() * torch.tensor([width, height])).tolist()
    centre_x, centre_y = (changes.centre[index].double() * torch.tensor([width, height])).tolist()
    angle = float(changes.angle[index])
    seen = np.zeros((3, *size_hw))
    for row in range(size_hw[0]):
        for column in range(size_hw[1]):
            right = ((column + 0.5) / size_hw[1] - 0.5) * part_width * (-1 if changes.mirrored[index] else 1)
            down = ((row + 0.5) / size_hw[0] - 0.5) * part_height
            x = centre_x + right * math.cos(angle) - down * math.sin(angle)
            y = centre_y + right * math.sin(angle) + down * math.cos(angle)
            seen[:, row, column] = slow_bilinear(image, x, y)
    return seen


def slow_bilinear(image: Array, x: float, y: float) -> Array:
    """The value at a point in pixels; the centre of the first pixel lies at 0.5. Beyond the edges it is mirrored."""
    height, width = image.shape[1:]
    x, y = mirrored_into(x, width) - 0.5, mirrored_into(y, height) - 0.5
    left, top = math.floor(x), math.floor(y)
    total = np.zeros(3)
    for i, weight_y in ((top, top + 1 - y), (top + 1, y - top)):
        for j, weight_x in ((left, left + 1 - x), (left + 1, x - left)):
            total += weight_x * weight_y * image[:, min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
    return total


def mirrored_into(value: float, side: int) -> float:
    while not 0 <= value <= side:
        value = -value if value < 0 else 2 * side - value
    return value


def slow_colour(image: Array, changes: Changes, index: int) -> Array:
    brightness, contrast, saturation = (
        float(factor[index]) for factor in (changes.brightness, changes.contrast, changes.saturation)
    )
    image = image * brightness
    mean = np.mean([slow_grey(image[:, i, j]) for i in range(image.shape[1]) for j in range(image.shape[2])])
    image = mean + contrast * (image - mean)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            grey = slow_grey(image[:, i, j])
            image[:, i, j] = grey + saturation * (image[:, i, j] - grey)
    return image


def slow_grey(pixel: Array) -> float:
    return float(0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2])


@pytest.mark.parametrize(
    "change",
    [
        {"flip": True},
        {"crop": 0.3},
        {"rotation": 25.0},
        {"rotation": 180.0},
        {"jitter": 0.4},
        {"jitter": 1.0},
        {"flip": True, "crop": 0.5, "rotation": 10.0, "jitter": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("size_hw", [SIZE_HW, (16, 11)])
def test_a_batch_is_changed_as_a_plain_loop_changes_it(change: dict[str, Any], size_hw: tuple[int, int]) -> None:
    images, how = pictures(), options(**change)
    torch.manual_seed(3)
    changed = augment_batch(images, size_hw, how)
    torch.manual_seed(3)
    changes = draw_changes(len(images), how)
    expected = np.zeros((len(images), 3, *size_hw))
    for index, image in enumerate(images):
        if change.keys() == {"jitter"}:
            seen = resize_to(image, size_hw).double().numpy()
        else:
            seen = slow_view(image.double().numpy(), size_hw, changes, index)
        expected[index] = np.clip(slow_colour(seen, changes, index), 0, 255)
    # Half a level is rounding, the rest float32.
    np.testing.assert_allclose(changed.numpy(), expected, atol=0.5 + 1e-2)


def test_a_mirrored_picture_is_the_picture_mirrored() -> None:
    images = pictures(8, SIZE_HW)
    torch.manual_seed(0)
    changed = augment_batch(images, SIZE_HW, options(flip=True))
    as_it_was = (changed == images).flatten(1).all(1)
    mirrored = (changed == images.flip(-1)).flatten(1).all(1)
    assert (as_it_was ^ mirrored).all()
    assert 0 < mirrored.sum() < len(images)


def test_with_everything_off_a_batch_is_just_resized() -> None:
    images = pictures()
    assert torch.equal(augment_batch(images, SIZE_HW, options()), resize_to(images, SIZE_HW))


@pytest.mark.parametrize("change", [{"flip": True}, {"crop": 0.3}, {"rotation": 20.0}, {"jitter": 0.3}], ids=str)
def test_an_option_that_is_switched_off_changes_no_other_draw(change: dict[str, Any]) -> None:
    torch.manual_seed(0)
    alone = draw_changes(50, options(**change))
    torch.manual_seed(0)
    among_others = draw_changes(50, ClassifyOptions(**({"crop": 0.9, "rotation": 5.0, "jitter": 0.1} | change)))
    fields = {"flip": "mirrored", "crop": "part_wh", "rotation": "angle", "jitter": "saturation"}
    name = fields[next(iter(change))]
    assert torch.equal(getattr(alone, name), getattr(among_others, name))


@pytest.mark.parametrize("crop", [0.01, 0.5, 0.75, 0.95, 1.0])
def test_what_is_seen_lies_inside_the_picture_and_is_as_large_as_it_should_be(crop: float) -> None:
    torch.manual_seed(0)
    changes = draw_changes(2000, options(crop=crop))
    area = changes.part_wh.prod(1)
    aspect = changes.part_wh[:, 0] / changes.part_wh[:, 1]
    assert (area >= crop - 1e-6).all()
    assert area.mean().item() == pytest.approx((1 + crop) / 2, abs=0.02)
    assert aspect.log().abs().max() <= math.log(4 / 3) + 1e-6
    assert (changes.centre - changes.part_wh / 2 >= -1e-6).all()
    assert (changes.centre + changes.part_wh / 2 <= 1 + 1e-6).all()


def test_angles_and_colours_are_drawn_evenly_from_their_ranges() -> None:
    torch.manual_seed(0)
    changes = draw_changes(4000, options(rotation=30.0, jitter=0.25, flip=True))
    assert changes.angle.abs().max().item() == pytest.approx(math.radians(30), rel=0.01)
    assert changes.mirrored.float().mean().item() == pytest.approx(0.5, abs=0.03)
    for factor in (changes.brightness, changes.contrast, changes.saturation):
        assert (factor.min().item(), factor.max().item()) == pytest.approx((0.75, 1.25), abs=0.01)
        assert factor.mean().item() == pytest.approx(1.0, abs=0.01)


def test_colours_are_clipped_at_the_ends_of_the_range() -> None:
    black_and_white = torch.zeros(40, 3, 4, 4, dtype=torch.uint8)
    black_and_white[:, :, :2] = 255
    torch.manual_seed(0)
    changed = augment_batch(black_and_white, (4, 4), options(jitter=1.0))
    assert changed.min() == 0
    assert changed.max() == 255


def test_a_picture_of_one_colour_stays_so_however_it_is_turned_and_cut() -> None:
    images = torch.tensor([10, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(6, 3, 20, 30)
    torch.manual_seed(0)
    changed = augment_batch(images, (16, 16), options(flip=True, crop=0.2, rotation=180.0))
    assert torch.equal(changed, images[:, :, :16, :16])


def test_more_pictures_than_are_sampled_at_a_time_are_each_changed_their_own_way() -> None:
    images, how = pictures(37), options(flip=True, crop=0.5, rotation=10.0, jitter=0.2)
    torch.manual_seed(5)
    changed = augment_batch(images, SIZE_HW, how)
    torch.manual_seed(5)
    changes = draw_changes(37, how)
    expected = coloured(view(images.float(), SIZE_HW, changes), changes).round().clamp(0, 255).byte()
    assert (changed.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("change", [{}, {"jitter": 0.2}, {"crop": 0.5, "jitter": 0.2}], ids=str)
def test_batches_of_no_and_one_picture_keep_their_shape(count: int, change: dict[str, Any]) -> None:
    assert augment_batch(pictures(count), SIZE_HW, options(**change)).shape == (count, 3, *SIZE_HW)


def test_the_seed_decides_and_the_pictures_are_left_as_they_were() -> None:
    images = pictures(8)
    before = images.clone()
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(augment_batch(images, SIZE_HW, ClassifyOptions()))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(images, before)


def test_mixed_precision_does_not_coarsen_the_shades() -> None:
    images = pictures(8)
    torch.manual_seed(0)
    expected = augment_batch(images, SIZE_HW, ClassifyOptions())
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment_batch(images, SIZE_HW, ClassifyOptions()), expected)


def test_the_grid_is_that_of_affine_grid() -> None:
    torch.manual_seed(0)
    affine = _affine(draw_changes(6, ClassifyOptions()), 1.5)
    expected = F.affine_grid(affine, [6, 3, *SIZE_HW], align_corners=False)
    torch.testing.assert_close(_grid(SIZE_HW, affine), expected, atol=1e-6, rtol=0)


@pytest.mark.gpu
def test_a_gpu_changes_pictures_as_the_cpu_does() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    images, how = pictures(40, (64, 80)), ClassifyOptions()
    torch.manual_seed(0)
    changed = augment_batch(images.cuda(), (56, 56), how)
    torch.manual_seed(0)
    changes = draw_changes(40, how, "cuda")
    on_cpu = Changes(**{name: value.cpu() for name, value in vars(changes).items()})
    expected = coloured(view(images.float(), (56, 56), on_cpu), on_cpu).round().clamp(0, 255)
    assert changed.is_cuda
    assert (changed.cpu() - expected).abs().max() <= 1
