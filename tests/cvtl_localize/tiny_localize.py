"""Small localizers, and data that they can learn in a moment."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cvtl.data import BoxesTarget, Dataset, Sample, UInt8Image
from cvtl.training import TrainReport, TrainSettings, train
from cvtl.training.samples import seed_all
from cvtl_localize.model import LocalizeModel
from cvtl_localize.options import LocalizeOptions

CLASSES = ("red", "green", "blue")
SIDE = 32
PICTURE_HW = (40, 60)
NETWORK = {"backbone": "lenet5", "weights": "none", "size": SIDE, "channels": 16, "grid": 4, "hidden": 32}


def make_data(count: int, *, first: int = 0, empty: float = 0.25) -> Dataset:
    """Grey noise with a bright square of one colour, or with none."""
    samples = [made_sample(index, empty) for index in range(first, first + count)]
    return Dataset(samples, CLASSES, "made", "nowhere")


def made_sample(index: int, empty: float = 0.0) -> Sample:
    """One of them."""
    random = np.random.default_rng(index)
    height, width = PICTURE_HW
    side = int(random.integers(12, 28))
    left, top = int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1))
    label = int(random.integers(len(CLASSES)))
    if random.random() < empty:
        target = BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))
    else:
        target = BoxesTarget(np.array([[left, top, left + side, top + side]]), np.array([label]))
    return Sample(f"{index}.png", partial(picture, index, target), target)


def picture(index: int, target: BoxesTarget) -> UInt8Image:
    """Paints it."""
    image = np.random.default_rng([index, 1]).integers(0, 100, (*PICTURE_HW, 3), dtype=np.uint8)
    for (left, top, right, bottom), label in zip(target.boxes.astype(int), target.labels, strict=True):
        image[top:bottom, left:right, label] = 230
    return image


def make_model(seed: int = 0, **options: Any) -> LocalizeModel:
    """A LeNet-5 with random weights, or what the options say."""
    seed_all(seed)
    return LocalizeModel.initialize(LocalizeOptions(**NETWORK | options), CLASSES).eval()


def train_tiny(
    folder: str | Path, options: dict[str, Any] | None = None, *, resume: bool = False, **settings: Any
) -> TrainReport:
    """Train one."""
    made = TrainSettings(**{"epochs": 2, "batch_size": 16, "workers": 0, "device": "cpu"} | settings)
    model = make_model(made.seed, **(options or {}))
    return train(model, make_data(32), make_data(16, first=1000), made, folder, resume=resume, quiet=True)
