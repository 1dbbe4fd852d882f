"""What `cvtl advise` has to show: tables, curves, a picture of them, and the same for programs."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvtl.backbones import Backbone
from cvtl.features import FeatureSpace
from cvtl.files import write_atomically
from cvtl.reporting.sections import Cell, Curves, Figure, Section, Table
from cvtl.reporting.values import to_json
from cvtl.training.settings import TrainSettings
from cvtl_classify.advice import choosing
from cvtl_classify.advice.choosing import Decision, in_points, in_words
from cvtl_classify.advice.guide import LARGE, Quadrant, quadrant
from cvtl_classify.advice.measuring import Measurements
from cvtl_classify.advice.probing import Trial, describe
from cvtl_classify.advice.similarity import SIMILAR
from cvtl_classify.options import ClassifyOptions
from cvtl_classify.recipes import RECIPES

# Backward takes about twice as long as forward.
_TRAINING_PASSES = 3
_HEADS = ("linear", "svm")
_INTERVALS = "Intervals are over other choices of pictures (of groups, where there are some)."


@dataclass(frozen=True, kw_only=True)
class Advice:
    """All that was found out about some data.

    Attributes:
        backbone: that was measured.
        measurements: of its heads, and of a short fine-tune.
        distances: how far the data lie from natural photographs at each stage.
        decision: what to do.
        command: the command line that does it.
    """

    backbone: Backbone
    measurements: Measurements
    distances: Mapping[FeatureSpace, float]
    decision: Decision
    command: str

    @property
    def distance(self) -> float:
        """The mean over the stages."""
        return float(np.mean(list(self.distances.values())))

    @property
    def quadrant(self) -> Quadrant:
        """Where the data stand in the lectures' table."""
        return quadrant(self.measurements.material.pictures_per_class, self.distance)


def command_line(path: str, options: ClassifyOptions, settings: TrainSettings) -> str:
    """The `cvtl train` that does what the options and settings say, to be pasted into a shell.

    Example:
        >>> options = ClassifyOptions(strategy="features", head="svm", stages="all", weights="my weights.pth")
        >>> command_line("photos", options, TrainSettings())
        "cvtl train classify photos --backbone squeezenet1_1 --weights 'my weights.pth' --strategy features --head svm
          --stages all"
    """
    words = ["cvtl", "train", "classify", path]
    always = {"backbone", "weights", "strategy", "head"}
    for name, field in ClassifyOptions.model_fields.items():
        value = getattr(options, name)
        if (name in always and value is not None) or value != field.get_default(call_default_factory=True):
            words += _option(name, value)
    for name in sorted(settings.model_fields_set):
        words += _option(name, getattr(settings, name))
    return shlex.join(words)


def _option(name: str, value: object) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    return [f"{option}={str(value).lower()}"] if isinstance(value, bool) else [option, str(value)]


def figures(advice: Advice) -> list[Figure]:
    """The headline figures."""
    found = advice.measurements
    made = [Figure(name="accuracy of the best head", **_ends(found.best.accuracy))]
    if found.finetune is not None:
        made.append(Figure(name="gain by a short fine-tune", **_ends(found.finetune.gain)))
    made.append(Figure(name="distance from natural photographs", value=advice.distance))
    return [*made, Figure(name="pictures a class", value=float(found.material.pictures_per_class))]


def _ends(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high}


def sections(advice: Advice) -> list[Section]:
    """Everything else, in the order to show it."""
    return [_stages(advice), _others(advice), _costs(advice), _guide(advice), curves(advice)]


def conclusion(advice: Advice) -> list[str]:
    """What to do, why, and what the lectures' table would have said, a sentence or two each."""
    stands = advice.quadrant
    per_class = advice.measurements.material.pictures_per_class
    agrees = stands.agrees(advice.decision.options)
    same = "that is what did best here" if agrees else "what was measured says otherwise, and is what counts"
    return [
        advice.decision.reason,
        f"The two-by-two table: {per_class} pictures a class, {advice.distance:.2f} from natural photographs: "
        f"{stands.name}. It advises {stands.advice}; {same}.",
    ]


