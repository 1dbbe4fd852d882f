"""What curves say in numbers: lines through them, how far they have come, and how restless they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cvtl.training.diagnosis.curves import Curves, Floats


@dataclass(frozen=True)
class Line:
    """The least-squares line through the values of successive epochs.

    Attributes:
        slope: change per epoch.
        end: its value in the last of these epochs.
        epochs: how many there are.
        sure: whether the slope differs from zero by Student's test.
    """

    slope: float
    end: float
    epochs: int
    sure: bool

    @property
    def change(self) -> float:
        """From the first of these epochs to the last."""
        return self.slope * (self.epochs - 1)


def fit_line(values: Floats, confidence: float = 0.95) -> Line:
    """Fit a line; with fewer than three epochs it goes from the first to the last, and is never sure.

    Args:
        values: float (N,), N >= 1.
        confidence: of the test, one-sided.

    Example:
        >>> line = fit_line(np.array([3.0, 2.1, 0.9, 0.0]))
        >>> round(line.slope, 2), round(line.end, 2), line.sure
        (-1.02, -0.03, True)
    """
    from scipy.special import stdtrit

    epochs = len(values)
    if epochs < 3:
        return Line(float(values[-1] - values[0]), float(values[-1]), epochs, sure=False)
    x = np.arange(epochs) - (epochs - 1) / 2
    slope = float(x @ values / (x @ x))
    left = values - values.mean() - slope * x
    error = math.sqrt(left @ left / (epochs - 2) / (x @ x))
    return Line(
        slope=slope,
        end=float(values.mean() + slope * x[-1]),
        epochs=epochs,
        sure=bool(abs(slope) > stdtrit(epochs - 2, confidence) * error),
    )


@dataclass(frozen=True)
class Course:
    """How one figure of which less is better went.

    Attributes:
        name: as in metrics.csv; `1 - NAME` where it was turned round.
        values: float64 (epochs,).
        start: where training began.
        whole: the line through all of the training.
        later: the line through its last two thirds.
        late: the line through its last third.
        best: index of the least, once neighbouring epochs are averaged.
        since_best: the line from there to the end.
        rises: the share of epochs in which it rose.
        rise: the median rise in these.
        turns: how often it turned from falling to rising or back.
    """

    name: str
    values: Floats
    start: float
    whole: Line
    later: Line
    late: Line
    best: int
    since_best: Line
    rises: float
    rise: float
    turns: int

    @property
    def fall(self) -> float:
        """How far it fell from the start to the end of the late line."""
        return self.start - self.late.end

    @property
    def late_share(self) -> float:
        """The share of the whole fall that belongs to the last third: 1/3 on a straight line, near 0 once settled."""
        return max(0.0, min(1.0, -self.late.change / self.fall)) if self.fall > 0 else 0.0

    @property
    def still_falls(self) -> bool:
        """Whether the last third brought what is neither noise nor negligible."""
        # Of an exponential fall, a tenth belongs to the last third if three time constants have passed.
        return self.late.sure and self.late_share >= 0.1 and self.fall > 0.05 * abs(self.start)

    @property
    def is_straight(self) -> bool:
        """Whether it goes down like a line: the last two thirds brought 2/3 of it, which settling brings far below."""
        return self.whole.sure and self.whole.slope < 0 < self.fall and -self.later.change >= 0.45 * self.fall

    @property
    def level(self) -> float:
        """The median."""
        return float(np.median(np.abs(self.values)))


def measure_course(name: str, values: Floats, later_from: int, late_from: int) -> Course:
    """Measure a curve.

    Args:
        name: of the figure.
        values: finite, of at least one epoch; less is better.
        later_from: index of the epoch with which the last two thirds begin.
        late_from: index of the epoch with which the last third begins.
    """
    best = int(_averaged(values, 1 + len(values) // 20).argmin())
    steps = np.diff(values)
    ups = steps[steps > 0]
    return Course(
        name=name,
        values=values,
        # New layers may start far beyond guessing, which is over after some steps.
        start=float(values[1] if len(values) > 1 and values[0] > 3 * abs(values[1]) else values[0]),
        whole=fit_line(values),
        later=fit_line(values[later_from:]),
        late=fit_line(values[late_from:]),
        best=best,
        # What begins with the least of many values rises by that alone.
        since_best=fit_line(values[best:], confidence=0.99),
        rises=len(ups) / max(1, len(steps)),
        rise=float(np.median(ups)) if len(ups) else 0.0,
        turns=int((steps[1:] * steps[:-1] < 0).sum()),
    )


def epoch_at(curves: Curves, share: float) -> int:
    """Index of the last epoch within a share of the training; behind it, at least two are left.

    Where the learning rate goes down steadily, the late epochs change little, so that not epochs are counted but what
    the rates add up to.
    """
    rates = curves.rates
    if rates is not None and curves.epochs > 1 and np.mean(np.diff(rates) < 0) > 0.5:
        done = np.cumsum(rates)
    else:
        done = np.arange(1.0, curves.epochs + 1)
    index = int(np.searchsorted(done, share * done[-1], side="right")) - 1
    return max(0, min(index, curves.epochs - 3))


@dataclass(frozen=True)
class Accuracy:
    """The accuracies at the end of a training.

    Attributes:
        train: of training batches; None where it was not logged.
        val: of the validation data.
        error: the standard error of `val` that comes from the number of validation samples.
        chance: of guessing; 0 where it is not known.
    """

    train: float | None
    val: float
    error: float
    chance: float

    @property
    def gap(self) -> float:
        """By how much training is better than validation."""
        return 0.0 if self.train is None else self.train - self.val

    @property
    def skill(self) -> float:
        """Where the better of the two lies between chance (0) and no error (1)."""
        return (max(self.val, self.train or 0.0) - self.chance) / (1 - self.chance)


@dataclass(frozen=True)
class Measures:
    """All of a training.

    Attributes:
        train: its loss on the training data; None where it has none.
        val: its loss on the validation data, else the monitored figure turned so that less is better.
        accuracy: None where it has none.
    """

    train: Course | None
    val: Course
    accuracy: Accuracy | None

    def figures(self) -> Mapping[str, float]:
        """The numbers that a verdict may rest on."""
        found = {}
        for course in filter(None, (self.train, self.val)):
            found[f"{course.name} at first"] = float(course.values[0])
            found[f"{course.name} at the end"] = course.late.end
            if course.late.epochs < 3:
                continue
            found[f"{course.name} per epoch in the last third"] = course.late.slope
            found[f"{course.name}: share of the fall in the last third"] = course.late_share
            found[f"{course.name}: share of epochs in which it rose"] = course.rises
        if self.accuracy is not None:
            if self.accuracy.train is not None:
                found["train_accuracy at the end"] = self.accuracy.train
                found["gap of accuracies"] = self.accuracy.gap
            found["val_accuracy at the end"] = self.accuracy.val
            found["standard error of val_accuracy"] = self.accuracy.error
            if self.accuracy.chance:
                found["accuracy of guessing"] = self.accuracy.chance
        return found


def measure(curves: Curves) -> Measures:
    """Measure a training's curves; epochs without a value take that of the epoch before."""
    parts = epoch_at(curves, 1 / 3), epoch_at(curves, 2 / 3)
    train = curves.figures.get("train_loss")
    if "val_loss" in curves.figures:
        val = measure_course("val_loss", _filled(curves.figures["val_loss"]), *parts)
    else:
        name = curves.monitor if curves.mode == "min" else f"1 - {curves.monitor}"
        values = _filled(curves.figures[curves.monitor])
        val = measure_course(name, values if curves.mode == "min" else 1 - values, *parts)
    return Measures(
        train=None if train is None else measure_course("train_loss", _filled(train), *parts),
        val=val,
        accuracy=_accuracy(curves, parts[1]),
    )


