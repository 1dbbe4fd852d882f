"""Which picture and which class of a data set predictions are about: runs name both by their own lights. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from cvtl.data import Dataset
from cvtl.errors import DataError

_AMBIGUOUS = -1
_LISTED = 10


class Ambiguous(Exception):
    """A path fits several pictures equally well."""


class Pictures:
    """Finds the sample that a run's `source` is about.

    Runs name pictures relative to the folder they were given, data sets relative to theirs. So where no name is the
    same, one path has to end with the other, and the longest such name wins.

    Args:
        names: the samples' names, each once.

    Example:
        >>> pictures = Pictures(["train/cat/1.jpg", "train/dog/1.jpg", "2.jpg"])
        >>> [pictures.find(source) for source in ("train/cat/1.jpg", "dog/1.jpg", "photos/2.jpg", "3.jpg")]
        [0, 1, 2, None]
        >>> pictures.find("1.jpg")
        Traceback (most recent call last):
        cvtl.evaluation.alignment.Ambiguous: 1.jpg
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._index = {name: i for i, name in enumerate(names)}

    def find(self, source: str) -> int | None:
        """The sample's index; None if there is none.

        Raises:
            Ambiguous: several samples' names end with `source`, and none is the same.
        """
        if source in self._index:
            return self._index[source]
        index = self._endings.get(source.removeprefix("./"))
        if index == _AMBIGUOUS:
            raise Ambiguous(source)
        if index is not None:
            return index
        return next((self._index[ending] for ending in endings(source) if ending in self._index), None)

    @cached_property
    def _endings(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, i in self._index.items():
            for ending in endings(name):
                found[ending] = _AMBIGUOUS if ending in found else i
        return found


def endings(path: str) -> Iterable[str]:
    """What a path with forward slashes ends with, longest first, without the path itself.

    Example:
        >>> list(endings("a/b/1.jpg"))
        ['b/1.jpg', '1.jpg']
    """
    while path := path.partition("/")[2]:
        yield path


def no_class_in_common(name: str, theirs: Iterable[str], dataset: Dataset) -> DataError:
    """What to raise where predictions and data are about different things."""
    return DataError(
        f"'{name}' and the data set '{dataset.root}' have no class in common: {_some(theirs)} there, "
        f"{_some(dataset.classes)} here",
        hint="Rename the classes of one of them",
    )


def unknown_classes(counts: Mapping[str, int], noun: str) -> list[str]:
    """A note on predictions of classes that the data set does not have, if there are any.

    Example:
        >>> unknown_classes({"bus": 12, "tram": 1}, "detections left out")
        ["The data set does not have these classes of the predictions: 'bus', 'tram' (13 detections left out)."]
    """
    if not counts:
        return []
    names = _some(f"'{name}'" for name in counts)
    return [f"The data set does not have these classes of the predictions: {names} ({sum(counts.values())} {noun})."]


def unknown_pictures(counts: Mapping[str, int], reason: str) -> list[str]:
    """A note on predictions that are left out because their picture could not be told, if there are any.

    Example:
        >>> unknown_pictures({"a.jpg": 3, "b.jpg": 2}, "are not in the data set")
        ["The predictions for 2 pictures are left out, because these are not in the data set, such as 'a.jpg'."]
    """
    if not counts:
        return []
    example = next(iter(counts))
    pictures = "1 picture" if len(counts) == 1 else f"{len(counts)} pictures"
    return [f"The predictions for {pictures} are left out, because these {reason}, such as '{example}'."]


def without_answer(names: Sequence[str], total: int, reason: str) -> list[str]:
    """A note on pictures that count as nothing found, if there are any.

    Example:
        >>> without_answer(["a.jpg"], 60, "have no row")
        ["1 of 60 pictures have no row, such as 'a.jpg': they count as nothing found."]
    """
    if not names:
        return []
    return [f"{len(names)} of {total} pictures {reason}, such as '{names[0]}': they count as nothing found."]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
