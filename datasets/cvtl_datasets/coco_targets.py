"""What is read of COCO's annotations and categories: boxes with classes, or the points of objects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget, PointsTarget
from cvtl.errors import DataError
from cvtl_datasets.annotation_files import MALFORMED, UNKNOWN_CLASS, Mistake, check_box
from cvtl_datasets.coco_json import CocoFile, whole_number

_Annotation = Mapping[str, Any]
_CATEGORY_HINT = "Each category needs an id, a whole number, and a name, both of its own"


class Boxes:
    """Boxes with their classes.

    Args:
        files: the files that make up a data set.

    Attributes:
        fields: what is read of the entries of each list.
        classes: the categories' names, in the order of their ids.
        category_ids: their ids, of the first file where files number them differently.
        edges: none.
        unheld: none.

    Raises:
        DataError: a category is malformed, or the files have different ones.
    """

    fields: ClassVar[Mapping[str, Sequence[str]]] = {
        "images": ("id", "file_name", "width", "height"),
        "categories": ("id", "name"),
        "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
    }
    edges: tuple[tuple[int, int], ...] = ()

    def __init__(self, files: Sequence[CocoFile]) -> None:
        self.unheld: Counter[str] = Counter()
        self._names = {file.path: _category_names(file) for file in files}
        chosen = {category: name for names in self._names.values() for category, name in names.items()}
        agree = all(names.items() <= chosen.items() for names in self._names.values())
        if not agree or len(set(chosen.values())) < len(chosen):
            chosen = self._names[files[0].path]
            for path, names in self._names.items():
                if set(names.values()) != set(chosen.values()):
                    raise DataError(
                        f"'{files[0].path}' and '{path}' have different categories",
                        hint="Give them the same ids or the same names, or open one file at a time",
                    )
        self.category_ids = tuple(sorted(chosen))
        self.classes = tuple(chosen[category] for category in self.category_ids)

    def labels(self, file: CocoFile) -> dict[int, int]:
        """The class that each category id of a file stands for."""
        label_of = {name: label for label, name in enumerate(self.classes)}
        return {category: label_of[name] for category, name in self._names[file.path].items()}

    def read(self, annotation: _Annotation, labels: Mapping[int, int]) -> tuple[float, ...]:
        """Understand an annotation: x1, y1, x2, y2, label, crowd, area.

        Raises:
            Mistake: it cannot be understood, or the box is none.
        """
        label = _label(annotation, labels)
        x1, y1, x2, y2 = _box(annotation)
        crowd = annotation.get("iscrowd") or 0
        if crowd not in (0, 1):
            raise Mistake(MALFORMED, f"its iscrowd is {crowd!r}: 0 or 1 is needed")
        area = annotation.get("area")
        if area is None:
            return x1, y1, x2, y2, label, crowd, (x2 - x1) * (y2 - y1)
        (area,) = _numbers([area], 1, "area")
        if area < 0:
            raise Mistake(MALFORMED, f"its area is {area}")
        return x1, y1, x2, y2, label, crowd, area

    def target(self, objects: Sequence[tuple[float, ...]]) -> BoxesTarget:
        """Put together what was read of a picture's annotations."""
        table = np.array(objects, np.float64).reshape(-1, 7)
        return BoxesTarget(table[:, :4], table[:, 4].astype(np.int64), table[:, 5] > 0, areas=table[:, 6])


class _Instance(NamedTuple):
    """An object's points as COCO writes them, (K, 3) of x, y and visibility, and its box if known."""

    points: npt.NDArray[np.float64]
    box: tuple[float, float, float, float] | None


