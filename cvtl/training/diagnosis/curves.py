"""The curves of a training, as its folder or its run has them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ValidationError

from cvtl.errors import DataError, PluginError, SourceError
from cvtl.registry import plugins
from cvtl.training.folder import CONFIG_NAME, METRICS_NAME, REPORT_NAME
from cvtl.training.schedule import Mode, best_index
from cvtl.training.settings import TrainSettings

Floats = npt.NDArray[np.float64]


class DataConfig(BaseModel):
    """How many samples a part of the data has."""

    samples: int


class RunConfig(BaseModel):
    """What a diagnosis needs of config.yaml."""

    plugin: str
    options: dict[str, Any]
    settings: TrainSettings
    data: dict[Literal["train", "val"], DataConfig]
    classes: list[str]
    monitor: tuple[str, Mode] | None = None


@dataclass(frozen=True, eq=False)
class Curves:
    """What a training measured, epoch by epoch, and how it was set up.

    Attributes:
        config: how it was set up.
        figures: name to float64 (epochs,); NaN where an epoch has no such figure.
        monitor: the figure that chose the best epoch.
        mode: whether the least or the most of it is best.
        finished: whether the training came to its end.
        first: the number of the first of these epochs, counted from 1.
    """

    config: RunConfig
    figures: Mapping[str, Floats]
    monitor: str
    mode: Mode
    finished: bool
    first: int = 1

    @classmethod
    def of(
        cls, config: RunConfig, history: Sequence[Mapping[str, float]], monitor: tuple[str, Mode], *, finished: bool
    ) -> Curves:
        """The curves of a history as `cvtl.training.folder.TrainRun` keeps it, of at least one epoch."""
        names = dict.fromkeys(name for row in history for name in row if name != "epoch")
        figures = {name: np.array([row.get(name, math.nan) for row in history]) for name in names}
        return cls(config, figures, *monitor, finished)

    def without_head_start(self) -> Curves:
        """The curves behind a first epoch that was another training, as of a new head on a frozen network.

        It is known by its learning rate, for no schedule goes down so soon.
        """
        if self.epochs < 2 or self.rates is None or self.rates[0] < 3 * self.rates[1]:
            return self
        figures = {name: values[1:] for name, values in self.figures.items()}
        return replace(self, figures=figures, first=self.first + 1)

    @property
    def epochs(self) -> int:
        """How many these are."""
        return len(self.figures[self.monitor])

    @property
    def best_epoch(self) -> int:
        """The number of the best one, the first of equal ones."""
        worst = math.inf if self.mode == "min" else -math.inf
        values = [worst if math.isnan(value) else value for value in self.figures[self.monitor].tolist()]
        return self.first + best_index(values, self.mode)

    @property
    def is_solution(self) -> bool:
        """Whether no steps led to it: a solver books one record, and has no learning rate."""
        return self.epochs == 1 and self.finished and self.rates is None

    @property
    def rates(self) -> Floats | None:
        """The learning rate at the start of each epoch; None where there is none."""
        rates = self.figures.get("learning_rate")
        return None if rates is None or not np.isfinite(rates).all() or rates.sum() <= 0 else rates

    @property
    def rate(self) -> float:
        """The learning rate at the start: as configured, unless the plugin chose another one by itself."""
        configured = self.config.settings.learning_rate
        if self.rates is None or self.rates.min() <= configured <= 1.1 * self.rates.max():
            return configured
        return float(self.rates.max())

    @cached_property
    def chance(self) -> float | None:
        """The accuracy of guessing among the classes; None where the task is not known to be choosing one of them."""
        try:
            task = plugins().get(self.config.plugin).task
        except PluginError:
            return None
        return 1 / len(self.config.classes) if task == "classify" and len(self.config.classes) > 1 else None


def read_curves(run_dir: str | Path) -> Curves:
    """Read the curves of a run folder, finished or not.

    Raises:
        SourceError: there is no such folder, or it is not that of a training.
        DataError: config.yaml or metrics.csv is damaged, or no epoch is done.
    """
    folder = Path(run_dir)
    hint = "Name a folder that `cvtl train` wrote"
    if not folder.is_dir():
        raise SourceError(f"there is no folder '{folder}'", hint=hint)
    if not (folder / CONFIG_NAME).exists():
        raise SourceError(f"'{folder}' holds no training: there is no {CONFIG_NAME} in it", hint=hint)
    config = _read_config(folder / CONFIG_NAME)
    metrics = folder / METRICS_NAME
    if not metrics.exists():
        raise DataError(
            f"the training in '{folder}' has no epoch behind it: there is no {METRICS_NAME}",
            hint="Wait for the first; if the loss became infinite in it, train with a smaller --learning-rate",
        )
    history = _read_metrics(metrics)
    monitor = config.monitor or _likely_monitor([*history[0]])
    if monitor[0] not in history[0]:
        raise _damaged(metrics, f"it has no column '{monitor[0]}', by which the best epoch was chosen")
    return Curves.of(config, history, monitor, finished=(folder / REPORT_NAME).exists())


def _read_config(path: Path) -> RunConfig:
    try:
        return RunConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _damaged(path, error) from error


def _read_metrics(path: Path) -> list[dict[str, float]]:
    history = []
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(f"line {reader.line_num} has not as many values as there are columns")
                history.append({name: _number(text, reader.line_num) for name, text in row.items()})
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path, error) from error
    if not history:
        raise _damaged(path, "it has no epochs")
    return history


def _number(text: str, line: int) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise ValueError(f"line {line}: {text[:40]!r} is not a number") from None


def _likely_monitor(names: Sequence[str]) -> tuple[str, Mode]:
    """What chose the best epoch, where the configuration does not say: in general the loss."""
    for name in ("val_loss", *(name for name in names if name.startswith("val_")), "train_loss"):
        if name in names:
            return name, "min" if name.endswith("loss") else "max"
    return "val_loss", "min"


def _damaged(path: Path, reason: object) -> DataError:
    text = " ".join(str(reason).split())
    return DataError(f"cannot diagnose '{path.parent}': cannot read '{path.name}': {text}")
