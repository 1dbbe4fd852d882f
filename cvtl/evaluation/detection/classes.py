"""What detection comes to class by class: tables, and curves over the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cvtl.evaluation.detection.average_precision import (
    RECALL_LEVELS,
    Interpolation,
    average_precision,
    precision_at_levels,
)
from cvtl.evaluation.detection.coco import CocoFigures
from cvtl.evaluation.detection.matching import match_voc, overlapping
from cvtl.evaluation.detection.outcome import Outcome, ScoreCurve
from cvtl.evaluation.detection.tables import BoxTables, Floats, by_class
from cvtl.reporting.sections import Cell, Curves, Table

_MOST_LINES = 7
_STEPS = 201


def class_table(outcome: Outcome, coco: CocoFigures) -> Table:
    """AP of each class, its best threshold, and what comes of that."""
    tables = outcome.tables
    size = len(tables.classes)
    objects = tables.objects_by_class()
    showing = np.unique(np.column_stack([tables.true.labels, tables.true.pictures])[~tables.true.crowd], axis=0)
    pictures = np.bincount(showing[:, 0], minlength=size)
    right = np.bincount(tables.found.labels[outcome.believed & outcome.right], minlength=size)
    wrong = np.bincount(tables.found.labels[outcome.believed & outcome.wrong], minlength=size)
    rows: list[tuple[Cell, ...]] = []
    for k in np.flatnonzero(objects + np.bincount(tables.found.labels, minlength=size)).tolist():
        counts = int(right[k]), int(wrong[k]), int(objects[k] - right[k])
        figures = float(coco.ap[k]), float(coco.ap50[k]), int(pictures[k]), int(objects[k])
        rows.append((tables.classes[k], *figures, float(outcome.thresholds[k]), *_rates(*counts), *counts))
    if size > 1:
        counts = int(right.sum()), int(wrong.sum()), int((objects - right).sum())
        shown = len(np.unique(showing[:, 1]))
        figures = _mean(coco.ap), _mean(coco.ap50), shown, int(objects.sum())
        rows.insert(0, ("(all)", *figures, None, *_rates(*counts), *counts))
    return Table(
        title="By class",
        columns=(
            *("class", "AP", "AP50", "pictures", "objects"),
            *("threshold", "precision", "recall", "F1", "TP", "FP", "FN"),
        ),
        rows=tuple(rows),
        note="AP and AP50 as COCO has them; pictures and objects: how many there are to find; threshold: the score "
        f"from which on detections of the class have the best F1 at IoU {outcome.iou:g}, and what comes of that. "
        "A class of which nothing was found has the threshold that is best for all classes together. Classes that are "
        "neither there nor found are left out.",
    )


def voc_table(tables: BoxTables, iou: float) -> Table:
    """Pascal VOC's average precision of each class, in both ways.

    Args:
        tables: all detections; VOC sets no limit.
        iou: that an overlap has to reach; VOC's own is 0.5.
    """
    ways: tuple[Interpolation, ...] = ("voc", "voc-11")
    figures = np.column_stack([voc_average_precision(tables, iou, way) for way in ways])
    size = len(tables.classes)
    excused = tables.true.crowd | tables.true.difficult
    objects = np.bincount(tables.true.labels[~excused], minlength=size)
    difficult = np.bincount(tables.true.labels[excused], minlength=size)
    rows: list[tuple[Cell, ...]] = [
        (tables.classes[k], int(objects[k]), int(difficult[k]), *figures[k].tolist())
        for k in np.flatnonzero(objects + difficult).tolist()
    ]
    if size > 1:
        rows.insert(0, ("(mean)", int(objects.sum()), int(difficult.sum()), *(_mean(each) for each in figures.T)))
    return Table(
        title=f"Pascal VOC AP at IoU {iou:g}",
        columns=("class", "objects", "excused", "AP", "AP at 11 points"),
        rows=tuple(rows),
        note="AP: under the whole curve, as VOC from 2010 on; at 11 points: as before. Excused: objects that are "
        "difficult, or crowds, which are neither missed nor found.",
    )


def voc_average_precision(
    tables: BoxTables, iou: float, interpolation: Interpolation = "voc", *, inclusive: bool = False
) -> Floats:
    """Pascal VOC's average precision of each class.

    Args:
        tables: all detections and objects.
        iou: that an overlap has to reach.
        interpolation: `voc` (2010 and later) or `voc-11` (before).
        inclusive: take coordinates for numbers of pixels, as `cvtl.evaluation.detection.matching.overlapping` says.

    Returns:
        float64 (K,); NaN where there is nothing to find.
    """
    found, true = tables.found, tables.true
    pairs = overlapping(found, true, iou, crowd_by_detection=False, inclusive=inclusive)
    matches = match_voc(found, true, pairs, iou)
    (right,), (ignored,) = matches.right, matches.ignored
    totals = np.bincount(true.labels[~(true.crowd | true.difficult)], minlength=len(tables.classes))
    precisions = np.empty(len(totals))
    for k, which in enumerate(by_class(found.labels, len(totals))):
        hits, counted = np.cumsum(right[which]), np.cumsum(~ignored[which])
        precisions[k] = average_precision(hits, counted, totals[k], interpolation)
    return precisions


def precision_recall_curves(outcome: Outcome) -> Curves:
    """Precision over recall, of the classes with the most objects and the mean of all."""

    def line(curve: ScoreCurve) -> tuple[Floats, Floats]:
        return RECALL_LEVELS, precision_at_levels(curve.hits, curve.found, curve.total)

    lines = _lines(outcome, line)
    shown = [line(curve)[1] for curve in outcome.curves if curve.total]
    if len(shown) > 1:
        lines = {"(mean of classes)": (RECALL_LEVELS, np.mean(shown, axis=0)), **lines}
    return Curves(
        title="Precision and recall",
        x_label="recall",
        y_label="precision",
        lines=lines,
        x_range=(0, 1),
        y_range=(0, 1),
        note=f"At IoU {outcome.iou:g}, the best precision at this or any higher recall. {_which(outcome)}".rstrip(),
    )


def f1_curves(outcome: Outcome) -> Curves:
    """F1 over the score threshold, of the classes with the most objects and of all together."""
    scores = outcome.tables.found.scores
    ends = min(0.0, scores.min(initial=0)), max(1.0, scores.max(initial=1))
    thresholds = np.linspace(*ends, _STEPS)
    lines = _lines(outcome, lambda curve: (thresholds, curve.f1_at(thresholds)))
    note = f"At IoU {outcome.iou:g}. {_which(outcome)}".rstrip()
    if sum(curve.total > 0 for curve in outcome.curves) > 1:
        lines = {"(all together)": (thresholds, outcome.together.f1_at(thresholds)), **lines}
        best = outcome.together.best_threshold()
        note += "" if best is None else f" With one threshold for all classes, {best:.4g} is best."
    return Curves(
        title="F1 and score threshold",
        x_label="score threshold",
        y_label="F1",
        lines=lines,
        x_range=ends,
        y_range=(0, 1),
        note=note,
    )


def _lines(
    outcome: Outcome, line: Callable[[ScoreCurve], tuple[Floats, Floats]]
) -> Mapping[str, tuple[Floats, Floats]]:
    totals = [curve.total for curve in outcome.curves]
    most = sorted(np.argsort(np.negative(totals), kind="stable")[:_MOST_LINES])
    return {outcome.tables.classes[k]: line(outcome.curves[k]) for k in most if totals[k]}


def _which(outcome: Outcome) -> str:
    shown = sum(curve.total > 0 for curve in outcome.curves)
    return f"Of {shown} classes the {_MOST_LINES} with the most objects are shown." if shown > _MOST_LINES else ""


def _rates(right: int, wrong: int, missed: int) -> tuple[float | None, float | None, float | None]:
    """Precision, recall and F1; None where there is nothing to divide by."""
    precision = right / (right + wrong) if right + wrong else None
    recall = right / (right + missed) if right + missed else None
    f1 = 2 * right / (2 * right + wrong + missed) if right + missed else None
    return precision, recall, f1


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan
