"""Small classifiers, and data that they can learn in a moment."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.training import TrainReport, TrainSettings, train
from cvtl.training.samples import seed_all
from cvtl_classify.model import ClassifyModel
from cvtl_classify.options import ClassifyOptions

CLASSES = ("red", "green", "blue")
SIDE = 32


def make_data(count: int, *, first: int = 0, classes: tuple[str, ...] = CLASSES) -> Dataset:
    """Noise, with one colour a little stronger in each class."""
    samples = [
        Sample(f"{index}.png", partial(picture, index, len(classes)), ClassTarget(index % len(classes)))
        for index in range(first, first + count)
    ]
    return Dataset(samples, classes, "made", "nowhere")


def picture(index: int, classes: int, *, size_hw: tuple[int, int] = (40, 48)) -> np.ndarray:
    """One of them."""
    image = np.random.default_rng(index).integers(0, 180, (*size_hw, 3), dtype=np.uint8)
    image[..., index % classes % 3] += 60
    return image


def make_model(seed: int = 0, *, classes: tuple[str, ...] = CLASSES, **options: Any) -> ClassifyModel:
    """A LeNet-5 with random weights, or what the options say."""
    seed_all(seed)
    defaults = {"backbone": "lenet5", "weights": "none", "strategy": "features", "size": SIDE}
    return ClassifyModel.initialize(ClassifyOptions(**defaults | options), classes).eval()


def train_tiny(
    folder: str | Path, options: dict[str, Any] | None = None, *, resume: bool = False, **settings: Any
) -> TrainReport:
    """Train one."""
    made = TrainSettings(**{"epochs": 4, "batch_size": 16, "workers": 0, "device": "cpu"} | settings)
    model = make_model(made.seed, **(options or {}))
    return train(model, make_data(48), make_data(18, first=1000), made, folder, resume=resume, quiet=True)


def train_in_child(folder: str, options: dict[str, Any], settings: dict[str, Any]) -> None:
    """What a child process does until it is killed."""
    torch.set_num_threads(1)
    train_tiny(folder, options, resume=True, **settings)
