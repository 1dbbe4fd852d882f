"""Data sets: samples with typed targets, and the look-up of the format that can read a path.

The core holds the types and the look-up; `cvtl_datasets` (or anybody else's package, through the entry-point
group `cvtl.datasets`) holds the formats. Torch-free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from cvtl._lazy import resolve
from cvtl.errors import DataError, PluginError
from cvtl.registry import Registry

if TYPE_CHECKING:
    from cvtl.tasks import TaskName

DATASETS_GROUP = "cvtl.datasets"

UInt8Image = npt.NDArray[np.uint8]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class ClassTarget:
    """The picture shows one class.

    Attributes:
        label: index into the data set's classes.
    """

    label: int


@dataclass(frozen=True, eq=False)
class BoxesTarget:
    """The objects in a picture.

    Attributes:
        boxes: float32 (N, 4), xyxy in absolute pixels of the upright picture.
        labels: int64 (N,), indices into the data set's classes.
        crowd: bool (N,), boxes round groups that are not counted one by one (COCO's `iscrowd`).
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float32).reshape(-1, 4))
        object.__setattr__(self, "labels", np.asarray(self.labels, np.int64).reshape(-1))
        crowd = self.crowd if len(self.crowd) else np.zeros(len(self.boxes), bool)
        object.__setattr__(self, "crowd", np.asarray(crowd, bool))
        if not len(self.boxes) == len(self.labels) == len(self.crowd):
            raise ValueError(f"{len(self.boxes)} boxes, {len(self.labels)} labels, {len(self.crowd)} crowd flags")


@dataclass(frozen=True, eq=False)
class PointsTarget:
    """Named points of one object.

    Attributes:
        points: float32 (K, 2), x and y in absolute pixels of the upright picture.
        visible: bool (K,), False where a point is missing.
        box: xyxy of the object, if known.
    """

    points: npt.NDArray[np.float32]
    visible: npt.NDArray[np.bool_]
    box: tuple[float, float, float, float] | None = None


Target = ClassTarget | BoxesTarget | PointsTarget


@dataclass(frozen=True)
class Sample:
    """One picture of a data set and what is known about it.

    Attributes:
        name: unique in the data set, relative, with forward slashes.
        read: decodes the picture: upright RGB uint8 (H, W, 3); raises `DataError` naming the file.
        target: what is known about it, if anything.
        split: the part of the data it was put in by whoever published it, if any.
    """

    name: str
    read: Callable[[], UInt8Image]
    target: Target | None = None
    split: Split | None = None


@dataclass(frozen=True, eq=False)
class Dataset(Sequence[Sample]):
    """A lazy sequence of samples: pictures are decoded when they are asked for.

    Attributes:
        samples: the samples, in a stable order.
        classes: class names in a stable order; targets index into them.
        format: name of the format it was read by.
        root: the path it was read from, for messages.
    """

    samples: Sequence[Sample]
    classes: tuple[str, ...]
    format: str
    root: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.samples[index]

    def subset(self, indices: Iterable[int]) -> Dataset:
        """The samples at `indices`, in that order, as a data set of the same classes."""
        return Dataset([self.samples[i] for i in indices], self.classes, self.format, self.root)

    def split(self, name: Split) -> Dataset:
        """The samples whose publisher put them into a split; empty if there are none."""
        return self.subset(i for i, sample in enumerate(self.samples) if sample.split == name)

    def digest(self) -> str:
        """SHA-256 over names and targets (not pixels): says whether two runs saw the same data."""
        # File names on POSIX need not be UTF-8.
        state = hashlib.sha256("\0".join(self.classes).encode(errors="surrogateescape"))
        for sample in self.samples:
            state.update(f"\n{sample.name}\0{sample.split}\0".encode(errors="surrogateescape"))
            target = sample.target
            if isinstance(target, ClassTarget):
                state.update(str(target.label).encode())
            elif isinstance(target, BoxesTarget):
                state.update(target.boxes.tobytes() + target.labels.tobytes() + target.crowd.tobytes())
            elif isinstance(target, PointsTarget):
                state.update(target.points.tobytes() + target.visible.tobytes() + str(target.box).encode())
        return state.hexdigest()


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """What a package declares about one data set format.

    Attributes:
        name: the word of `--format NAME`.
        summary: one line for `--help` and messages.
        tasks: the tasks whose targets it can hold.
        recognizes: `module:function`, `Path -> bool`; quick, and without false alarms.
        load: `module:function`, `Path -> Dataset`; raises `DataError` with file and line.
    """

    name: str
    summary: str
    tasks: tuple[TaskName, ...]
    recognizes: str
    load: str

    def check(self) -> None:
        """Import both functions.

        Raises:
            PluginError: one of them is not there.
        """
        for reference in (self.recognizes, self.load):
            try:
                resolve(reference)
            except Exception as error:
                raise PluginError(
                    f"data set format '{self.name}': '{reference}' cannot be imported: {error}"
                ) from error


@cache
def formats() -> Registry[DatasetFormat]:
    """The data set formats of this installation."""
    return Registry(DATASETS_GROUP, DatasetFormat, "data set format")


def load_data(path: str | Path, task: TaskName | None = None, *, format: str | None = None) -> Dataset:
    """Open a data set of any registered format.

    Args:
        path: a folder or a file.
        task: only formats that can hold this task's targets are asked.
        format: the format's name, if it should not be guessed.

    Raises:
        DataError: nothing is there, no format or more than one recognises it, or it has mistakes.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no data set at '{path}'", hint="Check the path")
    candidates = [formats().get(format)] if format else list(formats().usable())
    if task is not None:
        candidates = [each for each in candidates if task in each.tasks]
    if format and not candidates:
        raise DataError(f"data set format '{format}' has no targets for the task '{task}'", hint="Name another one")
    found = candidates if format else [each for each in candidates if resolve(each.recognizes)(path)]
    if len(found) != 1:
        known = "; ".join(f"{each.name}: {each.summary}" for each in candidates)
        problem = f"is read by {' and '.join(each.name for each in found)}" if found else "is in no known format"
        raise DataError(f"'{path}' {problem}", hint=f"Name one with --format. Formats here: {known or '(none)'}")
    dataset: Dataset = resolve(found[0].load)(path)
    return dataset