def as_json(advice: Advice) -> dict[str, Any]:
    """The same for programs."""
    stands = advice.quadrant
    return {
        "command": advice.command,
        "options": advice.decision.options.model_dump(mode="json"),
        "reason": advice.decision.reason,
        "quadrant": {
            "large": stands.large,
            "similar": stands.similar,
            "advice": stands.advice,
            "agrees": stands.agrees(advice.decision.options),
        },
        "distances": {space.stage: distance for space, distance in advice.distances.items()},
        "measured": choosing.as_json(advice.measurements),
        **to_json(figures(advice), sections(advice)),
    }


def _by_stage(advice: Advice) -> Iterator[tuple[str, dict[str, Trial]]]:
    """Each stage's name, and the trial of each head on it alone."""
    last = advice.backbone.stages[-1].name
    for stage in advice.backbone.stages:
        plain: dict[str, Trial] = {
            trial.options.head: trial
            for trial in advice.measurements.trials
            if _is_plain(trial.options) and (trial.options.cut or last) == stage.name
        }
        yield stage.name, plain


def _is_plain(options: ClassifyOptions) -> bool:
    return options.stages == "last" and options.pooling == "average" and options.head in _HEADS


def _stages(advice: Advice) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for stage, (name, trials) in zip(advice.backbone.stages, _by_stage(advice), strict=True):
        heads = [_percent(trials[head].accuracy) if head in trials else None for head in _HEADS]
        seconds = sum(trial.seconds for trial in trials.values())
        rows.append((name, stage.channels, stage.stride, *heads, seconds, advice.distances[FeatureSpace(name)]))
    material = advice.measurements.material
    return Table(
        title="Heads on what each stage sees",
        columns=("stage", "channels", "stride", *(f"{head}, %" for head in _HEADS), "seconds", "distance"),
        rows=tuple(rows),
        note=f"Accuracy with its 95 % interval, by {material.fold_count}-fold cross-validation on "
        f"{len(material.labels)} pictures, on features averaged over the map. {_INTERVALS} Seconds: one training of "
        "both heads. Distance: from natural photographs, 1 being as far as one of scikit-learn's two photographs is "
        "from the other.",
    )


def _others(advice: Advice) -> Table:
    found = advice.measurements
    others = [trial for trial in found.trials if not _is_plain(trial.options)]
    rows = [_row(trial) for trial in others]
    note = ""
    if found.finetune is None:
        note = f"{found.why_no_finetune[:1].upper()}{found.why_no_finetune[1:]}."
    else:
        tuned = found.finetune
        trial = tuned.trial
        rows.append(_row(trial))
        note = (
            f"The short fine-tune learnt from {tuned.learnt} pictures in {tuned.epochs} epochs, without augmentation, "
            "and changed the accuracy of the head that it started with, on the same pictures, by "
            f"{in_points(tuned.gain)}. Its accuracy cannot be compared with those of the heads, which learnt from more "
            "and were judged by others."
        )
    return Table(
        title="Other strategies",
        columns=("strategy", "judged on", "accuracy", "seconds"),
        rows=tuple(rows),
        note=note,
    )


def _percent(figure: Figure) -> str:
    interval = "" if figure.low is None or figure.high is None else f" ({100 * figure.low:.1f}-{100 * figure.high:.1f})"
    return f"{100 * figure.value:.1f}{interval}"


def _row(trial: Trial) -> tuple[Cell, ...]:
    return describe(trial.options), len(trial.judged), in_words(trial.accuracy), trial.seconds


