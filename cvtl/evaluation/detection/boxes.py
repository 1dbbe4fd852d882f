"""Detection: COCO's figures, Pascal VOC's, what each class comes to, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cvtl.data import BoxesTarget, Dataset
from cvtl.evaluation.bootstrap import with_intervals
from cvtl.evaluation.detection.classes import class_table, f1_curves, precision_recall_curves, voc_table
from cvtl.evaluation.detection.coco import coco_figures
from cvtl.evaluation.detection.confusion import confusion_matrix
from cvtl.evaluation.detection.error_types import error_sections, find_errors
from cvtl.evaluation.detection.galleries import false_positives, misses
from cvtl.evaluation.detection.outcome import Outcome, judge
from cvtl.evaluation.detection.scorer import BoxScorer
from cvtl.evaluation.detection.tables import MAX_DETECTIONS, BoxTables, tabulate
from cvtl.evaluation.evaluation import Evaluation, WatchedScorer
from cvtl.evaluation.found import FoundBoxes, Predictions
from cvtl.evaluation.settings import EvalSettings
from cvtl.progress import Progress
from cvtl.reporting.sections import Section

_LISTED = 5


def evaluate_boxes(
    predictions: Predictions, dataset: Dataset, settings: EvalSettings, progress: Progress | None = None
) -> Evaluation:
    """Compare the boxes that were found with those that are there.

    Figures: COCO's twelve (`cvtl.evaluation.detection.coco.COCO_FIGURES`), computed by `settings.engine`.

    Args:
        predictions: `FoundBoxes` or None for each sample.
        dataset: samples with a `BoxesTarget` each.
        settings: how.
        progress: is told of each draw.

    Raises:
        UsageError: the engine is not installed.
    """
    order = _cocos_order(dataset)
    dataset, answers = dataset.subset(order), [predictions.found[i] for i in order]
    found = [answer if isinstance(answer, FoundBoxes) else None for answer in answers]
    targets = [sample.target for sample in dataset if isinstance(sample.target, BoxesTarget)]
    everything = tabulate(found, targets, dataset.classes)
    tables = everything.best(MAX_DETECTIONS)
    coco = coco_figures(tables, settings.engine)
    scorer = WatchedScorer(BoxScorer(tables), progress or Progress())
    figures = with_intervals(scorer, len(dataset), settings.draws, settings.seed)
    outcome = judge(tables, settings.iou)
    sections = [class_table(outcome, coco), voc_table(everything, settings.iou), *_sections(outcome, dataset, settings)]
    return Evaluation(
        name=predictions.name,
        task="detect",
        pictures=len(dataset),
        figures=[replace(each, value=float(value)) for each, value in zip(figures, coco.figures, strict=True)],
        scorer=scorer,
        sections=sections,
        notes=tuple(_notes(everything, tables)),
    )


def _cocos_order(dataset: Dataset) -> list[int]:
    """Pictures by COCO's numbers, where they have them: its code breaks ties of scores in this order."""
    numbers = [sample.image_id for sample in dataset]
    known = [number for number in numbers if number is not None]
    order = range(len(numbers))
    return sorted(order, key=known.__getitem__) if len(known) == len(numbers) else list(order)


def _sections(outcome: Outcome, dataset: Dataset, settings: EvalSettings) -> Iterator[Section]:
    errors = find_errors(outcome)
    yield from error_sections(outcome, errors)
    yield precision_recall_curves(outcome)
    yield f1_curves(outcome)
    yield confusion_matrix(outcome)
    if settings.examples:
        yield false_positives(outcome, errors, dataset, settings.examples)
        yield misses(outcome, dataset, settings.examples)


def _notes(everything: BoxTables, tables: BoxTables) -> Iterator[str]:
    true = everything.true
    objects = everything.objects_by_class()
    if not objects.any():
        yield "There is no object to find, so that there is nothing to measure."
    elif not objects.all():
        empty = [everything.classes[k] for k in np.flatnonzero(objects == 0)]
        more = f" and {len(empty) - _LISTED} more" if len(empty) > _LISTED else ""
        yield f"Classes without an object in these pictures do not count: {', '.join(empty[:_LISTED])}{more}."
    if not len(everything.found):
        yield "Nothing was found in any picture."
    if len(tables.found) < len(everything.found):
        yield (
            f"{len(everything.found) - len(tables.found)} detections beyond the best {MAX_DETECTIONS} of a picture and "
            "class count for VOC's AP only, as COCO has it."
        )
    inverted = (everything.found.boxes[:, 2:] < everything.found.boxes[:, :2]).any(axis=1)
    if inverted.any():
        yield f"{inverted.sum()} detections have a negative width or height, and overlap nothing."
    if true.difficult.any():
        yield f"{true.difficult.sum()} objects are marked as difficult: VOC's AP excuses them, all else counts them."
    if true.crowd.any():
        yield f"{true.crowd.sum()} boxes are round crowds: nobody misses them, and what lies in them is not counted."
