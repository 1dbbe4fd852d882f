"""Predictions against a data set: figures with intervals, and what is worth looking at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cvtl.progress import Progress
from cvtl.reporting.sections import Figure, Section
from cvtl.tasks import TaskName

Floats = npt.NDArray[np.float64]


class Scorer(Protocol):
    """The headline figures as functions of how often each picture counts: what a bootstrap draws anew.

    Everything that does not depend on the weights (matching boxes, sorting scores) is done once, before.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The F figures' names."""

    @property
    def higher_is_better(self) -> tuple[bool, ...]:
        """For each figure."""

    def __call__(self, weights: Floats) -> Floats:
        """The figures.

        Args:
            weights: (D, N): for each draw, how often each of the N pictures counts; whole numbers.

        Returns:
            (D, F); NaN where there is nothing to measure.
        """


@dataclass(frozen=True, eq=False)
class WatchedScorer:
    """A scorer that tells how it gets on.

    Attributes:
        scorer: it.
        progress: is told of each draw.
    """

    scorer: Scorer
    progress: Progress

    @property
    def names(self) -> tuple[str, ...]:
        """The scorer's."""
        return self.scorer.names

    @property
    def higher_is_better(self) -> tuple[bool, ...]:
        """The scorer's."""
        return self.scorer.higher_is_better

    def __call__(self, weights: Floats) -> Floats:
        """The scorer's figures."""
        figures = self.scorer(weights)
        self.progress.advance(len(weights))
        return figures


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What there is to say of predictions.

    Attributes:
        name: of the predictions.
        task: theirs.
        pictures: how many there are.
        figures: the headline figures, those of the scorer first and in its order, with intervals.
        scorer: for comparison with others on the same pictures.
        sections: the rest, in the order to show it.
        notes: what a reader has to know about the data or the predictions, a sentence each.
        units: how many groups of pictures the scorer weighs; None where it weighs each picture.
    """

    name: str
    task: TaskName
    pictures: int
    figures: Sequence[Figure]
    scorer: Scorer
    sections: Sequence[Section]
    notes: tuple[str, ...] = ()
    units: int | None = None
