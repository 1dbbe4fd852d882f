"""From measured curves to findings: what each fault looks like.

The limits are rules of thumb, chosen so that noise alone passes none of them: a slope must be one by Student's test,
a gap of accuracies must exceed what the number of validation samples explains, a jump what the number of training
samples explains. Whether a loss is small is never asked, for label smoothing and other terms leave a floor nobody
knows; nor is a training loss above that of validation a fault, for augmentation and dropout work on training alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cvtl.training.diagnosis.curves import Curves
from cvtl.training.diagnosis.measures import Measures

LEAST_EPOCHS = 4
"""Of fewer, no trend can be told."""
_SKILLED = 0.7
TYPICAL_RATES = {"adamw": 1e-3, "sgd": 1e-2, "rmsprop": 1e-3, "lbfgs": math.nan}


class Verdict(StrEnum):
    """What a training suffers from, the gravest first: findings are listed in this order."""

    DIVERGED = "diverged"
    TOO_SHORT = "too_short"
    OSCILLATION = "oscillation"
    RATE_TOO_SMALL = "rate_too_small"
    OVERFITTING = "overfitting"
    TOO_FEW_EPOCHS = "too_few_epochs"
    NETWORK_TOO_SMALL = "network_too_small"
    HEALTHY = "healthy"

    @property
    def headline(self) -> str:
        """In the field's words."""
        return _HEADLINES[self]


_HEADLINES = {
    Verdict.DIVERGED: "diverged: the learning rate is too large",
    Verdict.TOO_SHORT: "too short to tell",
    Verdict.OSCILLATION: "oscillation: the learning rate is too large",
    Verdict.RATE_TOO_SMALL: "underfitting: the learning rate is too small",
    Verdict.OVERFITTING: "overfitting",
    Verdict.TOO_FEW_EPOCHS: "underfitting: too few epochs",
    Verdict.NETWORK_TOO_SMALL: "underfitting: the network is too small, or too little of it learns",
    Verdict.HEALTHY: "healthy",
}


@dataclass(frozen=True)
class Finding:
    """One thing that the curves show.

    Attributes:
        verdict: what it is.
        text: what it is seen by: a sentence without a full stop.
        figures: the numbers behind it.
    """

    verdict: Verdict
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)


def find(curves: Curves, measures: Measures) -> tuple[Finding, ...]:
    """Everything that holds, the gravest first; at least one."""
    diverged = _diverged(curves, measures)
    if diverged:
        return (diverged,)
    if curves.epochs < LEAST_EPOCHS:
        return tuple(filter(None, (_too_short(curves), _gap(curves, measures))))
    slow = _slow(curves, measures)
    found = [
        _oscillation(curves, measures),
        slow,
        _rise(curves, measures) or _gap(curves, measures),
        None if slow else _unfinished(measures),
    ]
    findings = list(filter(None, found))
    if all(each.verdict is Verdict.OVERFITTING for each in findings):
        findings += filter(None, [_weak(measures)])
    return tuple(findings) or (_healthy(curves, measures),)


def _diverged(curves: Curves, measures: Measures) -> Finding | None:
    for name in ("train_loss", "val_loss"):
        if name in curves.figures and not math.isfinite(curves.figures[name][-1]):
            return Finding(Verdict.DIVERGED, f"{name} is {curves.figures[name][-1]} in the last epoch")
    course = measures.train or measures.val
    least = float(course.values.min())
    figures = {f"{course.name} at its start": course.start, "least": least, "last": float(course.values[-1])}
    if figures["last"] > max(2 * abs(course.start), float(course.values[:-1].max(initial=-math.inf))):
        text = f"{course.name} ended at {_g(figures['last'])}, more than twice the {_g(course.start)} of its start"
        return Finding(Verdict.DIVERGED, text, figures)
    if curves.chance and measures.accuracy and course.name.endswith("_loss"):
        guessing = -math.log(curves.chance)
        if least > 5 * guessing:
            text = f"{course.name} is never below {_g(least)}, where guessing has a cross-entropy of {_g(guessing)}"
            return Finding(Verdict.DIVERGED, text, figures)
    # Once the weights are thrown far off, many networks answer the same to everything ever after.
    last, fell = float(course.values[-3:].min()), course.start - least
    if curves.epochs >= LEAST_EPOCHS and fell > 0.2 * abs(course.start) and last > least + 0.8 * fell:
        text = f"{course.name} had come down from {_g(course.start)} to {_g(least)}, and is back at {_g(last)}"
        return Finding(Verdict.DIVERGED, text, figures)
    if (_guesses(measures) or _learned_nothing(measures)) and curves.rate >= 10 * _typical_rate(curves):
        text = f"{course.name} stays at {_g(course.late.end)} with a learning rate of {curves.rate:g}"
        return Finding(Verdict.DIVERGED, text, figures)
    return None


