"""What a plugin may say about its own training: groups with rates, figures of a pass, settings that it prefers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import CLASSES, TinyModel, TinyOptions, make_data
from torch import Tensor, nn

from cvtl.errors import UsageError
from cvtl.options import Options
from cvtl.training import TrainSettings, train
from cvtl.training.start import with_defaults


class Slow(TinyModel):
    """Its layers learn at a hundredth of the head's rate."""

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        return [(0.01, list(self.layers.parameters())), (1.0, list(self.head.parameters()))]


class OnePass(TinyModel):
    """Counts how often the network runs, and gets everything from one pass."""

    passes = 0

    def forward(self, images: Tensor) -> Tensor:
        type(self).passes += 1
        return super().forward(images)

    def assess(
        self, images: Tensor, targets: Sequence[Any], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        logits, labels = self(images), torch.tensor(targets)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return {"entropy": nn.functional.cross_entropy(logits, labels)}, {"accuracy": accuracy}


def run(model_type: type[TinyModel], folder: Path, **changes: Any) -> list[dict[str, str]]:
    torch.manual_seed(0)
    model = model_type.initialize(TinyOptions(dropout=0.0), CLASSES)
    settings = TrainSettings(**{"epochs": 2, "batch_size": 16, "workers": 0, "device": "cpu"} | changes)
    train(model, make_data(48), make_data(16, first=1000), settings, folder, quiet=True)
    with open(folder / "metrics.csv") as stream:
        return list(csv.DictReader(stream))


def weights_of(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    return state


def test_a_groups_rate_is_its_part_of_the_learning_rate(tmp_path: Path) -> None:
    """Without momentum or decay one step of SGD moves weights in proportion to the rate."""
    one_step = {"epochs": 1, "batch_size": 48, "schedule": "constant", "weight_decay": 0.0, "optimizer": "sgd"}
    torch.manual_seed(0)
    before = TinyModel.initialize(TinyOptions(dropout=0.0), CLASSES).state_dict()
    run(TinyModel, tmp_path / "equal", **one_step, learning_rate=0.1)
    run(Slow, tmp_path / "slow", **one_step, learning_rate=0.1)
    equal, slow = weights_of(tmp_path / "equal"), weights_of(tmp_path / "slow")
    moved = equal["model.layers.0.weight"] - before["layers.0.weight"]
    torch.testing.assert_close(
        slow["model.layers.0.weight"] - before["layers.0.weight"], 0.01 * moved, rtol=1e-3, atol=1e-8
    )
    torch.testing.assert_close(slow["model.head.weight"], equal["model.head.weight"])


def test_groups_survive_a_resumption(tmp_path: Path) -> None:
    run(Slow, tmp_path / "whole", epochs=3)
    run(Slow, tmp_path / "parts", epochs=3, schedule="cosine")
    (tmp_path / "parts" / "report.md").unlink()
    torch.manual_seed(0)
    model = Slow.initialize(TinyOptions(dropout=0.0), CLASSES)
    settings = TrainSettings(epochs=4, batch_size=16, workers=0, device="cpu")
    train(model, make_data(48), make_data(16, first=1000), settings, tmp_path / "parts", quiet=True, resume=True)
    with open(tmp_path / "parts" / "metrics.csv") as stream:
        assert len(list(csv.DictReader(stream))) == 4


def test_figures_of_the_one_pass_are_logged_of_training_and_validation(tmp_path: Path) -> None:
    OnePass.passes = 0
    rows = run(OnePass, tmp_path / "run")
    assert all({"train_accuracy", "val_accuracy", "train_loss", "val_loss"} <= row.keys() for row in rows)
    # Two epochs of three training batches and one for validation.
    assert OnePass.passes == 2 * (3 + 1)


def test_without_one_only_validation_is_measured(tmp_path: Path) -> None:
    (row, *_) = run(TinyModel, tmp_path / "run")
    assert "val_accuracy" in row
    assert "train_accuracy" not in row


class Proposing(Options):
    """Options that come with settings."""

    recipe: str = "long"

    def train_defaults(self) -> Mapping[str, Any]:
        return {"epochs": 90, "optimizer": "sgd"} if self.recipe == "long" else {}


@pytest.mark.parametrize(
    ("said", "options", "epochs", "optimizer"),
    [
        ({}, Proposing(), 90, "sgd"),
        ({"epochs": 5}, Proposing(), 5, "sgd"),
        ({"epochs": 20}, Proposing(), 20, "sgd"),
        ({}, Proposing(recipe="none"), 20, "adamw"),
        ({"optimizer": "rmsprop"}, Options(), 20, "rmsprop"),
    ],
)
def test_options_propose_settings_and_the_user_overrides_them(
    said: dict[str, Any], options: Options, epochs: int, optimizer: str
) -> None:
    settings = with_defaults(TrainSettings(**said), options)
    assert (settings.epochs, settings.optimizer) == (epochs, optimizer)


def test_lbfgs_is_refused_where_batches_pass_through_the_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs all samples at once"):
        run(TinyModel, tmp_path / "run", optimizer="lbfgs")
