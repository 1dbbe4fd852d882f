"""Data sets: samples with typed targets, and the look-up of the format that can read a path.

The core holds the types and the look-up; `cvtl_datasets` (or anybody else's package, through the entry-point
group `cvtl.datasets`) holds the formats. Torch-free.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
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

    Boxes keep the double precision of the files they come from; a network wants `.float()` of them.

    Attributes:
        boxes: float64 (N, 4), xyxy in absolute pixels of the upright picture, x1 < x2 and y1 < y2.
        labels: int64 (N,), indices into the data set's classes.
        crowd: bool (N,), boxes round groups that are not counted one by one (COCO's `iscrowd`).
        difficult: bool (N,), objects that may be missed (Pascal VOC's `difficult`).
        areas: float64 (N,) in square pixels: of the objects' outlines where the data have them, else of the boxes.
    """

    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    difficult: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    areas: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float64).reshape(-1, 4)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "labels", np.asarray(self.labels, np.int64).reshape(-1))
        for name in ("crowd", "difficult"):
            flags = getattr(self, name)
            object.__setattr__(self, name, np.asarray(flags if len(flags) else np.zeros(len(boxes)), bool))
        areas = self.areas if len(self.areas) else (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        object.__setattr__(self, "areas", np.asarray(areas, np.float64))
        if not len(boxes) == len(self.labels) == len(self.crowd) == len(self.difficult) == len(self.areas):
            raise ValueError(
                f"{len(boxes)} boxes, {len(self.labels)} labels, {len(self.crowd)} crowd flags, "
                f"{len(self.difficult)} difficult flags, {len(self.areas)} areas"
            )


@dataclass(frozen=True, eq=False)
class PointsTarget:
    """The named points of the objects in a picture; the data set's classes are the points' names.

    Attributes:
        points: float64 (N, K, 2), x and y in absolute pixels of the upright picture; (K, 2) is taken for one object.
        visible: bool (N, K), False where a point is missing; what `points` then says means nothing.
        boxes: float64 (N, 4), xyxy of the objects, if known.
    """

    points: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        points = np.asarray(self.points, np.float64)
        points = points[None] if points.ndim == 2 else points
        visible = np.asarray(self.visible, bool)
        visible = visible[None] if visible.ndim == 1 else visible
        if points.ndim != 3 or points.shape[2] != 2 or visible.shape != points.shape[:2]:
            raise ValueError(f"points of shape {points.shape}, visibility of shape {visible.shape}")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "visible", visible)
        if self.boxes is not None:
            object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float64).reshape(len(points), 4))


Target = ClassTarget | BoxesTarget | PointsTarget


