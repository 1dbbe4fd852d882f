"""The image pyramid and where its windows lie in the picture."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import pytest
import torch

from cvtl.errors import UsageError
from cvtl_windows.pyramid import Level, grid_hw, level_image, levels, strips, window_boxes

WINDOW = (64, 64)


def window_sizes(found: list[Level], window_hw: tuple[int, int] = WINDOW) -> list[float]:
    return [sqrt(window_hw[0] / level.scale_y * window_hw[1] / level.scale_x) for level in found]


def test_sizes_grow_evenly_from_the_smallest_object_to_the_largest() -> None:
    found = window_sizes(levels((2000, 3000), WINDOW, min_object=32, max_object=256, scales_per_octave=3))
    assert len(found) == 10
    assert found[0] == pytest.approx(32, rel=1e-2)
    assert found[-1] == pytest.approx(256, rel=1e-2)
    assert all(larger / smaller == pytest.approx(2 ** (1 / 3), rel=1e-2) for smaller, larger in pairwise(found))


def test_by_default_nothing_is_magnified_and_every_window_lies_inside() -> None:
    found = levels((480, 640), WINDOW)
    assert found[0].size_hw == (480, 640)
    assert all(min(level.size_hw) >= 64 for level in found)
    assert min(found[-1].size_hw) < 64 * sqrt(2)


@pytest.mark.parametrize(
    ("image_hw", "sizes"),
    [((20, 30), [(20, 30)]), ((64, 64), [(64, 64)]), ((1, 1), [(1, 1)]), ((30, 500), [(30, 500)])],
)
def test_a_picture_smaller_than_the_window_has_one_level(
    image_hw: tuple[int, int], sizes: list[tuple[int, int]]
) -> None:
    assert [level.size_hw for level in levels(image_hw, WINDOW)] == sizes


def test_a_smallest_object_larger_than_the_picture_still_gives_a_level() -> None:
    assert [level.size_hw for level in levels((100, 100), WINDOW, min_object=400)] == [(16, 16)]


def test_windows_larger_than_the_picture_are_made_on_request_up_to_one_round_all_of_it() -> None:
    found = levels((480, 640), WINDOW, min_object=320, max_object=10_000, scales_per_octave=1)
    assert [level.size_hw for level in found] == [(96, 128), (48, 64)]


@pytest.mark.parametrize("aspect", [0.25, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("window_hw", [(64, 64), (48, 96)])
def test_an_aspect_stretches_the_window_at_equal_area(aspect: float, window_hw: tuple[int, int]) -> None:
    (level,) = levels((3000, 4000), window_hw, min_object=100, max_object=100, aspects=(aspect,))
    height, width = window_hw[0] / level.scale_y, window_hw[1] / level.scale_x
    assert width / height == pytest.approx(aspect * window_hw[1] / window_hw[0], rel=2e-3)
    assert sqrt(width * height) == pytest.approx(100, rel=2e-3)


def test_every_aspect_has_its_own_largest_window() -> None:
    found = levels((128, 512), WINDOW, aspects=(1.0, 4.0), scales_per_octave=1)
    assert [level.size_hw for level in found] == [(128, 512), (64, 256), (256, 256), (128, 128), (64, 64)]


def test_a_smallest_object_above_the_largest_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"\(64 pixels\) is larger than the largest \(32\)"):
        levels((480, 640), WINDOW, max_object=32)


@pytest.mark.parametrize("image_hw", [(480, 640), (64, 64), (63, 200), (1, 1), (71, 65)])
@pytest.mark.parametrize("stride", [1, 7, 8, 32])
def test_a_level_is_padded_until_windows_cover_all_of_it(image_hw: tuple[int, int], stride: int) -> None:
    image = torch.randint(0, 255, (3, *image_hw), dtype=torch.uint8)
    padded = level_image(image, Level(image_hw, image_hw), WINDOW, stride)
    rows, columns = grid_hw((padded.shape[1], padded.shape[2]), WINDOW, stride)
    covered = (rows - 1) * stride + 64, (columns - 1) * stride + 64
    assert covered == tuple(padded.shape[1:])
    assert all(size <= edge for size, edge in zip(image_hw, covered, strict=True))
    assert all(edge < max(size, 64) + stride for size, edge in zip(image_hw, covered, strict=True))
    torch.testing.assert_close(padded[:, : image_hw[0], : image_hw[1]], image)
    assert padded.dtype == torch.uint8
    assert (padded[:, image_hw[0] :] == 114).all()


@pytest.mark.parametrize(
    ("level_hw", "window_hw", "stride"), [((64, 64), (64, 64), 8), ((63, 90), (64, 64), 8), ((100, 71), (20, 30), 7)]
)
def test_the_grid_counts_the_windows_inside(level_hw: tuple[int, int], window_hw: tuple[int, int], stride: int) -> None:
    counts = tuple(
        len([top for top in range(0, size, stride) if top + window <= size])
        for size, window in zip(level_hw, window_hw, strict=True)
    )
    assert grid_hw(level_hw, window_hw, stride) == counts


def test_boxes_are_those_of_a_plain_loop() -> None:
    level = Level((200, 330), (150, 110))
    expected = [
        [j * 8 / level.scale_x, i * 8 / level.scale_y, (j * 8 + 24) / level.scale_x, (i * 8 + 40) / level.scale_y]
        for i in range(14)
        for j in range(11)
    ]
    boxes = window_boxes(14, 11, 8, (40, 24), level)
    torch.testing.assert_close(boxes, torch.tensor(expected))
    assert boxes.dtype == torch.float32


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 5), (4, 0)])
def test_no_windows_give_no_boxes(rows: int, columns: int) -> None:
    assert window_boxes(rows, columns, 8, WINDOW, Level((99, 99), (50, 50))).shape == (0, 4)


def test_boxes_are_clipped_to_a_picture_smaller_than_the_window() -> None:
    boxes = window_boxes(1, 2, 8, WINDOW, Level((20, 71), (20, 71)))
    assert boxes.tolist() == [[0, 0, 64, 20], [8, 0, 71, 20]]


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [40, 64, 150])
def test_a_box_holds_in_the_picture_what_its_window_holds_in_the_level(size: float, aspect: float) -> None:
    (level,) = levels((480, 640), WINDOW, min_object=size, max_object=size, aspects=(aspect,))
    rows, columns = grid_hw(level.size_hw, WINDOW, 8)
    row, column = rows // 2, columns // 3
    x1, y1, x2, y2 = window_boxes(rows, columns, 8, WINDOW, level)[row * columns + column].round().int().tolist()
    picture = torch.zeros(3, 480, 640, dtype=torch.uint8)
    picture[:, y1:y2, x1:x2] = 255
    seen = level_image(picture, level, WINDOW, 8)[0, : level.size_hw[0], : level.size_hw[1]].float()
    window = seen[row * 8 : row * 8 + 64, column * 8 : column * 8 + 64]
    assert window[3:-3, 3:-3].min() > 253
    assert seen.sum() == pytest.approx(255 * 64 * 64, rel=0.04)  # nothing outside the window


@pytest.mark.parametrize("max_pixels", [1, 3000, 10_000, 10**9])
@pytest.mark.parametrize("height", [20, 21, 100, 137])
def test_the_windows_of_the_strips_are_the_windows_of_the_level(height: int, max_pixels: int) -> None:
    level = torch.arange(height * 50).view(1, height, 50)
    pieces = list(strips(level, (20, 20), 6, max_pixels=max_pixels))
    tops = [int(piece[0, top, 0]) // 50 for piece in pieces for top in range(0, piece.shape[1] - 19, 6)]
    assert tops == list(range(0, height - 19, 6))
    assert all(piece.shape[1] * 50 <= max(max_pixels, 20 * 50) for piece in pieces)


def test_a_picture_of_twenty_megapixels_is_cut_into_strips_of_bounded_size() -> None:
    (level,) = levels((3648, 5472), WINDOW, max_object=64)
    image = torch.zeros(3, *level.image_hw, dtype=torch.uint8)
    padded = level_image(image, level, WINDOW, 8)
    assert all(piece[0].numel() <= 4_000_000 for piece in strips(padded, WINDOW, 8))