def _too_short(curves: Curves) -> Finding:
    if curves.is_solution:
        text = "this training is a single record, as of a solver, so that there are no curves to look at"
    else:
        text = f"it takes {LEAST_EPOCHS} epochs to see a trend, and there {'is' if curves.epochs == 1 else 'are'} "
        text += f"{curves.epochs}" + " behind that of the head alone" * (curves.first > 1)
    return Finding(Verdict.TOO_SHORT, text, {"epochs": curves.epochs})


def _oscillation(curves: Curves, measures: Measures) -> Finding | None:
    # Each epoch's training loss is a mean over samples: single losses vary about as much as they are large.
    train, val = (max(1, curves.config.data[part].samples) for part in ("train", "val"))
    limits = [(measures.train, max(0.1, 3 / math.sqrt(train))), (measures.val, max(0.2, 2 / math.sqrt(val)))]
    for course, limit in limits:
        if course is None:
            continue
        zigzag = course.turns >= max(2, 0.3 * (curves.epochs - 2))
        restless = zigzag and course.rise > limit * course.level
        # What trembles near zero, after a long way down, is done.
        if restless and course.rise > 0.05 * max(0.0, course.start - float(course.values.min())):
            size = course.rise / course.level
            return Finding(
                Verdict.OSCILLATION,
                f"{course.name} rose in {course.rises:.0%} of the epochs, by {size:.0%} of its level each",
                {f"{course.name}: share of epochs with a rise": course.rises, "median rise / level": size},
            )
    return None


def _slow(curves: Curves, measures: Measures) -> Finding | None:
    course = measures.train or measures.val
    way = course.fall / abs(course.start) if course.start else 0.0
    if course.is_straight and way < 0.3 and not _is_good(measures):
        how = "and is still going straight down"
    elif _learned_nothing(measures) and curves.rate <= _typical_rate(curves) / 3:
        how = "which is as good as nothing"
    else:
        return None
    return Finding(
        Verdict.RATE_TOO_SMALL,
        f"{course.name} fell by {max(0.0, way):.1%} of its start, {how}, with a learning rate of {curves.rate:g}",
        {f"fall of {course.name} / start": way, "learning rate": curves.rate},
    )


def _rise(curves: Curves, measures: Measures) -> Finding | None:
    val, train = measures.val, measures.train
    rise = val.since_best.change
    if not val.since_best.sure or rise <= 0 or (train is not None and train.late.end > train.values[val.best]):
        return None
    least, best = float(val.values[val.best]), curves.first + val.best
    start = val.start if train is None else max(val.start, train.start)
    if rise < 0.05 * abs(least) or rise < min(0.1 * max(0.0, start - least), 0.25 * abs(least)):
        return None
    while_train = f" while train_loss fell on to {_g(train.late.end)}" if train is not None else ""
    return Finding(
        Verdict.OVERFITTING,
        f"{val.name} is lowest about epoch {best} ({_g(least)}) and rose by {_g(rise)} since{while_train}",
        {f"lowest {val.name}": least, "epoch of it": best, "rise since": rise},
    )


