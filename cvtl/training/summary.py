"""What a finished training leaves for people to look at: curves.png and report.md."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from cvtl.files import write_atomically
from cvtl.registry import plugins
from cvtl.training.diagnosis import Curves, RunConfig, diagnose_curves
from cvtl.training.folder import CHECKPOINT_NAME, CONFIG_NAME, CURVES_NAME, METRICS_NAME, REPORT_NAME, WEIGHTS_NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cvtl.training.diagnosis.curves import Floats
    from cvtl.training.folder import TrainRun

_AXES_INCHES = (5.0, 3.6)
_MOST_COLUMNS = 3
_PARTS = (("train_", "training", "C0"), ("val_", "validation", "C1"), ("", "measured", "C2"))
# Rates that change more often than this go down steadily, which needs no marks.
_MOST_RATE_STEPS = 8
# Between greatest and least loss, from where a linear axis hides the end.
_LOG_FROM = 30


def write_curves(run: TrainRun) -> None:
    """Draw every figure against the epoch, raw and smoothed, training and validation in one plot.

    The best epoch is marked, and where the learning rate went down in steps.
    """
    from matplotlib.figure import Figure

    curves = _curves(run)
    names = [name for name in curves.figures if name != "learning_rate"]
    plots = list(dict.fromkeys(name.removeprefix("train_").removeprefix("val_") for name in names))
    columns = min(len(plots), _MOST_COLUMNS)
    rows = math.ceil(len(plots) / columns)
    figure = Figure(figsize=(_AXES_INCHES[0] * columns, _AXES_INCHES[1] * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flat
    for plot in plots:
        _draw(next(places), curves, plot)
    for unused in places:
        unused.set_axis_off()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_atomically(run.folder / CURVES_NAME, picture.getvalue())


def smooth(values: Floats, beta: float) -> Floats:
    """Exponential moving average, corrected for its start at zero: Adam (arXiv 1412.6980), section 3.

    Args:
        values: float (N,); NaN counts as missing, and takes the average so far.
        beta: weight of what was before, in [0, 1).

    Returns:
        float64 (N,); NaN up to the first value.

    Example:
        >>> smooth(np.array([4.0, 1.0, 1.0]), 0.5)
        array([4.        , 2.        , 1.42857143])
    """
    smoothed = np.empty(len(values))
    total = weight = 0.0
    for index, value in enumerate(values):
        if not math.isnan(value):
            total = beta * total + (1 - beta) * value
            weight = beta * weight + (1 - beta)
        smoothed[index] = total / weight if weight else math.nan
    return smoothed


def smoothing(epochs: int) -> float:
    """The beta that suits so many epochs: what more would smooth, it would shift as well.

    Example:
        >>> [round(smoothing(epochs), 2) for epochs in (1, 3, 20, 60, 500)]
        [0.0, 0.11, 0.44, 0.71, 0.92]
    """
    return 0.0 if epochs == 1 else 1 - 1 / min(1 + epochs / 25, 12)


def _draw(axes: Axes, curves: Curves, plot: str) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    epochs = np.arange(1, curves.epochs + 1)
    beta = smoothing(curves.epochs)
    is_log = plot.endswith("loss") and _spread(curves, plot) > _LOG_FROM
    for prefix, label, colour in _PARTS:
        values = curves.figures.get(prefix + plot)
        if values is None:
            continue
        smoothed = np.exp(smooth(np.log(values), beta)) if is_log else smooth(values, beta)
        # A few epochs are points rather than a line.
        marker = "." if curves.epochs <= 30 else ""
        axes.plot(epochs, values, colour, marker=marker, linewidth=0.8, alpha=0.4)
        axes.plot(epochs, smoothed, colour, marker="." if curves.epochs == 1 else "", linewidth=1.8, label=label)
    if is_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axvline(curves.best_epoch, color="grey", linestyle=":", label=f"best epoch: {curves.best_epoch}")
    _mark_rates(axes, curves)
    margin = 0.5 + curves.epochs / 50
    axes.set(xlabel="epoch", xlim=(1 - margin, curves.epochs + margin))
    axes.set_title(f"{plot} (bold: moving average, beta {beta:.2f})" if beta else plot, fontsize="medium")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", edgecolor="none", framealpha=0.8)


def _spread(curves: Curves, plot: str) -> float:
    """How many times the least value the greatest one is; 0 where some are not positive."""
    found = [curves.figures[prefix + plot] for prefix, *_ in _PARTS if prefix + plot in curves.figures]
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    return float(values.max() / values.min()) if len(values) and values.min() > 0 else 0.0


def _mark_rates(axes: Axes, curves: Curves) -> None:
    """Mark the epochs that another learning rate began with, if there are only some."""
    rates = curves.rates
    if rates is None:
        return
    steps = np.flatnonzero(np.diff(rates)) + 1
    if len(steps) > min(_MOST_RATE_STEPS, curves.epochs / 3):
        return
    for step in steps:
        axes.axvline(step + 0.5, color="C3", linewidth=0.8, linestyle="--", alpha=0.6)
        place = axes.get_xaxis_transform()
        axes.text(
            step + 0.5, 0.5, f"{rates[step]:.2g}", transform=place, color="C3", fontsize=7, rotation=90, ha="right"
        )
    if len(steps):
        axes.plot([], [], "C3--", linewidth=0.8, label="learning rate changes")


def _curves(run: TrainRun) -> Curves:
    config = RunConfig.model_validate(run.config)
    return Curves.of(config, run.history, (run.monitor, run.mode), finished=True)


def write_report(run: TrainRun) -> None:
    """Say what was trained, how well, and how to use it. It is written last: its presence means `finished`."""
    config, best = run.config, run.best
    task = plugins().get(config["plugin"]).task
    figures = [(name, f"{value:.6g}") for name, value in best.items() if name != "epoch"]
    stopped = f", stopped early after {run.patience} epochs without a better one" if run.stopped_early else ""
    finding = diagnose_curves(_curves(run)).findings[0]
    data = [(part, f"{each['samples']} samples of '{each['root']}'") for part, each in config["data"].items()]
    lines = [
        f"# {config['plugin']}: {len(config['classes'])} classes",
        "",
        f"{len(run.history)} of {run.epochs} epochs{stopped}. "
        f"Epoch {best['epoch']:.0f} was the best by {run.monitor} ({run.mode}).",
        "",
        f"Diagnosis: {finding.verdict.headline} ({finding.text}). What to try: `cvtl diagnose {run.folder}`.",
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
