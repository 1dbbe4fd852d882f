"""Which strategy to use, from what was measured: what `cvtl advise` recommends and strategy `auto` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cvtl.backbones import Backbone
from cvtl.data import Dataset
from cvtl.progress import Progress
from cvtl.reporting.sections import Figure
from cvtl.training.settings import TrainSettings
from cvtl.training.start import with_defaults
from cvtl_classify.advice.measuring import Limits, Measurements, measure
from cvtl_classify.advice.probing import describe
from cvtl_classify.options import NO_WEIGHTS, ClassifyOptions

LEAST_GAIN = 0.005
"""A fine-tune takes a hundred times as long as a head: it is chosen if it gains more than this, half a point."""

MOST_MIRROR_LOSS = 0.1
"""If mirrored pictures are told right so much less often, they are taken for something that does not occur."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was chosen.

    Attributes:
        options: of the training: the strategy and all that belongs to it.
        reason: why, in a sentence or two.
    """

    options: ClassifyOptions
    reason: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What strategy `auto` has settled.

    Attributes:
        options: whose strategy is not `auto`; what the user had set is as it was.
        settings: of the training, likewise.
        measured: what the choice rests on, as values that JSON has.
    """

    options: ClassifyOptions
    settings: TrainSettings
    measured: Mapping[str, Any]


def choose(
    data: Dataset,
    options: ClassifyOptions,
    settings: TrainSettings,
    backbone: Backbone,
    *,
    progress: Progress | None = None,
) -> Choice:
    """Settle what strategy `auto` leaves open, by measuring on the data to train on.

    The same arguments give the same choice: no clock decides anything.

    Args:
        data: to train on; what is kept for validation is not among them.
        options: with strategy `auto`. What the user has set, as `model_fields_set` says, stays as it is.
        settings: likewise.
        backbone: with its weights, in evaluation mode, on the device to compute on.
        progress: is told of each picture that passed through the backbone; it is started and finished here.

    Raises:
        DataError: the data are not of classes, or too few to hold anything out, or a picture cannot be read.
        UsageError: the pattern for groups is wrong.
    """
    if options.weights == NO_WEIGHTS:
        decision, measured = _from_scratch(options), {}
    else:
        device = next(backbone.parameters()).device

        @contextmanager
        def show(total: int, noun: str) -> Iterator[Progress]:
            # One progress cannot count different things.
            shown = progress if progress is not None and noun == "pictures" else Progress()
            shown.start(0)
            try:
                yield shown
            finally:
                shown.finish()

        measurements = measure(
            data, options, settings, backbone, limits=Limits(leave_out=False), show=show, device=device
        )
        decision, measured = decide(measurements, options), as_json(measurements)
    return Choice(
        options=decision.options,
        settings=with_defaults(settings, decision.options),
        measured={"reason": decision.reason, **measured},
    )


def decide(measurements: Measurements, options: ClassifyOptions) -> Decision:
    """The strategy that was measured to be the best, a cheap one where that is about as good.

    A head on features is chosen by its cross-validated accuracy. A fine-tune is preferred to it if the short one gained
    more than `LEAST_GAIN` over the head that it started with, and with it over the best head.
    """
    if options.weights == NO_WEIGHTS:
        return _from_scratch(options)
    best, start, finetune = measurements.best, measurements.start, measurements.finetune
    found = f"{describe(best.options)} did best among the heads, with {in_words(best.accuracy)} right"
    if finetune is None or start is None:
        return Decision(options=best.options, reason=f"{found}; {measurements.why_no_finetune}.")
    expected = start.accuracy.value + finetune.gain.value - best.accuracy.value
    gained = f"a short fine-tune changed that of {describe(start.options)} by {in_points(finetune.gain)}"
    if expected <= LEAST_GAIN:
        return Decision(options=best.options, reason=f"{found}; {gained}, which is not worth its time.")
    chosen, more = finetune.trial.options, ""
    if "flip" not in options.model_fields_set and finetune.mirror_loss > MOST_MIRROR_LOSS:
        chosen = chosen.model_copy(update={"flip": False})
        more = f" Mirrored pictures are told right {100 * finetune.mirror_loss:.0f} points less often: not to be shown."
    return Decision(options=chosen, reason=f"{found}; {gained}.{more}")


def _from_scratch(options: ClassifyOptions) -> Decision:
    chosen = options.model_copy(update={"strategy": "scratch"})
    return Decision(options=chosen, reason="Random weights know nothing to keep, so that everything has to learn.")


def as_json(measurements: Measurements) -> dict[str, Any]:
    """What a choice rests on, without anything that a clock has said."""
    material = measurements.material
    tried = [
        {"strategy": describe(trial.options), "pictures": len(trial.judged), **_figure(trial.accuracy)}
        for trial in measurements.trials
    ]
    finetune = measurements.finetune
    short = None
    if finetune is not None:
        short = {
            "strategy": describe(finetune.trial.options),
            "pictures": len(finetune.trial.judged),
            **_figure(finetune.trial.accuracy),
            "gain": _figure(finetune.gain),
            "mirror_loss": finetune.mirror_loss,
            "learnt_from": finetune.learnt,
            "epochs": finetune.epochs,
        }
    return {
        "pictures": len(material.labels),
        "of": material.total,
        "folds": material.fold_count,
        "heads": tried,
        "finetune": short,
        "notes": list(measurements.notes),
    }


def _figure(figure: Figure) -> dict[str, float | None]:
    return {figure.name: figure.value, "low": figure.low, "high": figure.high}


def in_words(figure: Figure) -> str:
    """A share with its interval.

    Example:
        >>> in_words(Figure(name="accuracy", value=0.9, low=0.85, high=0.95))
        '90.0 % (85.0 to 95.0)'
    """
    return f"{100 * figure.value:.1f} %{_interval(figure, '.1f')}"


def in_points(figure: Figure) -> str:
    """A difference of shares with its interval.

    Example:
        >>> in_points(Figure(name="gain", value=0.025, low=-0.01, high=0.06))
        '+2.5 points (-1.0 to +6.0)'
    """
    return f"{100 * figure.value:+.1f} points{_interval(figure, '+.1f')}"


def _interval(figure: Figure, digits: str) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" ({100 * figure.low:{digits}} to {100 * figure.high:{digits}})"
