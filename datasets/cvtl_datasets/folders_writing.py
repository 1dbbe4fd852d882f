"""Writing class folders: pictures that show one class as they are, objects in boxes as crops."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, UInt8Image
from cvtl.errors import CvtlWarning, DataError, UsageError
from cvtl_datasets.folders import FOREIGN_FOLDERS, SPLIT_FOLDERS
from cvtl_datasets.writing import PictureWriter, SafeNames, leave_out


def save(dataset: Dataset, out: Path, advance: Callable[[int], None]) -> Counter[str]:
    """Write OUT/CLASS/picture, or OUT/SPLIT/CLASS/picture where samples have splits.

    Of a picture with boxes every object that is no crowd is cut out, its box rounded outwards, and becomes a PNG:
    crops are what a sliding window is trained with, once a class folder of background is added. Where only some samples
    have a split, the others go to train.

    Args:
        dataset: of classes or of boxes.
        out: a new or empty folder.
        advance: called with 1 after each sample.

    Returns:
        What class folders cannot hold, and what happened to pictures: each with its count.

    Raises:
        UsageError: the data set is of points.
    """
    has_splits = any(sample.split for sample in dataset)
    folders = _class_folders(dataset.classes, flat=not has_splits)
    writer = PictureWriter(out)
    counts = writer.counts
    seen: set[int] = set()
    for sample in dataset:
        split = f"{sample.split or 'train'}/" if has_splits else ""
        try:
            for picture, label in _pictures(sample, counts):
                writer.write(picture, split + folders[label])
                seen.add(label)
            counts["no split, put into train"] += has_splits and sample.split is None
        except DataError as error:
            leave_out(error, counts)
        advance(1)
    kept = [folders[label] for label in sorted(seen)]
    counts["class name"] = sum(name != folder for name, folder in zip(dataset.classes, folders, strict=True))
    counts["class without pictures"] = len(folders) - len(kept)
    # Readers sort the classes by name.
    counts["class order"] = sum(old != new for old, new in zip(kept, sorted(kept), strict=True))
    return +counts


def _pictures(sample: Sample, counts: Counter[str]) -> Iterator[tuple[Sample, int]]:
    """What to write of a sample, and the class that it shows; counts what is lost by it."""
    target = sample.target
    if isinstance(target, ClassTarget):
        yield sample, target.label
    elif isinstance(target, BoxesTarget) and len(target.boxes):
        yield from _crops(sample, target, counts)
    elif isinstance(target, PointsTarget):
        raise UsageError("class folders cannot hold points", hint="Choose another format with --to")
    else:
        counts["picture without objects" if target else "picture without label"] += 1


def _crops(sample: Sample, target: BoxesTarget, counts: Counter[str]) -> Iterator[tuple[Sample, int]]:
    image = sample.read()
    counts["box position"] += len(target.boxes)
    counts["crowd, not cut out"] += int(target.crowd.sum())
    counts["difficult"] += int(target.difficult.sum())
    stem = PurePosixPath(sample.name).stem
    for number in np.flatnonzero(~target.crowd):
        x1, y1, x2, y2 = _whole_pixels(target.boxes[number], image)
        if x1 < x2 and y1 < y2:
            crop = np.ascontiguousarray(image[y1:y2, x1:x2])
            yield Sample(f"{stem}-{number + 1}.png", partial(np.asarray, crop)), int(target.labels[number])
        else:
            counts["box outside of the picture"] += 1


def _whole_pixels(box: npt.NDArray[np.float64], image: UInt8Image) -> tuple[int, int, int, int]:
    """A box rounded outwards and clipped to the picture."""
    height, width = image.shape[:2]
    x1, y1 = np.maximum(np.floor(box[:2]), 0).astype(int)
    x2, y2 = np.minimum(np.ceil(box[2:]), (width, height)).astype(int)
    return x1, y1, x2, y2


def _class_folders(classes: Sequence[str], *, flat: bool) -> list[str]:
    """A folder name for each class, which the reader takes for a class and for nothing else."""
    misleading = FOREIGN_FOLDERS
    if flat and sum(name.lower() in SPLIT_FOLDERS for name in classes) > 1:
        misleading = misleading | SPLIT_FOLDERS.keys()
    names = SafeNames()
    folders = [names.add(f"_{name}" if name.lower() in misleading else name) for name in classes]
    for name, folder in zip(classes, folders, strict=True):
        if folder != name:
            warnings.warn(f"the class '{name}' is called '{folder}' now", CvtlWarning, stacklevel=3)
    return folders
