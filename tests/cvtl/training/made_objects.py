"""Data that small detectors can learn in a moment."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from cvtl.data import BoxesTarget, Dataset, Sample, UInt8Image

CLASSES = ("red", "green", "blue")
SIDE = 64
PICTURE_HW = (60, 90)


def make_data(count: int, *, first: int = 0, most: int = 4) -> Dataset:
    """Grey noise with bright squares of up to three colours, or with none."""
    return Dataset([made_sample(index, most) for index in range(first, first + count)], CLASSES, "made", "nowhere")


def made_sample(index: int, most: int = 4) -> Sample:
    """One of them."""
    random = np.random.default_rng(index)
    height, width = PICTURE_HW
    boxes = np.zeros((0, 4))
    for _ in range(int(random.integers(0, most + 1))):
        side = int(random.integers(12, 28))
        left, top = int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1))
        box = np.array([left, top, left + side, top + side], np.float64)
        apart = (np.maximum(boxes[:, :2], box[:2]) >= np.minimum(boxes[:, 2:], box[2:])).any(axis=1).all()
        if apart:
            boxes = np.vstack([boxes, box])
    target = BoxesTarget(boxes, random.integers(0, len(CLASSES), len(boxes)))
    return Sample(f"{index}.png", partial(picture, index, target), target)


def picture(index: int, target: BoxesTarget) -> UInt8Image:
    """Paints it."""
    image = np.random.default_rng([index, 1]).integers(0, 100, (*PICTURE_HW, 3), dtype=np.uint8)
    for (left, top, right, bottom), label in zip(target.boxes.astype(int), target.labels, strict=True):
        image[top:bottom, left:right, label] = 230
    return image


def write_yolo(folder: Path, data: Iterable[Sample]) -> Path:
    """Write a data set in YOLO's own format."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    (folder / "data.yaml").write_text(f"path: .\ntrain: images\nval: images\nnames: {list(CLASSES)}\n")
    for number, sample in enumerate(data):
        image, target = sample.read(), sample.target
        assert isinstance(target, BoxesTarget)
        assert cv2.imwrite(str(folder / "images" / f"{number}.png"), np.ascontiguousarray(image[..., ::-1]))
        height, width = image.shape[:2]
        centres, sizes = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2, target.boxes[:, 2:] - target.boxes[:, :2]
        rows = np.concatenate([centres, sizes], axis=1) / [width, height, width, height]
        lines = [f"{label} {' '.join(map(str, row))}" for label, row in zip(target.labels, rows.tolist(), strict=True)]
        (folder / "labels" / f"{number}.txt").write_text("\n".join(lines) + "\n")
    return folder
