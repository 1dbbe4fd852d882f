"""Predictions against a data set, whatever the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cvtl._lazy import resolve
from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Target
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.bootstrap import GroupedScorer, with_intervals
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.found import Predictions
from cvtl.evaluation.settings import EvalSettings
from cvtl.progress import Progress
from cvtl.splits import compile_pattern, named_groups
from cvtl.tasks import TaskName

_EVALUATORS: Mapping[str, str] = {
    "classify": "cvtl.evaluation.classes:evaluate_classes",
    "localize": "cvtl.evaluation.objects:evaluate_objects",
    "detect": "cvtl.evaluation.detection.boxes:evaluate_boxes",
    "landmarks": "cvtl.evaluation.points:evaluate_points",
}
_TARGETS: Mapping[str, type[Target]] = {
    "classify": ClassTarget,
    "localize": BoxesTarget,
    "detect": BoxesTarget,
    "landmarks": PointsTarget,
}
_NOUNS: Mapping[type[Target], str] = {ClassTarget: "one class each", BoxesTarget: "boxes", PointsTarget: "points"}


def evaluate(
    predictions: Predictions,
    dataset: Dataset,
    settings: EvalSettings | None = None,
    *,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare predictions with what is known about a data set's pictures.

    Args:
        predictions: one answer for each sample.
        dataset: of samples with targets of the predictions' task; those that nothing is known about are left out.
        settings: how.
        progress: is told of each draw of the intervals, and of all pictures as of one more.

    Raises:
        DataError: the samples have no targets, or those of another task.
        UsageError: the task has no figures (style), or there are more or fewer answers than samples.

    Example:
        >>> import numpy as np
        >>> from cvtl.data import Sample
        >>> from cvtl.evaluation.found import FoundClasses
        >>> samples = [Sample.of_file(name, name, ClassTarget(label)) for name, label in (("a", 0), ("b", 1))]
        >>> found = FoundClasses(np.array([1, 0]), np.array([0.9, 0.1]))
        >>> predictions = Predictions(name="model", task="classify", found=[found, found])
        >>> evaluation = evaluate(predictions, Dataset(samples, ("cat", "dog"), "memory"))
        >>> evaluation.figures[0].name, evaluation.figures[0].value
        ('top-1 accuracy', 0.5)
    """
    if len(predictions.found) != len(dataset):
        raise UsageError(f"'{predictions.name}' has {len(predictions.found)} answers for {len(dataset)} pictures")
    check_targets(dataset, predictions.task)
    known = [i for i, sample in enumerate(dataset) if sample.target is not None]
    notes = [*predictions.notes, dataset.describe_problems()]
    if len(known) < len(dataset):
        notes.append(f"{len(dataset) - len(known)} pictures without annotations are left out.")
        predictions = replace(predictions, found=[predictions.found[i] for i in known])
        dataset = dataset.subset(known)
    settings = settings or EvalSettings()
    groups = _groups(dataset, settings)
    alone = settings if groups is None else settings.model_copy(update={"draws": 0})
    evaluation: Evaluation = resolve(_EVALUATORS[predictions.task])(predictions, dataset, alone, progress)
    if groups is not None:
        evaluation = _over_groups(evaluation, groups, settings)
    distinct = dict.fromkeys(note for note in (*notes, *evaluation.notes) if note)
    return replace(evaluation, notes=tuple(distinct))


def _groups(dataset: Dataset, settings: EvalSettings) -> npt.NDArray[np.int64] | None:
    """The group of each sample, one of its own where the pattern does not match; None without a pattern."""
    if settings.group_by is None:
        return None
    named = named_groups(dataset, compile_pattern(settings.group_by))
    alone = [f"\0{index}" if group is None else group for index, group in enumerate(named)]
    return np.unique(np.array(alone), return_inverse=True)[1].astype(np.int64)


def _over_groups(evaluation: Evaluation, groups: npt.NDArray[np.int64], settings: EvalSettings) -> Evaluation:
    """The same evaluation with intervals over the choice of groups."""
    scorer, count = GroupedScorer(evaluation.scorer, groups), int(groups.max()) + 1
    figures = with_intervals(scorer, count, settings.draws, settings.seed)
    note = f"The intervals are over the choice of the {count} groups that the pictures belong to."
    return replace(
        evaluation,
        figures=[*figures, *evaluation.figures[len(figures) :]],
        scorer=scorer,
        units=count,
        notes=(*evaluation.notes, note),
    )


def check_targets(dataset: Dataset, task: TaskName) -> None:
    """See that a data set can say what is right in a task.

    Raises:
        DataError: the samples have no targets, or those of another task.
        UsageError: the task has no figures.
    """
    if task not in _TARGETS:
        raise UsageError(f"the task '{task}' has no figures", hint=f"Tasks that have are {', '.join(_TARGETS)}")
    wanted = _TARGETS[task]
    targets = [(sample.name, sample.target) for sample in dataset if sample.target is not None]
    if not targets:
        raise DataError(f"nothing is known about the pictures of '{dataset.root}'", hint="Give a data set with targets")
    for name, target in targets:
        if not isinstance(target, wanted):
            raise DataError(
                f"the task '{task}' needs pictures with {_NOUNS[wanted]}, "
                f"but '{name}' of '{dataset.root}' has {_NOUNS[type(target)]}",
                hint="Give another data set, or read this one in another way with --format",
            )
