"""Small pictures, and weights of the first layers of a VGG, for the tests of the style plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

# The first three convolutions: what is in them, and where.
VGG11 = {"features.0": (64, 3), "features.3": (128, 64), "features.6": (256, 128)}
VGG19 = {"features.0": (64, 3), "features.2": (64, 64), "features.5": (128, 64)}


def save_vgg11(path: Path, convolutions: int) -> Path:
    """Random weights of the first convolutions of VGG-11."""
    return save_convolutions(path, dict(list(VGG11.items())[:convolutions]))


def save_convolutions(path: Path, shapes: Mapping[str, tuple[int, int]]) -> Path:
    """Random weights of some convolutions, given as output and input channels."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, (outputs, inputs) in shapes.items():
        state[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    torch.save(state, path)
    return path


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    """A picture of smooth noise, uint8 (3, H, W)."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (-(-height // 4), -(-width // 4), 3)).astype(np.uint8)
    return torch.from_numpy(cv2.resize(small, (width, height))).permute(2, 0, 1).contiguous()


def stripes(height: int, width: int) -> Tensor:
    """A picture of coloured stripes, uint8 (3, H, W)."""
    ys, xs = np.mgrid[:height, :width]
    bands = np.stack([(ys + xs) % 8 < 4, (ys - xs) % 6 < 3, xs % 4 < 2])
    return torch.from_numpy((bands * 200 + 30).astype(np.uint8))


def save_picture(path: Path, image: Tensor) -> Path:
    """Write a picture (3, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1]))
    return path
