"""What was found in the pictures of a data set, whether a model or a file says so: the input of every metric.

Torch-free. Double precision, so that figures equal those that other tools compute from the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cvtl.tasks import TaskName

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FoundClasses:
    """The most probable classes of a picture.

    Attributes:
        labels: int64 (k,), indices into the data set's classes, best first; -1 for a class that it does not have.
        scores: float64 (k,), probabilities.
    """

    labels: Ints
    scores: Floats


@dataclass(frozen=True, eq=False)
class FoundObject:
    """At most one object.

    Attributes:
        present: probability that there is one.
        label: index into the data set's classes; -1 for a class that it does not have.
        score: probability of the class, given that there is an object.
        box: float64 (4,), xyxy.
    """

    present: float
    label: int
    score: float
    box: Floats


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """The objects of a picture, those of classes that the data set does not have left out.

    Attributes:
        boxes: float64 (N, 4), xyxy.
        scores: float64 (N,), in any order.
        labels: int64 (N,), indices into the data set's classes.
    """

    boxes: Floats
    scores: Floats
    labels: Ints


@dataclass(frozen=True, eq=False)
class FoundPoints:
    """The points of a picture's instances, in the order of the data set's point names.

    Attributes:
        points: float64 (N, K, 2).
        scores: float64 (N, K), probabilities that the point is there.
        boxes: float64 (N, 4), xyxy, where the instances came from boxes.
    """

    points: Floats
    scores: Floats
    boxes: Floats | None = None


Found = FoundClasses | FoundObject | FoundBoxes | FoundPoints


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What was found in each sample of a data set.

    Attributes:
        name: of the model or file, for messages.
        task: the task they are answers to.
        found: one for each sample, in the data set's order; None where there is no answer, which counts as nothing
            found.
        notes: sentences on what does not fit the data set: pictures without an answer, unknown classes.
    """

    name: str
    task: TaskName
    found: Sequence[Found | None]
    notes: tuple[str, ...] = ()
