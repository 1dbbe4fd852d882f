"""Small detectors of the yolo plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from made_objects import CLASSES, SIDE, make_data

from cvtl.training import TrainReport, TrainSettings, train
from cvtl.training.samples import seed_all
from cvtl_yolo.grid import Grid, Level
from cvtl_yolo.model import YoloModel
from cvtl_yolo.options import YoloOptions

NETWORK = {"backbone": "lenet5", "weights": "none", "size": SIDE, "channels": 16}

ONE = Grid((64, 96), (Level(16, ((20.0, 20.0),)),), classes=3)
TWO = Grid((64, 96), (Level(8, ((9.0, 12.0), (16.0, 10.0))), Level(32, ((30.0, 30.0), (50.0, 20.0)))), classes=3)


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
