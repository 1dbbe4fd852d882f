"""Guessing which points change places where a picture is mirrored: from their names, their number, or their mean shape.

A guess is for people to look at (`cvtl data points` draws it) before they keep it in `points.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cvtl.data import Dataset, PointsTarget
from cvtl.mean_shape import mean_shape

Floats = npt.NDArray[np.float64]
Pair = tuple[int, int]
Source = Literal["names", "convention", "shape"]

FARTHEST = 0.2
"""How far a mirrored point may lie from its partner, as a share of the mean shape's radius (root mean square).

Measured with iBUG's 68 points on faces (YouTube Faces, turned heads among them), 40 random choices each: of 500 faces
all were accepted, of 100 faces 97 %, of the faces of 20 people 87 %, and every accepted one was right. Of 30 faces 60 %
were accepted, one of them wrong; of a single face 5 %. Of 400 random shapes, which have no symmetry, 1 % of those of
three points pass, fewer of those of four and five, and none from six points on.
"""

_MIRRORED = {"left": "right", "right": "left", "l": "r", "r": "l"}
# Words of a name: "EYE_L", "leftEar", "L Ear", "lowerLip2".
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# "lefteye" and "eyeleft" are one word each.
_GLUED = re.compile(r"(left|right)(?=\w)|(?<=\w)(left|right)$")

# The 68 points of iBUG's convention (300-W, Sagonas et al. 2013), numbered from 0: jaw, brows, nostrils, eyes, lips.
_OF_68: tuple[Pair, ...] = (
    *((i, 16 - i) for i in range(8)),
    *((i, 43 - i) for i in range(17, 22)),
    *((31, 35), (32, 34)),
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (59, 55), (58, 56)),
    *((60, 64), (61, 63), (67, 65)),
)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Pairs that were found, and how.

    Attributes:
        pairs: numbers of points, the smaller one first, in its order.
        source: from the points' names, a convention of so many numbered points, or the mean shape.
        sentence: how they were found, for people.
    """

    pairs: tuple[Pair, ...]
    source: Source
    sentence: str


def guess_flip_pairs(dataset: Dataset) -> Guess | None:
    """Guess which points change places in a mirror; None where nothing tells.

    Example:
        >>> guess_flip_pairs(Dataset([], ("left_eye", "right_eye", "nose"), "landmarks")).pairs
        ((0, 1),)
    """
    names = dataset.classes
    if pairs := pairs_of_names(names):
        return Guess(pairs=pairs, source="names", sentence="guessed from the points' names")
    if _is_68(names):
        return Guess(pairs=_OF_68, source="convention", sentence="those of the 68 points of iBUG's convention")
    if pairs := pairs_of_shape(dataset_mean_shape(dataset)):
        return Guess(pairs=pairs, source="shape", sentence="guessed from the mean shape, which looks symmetric")
    return None


def pairs_of_names(names: Sequence[str]) -> tuple[Pair, ...]:
    """The pairs that names tell: those that differ in left and right only.

    Example:
        >>> pairs_of_names(["L Ear", "R Ear", "eyeL", "eyeR", "nose"]), pairs_of_names(["lefteye", "righteye"])
        (((0, 1), (2, 3)), ((0, 1),))
    """
    keys = [_words(name) for name in names]
    number_of = {key: number for number, key in enumerate(keys)}
    if len(number_of) < len(keys):  # words alone do not tell these names apart
        return ()
    mirrored = [number_of.get(tuple(_MIRRORED.get(word, word) for word in key), i) for i, key in enumerate(keys)]
    return _pairs(mirrored)


def pairs_of_shape(shape: Floats) -> tuple[Pair, ...]:
    """The pairs of a shape that is its own mirror image about a vertical axis; none where it is not.

    Every point gets one partner, which may be itself, so that the mirrored points lie as near to their partners as they
    can all together. About the shape's centre, for that is where the axis lies if each point has a partner.

    Args:
        shape: (K, 2); NaN for unknown points, which get no partner.

    Returns:
        Empty if a mirrored point lies farther than `FARTHEST` from its partner, or partners do not agree.

    Example:
        >>> pairs_of_shape(np.array([[0.0, 0], [10, 0], [5, 8]])), pairs_of_shape(np.array([[0.0, 0], [10, 9], [5, 8]]))
        (((0, 1),), ())
    """
    from scipy.optimize import linear_sum_assignment

    known = np.flatnonzero(~np.isnan(shape[:, 0]))
    points = shape[known] - (shape[known].mean(axis=0) if len(known) else 0)
    radius = np.sqrt((points**2).sum() / max(len(points), 1))
    if radius == 0:
        return ()
    distances = np.linalg.norm((points * (-1, 1))[:, None] - points, axis=-1) / radius
    partners = linear_sum_assignment(distances**2)[1]
    agree = (partners[partners] == np.arange(len(partners))).all()
    if not agree or distances[np.arange(len(partners)), partners].max() > FARTHEST:
        return ()
    return tuple((int(known[i]), int(known[j])) for i, j in _pairs(partners.tolist()))


def dataset_mean_shape(dataset: Dataset) -> Floats:
    """The mean shape (K, 2) of all objects of a data set of points; NaN for points that are never there."""
    targets = [sample.target for sample in dataset if isinstance(sample.target, PointsTarget)]
    count = len(dataset.classes)
    points = [np.zeros((0, count, 2)), *(target.points for target in targets)]
    visible = [np.zeros((0, count), bool), *(target.visible for target in targets)]
    return mean_shape(np.concatenate(points), np.concatenate(visible))


def _words(name: str) -> tuple[str, ...]:
    words = [word.lower() for word in _WORDS.findall(name)]
    return tuple(part for word in words for part in filter(None, _GLUED.split(word)))


def _is_68(names: Sequence[str]) -> bool:
    """Whether there are 68 points without names, counted from 0 or from 1."""
    return list(names) in ([str(start + i) for i in range(68)] for start in (0, 1))


def _pairs(partners: Sequence[int]) -> tuple[Pair, ...]:
    return tuple((i, j) for i, j in enumerate(partners) if i < j)
