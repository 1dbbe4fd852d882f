"""How well a probability that something is there ranks pictures: average precision, and precision against recall."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cvtl.evaluation.bootstrap import divide
from cvtl.reporting.sections import Curves

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class PresenceScorer:
    """Average precision of a probability that there is an object.

    Going down the probabilities, precision at each is averaged, weighted by how much recall it adds; pictures of one
    probability go together. Nothing is interpolated: information retrieval's definition (Manning et al. 2008,
    Introduction to Information Retrieval, section 8.4) and scikit-learn's, which gives the same numbers.

    Args:
        there: bool (N,), whether there is an object.
        certainty: float64 (N,), the probability that there is one.

    Example:
        >>> scorer = PresenceScorer(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
        >>> scorer(np.ones((1, 3))).round(4)
        array([[0.8333]])
    """

    names = ("presence AP",)
    higher_is_better = (True,)

    def __init__(self, there: Bools, certainty: Floats) -> None:
        self._order = np.argsort(-certainty, kind="stable")
        self._there = there[self._order].astype(np.float64)
        # The last picture of each probability.
        self._last = np.flatnonzero(np.diff(certainty[self._order], append=np.nan) != 0)

    def __call__(self, weights: Floats) -> Floats:
        """The figure, (D, 1), for weights (D, N); NaN unless pictures of both kinds count."""
        hits, found = self._counts(weights)
        precision = np.nan_to_num(divide(hits, found))
        total, pictures = hits[:, -1:].sum(axis=1), found[:, -1:].sum(axis=1)
        area = (np.diff(hits, axis=1, prepend=0) * precision).sum(axis=1)
        return divide(area, np.where(total < pictures, total, 0))[:, None]

    def curve(self) -> tuple[Floats, Floats]:
        """Recall and precision at each probability, highest first; nothing where there are not both kinds."""
        hits, found = (counts[0] for counts in self._counts(np.ones((1, len(self._order)))))
        if not len(hits) or hits[-1] in (0, found[-1]):
            return np.zeros(0), np.zeros(0)
        return hits / hits[-1], hits / found

    def _counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Pictures with an object, and pictures, down to each probability: (D, P) each."""
        ordered = weights[:, self._order]
        hits, found = np.cumsum(ordered * self._there, axis=1), np.cumsum(ordered, axis=1)
        return hits[:, self._last], found[:, self._last]


def presence_curve(scorer: PresenceScorer) -> list[Curves]:
    """Precision against recall, if there are pictures with an object and without one."""
    recall, precision = scorer.curve()
    if not len(recall):
        return []
    return [
        Curves(
            title="Presence",
            x_label="recall",
            y_label="precision",
            lines={"whether there is an object": (recall, precision)},
            x_range=(0, 1),
            y_range=(0, 1),
        )
    ]