def _gap(curves: Curves, measures: Measures) -> Finding | None:
    accuracy, train, val = measures.accuracy, measures.train, measures.val
    if accuracy is not None and accuracy.train is not None:
        if accuracy.gap < max(0.1, 2 * accuracy.error):
            return None
        samples = curves.config.data["val"].samples
        return Finding(
            Verdict.OVERFITTING,
            f"train_accuracy {accuracy.train:.3f} is {accuracy.gap:.3f} above val_accuracy {accuracy.val:.3f}, "
            f"{accuracy.gap / accuracy.error:.1f} standard errors of {samples} validation samples",
            {"gap": accuracy.gap, "standard error": accuracy.error},
        )
    if train is None or val.name != "val_loss" or curves.epochs < LEAST_EPOCHS:
        return None
    gap, fall = val.late.end - train.late.end, max(train.start, val.start) - train.late.end
    # Of a loss that hardly fell, everything is a large part.
    if fall < 0.3 * train.start or gap < 0.3 * fall:
        return None
    return Finding(
        Verdict.OVERFITTING,
        f"val_loss {_g(val.late.end)} lies above train_loss {_g(train.late.end)} by {gap / fall:.0%} of what that fell",
        {"gap": gap, "gap / fall of train_loss": gap / fall},
    )


def _unfinished(measures: Measures) -> Finding | None:
    val, train = measures.val, measures.train
    if not val.still_falls or (train is not None and train.late.slope > 0 and train.late.sure):
        return None
    accuracy = measures.accuracy
    if accuracy is not None and not accuracy.val < 1 - accuracy.error / 2:
        return None
    return Finding(
        Verdict.TOO_FEW_EPOCHS,
        f"{val.name} falls by {_g(-val.late.slope)} an epoch: {val.late_share:.0%} of its fall lies in the last third",
        {f"{val.name} per epoch": val.late.slope, "share of the last third": val.late_share},
    )


def _weak(measures: Measures) -> Finding | None:
    course, accuracy = measures.train or measures.val, measures.accuracy
    if accuracy is not None:
        fits = accuracy.train is None and course.late.end < 0.5 * course.start
        if accuracy.skill >= _SKILLED or fits:
            return None
        better = max(accuracy.val, accuracy.train or 0.0)
        against = f", where guessing has {accuracy.chance:.3f}" if accuracy.chance else ""
        text = f"training settled at an accuracy of {better:.3f}{against}; {course.name} is flat at "
        return Finding(
            Verdict.NETWORK_TOO_SMALL, text + _g(course.late.end), {"accuracy / guessing to 1": accuracy.skill}
        )
    left = min(course.late.end, measures.val.late.end) / course.start if course.start > 0 else 0.0
    if left < 0.5:
        return None
    text = f"{course.name} is flat at {_g(course.late.end)}, {left:.0%} of its start"
    return Finding(Verdict.NETWORK_TOO_SMALL, text, {"end / start": left})


def _healthy(curves: Curves, measures: Measures) -> Finding:
    val, accuracy = measures.val, measures.accuracy
    gap = f"; accuracy is {accuracy.gap:+.3f} apart" if accuracy is not None and accuracy.train is not None else ""
    text = f"{val.name} has settled at {_g(val.late.end)}, epoch {curves.best_epoch} being the best{gap}"
    return Finding(Verdict.HEALTHY, text, {f"share of {val.name}'s fall in the last third": val.late_share})


def _learned_nothing(measures: Measures) -> bool:
    """Whether training ends where it began, and that is not a good place."""
    course = measures.train or measures.val
    return abs(course.fall) < 0.1 * abs(course.start) and not _is_good(measures)


def _is_good(measures: Measures) -> bool:
    return measures.accuracy is not None and measures.accuracy.skill >= _SKILLED


def _guesses(measures: Measures) -> bool:
    """Whether the network is no better than guessing in the end."""
    accuracy = measures.accuracy
    return accuracy is not None and accuracy.chance > 0 and accuracy.skill < 0.1 + accuracy.error


def _typical_rate(curves: Curves) -> float:
    # L-BFGS finds its steps itself: no rate is too small or too large for it.
    return TYPICAL_RATES[curves.config.settings.optimizer]


def _g(value: float) -> str:
    return f"{value:.3g}"