def _costs(advice: Advice) -> Table:
    """Seconds of whole trainings, from what was measured."""
    found = advice.measurements
    pictures, look = found.material.total, found.look_seconds
    recipe = RECIPES[advice.decision.options.recipe]
    learnt = 1 - 1 / found.material.fold_count
    share = found.material.total / (learnt * len(found.material.labels))
    head = found.best.seconds * share
    whole = None if look is None else look * pictures
    tuned = None
    if found.finetune is not None:
        tuned = found.finetune.pass_seconds * pictures * _epochs(recipe.settings("finetune", "linear"))
    full = None if look is None else _TRAINING_PASSES * look * pictures * _epochs(recipe.settings("full", "linear"))
    rows: tuple[tuple[Cell, ...], ...] = (
        ("features, the first time", None if whole is None else whole + head),
        ("features, from the cache", head),
        ("finetune", tuned),
        ("full", full),
    )
    return Table(
        title="Seconds of a whole training",
        columns=("strategy", "seconds"),
        rows=rows,
        note=f"Estimated for {pictures} pictures from what was measured here: the time of one pass of a picture, and "
        f"{_TRAINING_PASSES} times that where everything learns, times the recipe's epochs. A dash: not measured, or "
        "the features were in the cache.",
    )


def _epochs(settings: Mapping[str, Any]) -> int:
    epochs: int = settings.get("epochs", TrainSettings().epochs)
    return epochs


def _guide(advice: Advice) -> Table:
    def cell(*, large: bool, similar: bool) -> str:
        each = Quadrant(large, similar)
        return f"{each.advice}{' <- these data' * (each == advice.quadrant)}"

    return Table(
        title="The two-by-two table",
        columns=("", f"small: below {LARGE} pictures a class", f"large: {LARGE} or more"),
        rows=tuple(
            (name, cell(large=False, similar=similar), cell(large=True, similar=similar))
            for name, similar in ((f"similar: distance {SIMILAR:g} or less", True), ("different: more", False))
        ),
        note="A rule of thumb (CS231n, after arXiv 1411.1792); the recommendation goes by what was measured.",
    )


def curves(advice: Advice) -> Curves:
    """Accuracy against stage: how general or specific each is."""
    names = [stage.name for stage in advice.backbone.stages]
    lines = {}
    for head in _HEADS:
        known = [(number, trials[head]) for number, (_, trials) in enumerate(_by_stage(advice), 1) if head in trials]
        if known:
            x = np.array([number for number, _ in known], np.float64)
            lines[head] = (x, np.array([trial.accuracy.value for _, trial in known]))
    return Curves(
        title="Accuracy against stage",
        x_label=f"stage: {', '.join(f'{number} {name}' for number, name in enumerate(names, 1))}",
        y_label="accuracy",
        lines=lines,
        note="Where it falls towards the end, late stages are too specific to what the network was trained on; where "
        "it still rises there, they serve these data too (arXiv 1411.1792).",
    )


def write_picture(advice: Advice, path: Path) -> None:
    """The same curves with their intervals, as PNG."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = canvas.subplots()
    for shift, head in ((-0.04, "linear"), (0.04, "svm")):
        known = [(x, trials[head].accuracy) for x, (_, trials) in enumerate(_by_stage(advice)) if head in trials]
        accuracies = [accuracy for _, accuracy in known]
        values = [accuracy.value for accuracy in accuracies]
        axes.errorbar([x + shift for x, _ in known], values, _reach(accuracies), capsize=3, label=head)
    best = advice.measurements.best
    if not _is_plain(best.options):
        axes.axhline(best.accuracy.value, linestyle=":", color="grey", label=describe(best.options))
    axes.set_xticks(range(len(advice.backbone.stages)), [stage.name for stage in advice.backbone.stages])
    axes.set(xlabel="stage", ylabel="accuracy, with 95 % intervals")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    canvas.savefig(picture, format="png", metadata={"Software": None})
    write_atomically(path, picture.getvalue())


def _reach(accuracies: Sequence[Figure]) -> list[list[float]]:
    """How far intervals reach below and above; 0 where there is none."""
    below = [0.0 if each.low is None else each.value - each.low for each in accuracies]
    above = [0.0 if each.high is None else each.high - each.value for each in accuracies]
    return [below, above]
