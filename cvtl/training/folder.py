"""The folder of one training: its history, its best weights, and what may be resumed. Torch-free to import."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from cvtl import __version__
from cvtl.errors import OutputError, TrainingError, UsageError
from cvtl.files import write_atomically
from cvtl.training.interrupts import Interrupts
from cvtl.training.schedule import Mode, best_index
from cvtl.training.settings import TrainSettings

if TYPE_CHECKING:
    from cvtl.data import Dataset
    from cvtl.model import Model
    from cvtl.training.processes import Processes

CONFIG_NAME = "config.yaml"
METRICS_NAME = "metrics.csv"
WEIGHTS_NAME = "best.safetensors"
CHECKPOINT_NAME = "last.ckpt"
CURVES_NAME = "curves.png"
REPORT_NAME = "report.md"
_RESULTS = (METRICS_NAME, WEIGHTS_NAME, CHECKPOINT_NAME, CURVES_NAME, REPORT_NAME)
"""What makes a folder hold a training. A configuration alone is that of one that did not get anywhere."""
_FREE_TO_CHANGE = ("epochs", "workers", "devices", "num_nodes")
"""Settings that a resumed training may change: epochs may be raised, the others change no more than roundings."""


def _alone() -> Processes:
    from cvtl.training.processes import Processes

    return Processes()


@dataclass
class TrainRun:
    """One training and its folder.

    Attributes:
        folder: where everything is written.
        config: what the training is: plugin, options, classes, settings, data. Written to config.yaml.
        monitor: the figure that says which epoch is best.
        mode: whether the least or the most of it is best.
        epochs: how many there are to be.
        patience: epochs without a better one after which it is over.
        licence: of the weights.
        console: where epochs are shown.
        finished: whether an earlier call came to the end, so that there is nothing to do.
        history: one row per epoch: `epoch` (from 1), then the figures that `record` was given.
        interrupts: tells a loop of signals that it has missed.
        processes: those of the training. Each has such a run, the same; the leading one has its folder.
        shared_out: whether a loop has shared out the batches among them.
    """

    folder: Path
    config: dict[str, Any]
    monitor: str
    mode: Mode
    epochs: int
    patience: int | None
    licence: str
    console: Console
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    interrupts: Interrupts = field(default_factory=Interrupts)
    processes: Processes = field(default_factory=_alone)
    shared_out: bool = False

    @classmethod
    def open(
        cls,
        folder: Path,
        model: Model,
        train_data: Dataset,
        val_data: Dataset,
        settings: TrainSettings,
        *,
        resume: bool,
        console: Console,
        licence: str = "",
        processes: Processes | None = None,
    ) -> TrainRun:
        """Start a training in a folder, or go on with the one that is there.

        Raises:
            OutputError: the folder holds a training and `resume` is not given, or it cannot be written or read.
            UsageError: the training there is another one; the differences are named.
            TrainingError: other processes of it have other data or options.
        """
        config = _describe(model, train_data, val_data, settings)
        monitor, mode = model.monitor
        run = cls(folder, config, monitor, mode, settings.epochs, settings.patience, licence, console)
        if processes is not None:
            run.processes = processes
        run._agree()
        run.finished = run.processes.lead(lambda: run._open(resume=resume))
        if run.finished:
            run.restore()
        return run

    @property
    def goes_on(self) -> bool:
        """Whether there is a checkpoint of the loop's to go on from. All processes have to ask."""
        return self.processes.lead((self.folder / CHECKPOINT_NAME).exists)

    @property
    def weights(self) -> Path:
        """The weights of the best epoch."""
        return self.folder / WEIGHTS_NAME

    @property
    def best(self) -> dict[str, float]:
        """The best epoch's row.

        Raises:
            ValueError: no epoch is done.
        """
        return self.history[best_index(self.monitored, self.mode)]

    @property
    def monitored(self) -> list[float]:
        """The monitored figure of each epoch done."""
        return [row[self.monitor] for row in self.history]

    @property
    def stopped_early(self) -> bool:
        """Whether `patience` epochs have passed without a better one."""
        if self.patience is None or not self.history:
            return False
        return len(self.history) - self.best["epoch"] >= self.patience

    @property
    def is_over(self) -> bool:
        """Whether there is no epoch left to do."""
        return len(self.history) >= self.epochs or self.stopped_early

    def record(self, model: Model, figures: Mapping[str, float]) -> None:
        """Book an epoch: write metrics.csv, keep the weights if it is the best, show a line.

        Args:
            model: as the epoch left it.
            figures: what was measured: `learning_rate`, `train_loss`, `val_loss` and `val_NAME` where there are such.

        Raises:
            TrainingError: a loss or the monitored figure is not finite; the epoch is not booked.
            OutputError: the folder cannot be written.
        """
        if self.monitor not in figures:
            known = ", ".join(figures)
            raise TrainingError(f"plugin '{model.plugin}' monitors '{self.monitor}', which is none of {known}")
        for name in ("train_loss", "val_loss", self.monitor):
            self.check_finite(name, figures.get(name, 0.0))
        row = {"epoch": len(self.history) + 1, **figures}
        self.history.append(row)
        if self.processes.leads:
            self._write(model, row)

    def _write(self, model: Model, row: dict[str, float]) -> None:
        from cvtl import weights

        if self.best is row:
            # A figure that cannot be measured on these data is not a number, which JSON does not have.
            metrics = {name: value for name, value in row.items() if name.startswith("val_") and math.isfinite(value)}
            digest, seed = self.config["data"]["train"]["digest"], self.config["settings"]["seed"]
            weights.save(model, self.weights, metrics=metrics, data_digest=digest, seed=seed, licence=self.licence)
        write_atomically(self.folder / METRICS_NAME, _to_csv(self.history))
        self.console.print(self._line(row), soft_wrap=True, highlight=False, markup=False)

    def check_finite(self, name: str, value: float) -> None:
        """Stop a training that has come off the rails.

        Raises:
            TrainingError: the value is infinite or not a number.
        """
        if not math.isfinite(value):
            kept = f"; the weights of epoch {self.best['epoch']} are kept in '{self.weights}'" if self.history else ""
            raise TrainingError(
                f"{name} became {value} in epoch {len(self.history) + 1}{kept}",
                hint="Train anew with a smaller --learning-rate, or with --precision float32 if it was a lesser one",
            )

    def restore(self, epochs: int | None = None) -> None:
        """Take the history of the first epochs, or of all, from metrics.csv.

        Raises:
            OutputError: the file is missing, was changed, or does not go so far.
        """
        self.history = self.processes.lead(lambda: self._read_history(epochs))

    def _read_history(self, epochs: int | None) -> list[dict[str, float]]:
        path = self.folder / METRICS_NAME
        try:
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
            history = [
                {name: float(value) for name, value in row.items() if value} | {"epoch": number}
                for number, row in enumerate(rows[:epochs], 1)
            ]
            complete = len(history) >= (epochs or 1) and all(self.monitor in row for row in history)
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(path, error) from error
        if not complete:
            raise _damaged(path, "epochs or columns are missing")
        return history

    def _agree(self) -> None:
        said = self.processes.gather({name: self.config[name] for name in ("options", "settings", "classes", "data")})
        for number, theirs in enumerate(said):
            # What differs in the paths alone is the same.
            changes = _differences(said[0] | {"plugin": ""}, theirs | {"plugin": ""})
            if changes:
                raise TrainingError(
                    f"process {number} of the training has another one than process 0: {'; '.join(changes)}",
                    hint="Give all machines the same data and the same command",
                )

    def _open(self, *, resume: bool) -> bool:
        """Look into the folder and make it this training's; gives whether that is finished."""
        finished = any((self.folder / name).exists() for name in _RESULTS) and self._go_on(resume=resume)
        if not finished:
            for name in (CONFIG_NAME, *_RESULTS):
                for partial in self.folder.glob(f".{name}.*.partial"):
                    partial.unlink()
            write_atomically(
                self.folder / CONFIG_NAME, yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
            )
        return finished

    def _go_on(self, *, resume: bool) -> bool:
        if not resume:
            raise OutputError(
                f"'{self.folder}' already holds a training",
                hint="Choose another folder with --out, or go on with this one with --resume",
            )
        earlier = _read_config(self.folder / CONFIG_NAME)
        changes = _differences(earlier, self.config)
        if changes:
            raise UsageError(
                f"the training in '{self.folder}' cannot go on with this command: {'; '.join(changes)}",
                hint="Repeat the first command with --resume (--epochs may be raised), or choose another --out",
            )
        if (self.folder / REPORT_NAME).exists() and earlier["settings"]["epochs"] == self.epochs:
            return True
        # The report says that a training is finished, so it must not outlive the raising of --epochs.
        (self.folder / REPORT_NAME).unlink(missing_ok=True)
        return False

    def _line(self, row: Mapping[str, float]) -> str:
        width = len(str(self.epochs))
        figures = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        best = "  best so far" if row is self.best else ""
        return f"epoch {row['epoch']:>{width}}/{self.epochs}  {figures}{best}"


