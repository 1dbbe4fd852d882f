"""The pictures that strategies are measured on, and how they are divided: no picture is judged by what has seen it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cvtl.data import Dataset
from cvtl.errors import DataError
from cvtl.features import Features
from cvtl.splits import Groups, divide
from cvtl.training.settings import TrainSettings
from cvtl_classify.fitting import labels_of

Labels = npt.NDArray[np.int64]

MOST_PICTURES = 5000
"""More are measured on a part of them, which has about its share of every class."""

MOST_FOLDS = 5

_PICTURES_OF_A_CLASS = 5


@dataclass(frozen=True, kw_only=True)
class Material:
    """N pictures to measure with.

    Attributes:
        data: the pictures.
        labels: (N,), their classes.
        groups: (N,), which of them belong together.
        folds: (N,), when each is held out, from 0; -1 where it never is, being the only one of its class.
        total: how many pictures there are to train on in all, those included that are not among the N.
        unreadable: how many pictures were left out because they cannot be read.
        notes: what a reader has to know, a sentence each.
    """

    data: Dataset
    labels: Labels
    groups: Labels
    folds: Labels
    total: int
    unreadable: int = 0
    notes: tuple[str, ...] = ()

    @property
    def fold_count(self) -> int:
        """In how many parts the pictures are divided."""
        return int(self.folds.max()) + 1

    @property
    def pictures_per_class(self) -> int:
        """The median over the classes that there are, of all pictures to train on."""
        counts = np.bincount(self.labels)
        return round(float(np.median(counts[counts > 0])) * self.total / len(self.labels))


def choose_pictures(data: Dataset, settings: TrainSettings, most: int = MOST_PICTURES) -> Dataset:
    """The pictures to measure with: none that are published for testing, and not more than needed.

    Args:
        data: whose targets are classes.
        settings: whose seed decides which pictures are taken.
        most: pictures; where there are many classes, five of each are taken if that is more.

    Raises:
        DataError: the targets are no classes, or all pictures are of one class.
    """
    data = data.subset(index for index, sample in enumerate(data) if sample.split != "test")
    present = len(np.unique(labels_of(data)))
    if present < 2:
        raise DataError(
            f"there is nothing to tell apart: the pictures of '{data.root}' are all of one class"
            if len(data)
            else f"'{data.root}' has no pictures to train on",
            hint="Put pictures of each class into a folder of its own",
        )
    most = max(most, _PICTURES_OF_A_CLASS * present)
    return divide(data, {"val": most / len(data)}, settings.seed)["val"] if len(data) > most else data


def make_material(
    data: Dataset, features: Features, groups: Groups, settings: TrainSettings, *, most_folds: int, total: int
) -> tuple[Material, Features]:
    """Leave out what cannot be read, and divide the rest.

    Args:
        data: what `choose_pictures` gives.
        features: of its pictures.
        groups: what of them belongs together.
        settings: whose seed says how to divide.
        most_folds: parts to divide them in; fewer where half of the classes have fewer pictures or groups.
        total: how many pictures there are to train on.

    Returns:
        The material, and the features of its pictures.

    Raises:
        DataError: too few pictures can be read, or nothing can be held out.
    """
    readable = [index for index in range(len(data)) if index not in features.errors]
    if not readable:
        raise DataError(f"no picture of '{data.root}' can be read, such as: {features.errors[0].what}")
    kept = data.subset(readable)
    labels, of = labels_of(kept), np.unique(np.array(groups.of)[readable], return_inverse=True)[1]
    material = Material(
        data=kept,
        labels=labels,
        groups=of,
        folds=divide_in_folds(labels, of, most_folds, settings.seed, kept.classes),
        total=round(total * len(kept) / len(data)),
        unreadable=len(features.errors),
        notes=tuple(_notes(data, features, groups.describe(), total)),
    )
    vectors = {space: rows[readable] for space, rows in features.vectors.items()}
    return material, replace(features, vectors=vectors, errors={})


def _notes(data: Dataset, features: Features, together: str, total: int) -> list[str]:
    notes = []
    if len(data) < total:
        notes.append(
            f"measured on {len(data)} of {total} pictures, chosen by chance with about the same share of every class"
        )
    if features.errors:
        _, first = min(features.errors.items())
        notes.append(f"pictures that cannot be read and are left out: {len(features.errors)}, such as: {first.what}")
    return [*notes, *[together] * bool(together)]


def divide_in_folds(labels: Labels, groups: Labels, most: int, seed: int, classes: tuple[str, ...]) -> Labels:
    """When each of N pictures is held out, so that classes are evenly divided and groups are not divided.

    Args:
        labels: (N,).
        groups: (N,).
        most: folds; as many as half of the classes have groups, if these are fewer, and at least two.
        seed: any integer.
        classes: their names, for messages.

    Returns:
        (N,) from 0 on; -1 for pictures of classes with one group only, which cannot be both learnt and judged.

    Raises:
        DataError: fewer than two classes have two groups.

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1, 2])
        >>> divide_in_folds(labels, np.arange(7), 3, 0, ("a", "b", "c")).tolist()
        [0, 2, 1, 1, 2, 0, -1]
    """
    from sklearn.model_selection import StratifiedGroupKFold

    present = np.unique(labels)
    sizes = np.array([len(np.unique(groups[labels == label])) for label in present])
    if (sizes > 1).sum() < 2:
        lone = classes[present[sizes.argmin()]]
        raise DataError(
            f"nothing can be held out to measure with: class '{lone}' has one picture, or one group of pictures",
            hint="Every class should have two at the least, and better twenty",
        )
    judged = np.isin(labels, present[sizes > 1])
    count = int(np.clip(np.median(sizes[sizes > 1]), 2, most))
    folds = np.full(len(labels), -1)
    divider = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    members = np.flatnonzero(judged)
    with warnings.catch_warnings():
        # That some classes have fewer members than there are folds.
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, held_out) in enumerate(divider.split(members, labels[members], groups[members])):
            folds[members[held_out]] = fold
    return folds
