"""The figures that go with the weights."""

from __future__ import annotations

import math
from pathlib import Path

from tiny_training import CLASSES, TinyModel, make_data, make_model

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
