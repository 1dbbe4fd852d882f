"""OpenCV's resizing, without OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from cvtl.opencv_resizing import resize_as_opencv
from cvtl.preprocessing import InputSpec, resize

SIZES = [
    ((1080, 810), (640, 480)),
    ((720, 1280), (360, 640)),
    ((37, 50), (473, 640)),
    ((100, 100), (200, 200)),
    ((300, 300), (100, 100)),
    ((1, 7), (5, 3)),
    ((9, 1), (4, 6)),
    ((1, 1), (3, 3)),
    ((6, 6), (1, 1)),
]
random = np.random.default_rng(0)
SIZES += [(tuple(random.integers(2, 300, 2).tolist()), tuple(random.integers(1, 300, 2).tolist())) for _ in range(30)]


@pytest.mark.parametrize(("before_hw", "after_hw"), SIZES)
def test_pixels_equal_opencvs(before_hw: tuple[int, int], after_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*before_hw, 3), dtype=np.uint8)
    expected = cv2.resize(image, after_hw[::-1], interpolation=cv2.INTER_LINEAR)
    found = resize_as_opencv(torch.from_numpy(image).permute(2, 0, 1), after_hw)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_a_stack_is_resized_picture_by_picture_and_left_as_it_is() -> None:
    images = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8)
    before = images.clone()
    found = resize_as_opencv(images, (15, 11))
    assert torch.equal(found, torch.stack([resize_as_opencv(image, (15, 11)) for image in images]))
    assert torch.equal(images, before)


def test_an_input_may_ask_for_it() -> None:
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    found = resize(image, InputSpec(size_hw=(32, 32), resize="letterbox", interpolation="opencv"))
    assert torch.equal(found[:, 5:26], resize_as_opencv(image, (21, 32)))
    assert (found[:, :5] == 114).all()
