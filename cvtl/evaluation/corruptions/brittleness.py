"""How much of a figure is left when pictures are corrupted: figures with intervals, a table, curves and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.evaluation.bootstrap import with_intervals
from cvtl.evaluation.classes import OTHER
from cvtl.evaluation.corruptions.kinds import CORRUPTIONS, STRENGTHS
from cvtl.evaluation.corruptions.passes import Case, CorruptedPredictions
from cvtl.evaluation.evaluate import evaluate
from cvtl.evaluation.evaluation import Evaluation, Floats, Scorer, WatchedScorer
from cvtl.evaluation.found import Found, FoundClasses, Predictions
from cvtl.evaluation.settings import EvalSettings
from cvtl.progress import Progress
from cvtl.reporting.sections import Cell, Curves, Gallery, Section, Table, Thumbnail


@dataclass(frozen=True, eq=False)
class BrittlenessScorer:
    """The mean of a figure over all corruptions, and by how much the clean figure is better.

    Attributes:
        clean: scores the pictures as they are.
        corrupted: score what they become.
        figure: number of the figure among those of the scorers, of which a higher one is better.
    """

    clean: Scorer
    corrupted: Sequence[Scorer]
    figure: int

    @property
    def names(self) -> tuple[str, str]:
        """The mean, and the drop from the clean figure to it."""
        name = self.clean.names[self.figure]
        return f"mean corrupted {name}", f"drop of {name}"

    @property
    def higher_is_better(self) -> tuple[bool, bool]:
        """A drop is not."""
        return True, False

    def __call__(self, weights: Floats) -> Floats:
        """The figures, (D, 2), for weights (D, N)."""
        mean = np.mean([scorer(weights)[:, self.figure] for scorer in self.corrupted], axis=0)
        return np.column_stack([mean, self.clean(weights)[:, self.figure] - mean])


def evaluate_corrupted(
    predictions: CorruptedPredictions,
    dataset: Dataset,
    settings: EvalSettings | None = None,
    *,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare what was found in corrupted pictures with what was found in them as they are.

    What is compared is the task's first figure of which more is better: top-1 accuracy, class accuracy, AP, PCK.

    Args:
        predictions: of all samples.
        dataset: the samples.
        settings: how.
        progress: is told of each draw.

    Returns:
        An evaluation whose figures are those of `BrittlenessScorer`.
    """
    settings = settings or EvalSettings()
    plain = settings.model_copy(update={"draws": 0, "examples": 0})
    clean = evaluate(predictions.clean, dataset, plain)
    corrupted = {case: evaluate(each, dataset, plain) for case, each in predictions.corrupted.items()}
    figure = clean.scorer.higher_is_better.index(True)
    scorer = BrittlenessScorer(clean.scorer, [each.scorer for each in corrupted.values()], figure)
    name, value = clean.figures[figure].name, clean.figures[figure].value
    values: dict[str, list[float]] = {}
    for (kind, _), each in corrupted.items():
        values.setdefault(kind, []).append(each.figures[figure].value)
    sections: list[Section] = [_table(name, value, values), _amounts(predictions), _curves(name, value, values)]
    if settings.examples:
        sections += _gallery(predictions, dataset)
    watched = WatchedScorer(scorer, progress or Progress())
    return Evaluation(
        name=clean.name,
        task=clean.task,
        pictures=clean.pictures,
        figures=with_intervals(watched, clean.units or clean.pictures, settings.draws, settings.seed),
        scorer=watched,
        sections=sections,
        units=clean.units,
        notes=(*clean.notes, *_unanswered(predictions, dataset)),
    )


def _table(name: str, clean: float, values: Mapping[str, Sequence[float]]) -> Table:
    over_all = np.mean(list(values.values()), axis=0).tolist()
    rows: list[tuple[Cell, ...]] = [("clean", *(None,) * len(STRENGTHS), clean, None)]
    for kind, row in (*values.items(), ("all", over_all)):
        mean = float(np.mean(row))
        rows.append((kind, *row, mean, clean - mean))
    return Table(
        title=f"Corruptions: {name}",
        columns=("corruption", *map(str, STRENGTHS), "mean", "drop"),
        rows=tuple(rows),
        note="At strengths 1 to 5; drop: by how much the mean is below the figure of the clean pictures.",
    )


def _amounts(predictions: CorruptedPredictions) -> Table:
    kinds = dict.fromkeys(kind for kind, _ in predictions.corrupted)
    rows = [(kind, CORRUPTIONS[kind].unit, *CORRUPTIONS[kind].amounts) for kind in kinds]
    return Table(
        title="Corruptions: what the strengths are",
        columns=("corruption", "unit", *map(str, STRENGTHS)),
        rows=tuple(rows),
    )


def _curves(name: str, clean: float, values: Mapping[str, Sequence[float]]) -> Curves:
    strengths = np.array([0.0, *STRENGTHS])
    lines = {kind: (strengths, np.array([clean, *row])) for kind, row in values.items()}
    return Curves(
        title=f"Corruptions: {name} against strength",
        x_label="strength",
        y_label=name,
        # Behind the kinds, so that it gets the colour of what is only there to compare with.
        lines={**lines, "clean": (strengths, np.full(len(strengths), clean))},
        y_range=(0, 1),
        note="Strength 0 and the level line: the clean pictures.",
    )


def _gallery(predictions: CorruptedPredictions, dataset: Dataset) -> list[Section]:
    """One picture as it is and under everything, with what was found in it; a row for each kind."""
    answered = [i for i, found in enumerate(predictions.clean.found) if found is not None]
    if not answered:
        return []
    # Rather one that the model knows when it is clean.
    index = next((i for i in answered if _is_right(predictions.clean.found[i], dataset[i])), answered[0])
    sample, true = dataset[index], dataset[index].target
    shown: list[tuple[Case | None, str, Predictions]] = []
    for (kind, strength), each in predictions.corrupted.items():
        if strength == STRENGTHS[0]:
            shown.append((None, "clean", predictions.clean))
        shown.append(((kind, strength), f"{kind} {strength}", each))
    thumbnails = [
        Thumbnail(
            sample=replace(sample, read=partial(predictions.read, sample, case)),
            caption=name + _answer(each.found[index], dataset.classes),
        )
        for case, name, each in shown
    ]
    note = f"It shows: {dataset.classes[true.label]}." if isinstance(true, ClassTarget) else ""
    columns = 1 + len(STRENGTHS)
    return [Gallery(title="Corruptions of one picture", thumbnails=tuple(thumbnails), note=note, columns=columns)]


def _is_right(found: Found | None, sample: Sample) -> bool:
    true = sample.target
    return isinstance(found, FoundClasses) and isinstance(true, ClassTarget) and bool(found.labels[0] == true.label)


def _answer(found: Found | None, classes: Sequence[str]) -> str:
    if found is None:
        return ": no answer"
    if not isinstance(found, FoundClasses):
        return ""
    label = int(found.labels[0])
    return f": {classes[label] if label >= 0 else OTHER} ({found.scores[0]:.2f})"


def _unanswered(predictions: CorruptedPredictions, dataset: Dataset) -> list[str]:
    """A note on pictures that have an answer as they are, and none when they are corrupted."""
    clean = predictions.clean.found
    lost = [
        f"'{sample.name}' ({kind} {strength})"
        for (kind, strength), each in predictions.corrupted.items()
        for sample, before, after in zip(dataset, clean, each.found, strict=True)
        if before is not None and after is None
    ]
    example = f"such as {lost[0]}: they count as nothing found." if lost else ""
    return [f"{len(lost)} corrupted pictures have no answer, {example}"] if lost else []
