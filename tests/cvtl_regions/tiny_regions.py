"""Small detectors of the regions plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from made_objects import CLASSES, SIDE, make_data

from cvtl.preprocessing import normalize
from cvtl.training import TrainReport, TrainSettings, train
from cvtl.training.objects import Seen
from cvtl.training.samples import seed_all
from cvtl_regions.model import RegionsModel
from cvtl_regions.options import RegionsOptions

HEADS = ("faster_rcnn", "retinanet", "fcos", "ssd")
NETWORK = {"backbone": "lenet5", "weights": "none", "size": SIDE, "channels": 64, "levels": 2, "jitter": 0.0}


def make_model(seed: int = 0, **options: Any) -> RegionsModel:
    """A LeNet-5 with random weights, or what the options say."""
    seed_all(seed)
    return RegionsModel.initialize(RegionsOptions(**NETWORK | options), CLASSES).eval()


def train_tiny(
    folder: str | Path, options: dict[str, Any] | None = None, *, count: int = 24, resume: bool = False, **settings: Any
) -> TrainReport:
    """Train one."""
    made = TrainSettings(**{"epochs": 2, "batch_size": 4, "workers": 0, "device": "cpu"} | settings)
    model = make_model(made.seed, **(options or {}))
    return train(model, make_data(count), make_data(4, first=1000), made, folder, resume=resume, quiet=True)


def make_batch(model: RegionsModel, count: int = 4) -> tuple[torch.Tensor, list[Seen]]:
    """Pictures as they are predicted, normalised, and the objects in them; in the last one there is none."""
    samples = model.validation_samples(make_data(count - 1, first=3), seed=0)
    empty = Seen(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    images = torch.stack([image for image, _ in samples] + [samples[0][0].flip(-1) // 4])
    return normalize(images, model.input), [seen for _, seen in samples] + [empty]
