"""`train`: any model, any data set, one folder. Torch-free to import."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cvtl.errors import CvtlWarning, DataError, Interrupted, UsageError
from cvtl.training.folder import TrainRun
from cvtl.training.interrupts import SignalReceived
from cvtl.training.launching import own_place
from cvtl.training.settings import TrainSettings

if TYPE_CHECKING:
    from cvtl.data import Dataset
    from cvtl.model import Model


@dataclass(frozen=True)
class TrainReport:
    """What a training came to.

    Attributes:
        weights: the weights file of the best epoch.
        epochs: epochs done, those before a resumption included.
        best_epoch: counted from 1.
        metrics: the best epoch's figures: `train_loss`, `val_loss`, and `val_NAME` for what the model measures.
        stopped_early: whether patience ended it before its last epoch.
    """

    weights: Path
    epochs: int
    best_epoch: int
    metrics: Mapping[str, float]
    stopped_early: bool


def train(
    model: Model,
    train_data: Dataset,
    val_data: Dataset,
    settings: TrainSettings,
    run_dir: str | Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    licence: str = "",
) -> TrainReport:
    """Train a model and write a run folder.

    The folder holds config.yaml, metrics.csv (one line per epoch), best.safetensors, last.ckpt, and in the end
    curves.png and report.md. A training that was killed at any moment and resumed ends with the same weights and
    metrics as an uninterrupted one; on the CPU that holds to the bit. The global random generators are seeded.

    With several `devices` or `num_nodes` each of so many processes, which torchrun started, calls this with the same
    arguments. The first one has the folder and speaks; all return the same, but for paths.

    Args:
        model: as its `initialize` made it, behind `cvtl.training.samples.seed_all(settings.seed)`. It is trained in
            place, so that in the end it has the last epoch's weights; the best ones are in the file.
        train_data: what to learn from.
        val_data: what to choose the best epoch by.
        settings: how to train.
        run_dir: the folder; made if missing.
        resume: go on with the training in the folder; start one if there is none; if it is finished, just report.
            Settings must be the same, but `epochs` may be raised, and `workers`, `devices` and `num_nodes` changed.
        quiet: show nothing; otherwise a line per epoch goes to standard error, with a bar on a terminal.
        licence: under which the weights may be used; it is written into them.

    Raises:
        DataError: there is nothing to train or validate on, or a picture cannot be read.
        OutputError: the folder holds a training and `resume` is not given, or it cannot be written.
        UsageError: the training to resume had other settings or data, the device is not there, or there are other
            processes than the settings ask for, or nothing for more than one to do.
        TrainingError: the loss became infinite or not a number, memory ran out, or another process was lost.
        Interrupted: by Ctrl-C or SIGTERM, at once: what goes on from the last epoch's end is on disk already.
    """
    for data, name in ((train_data, "training"), (val_data, "validation")):
        if len(data) == 0:
            raise DataError(f"the {name} data are empty", hint="Add pictures, or choose another --val-fraction")
    place = own_place(settings)
    if place.processes > 1 and (reason := model.why_alone()):
        raise UsageError(f"several processes cannot share this training out: {reason}", hint="Leave out --devices")
    from cvtl.training.processes import joined

    console = Console(stderr=True, quiet=quiet or place.process > 0)
    with joined(place, settings) as (processes, own_settings):
        run = TrainRun.open(
            Path(run_dir),
            model,
            train_data,
            val_data,
            settings,
            resume=resume,
            console=console,
            licence=licence,
            processes=processes,
        )
        if not run.finished:
            _fit(model, train_data, val_data, own_settings, run)
    best = run.best
    return TrainReport(
        weights=run.weights,
        epochs=len(run.history),
        best_epoch=int(best["epoch"]),
        metrics={name: value for name, value in best.items() if name not in ("epoch", "learning_rate")},
        stopped_early=len(run.history) < run.epochs,
    )


def _fit(model: Model, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
    from cvtl.training.summary import write_curves, write_report

    try:
        with run.interrupts:
            model.fit(train_data, val_data, settings, run)
            if run.processes.leads:
                write_curves(run)
                write_report(run)
    except SignalReceived as signal:
        raise Interrupted(
            f"the training was interrupted after {len(run.history)} of {run.epochs} epochs",
            hint=f"Go on with the same command and --out {run.folder} --resume",
            exit_code=signal.exit_code,
        ) from None
    if run.processes.count > 1 and run.processes.leads and not run.shared_out:
        warnings.warn(
            f"The plugin '{model.plugin}' did not share this training out: each process did all of it.",
            CvtlWarning,
            stacklevel=3,
        )
