"""Trainings that are set up to fail in one way each, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_training import CLASSES, SIDE, TinyModel, TinyOptions, TinySamples, make_data
from torch import Tensor, nn

from cvtl.data import Dataset
from cvtl.preprocessing import InputSpec
from cvtl.training import TrainSettings, train
from cvtl.training.diagnosis import Verdict, diagnose
from cvtl.training.samples import seed_all


class Linear(TinyModel):
    """A logistic regression on pixels; nothing but the learning rate and the data decide how it fares."""

    def __init__(self, options: TinyOptions, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__(options, classes, input)
        self.layers = nn.Sequential(nn.Flatten())
        self.head = nn.Linear(3 * SIDE * SIDE, len(self.classes))

    def augment(self, images: Tensor) -> Tensor:
        return images

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Any]]:
        return TinySamples(data, 0, None)


def train_linear(folder: Path, *, samples: int, **settings: Any) -> Path:
    seed_all(0)
    model = Linear.initialize(TinyOptions(), CLASSES)
    made = TrainSettings(**{"batch_size": 16, "workers": 0, "device": "cpu", "schedule": "constant"} | settings)
    train(model, make_data(samples), make_data(40, first=1000), made, folder, quiet=True)
    return folder


@pytest.mark.parametrize(
    ("samples", "settings", "expected"),
    [
        (50, {"learning_rate": 1e-6, "epochs": 8}, {Verdict.RATE_TOO_SMALL}),
        (50, {"learning_rate": 1e-6, "epochs": 8, "schedule": "cosine"}, {Verdict.RATE_TOO_SMALL}),
        (50, {"learning_rate": 10, "epochs": 8}, {Verdict.DIVERGED, Verdict.OSCILLATION}),
        (12, {"learning_rate": 1e-2, "epochs": 30}, {Verdict.OVERFITTING}),
    ],
    ids=["small rate", "small rate, cosine", "large rate", "few samples"],
)
def test_a_training_is_told_its_fault(
    tmp_path: Path, samples: int, settings: dict[str, Any], expected: set[Verdict]
) -> None:
    assert diagnose(train_linear(tmp_path / "run", samples=samples, **settings)).verdict in expected


def test_the_report_says_it_in_a_line(tmp_path: Path) -> None:
    folder = train_linear(tmp_path / "run", samples=50, learning_rate=1e-6, epochs=8)
    (line,) = (each for each in (folder / "report.md").read_text().splitlines() if each.startswith("Diagnosis: "))
    assert line.startswith("Diagnosis: underfitting: the learning rate is too small (train_loss fell by ")
    assert line.endswith(f"What to try: `cvtl diagnose {folder}`.")
