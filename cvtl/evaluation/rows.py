"""Rows of `cvtl run` as predictions: `rows.jsonl`, one JSON object for each picture. Torch-free."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvtl.data import Dataset
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.alignment import (
    Ambiguous,
    Pictures,
    no_class_in_common,
    unknown_classes,
    unknown_pictures,
    without_answer,
)
from cvtl.evaluation.found import (
    Floats,
    Found,
    FoundBoxes,
    FoundClasses,
    FoundObject,
    FoundPoints,
    Ints,
    Predictions,
)
from cvtl.tasks import TaskName

# By so much single precision may exceed 1.
_ROUNDING = 1e-6


def read_rows(path: Path, dataset: Dataset, task: TaskName | None) -> Predictions:
    """Read a run's rows.

    Args:
        path: the file.
        dataset: what the rows are to be about.
        task: what they are expected to be of.

    Returns:
        An answer for each sample that has an `ok` row; the notes tell of the others.

    Raises:
        DataError: a line is malformed, two are about one picture, or none about any; the message names the line.
        UsageError: the rows are of another task, or of one that has no figures.
    """
    reader = _Reader(path, dataset)
    for line, row in _rows(path):
        reader.add(line, row, task)
    return reader.predictions()


@dataclass
class _Labels:
    """Class names to labels of the data set, -1 for what it does not have."""

    known: Mapping[str, int]
    unknown: Counter[str] = field(default_factory=Counter)
    any_known: bool = False

    def of(self, names: Sequence[str | None]) -> Ints:
        labels = np.array([self.known.get(name, -1) for name in names], np.int64)  # type: ignore[arg-type]
        if (labels < 0).any():
            self.unknown.update(name for name in names if name is not None and name not in self.known)
        self.any_known |= bool((labels >= 0).any())
        return labels


class _Reader:
    """Puts rows in the places of their samples."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self.path = path
        self.dataset = dataset
        self.pictures = Pictures([sample.name for sample in dataset])
        self.labels = _Labels({name: label for label, name in enumerate(dataset.classes)})
        self.task: TaskName | None = None
        self.found: list[Found | None] = [None] * len(dataset)
        self.line_of: dict[int, int] = {}
        self.bad: list[str] = []
        self.foreign: Counter[str] = Counter()
        self.ambiguous: Counter[str] = Counter()

    def add(self, line: int, row: Mapping[str, Any], task: TaskName | None) -> None:
        """Take in one row, expected to be of `task`."""
        try:
            source, status, said = str(row["source"]), row["status"], row["task"]
        except KeyError as error:
            raise self._malformed(line, f"it has no {error}") from None
        except TypeError:
            raise self._malformed(line, "it is no object") from None
        self._check_task(line, said, task)
        try:
            index = self.pictures.find(source)
        except Ambiguous:
            self.ambiguous[source] += 1
            return
        if index is None:
            self.foreign[source] += 1
            return
        if index in self.line_of:
            raise DataError(
                f"'{self.path}:{line}' is about '{self.dataset[index].name}', and so is line {self.line_of[index]}",
                hint="Give the rows of one run over the data set's pictures",
            )
        self.line_of[index] = line
        if status != "ok":
            self.bad.append(source)
            return
        try:
            self.found[index] = self._answer(row["result"])
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._malformed(line, f"its result is malformed ({type(error).__name__}: {error})") from None

    def predictions(self) -> Predictions:
        """What the rows say, once all are taken in."""
        if self.task is None:
            raise DataError(f"'{self.path}' has no rows", hint="Give the rows.jsonl of a finished run")
        if not self.line_of:
            self._raise_no_picture_in_common()
        if self.labels.unknown and not self.labels.any_known:
            raise no_class_in_common(str(self.path), self.labels.unknown, self.dataset)
        names = [sample.name for sample in self.dataset]
        missing = [name for i, name in enumerate(names) if i not in self.line_of]
        left_out = "detections left out" if self.task == "detect" else "answers count as wrong"
        notes = [
            *without_answer(missing, len(names), "have no row"),
            *without_answer(self.bad, len(names), "have a row without an answer"),
            *unknown_pictures(self.foreign, "are not in the data set"),
            *unknown_pictures(self.ambiguous, "could be several of the data set's"),
            *unknown_classes(self.labels.unknown, left_out),
        ]
        return Predictions(name=str(self.path), task=self.task, found=self.found, notes=tuple(notes))

    def _check_task(self, line: int, said: Any, task: TaskName | None) -> None:
        if not any(said == name for name in _ANSWERS):  # It may be anything that JSON has.
            raise UsageError(
                f"'{self.path}:{line}' is of the task '{said}', which has no figures",
                hint=f"Tasks that have are {', '.join(_ANSWERS)}",
            )
        expected = self.task or task or said
        if said != expected:
            raise UsageError(f"'{self.path}:{line}' is of the task '{said}', not '{expected}'", hint="Give other rows")
        self.task = said

    def _answer(self, result: Mapping[str, Any]) -> Found:
        assert self.task is not None
        return _ANSWERS[self.task](result, self.labels, len(self.dataset.classes))

    def _malformed(self, line: int, why: str) -> DataError:
        return DataError(
            f"'{self.path}:{line}' is no row of `cvtl run`: {why}",
            hint="Give a run's rows.jsonl, with one JSON object in each line, or COCO results, a JSON list",
        )

    def _raise_no_picture_in_common(self) -> None:
        said = next(iter(self.foreign + self.ambiguous))
        ours = self.dataset[0].name if len(self.dataset) else "(nothing)"
        why = "could be several pictures of" if self.ambiguous else "is no picture of"
        raise DataError(
            f"'{self.path}' has no picture in common with the data set '{self.dataset.root}': "
            f"'{said}' {why} the data set, where names look like '{ours}'",
            hint="Run over the folder that the data set lies in, so that both have the same names",
        )


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                try:
                    yield number, json.loads(line)
                except UnicodeDecodeError:
                    raise DataError(
                        f"'{path}:{number}' is no text",
                        hint="Give COCO results or the rows.jsonl of a run, unpacked; weights are named without "
                        "--predictions",
                    ) from None
                except (ValueError, RecursionError) as error:
                    raise DataError(
                        f"'{path}:{number}' is malformed JSON: {error}",
                        hint="If the run that writes it was interrupted, go on with --resume; else give COCO results, "
                        "a JSON list, or a run's rows.jsonl, with one JSON object in each line",
                    ) from None
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}", hint="Check the file and its permissions") from error


