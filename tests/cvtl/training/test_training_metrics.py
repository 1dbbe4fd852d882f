"""The figures that go with the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import CLASSES, TinyModel, make_data, make_model
from torch import Tensor

from cvtl import weights
from cvtl.data import Dataset
from cvtl.training import TrainSettings, train
from cvtl.training.folder import TrainRun


class HalfMeasured(TinyModel):
    """One of its figures cannot be measured on these data."""

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        run.record(self, {"val_loss": 0.5, "val_ap_small": math.nan})


def test_a_figure_that_cannot_be_measured_is_left_out_of_the_weights_and_they_load(tmp_path: Path) -> None:
    model = HalfMeasured.initialize(make_model().options, CLASSES)
    data = make_data(4)
    train(model, data, data, TrainSettings(epochs=1), tmp_path / "out", quiet=True)
    assert weights.read_header(tmp_path / "out" / "best.safetensors").metrics == {"val_loss": 0.5}


class Picky(TinyModel):
    """Says of each sample how bright it is, or nothing."""

    def measure(self, images: Tensor, targets: Sequence[Any]) -> Mapping[str, Tensor]:
        labels = torch.tensor(targets)
        return {
            "label": torch.where(labels == 0, torch.nan, labels.float()),
            "nothing": torch.full((len(images),), torch.nan),
        }


@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_figures_of_single_samples_are_averaged_over_those_that_they_tell_of(tmp_path: Path, batch_size: int) -> None:
    model, data = Picky.initialize(make_model().options, CLASSES), make_data(13)
    settings = TrainSettings(epochs=1, batch_size=batch_size, workers=0, device="cpu")
    labels = [sample.target.label for sample in data if sample.target.label > 0]
    report = train(model, data, data, settings, tmp_path / "out", quiet=True)
    assert report.metrics["val_label"] == pytest.approx(sum(labels) / len(labels))
    assert math.isnan(report.metrics["val_nothing"])
