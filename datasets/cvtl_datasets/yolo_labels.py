"""The lines of a YOLO label file: what they say, and what is wrong with them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cvtl_datasets.annotation_files import MALFORMED, UNKNOWN_CLASS, Mistake, check_box

Box = tuple[float, float, float, float]

# Shares may lie a little outside of the picture; far outside they are pixels, or something else.
_LEAST, _MOST = -1.0, 2.0
# A class and a box, also with a confidence; of a polygon a class and three corners or more.
_BOX, _SCORED_BOX, _POLYGON = 5, 6, 7


class Lines(NamedTuple):
    """How lines are to be understood.

    Attributes:
        classes: how many classes there are.
        keypoint_numbers: how many numbers of keypoints stand behind each box.
    """

    classes: int
    keypoint_numbers: int = 0


@dataclass
class Labels:
    """What a file says.

    Attributes:
        boxes: xyxy in pixels.
        classes: of each box.
        mistakes: number of the line, and what is wrong there.
        unheld: what else the lines say, and how often.
    """

    boxes: list[Box] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    mistakes: list[tuple[int, Mistake]] = field(default_factory=list)
    unheld: Counter[str] = field(default_factory=Counter)


def parse(text: str, wh: tuple[int, int], lines: Lines) -> Labels:
    r"""Read the lines of a file, those that are blank left out.

    Args:
        text: the file's content.
        wh: width and height of the upright picture.
        lines: how to understand them.

    Example:
        >>> labels = parse("0 0.5 0.5 0.5 1\n\n0 0 0 1 0 0.5 0.5\n7 0.5 0.5 1 1", (200, 100), Lines(classes=3))
        >>> labels.boxes, labels.unheld
        ([(50.0, 0.0, 150.0, 100.0), (0.0, 0.0, 200.0, 50.0)], Counter({'segmentation': 1}))
        >>> labels.mistakes
        [(4, Mistake('there is no class 7, only 0 to 2'))]
    """
    labels = Labels()
    width, height = wh
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = _numbers(words)
            (x1, y1, x2, y2), unheld = _box(values[1:], lines.keypoint_numbers)
            box = (x1 * width, y1 * height, x2 * width, y2 * height)
            check_box(*box)
            labels.classes.append(_class(values[0], words[0], lines.classes))
            labels.boxes.append(box)
        except Mistake as mistake:
            labels.mistakes.append((number, mistake))
            continue
        if unheld:
            labels.unheld[unheld] += 1
    return labels


def looks_like_label(line: str) -> bool:
    """Whether a line is a class and the numbers of a box or more.

    Example:
        >>> looks_like_label("0 0.5 0.5 0.1 0.1"), looks_like_label("traffic light"), looks_like_label("1 2 3")
        (True, False, False)
    """
    try:
        values = _numbers(line.split())
    except Mistake:
        return False
    return len(values) >= _BOX and values[0] >= 0 and values[0].is_integer()


def _numbers(words: Sequence[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        wrong = next(word for word in words if math.isnan(_number(word)))
        raise Mistake(MALFORMED, f"'{wrong}' is not a number") from None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _box(shares: Sequence[float], keypoint_numbers: int) -> tuple[Box, str]:
    """A line's box in shares of the picture, xyxy, and what else the line says."""
    count = len(shares) + 1
    with_keypoints = keypoint_numbers and count == _BOX + keypoint_numbers
    is_polygon = not with_keypoints and count >= _POLYGON and count % 2 == 1
    if not (with_keypoints or is_polygon or count in (_BOX, _SCORED_BOX)):
        raise Mistake(MALFORMED, f"{count} numbers are neither a box (5) nor a polygon (7, 9, ...)")
    coordinates = shares if is_polygon else shares[:4]
    for share in coordinates:
        if not _LEAST <= share <= _MOST:
            raise Mistake(MALFORMED, f"{share:g} is no share of the picture's size, which lies between 0 and 1")
    if is_polygon:
        xs, ys = shares[::2], shares[1::2]
        return (min(xs), min(ys), max(xs), max(ys)), "segmentation"
    x, y, width, height = coordinates
    unheld = "keypoints" if with_keypoints else "confidence" if count == _SCORED_BOX else ""
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2), unheld


def _class(value: float, word: str, count: int) -> int:
    if not (value.is_integer() and 0 <= value < count):
        raise Mistake(UNKNOWN_CLASS, f"there is no class {word}, only 0 to {count - 1}")
    return int(value)