def _describe(model: Model, train_data: Dataset, val_data: Dataset, settings: TrainSettings) -> dict[str, Any]:
    return {
        "cvtl": __version__,
        "plugin": model.plugin,
        "options": model.options.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "data": {"train": _describe_data(train_data), "val": _describe_data(val_data)},
        "classes": list(model.classes),
        "monitor": list(model.monitor),
    }


def _describe_data(data: Dataset) -> dict[str, Any]:
    return {"root": data.root, "format": data.format, "samples": len(data), "digest": data.digest()}


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What keeps the earlier training from going on, in words."""
    found = [f"the {name} data differ" for name in ("train", "val") if _digest(earlier, name) != _digest(now, name)]
    for part in ("options", "settings"):
        for name in sorted(earlier[part].keys() | now[part].keys()):
            before, after = earlier[part].get(name), now[part].get(name)
            if before != after and not (part == "settings" and name in _FREE_TO_CHANGE):
                found.append(f"{name} was {before} and is now {after}")
    if earlier["settings"]["epochs"] > now["settings"]["epochs"]:
        found.append(f"epochs was {earlier['settings']['epochs']} and is now only {now['settings']['epochs']}")
    for name in ("plugin", "classes"):
        if earlier[name] != now[name]:
            found.append(f"{name} was {earlier[name]} and is now {now[name]}")
    return found


def _digest(config: Mapping[str, Any], part: str) -> str:
    return str(config["data"][part]["digest"])


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        # Whatever is read below must be there.
        _differences(config, config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise _damaged(path, error) from error
    return dict(config)


def _damaged(path: Path, reason: object) -> OutputError:
    return OutputError(
        f"cannot go on with the training in '{path.parent}': cannot read '{path.name}': {reason}",
        hint="Start anew in another folder with --out",
    )


def _to_csv(history: list[dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
