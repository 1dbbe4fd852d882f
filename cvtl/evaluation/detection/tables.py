"""All boxes of a data set in a few arrays: what the metrics of detection compute with.

Convention: boxes are xyxy; detections are sorted by score, best first, those of equal score in the order of the
pictures and in the order given, which is how COCO's code breaks ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget
from cvtl.evaluation.found import FoundBoxes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Selection = Bools | Ints

MAX_DETECTIONS = 100
"""Of each picture and class the best so many detections count in COCO's figures."""


@dataclass(frozen=True, eq=False)
class FoundTable:
    """The N detections of a data set, best score first.

    Attributes:
        pictures: int64 (N,), index of the picture.
        labels: int64 (N,), index of the class.
        boxes: float64 (N, 4).
        scores: float64 (N,), descending.
        ranks: int64 (N,), place among the detections of the same picture and class, from 0.
    """

    pictures: Ints
    labels: Ints
    boxes: Floats
    scores: Floats
    ranks: Ints

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, which: Selection) -> FoundTable:
        """Some of the detections, in the same order."""
        return _select(self, which)


@dataclass(frozen=True, eq=False)
class TrueTable:
    """The M objects of a data set, in the order of the pictures and of their annotations.

    Attributes:
        pictures: int64 (M,), index of the picture.
        labels: int64 (M,), index of the class.
        boxes: float64 (M, 4).
        crowd: bool (M,), boxes round groups.
        difficult: bool (M,), objects that may be missed.
        areas: float64 (M,), of the outlines where they are known, else of the boxes.
    """

    pictures: Ints
    labels: Ints
    boxes: Floats
    crowd: Bools
    difficult: Bools
    areas: Floats

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, which: Selection) -> TrueTable:
        """Some of the objects, in the same order."""
        return _select(self, which)


@dataclass(frozen=True, eq=False)
class BoxTables:
    """What was found and what is there.

    Attributes:
        found: the detections.
        true: the objects.
        pictures: how many pictures there are.
        classes: names of the K classes.
    """

    found: FoundTable
    true: TrueTable
    pictures: int
    classes: tuple[str, ...]

    def best(self, count: int = MAX_DETECTIONS) -> BoxTables:
        """The same with no more than `count` detections of each picture and class."""
        found = self.found.select(self.found.ranks < count)
        return BoxTables(found, self.true, self.pictures, self.classes)

    def objects_by_class(self) -> Ints:
        """How many objects there are to find, crowds left out: int64 (K,)."""
        return np.bincount(self.true.labels[~self.true.crowd], minlength=len(self.classes))


def tabulate(found: Sequence[FoundBoxes | None], targets: Sequence[BoxesTarget], classes: Sequence[str]) -> BoxTables:
    """Put the boxes of all pictures into tables.

    Args:
        found: of each picture; None for nothing found.
        targets: of the same pictures.
        classes: names of the classes that all labels index into.

    Example:
        >>> found = FoundBoxes(np.array([[0, 0, 9, 9], [5, 5, 9, 9.]]), np.array([0.4, 0.7]), np.array([1, 1]))
        >>> nothing = BoxesTarget(np.zeros((0, 4)), [])
        >>> tables = tabulate([None, found], [nothing, nothing], ["cat", "dog"])
        >>> tables.found.scores, tables.found.pictures, tables.found.ranks, len(tables.true)
        (array([0.7, 0.4]), array([1, 1]), array([0, 1]), 0)
    """
    nothing = FoundBoxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    answers = [nothing if answer is None else answer for answer, _ in zip(found, targets, strict=True)]
    # An empty list of arrays cannot be joined.
    pictures, nowhere = np.arange(len(targets)), BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))
    true = TrueTable(
        pictures=np.repeat(pictures, [len(each.labels) for each in targets]),
        labels=np.concatenate([each.labels for each in (nowhere, *targets)]),
        boxes=np.concatenate([each.boxes for each in (nowhere, *targets)]),
        crowd=np.concatenate([each.crowd for each in (nowhere, *targets)]),
        difficult=np.concatenate([each.difficult for each in (nowhere, *targets)]),
        areas=np.concatenate([each.areas for each in (nowhere, *targets)]),
    )
    scores = np.concatenate([each.scores for each in (nothing, *answers)]).astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    where = np.repeat(pictures, [len(each.scores) for each in answers])[order]
    labels = np.concatenate([each.labels for each in (nothing, *answers)]).astype(np.int64)[order]
    boxes = np.concatenate([each.boxes for each in (nothing, *answers)]).astype(np.float64)[order]
    ranks = ranks_within(where * len(classes) + labels)
    table = FoundTable(pictures=where, labels=labels, boxes=boxes, scores=scores[order], ranks=ranks)
    return BoxTables(table, true, len(targets), tuple(classes))


def ranks_within(groups: Ints) -> Ints:
    """The place of each element among those of its group, from 0, in the order given.

    Example:
        >>> ranks_within(np.array([7, 3, 7, 7, 3]))
        array([0, 0, 1, 2, 1])
    """
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, sizes)
    return ranks


def by_class(labels: Ints, classes: int) -> list[Ints]:
    """The indices of each class's elements, ascending.

    Example:
        >>> by_class(np.array([1, 0, 1]), 3)
        [array([1]), array([0, 2]), array([], dtype=int64)]
    """
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.searchsorted(labels[order], np.arange(classes)))[1:]


TableT = TypeVar("TableT", FoundTable, TrueTable)


def _select(table: TableT, which: Selection) -> TableT:
    return type(table)(*(getattr(table, each.name)[which] for each in fields(table)))
