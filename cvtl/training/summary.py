"""What a finished training leaves for people to look at: curves.png and report.md."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cvtl.files import write_atomically
from cvtl.registry import plugins
from cvtl.training.folder import CHECKPOINT_NAME, CONFIG_NAME, CURVES_NAME, METRICS_NAME, REPORT_NAME, WEIGHTS_NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cvtl.training.folder import TrainRun

_NOT_MEASURED = ("epoch", "learning_rate")
_AXES_INCHES = (5.0, 3.6)


def write_curves(run: TrainRun) -> None:
    """Draw every figure against the epoch, training and validation in one plot, the best epoch marked."""
    from matplotlib.figure import Figure

    names = [name for name in run.history[0] if name not in _NOT_MEASURED]
    plots = list(dict.fromkeys(name.removeprefix("train_").removeprefix("val_") for name in names))
    figure = Figure(figsize=(_AXES_INCHES[0] * len(plots), _AXES_INCHES[1]), layout="constrained")
    for axes, plot in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
        _draw(axes, run, plot)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_atomically(run.folder / CURVES_NAME, picture.getvalue())


def _draw(axes: Axes, run: TrainRun, plot: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in run.history]
    for part, label, color in (("train_", "training", "C0"), ("val_", "validation", "C1"), ("", plot, "C2")):
        if part + plot in run.history[0]:
            # A single epoch has no line, hence the marker.
            axes.plot(epochs, [row[part + plot] for row in run.history], color, marker=".", label=label)
    axes.axvline(run.best["epoch"], color="grey", linestyle=":", label=f"best epoch: {run.best['epoch']:.0f}")
    axes.set(title=plot, xlabel="epoch", ylabel=plot)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()


def write_report(run: TrainRun) -> None:
    """Say what was trained, how well, and how to use it. It is written last: its presence means `finished`."""
    config, best = run.config, run.best
    task = plugins().get(config["plugin"]).task
    figures = [(name, f"{value:.6g}") for name, value in best.items() if name != "epoch"]
    stopped = f", stopped early after {run.patience} epochs without a better one" if run.stopped_early else ""
    data = [(part, f"{each['samples']} samples of '{each['root']}'") for part, each in config["data"].items()]
    lines = [
        f"# {config['plugin']}: {len(config['classes'])} classes",
        "",
        f"{len(run.history)} of {run.epochs} epochs{stopped}. "
        f"Epoch {best['epoch']:.0f} was the best by {run.monitor} ({run.mode}).",
        "",
        *_table("figure", "in the best epoch", figures),
        "",
        "Use the weights:",
        "",
        f"    cvtl run {task} PICTURES --weights {run.weights}",
        "",
        f"![curves]({CURVES_NAME})",
        "",
        *_table("data", "", data),
        "",
        *_table("setting", "", config["settings"].items()),
        "",
        *_table("option", "", config["options"].items()),
        "",
        f"Classes: {', '.join(config['classes'])}",
        "",
        f"{WEIGHTS_NAME} holds the weights, {METRICS_NAME} every epoch, {CONFIG_NAME} all options, and "
        f"{CHECKPOINT_NAME} what `--resume` with more --epochs goes on from.",
    ]
    write_atomically(run.folder / REPORT_NAME, "\n".join(lines) + "\n")


def _table(left: str, right: str, rows: Iterable[tuple[str, object]]) -> list[str]:
    return [f"| {left} | {right} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
