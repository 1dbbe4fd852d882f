"""Pictures decoded once and kept in memory at the size that training needs, instead of decoded in every epoch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cvtl.augmentation import plain_view
from cvtl.background import map_ahead
from cvtl.data import BoxesTarget, Dataset, PointsTarget, Sample, Target, UInt8Image
from cvtl.preprocessing import InputSpec, resize
from cvtl.progress import Progress

_READERS = 4
_MOST_BYTES = 2**30


def at_size(sample: Sample, spec: InputSpec) -> tuple[Tensor, Target | None]:
    """A sample's picture brought to a size, and its target where it then lies.

    Args:
        sample: its picture is decoded.
        spec: the size, and how pictures are brought to it.

    Returns:
        uint8 (3, *spec.size_hw), and the target: boxes and points in pixels of that.

    Raises:
        DataError: the picture cannot be read.

    Example:
        >>> box = BoxesTarget(np.array([[10, 20, 30, 40]]), np.array([0]))
        >>> sample = Sample("made", lambda: np.zeros((50, 100, 3), np.uint8), box)
        >>> image, target = at_size(sample, InputSpec(size_hw=(100, 100)))
        >>> image.shape, target.boxes.tolist()
        (torch.Size([3, 100, 100]), [[10.0, 40.0, 30.0, 80.0]])
    """
    image = torch.from_numpy(sample.read()).permute(2, 0, 1)
    return resize(image, spec), _moved(sample.target, (image.shape[1], image.shape[2]), spec)


def in_memory(
    data: Dataset, spec: InputSpec, *, budget_bytes: int | None = None, progress: Progress | None = None
) -> Dataset:
    """Decode all pictures now, by several threads, and keep them at a size.

    They lie in one uint8 array, which forked processes share. `at_size` of a sample of the data set that this gives is
    the same to the bit as of the one it is given.

    Args:
        data: a data set.
        spec: the size of the pictures, and how they are brought to it.
        budget_bytes: what the pictures may take; a quarter of the memory that is free, but at most 1 GiB, if None.
        progress: is told of each picture that is decoded; whoever calls starts and finishes it.

    Returns:
        The data set with samples whose `read` gives the picture at that size, and whose targets lie in it; `data`
        itself if they do not fit the budget.

    Raises:
        DataError: a picture cannot be read.
    """
    shape = (len(data), 3, *spec.size_hw)
    if int(np.prod(shape)) > (_free_bytes() if budget_bytes is None else budget_bytes):
        return data
    progress = progress or Progress()
    pictures = torch.empty(shape, dtype=torch.uint8)
    samples = []
    for index, (image, target) in enumerate(map_ahead(partial(at_size, spec=spec), data, _READERS)):
        pictures[index] = image
        # A file would promise the whole picture.
        samples.append(replace(data[index], read=partial(_row, pictures, index), target=target, file=None))
        progress.advance(1)
    return replace(data, samples=samples)


def _moved(target: Target | None, image_hw: tuple[int, int], spec: InputSpec) -> Target | None:
    # Exactly as they were, which the arithmetic below would not leave them.
    if image_hw == spec.size_hw or not isinstance(target, BoxesTarget | PointsTarget):
        return target
    view = plain_view((0, 0, image_hw[1], image_hw[0]), spec)
    if isinstance(target, PointsTarget):
        boxes = None if target.boxes is None else view.boxes(target.boxes)
        return replace(target, points=view.points(target.points), boxes=boxes)
    growth = abs(float(np.linalg.det(view.matrix[:, :2])))
    return replace(target, boxes=view.boxes(target.boxes), areas=target.areas * growth)


def _row(pictures: Tensor, index: int) -> UInt8Image:
    return pictures[index].permute(1, 2, 0).numpy()


def _free_bytes() -> int:
    """A quarter of the memory that is free, as far as the system says, but at most 1 GiB."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return _MOST_BYTES
    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return min(_MOST_BYTES, kibibytes * 1024 // 4)