@dataclass(frozen=True)
class Sample:
    """One picture of a data set and what is known about it.

    Attributes:
        name: unique in the data set, relative, with forward slashes.
        read: decodes the picture: upright RGB uint8 (H, W, 3); raises `DataError` naming the file.
        target: what is known about it, if anything.
        split: the part of the data it was put in by whoever published it, if any.
        file: where the picture lies; None where it is made when it is read.
        annotated_wh: the picture's width and height as the annotations state them.
        image_id: COCO's number of the picture, which results files refer to.
    """

    name: str
    read: Callable[[], UInt8Image]
    target: Target | None = None
    split: Split | None = None
    file: Path | None = None
    annotated_wh: tuple[int, int] | None = None
    image_id: int | None = None

    @classmethod
    def of_file(
        cls,
        name: str,
        file: str | Path,
        target: Target | None = None,
        split: Split | None = None,
        *,
        annotated_wh: tuple[int, int] | None = None,
        image_id: int | None = None,
    ) -> Sample:
        """A sample whose picture lies in a file; it is not opened before it is read.

        Example:
            >>> Sample.of_file("cat/1.jpg", "/data/cat/1.jpg", ClassTarget(0)).target
            ClassTarget(label=0)
        """
        return cls(name, partial(_read_file, str(file)), target, split, Path(file), annotated_wh, image_id)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A mistake in a data set's annotations that was found in reading them.

    Attributes:
        kind: what kind of mistake, in a few words that are the same for all of the kind ("zero-area box").
        where: the file, relative to the data set where it lies in it, and the line where known: "a.xml:31".
        what: what is wrong there, for people.
        sample: name of the sample it belongs to, if any.
        fatal: whether something had to be left out that no default can stand for: `load_data` refuses such data, while
            `cvtl data check` lists everything that is wrong with them.
    """

    kind: str
    where: str
    what: str
    sample: str | None = None
    fatal: bool = False


@dataclass(frozen=True, eq=False)
class Dataset(Sequence[Sample]):
    """A lazy sequence of samples: pictures are decoded when they are asked for.

    Attributes:
        samples: the samples, in a stable order.
        classes: class names in a stable order; targets index into them. Of points, the names of the points.
        format: name of the format it was read by.
        root: the path it was read from, for messages.
        problems: mistakes found in reading it; what they name is left out of the targets.
        unheld: what the annotations say and targets have no place for: the field and how often it occurs.
        category_ids: COCO's number of each class, which results files refer to; empty where there are none.
        edges: pairs of points to join in drawings.
        flip_pairs: pairs of points that change places where a picture is mirrored, as left and right eye do. None where
            nobody has said, () where there are none.
        eyes: the two points whose distance errors of landmarks are measured by, if somebody has said.
    """

    samples: Sequence[Sample]
    classes: tuple[str, ...]
    format: str
    root: str = ""
    problems: tuple[Problem, ...] = ()
    unheld: Mapping[str, int] = field(default_factory=dict)
    category_ids: tuple[int, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] | None = None
    eyes: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.samples[index]

    def subset(self, indices: Iterable[int]) -> Dataset:
        """The samples at `indices`, in that order, as a data set of the same classes."""
        return replace(self, samples=[self.samples[i] for i in indices])

    def split(self, name: Split) -> Dataset:
        """The samples whose publisher put them into a split; empty if there are none."""
        return self.subset(i for i, sample in enumerate(self.samples) if sample.split == name)

    def digest(self) -> str:
        """SHA-256 over names and targets (not pixels): says whether two runs saw the same data."""
        # File names on POSIX need not be UTF-8, nor names in JSON.
        state = hashlib.sha256("\0".join(self.classes).encode(errors="surrogatepass"))
        for sample in self.samples:
            state.update(f"\n{sample.name}\0{sample.split}\0".encode(errors="surrogatepass"))
            target = sample.target
            if isinstance(target, ClassTarget):
                state.update(str(target.label).encode())
            elif isinstance(target, BoxesTarget):
                state.update(target.boxes.tobytes() + target.labels.tobytes())
                state.update(target.crowd.tobytes() + target.difficult.tobytes())
            elif isinstance(target, PointsTarget):
                state.update(target.points.tobytes() + target.visible.tobytes())
                state.update(b"" if target.boxes is None else target.boxes.tobytes())
        return state.hexdigest()

    def describe_problems(self) -> str:
        """A sentence on the mistakes that were passed over, empty where there are none.

        Example:
            >>> problem = Problem(kind="zero-area box", where="a.xml:31", what="the box 9 9 9 9 has no area")
            >>> Dataset([], (), "voc", "data", problems=(problem, problem)).describe_problems()
            "Passed over in 'data': 2 x zero-area box; `cvtl data check` lists them."
        """
        if not self.problems:
            return ""
        counts = Counter(problem.kind for problem in self.problems)
        listed = ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())
        return f"Passed over in '{self.root}': {listed}; `cvtl data check` lists them."


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """What a package declares about one data set format.

    Attributes:
        name: the word of `--format NAME`.
        summary: one line for `--help` and messages.
        tasks: the tasks whose targets it can hold.
        recognizes: `module:function`, `Path -> bool`; quick, and without false alarms.
        load: `module:function`, `Path -> Dataset`. Mistakes in single annotations become the data set's `problems`;
            `DataError` is for data that cannot be read at all, and names file and line.
        save: `module:function`, `(Dataset, Path, advance) -> Mapping[str, int]`, if it can be written: writes pictures
            and annotations into a new folder as a stream, calls `advance(1)` after each sample, and gives what the
            format cannot hold: field and how often it occurs. What else a user should know it says by a `CvtlWarning`.
        refines: name of a format that this one is a special case of, and preferred to where both would do.
        unlabelled: whether its samples have no targets. It is asked only for its tasks: else it would recognise what
            other formats do.
    """

    name: str
    summary: str
    tasks: tuple[TaskName, ...]
    recognizes: str
    load: str
    save: str | None = None
    refines: str | None = None
    unlabelled: bool = False

    def check(self) -> None:
        """Import its functions.

        Raises:
            PluginError: one of them is not there.
        """
        for reference in filter(None, (self.recognizes, self.load, self.save)):
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


def load_data(
    path: str | Path,
    task: TaskName | None = None,
    *,
    format: str | None = None,
    strict: bool = True,
    splits: str | Path | bool = True,
) -> Dataset:
    """Open a data set of any registered format.

    Args:
        path: a folder or a file.
        task: only formats that can hold this task's targets are asked.
        format: the format's name, if it should not be guessed.
        strict: refuse data of which something had to be left out (`Problem.fatal`).
        splits: a split file to divide it by; True for the one that `cvtl data split` put beside it, if it did; False
            for the publisher's division.

    Raises:
        DataError: nothing is there, no format or more than one recognises it, or it has mistakes.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no data set at '{path}'", hint="Check the path")
    dataset: Dataset = resolve(_find_format(path, task, format).load)(path)
    fatal = [problem for problem in dataset.problems if problem.fatal]
    if strict and fatal:
        more = f" (and {len(fatal) - 1} more such mistakes)" if len(fatal) > 1 else ""
        raise DataError(
            f"'{path}': {fatal[0].where}: {fatal[0].what}{more}",
            hint=f"`cvtl data check {path}` lists all that is wrong",
        )
    return _divided(dataset, path, splits)


