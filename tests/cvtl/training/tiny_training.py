"""A plugin with a tiny network, a data set made of nothing."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.errors import CvtlError, DataError
from cvtl.model import Model
from cvtl.options import Options
from cvtl.preprocessing import InputSpec
from cvtl.registry import PluginSpec
from cvtl.results import Result
from cvtl.training import TrainReport, TrainSettings, train
from cvtl.training.samples import seed_all
from cvtl.training.whole_batch import drawn

CLASSES = ("dark", "light")
SIDE = 8


class TinyOptions(Options):
    dropout: float = 0.2
    seconds_per_step: float = 0.0
    nan_from_epoch: int | None = None
    error_in_step: str = ""
    bad_sample: int | None = None
    dies_by: str = ""


class TinyModel(Model):
    """Everything in it that could break a resumption does so unless training takes care: dropout, batch
    normalisation, augmentation by three random generators, and samples that depend on the weights.
    """

    plugin = "tiny"
    monitor = ("val_loss", "min")

    def __init__(self, options: TinyOptions, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__(options, classes, input)
        self.settings = options
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(options.dropout), nn.Flatten()
        )
        self.head = nn.Linear(4 * SIDE * SIDE, len(self.classes))

    @classmethod
    def initialize(cls, options: TinyOptions, classes: Sequence[str]) -> Self:
        return cls(options, classes, InputSpec(size_hw=(SIDE, SIDE)))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images))

    def loss(self, images: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        logits = self(images)
        if self.training:
            die_by(self.settings.dies_by)
            time.sleep(self.settings.seconds_per_step)
            if self.settings.error_in_step:
                raise RuntimeError(self.settings.error_in_step)
        return {
            "entropy": functional.cross_entropy(logits, torch.tensor(targets)),
            "size": 1e-3 * logits.square().mean(),
        }

    def measure(self, images: Tensor, targets: Sequence[Any]) -> Mapping[str, Tensor]:
        return {"accuracy": (self(images).argmax(1) == torch.tensor(targets)).float().mean()}

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        raise NotImplementedError

    def augment(self, images: Tensor) -> Tensor:
        return images ^ drawn(
            lambda count: torch.randint(0, 8, (count, *images.shape[1:]), dtype=torch.uint8), len(images)
        )

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Any]]:
        assert not self.training
        assert not torch.is_grad_enabled()
        if epoch == self.settings.nan_from_epoch:
            with torch.no_grad():
                self.head.weight.fill_(torch.nan)
        mined = int(self.head.weight.sum().nan_to_num().mul(1e3).long()) % 16
        return TinySamples(data, mined, self.settings.bad_sample)

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, Any]]:
        return TinySamples(data, 0, None)


class TinySamples(Sequence[tuple[Tensor, int]]):
    def __init__(self, data: Dataset, mined: int, bad: int | None) -> None:
        self.data, self.mined, self.bad = data, mined, bad

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:  # type: ignore[override]
        if index == self.bad:
            raise DataError(f"cannot read '{self.data[index].name}'", hint="Remove it")
        noise = random.randrange(8) + np.random.randint(8) + int(torch.randint(8, ())) + self.mined
        picture = torch.from_numpy(self.data[index].read()).permute(2, 0, 1)
        return picture // 2 + noise, self.data[index].target.label


_STEPS_DONE = itertools.count()


def die_by(path: str) -> None:
    """A file can say after how many steps which process of a training is killed: once, for it removes the file."""
    if not path or not Path(path).exists():
        return
    process, steps = map(int, Path(path).read_text().split())
    if os.environ["RANK"] == str(process) and next(_STEPS_DONE) == steps:
        Path(path).unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def make_data(count: int, *, first: int = 0) -> Dataset:
    """Noise, every other picture a little lighter."""

    def read(index: int) -> np.ndarray:
        low = 40 if index % 2 else 0
        return np.random.default_rng(index).integers(low, 200 + low, (SIDE, SIDE, 3), dtype=np.uint8)

    samples = [
        Sample(f"{index}.png", lambda index=index: read(index), ClassTarget(index % 2))
        for index in range(first, first + count)
    ]
    return Dataset(samples, CLASSES, "made", "nowhere")


def make_model(seed: int = 0, **options: Any) -> TinyModel:
    seed_all(seed)
    return TinyModel.initialize(TinyOptions(**options), CLASSES)


def train_tiny(
    folder: Path,
    *,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    quiet: bool = True,
    model: TinyModel | None = None,
    **changes: Any,
) -> TrainReport:
    settings = TrainSettings(**{"epochs": 3, "batch_size": 16, "workers": 0, "device": "cpu"} | changes)
    model = model or make_model(settings.seed, **(options or {}))
    return train(
        model, make_data(50), make_data(20, first=1000), settings, folder, resume=resume, quiet=quiet, licence="CC0-1.0"
    )


def install(folder: Path) -> None:
    """Write what makes the plugin known as an installed distribution is: an entry point on the path."""
    information = folder / "tiny-1.0.dist-info"
    information.mkdir(parents=True, exist_ok=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[cvtl.plugins]\ntiny = tiny_training:plugin\n")


plugin = PluginSpec(
    name="tiny",
    task="classify",
    summary="for tests",
    options="tiny_training:TinyOptions",
    model="tiny_training:TinyModel",
)


def train_in_child(folder: str, keywords: Mapping[str, Any]) -> None:
    """What a child process does; it ends with the code that the command line would."""
    torch.set_num_threads(1)
    try:
        train_tiny(Path(folder), quiet=False, **keywords)
    except CvtlError as error:
        Path(f"{folder}.error").write_text(str(error))
        sys.exit(error.exit_code)
