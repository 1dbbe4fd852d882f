"""Which class is taken for which, and what for background."""

from __future__ import annotations

import numpy as np

from cvtl.evaluation.detection.matching import overlapping, take_turns
from cvtl.evaluation.detection.outcome import Outcome
from cvtl.evaluation.detection.tables import Ints, ranks_within
from cvtl.reporting.sections import Matrix


def confusion_counts(outcome: Outcome) -> Ints:
    """How often each class was found as each.

    Detections below their class's best-F1 threshold are left out. The others are first matched within their class, as
    for AP, so that the diagonal holds the true positives; then, best score first, each false positive takes the object
    that it overlaps most among the missed ones of other classes.

    Returns:
        int64 (K + 1, K + 1): rows are true classes, columns what they were found as, the last ones background: objects
        missed, and detections where there is nothing.
    """
    found, true = outcome.tables.found, outcome.tables.true
    background = len(outcome.tables.classes)
    left = found.select(outcome.believed & outcome.wrong)
    missed = true.select(outcome.missed)
    pairs = overlapping(left, missed, outcome.iou, across_classes=True)
    turns = ranks_within(left.pictures)
    order = np.lexsort((pairs.true, -pairs.ious, pairs.found, turns[pairs.found]))
    (taken,) = take_turns(pairs.select(order), turns, np.array([outcome.iou]), missed.crowd)
    still_missed = np.ones(len(missed), bool)
    still_missed[taken[taken >= 0]] = False

    right = found.labels[outcome.believed & outcome.right]
    of_true = np.concatenate([right, np.append(missed.labels, background)[taken], missed.labels[still_missed]])
    of_found = np.concatenate([right, left.labels, np.full(still_missed.sum(), background)])
    size = background + 1
    return np.bincount(of_true * size + of_found, minlength=size * size).reshape(size, size)


def confusion_matrix(outcome: Outcome) -> Matrix:
    """The counts to be shown."""
    return Matrix(
        title="Confusion",
        row_label="true class",
        column_label="found as",
        rows=(*outcome.tables.classes, "(nothing there)"),
        columns=(*outcome.tables.classes, "(missed)"),
        values=confusion_counts(outcome).astype(np.float64),
        note=f"Detections from their class's best-F1 threshold on, at IoU {outcome.iou:g}. They are matched within "
        "their class first, so that the diagonal holds the true positives, and what is left over across classes.",
    )