def _divided(dataset: Dataset, path: Path, splits: str | Path | bool) -> Dataset:
    from cvtl.split_file import split_file_of, with_split_file

    if splits is False:
        return dataset
    file = split_file_of(path) if splits is True else Path(splits)
    return with_split_file(dataset, file) if splits is not True or file.exists() else dataset


def _find_format(path: Path, task: TaskName | None, name: str | None) -> DatasetFormat:
    candidates = [formats().get(name)] if name else list(formats().usable())
    if task is not None:
        candidates = [each for each in candidates if task in each.tasks]
    elif not name:
        candidates = [each for each in candidates if not each.unlabelled]
    if name and not candidates:
        raise DataError(f"data set format '{name}' has no targets for the task '{task}'", hint="Name another one")
    found = candidates if name else [each for each in candidates if _recognizes(each, path)]
    refined = {each.refines for each in found}
    found = [each for each in found if each.name not in refined]
    if len(found) != 1:
        known = "; ".join(f"{each.name}: {each.summary}" for each in found or candidates)
        problem = f"is read by {' and '.join(each.name for each in found)}" if found else "is in no known format"
        raise DataError(f"'{path}' {problem}", hint=f"Name one with --format. Formats here: {known or '(none)'}")
    return found[0]


def _recognizes(format: DatasetFormat, path: Path) -> bool:
    try:
        return bool(resolve(format.recognizes)(path))
    except DataError:
        raise
    except Exception:  # one broken format breaks no other; `--format` shows what is wrong with it
        return False


def _read_file(file: str) -> UInt8Image:
    from cvtl.images import read_image

    return read_image(file)