def _classes(result: Mapping[str, Any], labels: _Labels, classes: int) -> FoundClasses:
    names = list(result["labels"])
    scores = _numbers(result["scores"], (len(names),))
    if (np.abs(scores - 0.5) > 0.5 + _ROUNDING).any():
        raise ValueError("scores that are no probabilities")
    best_first = np.argsort(-scores, kind="stable")
    return FoundClasses(labels.of(names)[best_first], scores[best_first])


def _object(result: Mapping[str, Any], labels: _Labels, classes: int) -> FoundObject:
    label = int(labels.of([result["label"]])[0])
    box = _numbers(result["box"], (4,))
    return FoundObject(_number(result["present"]), label, _number(result["score"]), box)


def _boxes(result: Mapping[str, Any], labels: _Labels, classes: int) -> FoundBoxes:
    names = list(result["labels"])
    found = labels.of(names)
    known = found >= 0
    boxes, scores = _numbers(result["boxes"], (len(names), 4)), _numbers(result["scores"], (len(names),))
    return FoundBoxes(boxes[known], scores[known], found[known])


def _points(result: Mapping[str, Any], labels: _Labels, classes: int) -> FoundPoints:
    instances = result.get("instances", [result])
    for each in instances:
        if len(each["points"]) != classes:
            raise ValueError(f"{len(each['points'])} points, where the data set has {classes}")
    points = _numbers([each["points"] for each in instances], (len(instances), classes, 2))
    scores = _numbers([each["scores"] for each in instances], (len(instances), classes))
    boxed = bool(instances) and all("box" in each for each in instances)
    boxes = _numbers([each["box"] for each in instances], (len(instances), 4)) if boxed else None
    return FoundPoints(points, scores, boxes)


_ANSWERS: Mapping[str, Callable[[Mapping[str, Any], _Labels, int], Found]] = {
    "classify": _classes,
    "localize": _object,
    "detect": _boxes,
    "landmarks": _points,
}


def _numbers(values: Any, shape: tuple[int, ...]) -> Floats:
    numbers = np.array(values, np.float64)
    if numbers.shape != shape and not (numbers.size == 0 and 0 in shape):
        raise ValueError(f"numbers of shape {numbers.shape} instead of {shape}")
    if not np.isfinite(numbers).all():
        raise ValueError("numbers that are not finite")
    return numbers.reshape(shape)


def _number(value: Any) -> float:
    return float(_numbers(value, ()))
