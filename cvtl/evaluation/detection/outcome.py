"""What became of each detection at one IoU, and from which score on it is best to believe a class's detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvtl.evaluation.detection.matching import match, overlapping
from cvtl.evaluation.detection.tables import Bools, BoxTables, Floats, Ints, by_class

_NO_BETTER_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """What a class's detections amount to for each score threshold.

    Attributes:
        thresholds: float64 (n,), the different scores, descending; a detection counts from its own score on.
        hits: int64 (n,), true positives.
        found: int64 (n,), true and false positives.
        total: objects to find.
    """

    thresholds: Floats
    hits: Ints
    found: Ints
    total: int

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall at each threshold: float64 (n,)."""
        return 2 * self.hits / (self.found + self.total)

    def best_threshold(self) -> float | None:
        """The highest threshold with the best F1; None where nothing is found."""
        return float(self.thresholds[self.f1.argmax()]) if self.hits.any() else None

    def f1_at(self, thresholds: Floats) -> Floats:
        """F1 for any thresholds; 0 where nothing is found."""
        return np.append(0.0, self.f1)[np.searchsorted(-self.thresholds, -thresholds, side="right")]


def score_curve(scores: Floats, right: Bools, total: int) -> ScoreCurve:
    """Count what each threshold lets through.

    Args:
        scores: (n,), descending.
        right: (n,), whether it is a true positive; ignored detections are left out.
        total: objects to find.

    Example:
        >>> curve = score_curve(np.array([0.9, 0.6, 0.6, 0.2]), np.array([True, True, False, False]), total=2)
        >>> curve.thresholds, curve.hits, curve.found, curve.best_threshold()
        (array([0.9, 0.6, 0.2]), array([1, 2, 2]), array([1, 3, 4]), 0.6)
    """
    lasts = np.flatnonzero(np.diff(scores, append=-np.inf))
    return ScoreCurve(scores[lasts], np.cumsum(right, dtype=np.int64)[lasts], lasts + 1, total)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of N detections and M objects at one IoU, matched as COCO does.

    Attributes:
        tables: detections and objects.
        iou: that was to be reached.
        true: int64 (N,), the object that the detection is taken for; -1 if for none.
        right: bool (N,), true positives.
        wrong: bool (N,), false positives; what is neither is ignored.
        curves: of the K classes.
        together: of all classes with one threshold.
        thresholds: float64 (K,), the score with the best F1; for classes of which nothing is found the best for all.
        believed: bool (N,), the true and false positives whose scores reach their class's threshold.
        missed: bool (M,), the objects that no believed detection has found; never crowds.
    """

    tables: BoxTables
    iou: float
    true: Ints
    right: Bools
    wrong: Bools
    curves: tuple[ScoreCurve, ...]
    together: ScoreCurve
    thresholds: Floats
    believed: Bools
    missed: Bools


def judge(tables: BoxTables, iou: float) -> Outcome:
    """Match at one IoU and choose thresholds."""
    found, true = tables.found, tables.true
    matches = match(found, true, overlapping(found, true, iou), iou)
    taken, right, wrong = matches.true[0], matches.right[0], matches.wrong[0]
    counted = np.flatnonzero(right | wrong)
    totals = tables.objects_by_class().tolist()
    of_class = by_class(found.labels[counted], len(totals))
    curves = tuple(
        score_curve(found.scores[counted[which]], right[counted[which]], total)
        for which, total in zip(of_class, totals, strict=True)
    )
    together = score_curve(found.scores[counted], right[counted], sum(totals))
    fallback = together.best_threshold()
    fallback = _NO_BETTER_THRESHOLD if fallback is None else fallback
    best = [curve.best_threshold() for curve in curves]
    thresholds = np.array([fallback if each is None else each for each in best], np.float64)
    believed = (right | wrong) & (found.scores >= thresholds[found.labels])
    missed = ~true.crowd
    missed[taken[believed & right]] = False
    return Outcome(tables, iou, taken, right, wrong, curves, together, thresholds, believed, missed)
