"""Which class is taken for which, and what for background."""

from __future__ import annotations

import numpy as np

from cvtl.evaluation.classes import most_mistaken
from cvtl.evaluation.detection.matching import overlapping, take_turns
from cvtl.evaluation.detection.outcome import Outcome
from cvtl.evaluation.detection.tables import Ints, ranks_within
from cvtl.reporting.sections import Matrix


def confused_pairs(outcome: Outcome) -> tuple[Ints, Ints]:
    """What each object was found as, and what each detection was of.

    Detections below their class's best-F1 threshold are left out. The others are first matched within their class, as
    for AP, so that the diagonal holds the true positives; then, best score first, each false positive takes the object
    that it overlaps most among the missed ones of other classes.

    Returns:
        True labels and labels found, int64 (P,) each; K, the number of classes, stands for background: objects missed,
        and detections where there is nothing.
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
    return of_true, of_found


def confusion_matrix(outcome: Outcome) -> Matrix:
    """How often each class was found as each, with background; of many classes, those with the most mistakes."""
    of_true, of_found = confused_pairs(outcome)
    classes = outcome.tables.classes
    shown = most_mistaken(of_true, of_found, len(classes))
    # Behind the classes that are shown: the others, then background.
    place = np.full(len(classes) + 1, len(shown))
    place[shown], place[-1] = np.arange(len(shown)), len(shown) + 1
    counts = np.zeros((len(shown) + 2, len(shown) + 2))
    np.add.at(counts, (place[of_true], place[of_found]), 1)
    names = tuple(classes[label] for label in shown.tolist())
    counts = np.delete(counts, len(shown), axis=0)
    note = f"The {len(shown)} of {len(classes)} classes with the most mistakes. "
    if len(shown) == len(classes):
        counts, note = np.delete(counts, len(shown), axis=1), ""
    return Matrix(
        title="Confusion",
        row_label="true class",
        column_label="found as",
        rows=(*names, "(nothing there)"),
        columns=(*names, *("(other)",) * bool(note), "(missed)"),
        values=counts,
        note=f"{note}Detections from their class's best-F1 threshold on, at IoU {outcome.iou:g}. They are matched "
        "within their class first, so that the diagonal holds the true positives; what is left over, across classes.",
    )
