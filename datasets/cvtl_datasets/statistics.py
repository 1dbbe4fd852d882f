"""What is in a data set, in numbers: pictures and their sizes, classes, boxes, points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample
from cvtl.picture_header import read_header

NO_SPLIT = "no split"

# Where what COCO calls small and medium ends, in square pixels.
_SMALL, _MEDIUM = 32**2, 96**2
_SHARES = {"least": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "most": 1.0}


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How often a class occurs.

    Attributes:
        name: of the class.
        pictures: that show it.
        splits: pictures that show it, by split.
        boxes: of it.
        small: boxes of less than 32 x 32 pixels; by their outlines, where the data have them.
        medium: boxes of less than 96 x 96 pixels that are not small.
        large: all others.
    """

    name: str
    pictures: int
    splits: Mapping[str, int]
    boxes: int
    small: int
    medium: int
    large: int


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is in a data set.

    Attributes:
        kind: what the targets are.
        pictures: how many there are.
        splits: how many, by split.
        missing: how many are not there.
        unreadable: how many are there without a header that can be read.
        turned: how many are stored turned (EXIF); all sizes are upright ones.
        sizes: the sizes that occur, "width x height", and how often; the most frequent first.
        quantiles: by name ("picture width", "box side", ...) and share ("median", ...). A box's side is the square root
            of its area, its aspect the width divided by the height.
        classes: how often each occurs, in their order; of points empty.
        objects: boxes, or instances of points.
        crowd: boxes round groups.
        difficult: objects that may be missed.
        per_picture: numbers of objects in a picture, and how many pictures have so many.
        points: names of the points, and in how many instances each is missing.
        problems: mistakes in the annotations, by kind.
        unheld: what the annotations say and targets have no place for.
    """

    kind: Literal["classes", "boxes", "points", "nothing"]
    pictures: int
    splits: Mapping[str, int]
    missing: int
    unreadable: int
    turned: int
    sizes: Mapping[str, int]
    quantiles: Mapping[str, Mapping[str, float]]
    classes: Sequence[ClassCount]
    objects: int
    crowd: int
    difficult: int
    per_picture: Mapping[int, int]
    points: Mapping[str, int]
    problems: Mapping[str, int]
    unheld: Mapping[str, int]


def measure(dataset: Dataset, advance: Callable[[int], None] = lambda count: None) -> Statistics:
    """Count what is in a data set. Of each picture the header is read, and no more.

    Args:
        dataset: any.
        advance: is called with 1 after each sample.

    Example:
        >>> boxes = BoxesTarget(np.array([[0, 0, 20, 10], [0, 0, 100, 200.0]]), np.array([0, 0]))
        >>> scene = Sample("a", lambda: np.zeros((240, 320, 3), np.uint8), boxes)
        >>> found = measure(Dataset([scene], ("cat",), "example"))
        >>> found.sizes, found.classes[0].small, found.classes[0].large, found.per_picture
        ({'320 x 240': 1}, 1, 1, {2: 1})
    """
    pictures = _Pictures()
    for sample in dataset:
        pictures.add(sample)
        advance(1)
    boxes = [each.target for each in dataset if isinstance(each.target, BoxesTarget)]
    points = [each.target for each in dataset if isinstance(each.target, PointsTarget)]
    per_picture = Counter([*(len(each.boxes) for each in boxes), *(len(each.points) for each in points)])
    return Statistics(
        kind=_kind(dataset),
        pictures=len(dataset),
        splits=_counted(sample.split or NO_SPLIT for sample in dataset),
        missing=pictures.missing,
        unreadable=pictures.unreadable,
        turned=pictures.turned,
        sizes=_counted(f"{width} x {height}" for width, height in pictures.sizes_wh),
        quantiles=_picture_quantiles(pictures.sizes_wh) | _box_quantiles(boxes),
        classes=() if points else _class_counts(dataset),
        objects=sum(number * count for number, count in per_picture.items()),
        crowd=sum(int(each.crowd.sum()) for each in boxes),
        difficult=sum(int(each.difficult.sum()) for each in boxes),
        per_picture=dict(sorted(per_picture.items())),
        points=_missing_points(points, dataset.classes) if points else {},
        problems=_counted(problem.kind for problem in dataset.problems),
        unheld=dict(dataset.unheld),
    )


@dataclass
class _Pictures:
    """What the headers say."""

    sizes_wh: list[tuple[int, int]] = field(default_factory=list)
    missing: int = 0
    unreadable: int = 0
    turned: int = 0

    def add(self, sample: Sample) -> None:
        """Count a sample's picture."""
        if sample.file is None:  # made when it is read
            height, width = sample.read().shape[:2]
            self.sizes_wh.append((width, height))
        elif header := read_header(sample.file):
            self.sizes_wh.append(header.upright_wh)
            self.turned += header.orientation != 1
        elif sample.file.exists():
            self.unreadable += 1
        else:
            self.missing += 1


def _kind(dataset: Dataset) -> Literal["classes", "boxes", "points", "nothing"]:
    target = next((sample.target for sample in dataset if sample.target is not None), None)
    match target:
        case ClassTarget():
            return "classes"
        case BoxesTarget():
            return "boxes"
        case PointsTarget():
            return "points"
    return "nothing"


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _quantiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(_SHARES, np.quantile(values, list(_SHARES.values())).tolist(), strict=True))


def _picture_quantiles(sizes_wh: Sequence[tuple[int, int]]) -> dict[str, dict[str, float]]:
    if not sizes_wh:
        return {}
    width, height = np.array(sizes_wh, np.float64).T
    measured = {"width": width, "height": height, "megapixels": width * height / 1e6}
    return {f"picture {name}": _quantiles(values) for name, values in measured.items()}


def _box_quantiles(targets: Sequence[BoxesTarget]) -> dict[str, dict[str, float]]:
    corners = np.concatenate([np.zeros((0, 4)), *(each.boxes for each in targets)])
    if not len(corners):
        return {}
    width, height = (corners[:, 2:] - corners[:, :2]).T
    measured = {"width": width, "height": height, "side": np.sqrt(width * height), "aspect": width / height}
    return {f"box {name}": _quantiles(values) for name, values in measured.items()}


def _class_counts(dataset: Dataset) -> list[ClassCount]:
    pictures: Counter[int] = Counter()
    splits: list[Counter[str]] = [Counter() for _ in dataset.classes]
    small, medium, large = (np.zeros(len(dataset.classes), np.int64) for _ in range(3))
    for sample in dataset:
        target = sample.target
        labels = {target.label} if isinstance(target, ClassTarget) else set()
        if isinstance(target, BoxesTarget):
            labels = set(target.labels.tolist())
            is_small, is_large = target.areas < _SMALL, target.areas >= _MEDIUM
            for counts, those in ((small, is_small), (medium, ~(is_small | is_large)), (large, is_large)):
                np.add.at(counts, target.labels[those], 1)
        pictures.update(labels)
        for label in labels:
            splits[label][sample.split or NO_SPLIT] += 1
    return [
        ClassCount(
            name=name,
            pictures=pictures[label],
            splits=dict(splits[label]),
            boxes=int(small[label] + medium[label] + large[label]),
            small=int(small[label]),
            medium=int(medium[label]),
            large=int(large[label]),
        )
        for label, name in enumerate(dataset.classes)
    ]


def _missing_points(targets: Sequence[PointsTarget], names: Sequence[str]) -> dict[str, int]:
    missing = sum(((~each.visible).sum(axis=0) for each in targets), np.zeros(len(names), np.int64))
    return dict(zip(names, missing.tolist(), strict=True))
