"""Detectors' outputs read by plain loops, with OpenCV and NumPy only: what the plugin is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Box:
    """A box, xyxy, and what is in it."""

    corners: tuple[float, float, float, float]
    score: float
    label: int


def around(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def read_yolox(output: Floats, size_hw: tuple[int, int]) -> list[Box]:
    boxes, index = [], 0
    for stride in (8, 16, 32):
        for row in range(size_hw[0] // stride):
            for column in range(size_hw[1] // stride):
                dx, dy, log_width, log_height, there, *classes = output[index].tolist()
                index += 1
                label = classes.index(max(classes))
                width, height = math.exp(log_width) * stride, math.exp(log_height) * stride
                corners = around((column + dx) * stride, (row + dy) * stride, width, height)
                boxes.append(Box(corners, there * classes[label], label))
    assert index == len(output)
    return boxes


def read_ultralytics(output: Floats, size_hw: tuple[int, int]) -> list[Box]:
    boxes = []
    for anchor in range(output.shape[1]):
        x, y, width, height, *classes = output[:, anchor].tolist()
        label = classes.index(max(classes))
        boxes.append(Box(around(x, y, width, height), classes[label], label))
    return boxes


def read_end_to_end(output: Floats, size_hw: tuple[int, int]) -> list[Box]:
    return [Box((row[0], row[1], row[2], row[3]), row[4], int(row[5])) for row in output.tolist()]


def read_fastestdet(output: Floats, size_hw: tuple[int, int]) -> list[Box]:
    _, rows, columns = output.shape
    boxes = []
    for row in range(rows):
        for column in range(columns):
            there, dx, dy, width, height, *classes = output[:, row, column].tolist()
            label = classes.index(max(classes))
            x, y = (column + math.tanh(dx)) / columns, (row + math.tanh(dy)) / rows
            width, height = 1 / (1 + math.exp(-width)), 1 / (1 + math.exp(-height))
            left, top, right, bottom = around(x, y, width, height)
            corners = left * size_hw[1], top * size_hw[0], right * size_hw[1], bottom * size_hw[0]
            boxes.append(Box(corners, there**0.6 * classes[label] ** 0.4, label))
    return boxes


READERS: dict[str, Callable[[Floats, tuple[int, int]], list[Box]]] = {
    "yolox": read_yolox,
    "ultralytics": read_ultralytics,
    "end-to-end": read_end_to_end,
    "fastestdet": read_fastestdet,
}


def suppress(boxes: list[Box], iou_threshold: float) -> list[Box]:
    """Of boxes of one class that overlap, the best."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if all(box.label != other.label or overlap(box, other) <= iou_threshold for other in kept):
            kept.append(box)
    return kept


def overlap(box: Box, other: Box) -> float:
    """Intersection over union."""
    (a, b, c, d), (e, f, g, h) = box.corners, other.corners
    width, height = min(c, g) - max(a, e), min(d, h) - max(b, f)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((c - a) * (d - b) + (g - e) * (h - f) - both)


def megvii_input(image: npt.NDArray[np.uint8], side: int) -> tuple[Floats, float]:
    """A BGR picture as YOLOX is fed, (1, 3, side, side), and by what it was scaled."""
    scale = min(side / image.shape[0], side / image.shape[1])
    width, height = int(image.shape[1] * scale), int(image.shape[0] * scale)
    padded = np.full((side, side, 3), 114, np.uint8)
    padded[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32), scale
