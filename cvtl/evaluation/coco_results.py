"""COCO results: a JSON list with one entry for each detection or person, of all pictures. Torch-free.

Source: https://cocodataset.org/#format-results. An entry is `{image_id, category_id, score}` and, for boxes,
`bbox: [x, y, width, height]`, or, for keypoints, `keypoints: [x1, y1, v1, ...]`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cvtl.data import Dataset
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.alignment import unknown_classes, unknown_pictures
from cvtl.evaluation.found import Floats, Found, FoundBoxes, FoundPoints, Ints, Predictions
from cvtl.tasks import TaskName

Entry = Mapping[str, Any]


def read_coco_results(path: Path, dataset: Dataset, task: TaskName | None) -> Predictions:
    """Read a results file; pictures without an entry are pictures in which nothing was found.

    Args:
        path: the file.
        dataset: one with COCO's numbers of pictures and classes.
        task: what it is expected to be of.

    Raises:
        DataError: it is malformed, or has no picture or class in common with the data set.
        UsageError: the data set has no such numbers, or the entries are of another task.
    """
    entries = _read_entries(path)
    said: TaskName = (task or "detect") if not entries else "landmarks" if "keypoints" in entries[0] else "detect"
    if task not in (None, said):
        raise UsageError(f"'{path}' holds results of the task '{said}', not '{task}'", hint="Give another file")
    pictures = {sample.image_id: i for i, sample in enumerate(dataset) if sample.image_id is not None}
    labels = {number: label for label, number in enumerate(dataset.category_ids)}
    if not pictures or (said == "detect" and not labels):
        raise UsageError(
            f"'{path}' holds COCO results, which refer to COCO's numbers of pictures and classes; "
            f"'{dataset.root}' has none",
            hint=f"Convert it (`cvtl data convert {dataset.root} OUT --to coco`), or give the rows.jsonl of a run",
        )
    key, count = ("bbox", 4) if said == "detect" else ("keypoints", 3 * len(dataset.classes))
    try:
        values, scores = _values(entries, key, count), _values(entries, "score", 1)[:, 0]
        picture, label = _look_up(entries, "image_id", pictures), _look_up(entries, "category_id", labels)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _first_malformed(path, entries, key, count) from None
    if said == "landmarks":
        # All persons have the same points; the data set's classes are these, and have no numbers.
        label = np.zeros_like(label)
    _check_common(path, entries, "image_id", picture, pictures)
    _check_common(path, entries, "category_id", label, labels)
    known = (picture >= 0) & (label >= 0)
    make = _boxes if said == "detect" else _points
    notes = [
        *unknown_pictures(_unknown(entries, "image_id", picture), "are not in the data set"),
        *unknown_classes(_unknown(entries, "category_id", label), "results left out"),
    ]
    found = _by_picture(picture[known], len(dataset), make(values[known], scores[known], label[known]))
    return Predictions(name=str(path), task=said, found=found, notes=tuple(notes))


def _read_entries(path: Path) -> list[Entry]:
    try:
        entries = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(f"'{path}:{error.lineno}' is malformed JSON: {error.msg}", hint="Write it again") from None
    except RecursionError:
        raise DataError(f"'{path}' holds lists in lists", hint="COCO results are a list of objects") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read '{path}': {error}", hint="Check the file and its permissions") from error
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"'{path}': entry {number} is not an object", hint="COCO results are a list of objects")
    return list(entries)


def _values(entries: Sequence[Entry], key: str, count: int) -> Floats:
    """The numbers under a key, (entries, count).

    Raises:
        KeyError, TypeError, ValueError: one is missing or is no number.
    """
    values = np.array([entry[key] for entry in entries], np.float64).reshape(len(entries), count)
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    return values


def _look_up(entries: Sequence[Entry], key: str, known: Mapping[Any, int]) -> Ints:
    return np.array([known.get(entry[key], -1) for entry in entries], np.int64)


def _unknown(entries: Sequence[Entry], key: str, indices: Ints) -> Counter[str]:
    return Counter(str(entries[i][key]) for i in np.flatnonzero(indices < 0).tolist())


def _check_common(path: Path, entries: Sequence[Entry], key: str, indices: Ints, known: Mapping[Any, int]) -> None:
    if not entries or (indices >= 0).any():
        return
    # As Python writes them: texts of digits are no numbers.
    theirs = list(dict.fromkeys(repr(entry[key]) for entry in entries))[:10]
    raise DataError(
        f"'{path}' and the data set have no {key} in common: {', '.join(theirs)} there, "
        f"{', '.join(repr(each) for each in list(known)[:10])} here",
        hint="Give the results for these pictures, or the data set that they belong to",
    )


def _boxes(values: Floats, scores: Floats, labels: Ints) -> Callable[[Any], Found]:
    corners = np.hstack([values[:, :2], values[:, :2] + values[:, 2:]])
    return lambda rows: FoundBoxes(corners[rows], scores[rows], labels[rows])


def _points(values: Floats, scores: Floats, labels: Ints) -> Callable[[Any], Found]:
    points = values.reshape(len(values), -1, 3)[:, :, :2]
    # The third number has no agreed meaning; the entry's score is what ranks persons.
    return lambda rows: FoundPoints(points[rows], np.repeat(scores[rows, None], points.shape[1], axis=1))


def _by_picture(picture: Ints, pictures: int, make: Callable[[Any], Found]) -> list[Found]:
    order = np.argsort(picture, kind="stable")
    ends = np.searchsorted(picture[order], np.arange(pictures + 1))
    return [make(order[start:end]) for start, end in pairwise(ends)]


def _first_malformed(path: Path, entries: Sequence[Entry], key: str, count: int) -> DataError:
    for number, entry in enumerate(entries):
        for name, wanted in ((key, count), ("score", 1)):
            try:
                _values([entry], name, wanted)
            except (KeyError, TypeError, ValueError, OverflowError):
                what = "a number" if wanted == 1 else f"{wanted} numbers"
                return DataError(
                    f"'{path}': entry {number} has no '{name}' of {what}: {str(entry)[:200]}",
                    hint="Each entry needs image_id, category_id, score, and bbox or keypoints",
                )
        for name in ("image_id", "category_id"):
            if not isinstance(entry.get(name), Hashable) or name not in entry:
                return DataError(f"'{path}': entry {number} has no '{name}': {str(entry)[:200]}", hint="Write it again")
    raise AssertionError("no entry is malformed")
