"""What is wrong with false positives and misses, and what each kind of mistake costs.

Source: Bolya, Foley, Hays and Hoffman 2020, TIDE: A General Toolbox for Identifying Object Detection Errors
(arXiv 2008.08115), section 2. Where a detection fits several kinds, the order is that of the authors' code: location,
class, duplicate, background, both. Each kind is mended alone: of two detections that become the same object's, the one
with the better score is kept. (Their code looks for that one among both kinds that can be mended, and counts ignored
detections among the mistakes; else this gives its numbers.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvtl.evaluation.detection.average_precision import average_precision
from cvtl.evaluation.detection.matching import Pairs, overlapping
from cvtl.evaluation.detection.outcome import Outcome
from cvtl.evaluation.detection.tables import Bools, Floats, Ints, by_class
from cvtl.reporting.sections import Bars, Section, Table

ERROR_TYPES = ("class", "location", "both", "duplicate", "background", "missed")
CLASS, LOCATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(ERROR_TYPES))

BACKGROUND_IOU = 0.1
"""Detections that overlap nothing by as much are taken to be of the background (the paper's t_b)."""

_MEANINGS = (
    "the place of an object of another class",
    "near an object of its class, but not near enough",
    "near an object of another class, but not near enough",
    "an object that a better detection has found already",
    "hardly any object there",
    "objects that no detection found, nor one that is wrong in class or location only",
)


@dataclass(frozen=True, eq=False)
class Errors:
    """The mistakes among N detections and M objects.

    Attributes:
        kinds: int64 (N,), index into `ERROR_TYPES`; -1 for what is right or ignored.
        objects: int64 (N,), of class and location errors: the object that they are about; -1 else.
        missed: bool (M,), objects that no detection found, nor one that is wrong in class or location only.
    """

    kinds: Ints
    objects: Ints
    missed: Bools

    def counts(self) -> Ints:
        """How many there are of each kind: int64 (6,)."""
        return np.append(np.bincount(self.kinds[self.kinds >= 0], minlength=MISSED), self.missed.sum())


def find_errors(outcome: Outcome) -> Errors:
    """Say of each false positive and each miss, whatever its score, what kind of mistake it is."""
    found, true = outcome.tables.found, outcome.tables.true
    least = min(BACKGROUND_IOU, outcome.iou)
    pairs = overlapping(found, true, least, across_classes=True)
    pairs = pairs.select(outcome.wrong[pairs.found] & ~true.crowd[pairs.true])
    same = found.labels[pairs.found] == true.labels[pairs.true]
    own, own_iou = _nearest(pairs.select(same), len(found))
    other, other_iou = _nearest(pairs.select(~same), len(found))
    kinds = np.select(
        [
            ~outcome.wrong,
            (own_iou >= least) & (own_iou < outcome.iou),
            other_iou >= outcome.iou,
            own_iou >= outcome.iou,
            other_iou < least,
        ],
        [-1, LOCATION, CLASS, DUPLICATE, BACKGROUND],
        BOTH,
    )
    objects = np.select([kinds == LOCATION, kinds == CLASS], [own, other], -1)
    missed = ~true.crowd
    missed[outcome.true[outcome.right]] = False
    missed[objects[objects >= 0]] = False
    return Errors(kinds, objects, missed)


def _nearest(pairs: Pairs, detections: int) -> tuple[Ints, Floats]:
    """The object that each detection overlaps most, -1 if none, and the IoU, 0 if none."""
    order = np.lexsort((pairs.true, -pairs.ious, pairs.found))
    best = pairs.select(order[np.flatnonzero(np.diff(pairs.found[order], prepend=-1))])
    objects, ious = np.full(detections, -1), np.zeros(detections)
    objects[best.found], ious[best.found] = best.true, best.ious
    return objects, ious


def error_costs(outcome: Outcome, errors: Errors) -> tuple[float, Floats]:
    """The AP at this IoU, and by how much it would rise without the errors of each kind.

    A class whose objects were all missed counts as 1 without those misses if nothing wrong was found of it, else as 0.

    Returns:
        AP, and float64 (6,); NaN where there is nothing to find.
    """
    tables = outcome.tables
    totals = tables.objects_by_class()
    counted = outcome.right | outcome.wrong
    labels, right = tables.found.labels, outcome.right
    ap = _mean_ap(labels[counted], right[counted], totals, totals > 0)
    mended = []
    for kind in range(MISSED):
        fixed = _fixable(outcome, errors, kind)
        kept = counted & ((errors.kinds != kind) | fixed)
        fixed_labels = labels.copy()
        fixed_labels[fixed] = tables.true.labels[errors.objects[fixed]]
        mended.append(_mean_ap(fixed_labels[kept], (right | fixed)[kept], totals, totals > 0))
    found_totals = totals - np.bincount(tables.true.labels[errors.missed], minlength=len(totals))
    mended.append(_mean_ap(labels[counted], right[counted], found_totals, totals > 0))
    return ap, np.array(mended) - ap


def _fixable(outcome: Outcome, errors: Errors, kind: int) -> Bools:
    """The errors of a kind that become true positives: the best one for each object that is free."""
    taken = np.zeros(len(outcome.tables.true) + 1, bool)
    taken[outcome.true[outcome.right]] = True
    candidates = np.flatnonzero((errors.kinds == kind) & (errors.objects >= 0) & ~taken[errors.objects])
    _, best = np.unique(errors.objects[candidates], return_index=True)
    fixable = np.zeros(len(errors.kinds), bool)
    fixable[candidates[best]] = True
    return fixable


def _mean_ap(labels: Ints, right: Bools, totals: Ints, shown: Bools) -> float:
    """AP of detections, best first, as the mean over the classes that are `shown`."""
    precisions = []
    for which, total, wanted in zip(by_class(labels, len(totals)), totals, shown, strict=True):
        if not wanted:
            continue
        if total:
            hits = right[which]
            precisions.append(
                float(average_precision(np.cumsum(hits, dtype=np.int64), np.arange(1, len(hits) + 1), total))
            )
        else:  # all objects were missed, and are no longer asked for
            precisions.append(float(len(which) == 0))
    return float(np.mean(precisions)) if precisions else np.nan


def error_sections(outcome: Outcome, errors: Errors) -> list[Section]:
    """The kinds of mistakes as bars and as a table."""
    ap, costs = error_costs(outcome, errors)
    rows = zip(ERROR_TYPES, errors.counts().tolist(), costs.tolist(), _MEANINGS, strict=True)
    return [
        Bars(
            title="What mistakes cost",
            label=f"AP at IoU {outcome.iou:g} that would be gained",
            values=dict(zip(ERROR_TYPES, costs.tolist(), strict=True)),
            note=f"By how much the AP of {ap:.3f} would rise if only the mistakes of one kind were mended.",
        ),
        Table(
            title="Kinds of mistakes",
            columns=("kind", "count", "AP it costs", "what it is"),
            rows=tuple(rows),
            note="After TIDE (arXiv 2008.08115), over detections of all scores: those with low scores are many and "
            f"cost little. Near enough: IoU {outcome.iou:g}; near: IoU {min(BACKGROUND_IOU, outcome.iou):g}.",
        ),
    ]
