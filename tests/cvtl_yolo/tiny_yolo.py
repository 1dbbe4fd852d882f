"""Small detectors, and data that they can learn in a moment."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cvtl.data import BoxesTarget, Dataset, Sample, UInt8Image
from cvtl.training import TrainReport, TrainSettings, train
from cvtl.training.samples import seed_all
from cvtl_yolo.grid import Grid, Level
from cvtl_yolo.model import YoloModel
from cvtl_yolo.options import YoloOptions

CLASSES = ("red", "green", "blue")
SIDE = 64
PICTURE_HW = (60, 90)
NETWORK = {"backbone": "lenet5", "weights": "none", "size": SIDE, "channels": 16}

ONE = Grid((64, 96), (Level(16, ((20.0, 20.0),)),), classes=3)
TWO = Grid((64, 96), (Level(8, ((9.0, 12.0), (16.0, 10.0))), Level(32, ((30.0, 30.0), (50.0, 20.0)))), classes=3)


def make_data(count: int, *, first: int = 0, most: int = 4) -> Dataset:
    """Grey noise with bright squares of up to three colours, or with none."""
    return Dataset([made_sample(index, most) for index in range(first, first + count)], CLASSES, "made", "nowhere")


def made_sample(index: int, most: int = 4) -> Sample:
    """One of them."""
    random = np.random.default_rng(index)
    height, width = PICTURE_HW
    boxes = np.zeros((0, 4))
    for _ in range(int(random.integers(0, most + 1))):
        side = int(random.integers(12, 28))
        left, top = int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1))
        box = np.array([left, top, left + side, top + side], np.float64)
        apart = (np.maximum(boxes[:, :2], box[:2]) >= np.minimum(boxes[:, 2:], box[2:])).any(axis=1).all()
        if apart:
            boxes = np.vstack([boxes, box])
    target = BoxesTarget(boxes, random.integers(0, len(CLASSES), len(boxes)))
    return Sample(f"{index}.png", partial(picture, index, target), target)


def picture(index: int, target: BoxesTarget) -> UInt8Image:
    """Paints it."""
    image = np.random.default_rng([index, 1]).integers(0, 100, (*PICTURE_HW, 3), dtype=np.uint8)
    for (left, top, right, bottom), label in zip(target.boxes.astype(int), target.labels, strict=True):
        image[top:bottom, left:right, label] = 230
    return image


def make_model(seed: int = 0, **options: Any) -> YoloModel:
    """A LeNet-5 with random weights, or what the options say."""
    seed_all(seed)
    return YoloModel.initialize(YoloOptions(**NETWORK | options), CLASSES).eval()


def train_tiny(
    folder: str | Path, options: dict[str, Any] | None = None, *, resume: bool = False, **settings: Any
) -> TrainReport:
    """Train one."""
    made = TrainSettings(**{"epochs": 2, "batch_size": 8, "workers": 0, "device": "cpu"} | settings)
    model = make_model(made.seed, **(options or {}))
    return train(model, make_data(24), make_data(8, first=1000), made, folder, resume=resume, quiet=True)


def random_objects(seed: int, count: int, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes whose centres lie in the input, many of them beyond its edge, and labels."""
    generator = torch.Generator().manual_seed(seed)
    height, width = grid.size_hw
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) * 0.999
    half = 2 + 30 * torch.rand(count, 2, generator=generator) ** 2
    boxes = torch.cat([centres - half, centres + half], dim=1)
    return boxes, torch.randint(0, grid.classes, (count,), generator=generator)
