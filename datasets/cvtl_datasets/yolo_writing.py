"""Writing YOLO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from cvtl.data import BoxesTarget, Dataset
from cvtl.errors import UsageError
from cvtl_datasets.voc_writing import what_boxes_lose
from cvtl_datasets.writing import PictureWriter, WrittenPicture, write_lines, write_pictures
from cvtl_datasets.yolo_pictures import IMAGES, LABELS

# A ten-thousand-millionth of 50,000 pixels is far below what anybody can draw.
_DIGITS = 10


def save(dataset: Dataset, out: Path, advance: Callable[[int], None]) -> Mapping[str, int]:
    """Write `images`, `labels` and `data.yaml`, which Ultralytics reads as well.

    With splits there are folders `images/train` and so on; pictures without a split go to train where others have one.
    Without any split all lie in `images`, and data.yaml names it as train and as val, because Ultralytics demands both;
    this package takes that for no split. Boxes are not clipped: Ultralytics passes over pictures whose boxes stick out
    so far that their centre or size is outside of [0, 1].

    Args:
        dataset: samples with a `BoxesTarget`, or without a target, who have no objects then.
        out: a new or empty folder.
        advance: is called with 1 after each sample.

    Returns:
        What YOLO cannot hold, and what happened to pictures, and how often.

    Raises:
        UsageError: the targets are no boxes.
    """
    has_splits = any(sample.split for sample in dataset)
    writer = PictureWriter(out / IMAGES)
    lost: Counter[str] = Counter()
    for sample, picture in write_pictures(dataset, writer, advance, lambda each: _folder(each.split, has_splits)):
        target = sample.target or BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))
        if not isinstance(target, BoxesTarget):
            raise UsageError("YOLO holds boxes, and nothing else", hint="Choose another format with --to")
        label = PurePosixPath(_folder(sample.split, has_splits), picture.name).with_suffix(".txt")
        write_lines(out / LABELS / label, _lines(picture, target))
        lost += what_boxes_lose(target, keep_difficult=False)
        lost["no split, put into train"] += has_splits and sample.split is None
    used = {_folder(sample.split, has_splits) for sample in dataset} if has_splits else set()
    places: dict[str, object] = {each: f"{IMAGES}/{each}" for each in ("train", "val", "test") if each in used}
    content = (places or {"train": IMAGES, "val": IMAGES}) | {"names": dict(enumerate(dataset.classes))}
    out.mkdir(parents=True, exist_ok=True)
    (out / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return +lost + writer.counts


def _folder(split: str | None, has_splits: bool) -> str:
    return split or "train" if has_splits else ""


def _lines(picture: WrittenPicture, target: BoxesTarget) -> Iterator[str]:
    size = np.array([picture.width, picture.height], np.float64)
    centers = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2 / size
    sizes = (target.boxes[:, 2:] - target.boxes[:, :2]) / size
    for label, shares in zip(target.labels.tolist(), np.hstack([centers, sizes]).tolist(), strict=True):
        yield " ".join([str(label), *(f"{share:.{_DIGITS}f}".rstrip("0").rstrip(".") for share in shares)])