class Points:
    """The points of the objects of one category.

    Args:
        files: the files that make up a data set.

    Attributes:
        fields: what is read of the entries of each list.
        classes: the points' names.
        category_ids: none, for classes are points.
        edges: the skeleton, counted from 0.
        unheld: what is found on reading and has no place: "hidden points", "objects without points".

    Raises:
        DataError: a category is malformed, or the files have not one and the same category with keypoints.
    """

    fields: ClassVar[Mapping[str, Sequence[str]]] = {
        "images": ("id", "file_name", "width", "height"),
        "categories": ("id", "keypoints", "skeleton"),
        "annotations": ("id", "image_id", "category_id", "bbox", "keypoints", "num_keypoints"),
    }
    category_ids: tuple[int, ...] = ()

    def __init__(self, files: Sequence[CocoFile]) -> None:
        self.unheld: Counter[str] = Counter()
        self._skeletons = {file.path: _skeleton(file) for file in files}
        _, self.classes, self.edges = self._skeletons[files[0].path]
        for path, skeleton in self._skeletons.items():
            if skeleton.names != self.classes:
                raise DataError(
                    f"'{files[0].path}' and '{path}' have different keypoints", hint="Open one file at a time"
                )

    def labels(self, file: CocoFile) -> dict[int, int]:
        """The category whose objects have points."""
        return {self._skeletons[file.path].category_id: 0}

    def read(self, annotation: _Annotation, labels: Mapping[int, int]) -> _Instance | None:
        """Understand an annotation; gives nothing for an object without points.

        Raises:
            Mistake: it cannot be understood, or the box is none.
        """
        written = annotation.get("keypoints")
        if not written or written == [0] * 3 * len(self.classes):
            self.unheld["objects without points"] += 1
            return None
        _label(annotation, labels, " with keypoints")
        points = np.array(_numbers(written, 3 * len(self.classes), "keypoints"), np.float64).reshape(-1, 3)
        visibility = points[:, 2]
        if not np.isin(visibility, (0, 1, 2)).all():
            raise Mistake(MALFORMED, "a visibility in its keypoints is not 0, 1 or 2")
        if not visibility.any():
            self.unheld["objects without points"] += 1
            return None
        self.unheld["hidden points"] += int((visibility == 1).sum())
        return _Instance(points, _box(annotation) if "bbox" in annotation else None)

    def target(self, objects: Sequence[_Instance]) -> PointsTarget:
        """Put together what was read of a picture's annotations."""
        points = np.array([each.points for each in objects]).reshape(-1, len(self.classes), 3)
        boxes = [each.box for each in objects if each.box]
        known = np.array(boxes) if len(boxes) == len(objects) else None
        return PointsTarget(points[..., :2], points[..., 2] > 0, known)


class _Skeleton(NamedTuple):
    category_id: int
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]


def _skeleton(file: CocoFile) -> _Skeleton:
    """The points of the file's one category that has any."""
    having = [entry for entry in file.lists["categories"] if entry.fields.get("keypoints")]
    if len(having) != 1:
        raise DataError(
            f"'{file.path}' has {len(having)} categories with keypoints",
            hint="Points of one category are read: put each into a file of its own"
            if having
            else "List the points' names as the category's 'keypoints', or read it as 'coco', which takes the boxes",
        )
    position, fields = having[0]
    names, pairs = fields["keypoints"], fields.get("skeleton") or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)):
        raise file.error(position, "the keypoints of the category have no names of their own", "List one for each")
    numbers = range(1, len(names) + 1)
    if not (isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)) or not all(
        number in numbers for pair in pairs for number in pair
    ):
        raise file.error(
            position, "the skeleton has ends that are no keypoints", f"Pairs of 1 to {len(names)} are needed"
        )
    category = whole_number(fields.get("id"))
    if category is None:
        raise file.error(position, f"the id of the category is {fields.get('id')!r}", _CATEGORY_HINT)
    return _Skeleton(category, tuple(names), tuple((start - 1, end - 1) for start, end in pairs))


def _category_names(file: CocoFile) -> dict[int, str]:
    names: dict[int, str] = {}
    for position, fields in file.lists["categories"]:
        category, name = whole_number(fields.get("id")), fields.get("name")
        if category is None or not isinstance(name, str):
            what = f"a category has the id {fields.get('id')!r} and the name {name!r}"
            raise file.error(position, what, _CATEGORY_HINT)
        if category in names or name in names.values():
            raise file.error(position, f"the category {category}, '{name}', is there twice", _CATEGORY_HINT)
        names[category] = name
    return names


def _label(annotation: _Annotation, labels: Mapping[int, int], having: str = "") -> int:
    category = whole_number(annotation.get("category_id"))
    if category is None:
        raise Mistake(MALFORMED, f"its category_id is {annotation.get('category_id')!r}: a whole number is needed")
    if category not in labels:
        raise Mistake(UNKNOWN_CLASS, f"there is no category {category}{having}")
    return labels[category]


def _box(annotation: _Annotation) -> tuple[float, float, float, float]:
    x, y, width, height = _numbers(annotation.get("bbox"), 4, "bbox")
    check_box(x, y, x + width, y + height)
    return x, y, x + width, y + height


def _numbers(written: Any, count: int, what: str) -> list[float]:
    try:
        if isinstance(written, list) and len(written) == count and math.isfinite(sum(written)):
            return written
    except (TypeError, OverflowError):  # other things than numbers; thousands of digits
        pass
    raise Mistake(MALFORMED, f"its {what} is {str(written)[:60]}: {count} finite numbers are needed")