def _accuracy(curves: Curves, late: int) -> Accuracy | None:
    train, val = (curves.figures.get(f"{part}_accuracy") for part in ("train", "val"))
    if val is None:
        return None
    at_end = float(np.clip(fit_line(_filled(val)[late:]).end, 0, 1))
    samples = max(1, curves.config.data["val"].samples)
    # Agresti and Coull's two added successes and failures, for no error among few samples is no certainty.
    shifted = (at_end * samples + 2) / (samples + 4)
    return Accuracy(
        train=None if train is None else float(np.clip(fit_line(_filled(train)[late:]).end, 0, 1)),
        val=at_end,
        error=math.sqrt(shifted * (1 - shifted) / (samples + 4)),
        chance=curves.chance or 0.0,
    )


def _filled(values: Floats) -> Floats:
    known = np.isfinite(values)
    if known.all():
        return values
    latest = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    filled: Floats = np.nan_to_num(values[latest])
    return filled


def _averaged(values: Floats, reach: int) -> Floats:
    """Means over each epoch and up to `reach - 1` on either side of it."""
    width = 2 * reach - 1
    ones = np.ones(width)
    middle = slice(reach - 1, reach - 1 + len(values))
    averaged: Floats = (np.convolve(values, ones) / np.convolve(np.ones(len(values)), ones))[middle]
    return averaged
