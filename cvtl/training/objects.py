"""What a detector trains and is validated on: views of pictures, or of parts of four of them, and their objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cvtl.augmentation import Variation, View, draw_view, plain_view
from cvtl.background import map_ahead
from cvtl.data import BoxesTarget, Dataset, Sample, UInt8Image
from cvtl.errors import DataError
from cvtl.preprocessing import LETTERBOX_GREY, InputSpec
from cvtl.training.memory import at_size

LEAST_VISIBLE = 0.3
"""An object of which a training view shows less than this part of its box is not learnt, and not held to be there."""

# Thinner boxes, in pixels of the input, show nothing.
_LEAST_SIDE = 2.0
# By how much pictures are larger than the input before they are moved: views that enlarge them find more to show.
_LARGER = 1.5
# Where the four pictures of a mosaic meet, as a part of the input's sides.
_MIDDLE = (0.3, 0.7)
_MOST_LOOKED_AT = 5000
_READERS = 4


@dataclass(frozen=True, eq=False)
class Seen:
    """The objects in a picture as its network sees them.

    Attributes:
        boxes: float32 (N, 4), xyxy in pixels of the input and cut to it.
        labels: int64 (N,).
    """

    boxes: Tensor
    labels: Tensor


class TrainingSamples(Sequence[tuple[Tensor, Seen]]):
    """Views of the pictures, another one of each in every epoch; some of them of four pictures.

    Args:
        data: whose targets are boxes; from `cvtl.training.memory.in_memory` with `sample_spec`, or not: the samples
            are the same to the bit.
        input: the network's.
        variation: of the views.
        mosaic: which part of the samples is put together from parts of four pictures.
        seed: samples are a function of this, the epoch and the index.
        epoch: from 0.
    """

    def __init__(
        self, data: Dataset, input: InputSpec, variation: Variation, *, mosaic: float, seed: int, epoch: int
    ) -> None:
        self._data = data
        self._input = input
        self._variation = variation
        self._spec = sample_spec(input, variation)
        self._mosaic = mosaic
        self._seed = (seed, epoch)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, Seen]:  # type: ignore[override]
        random = np.random.default_rng([*self._seed, index])
        if random.random() < self._mosaic:
            return self._four([index, *random.integers(len(self._data), size=3).tolist()], random)
        image, target = self._picture(index)
        view = self._view(image, random)
        return view.show(image), seen_objects(target, view)

    def _four(self, indices: Sequence[int], random: np.random.Generator) -> tuple[Tensor, Seen]:
        """Parts of four pictures, each at its usual size, that meet in a point.

        Source: Bochkovskiy et al. 2020, arXiv 2004.10934, section 3.3, "Mosaic".
        """
        height, width = self._input.size_hw
        y, x = (round(side * random.uniform(*_MIDDLE)) for side in (height, width))
        together = torch.full((3, height, width), LETTERBOX_GREY, dtype=torch.uint8)
        boxes, labels = [], []
        quarters = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
        order = random.permutation(4).tolist()
        for index, quarter in zip(indices, order, strict=True):
            left, top, right, bottom = quarters[quarter]
            image, target = self._picture(index)
            part = part_of(self._view(image, random), (bottom - top, right - left), random)
            together[:, top:bottom, left:right] = part.show(image)
            seen = seen_objects(target, part)
            boxes.append(seen.boxes + torch.tensor([left, top, left, top]))
            labels.append(seen.labels)
        return together, Seen(torch.cat(boxes), torch.cat(labels))

    def _picture(self, index: int) -> tuple[UInt8Image, BoxesTarget]:
        image, target = at_size(self._data[index], self._spec)
        assert isinstance(target, BoxesTarget)
        return image.permute(1, 2, 0).numpy(), target

    def _view(self, image: UInt8Image, random: np.random.Generator) -> View:
        height, width = image.shape[:2]
        return draw_view((0, 0, width, height), self._input, self._variation, random)


class ValidationSamples(Sequence[tuple[Tensor, Seen]]):
    """The pictures as they are predicted, and their objects.

    Args:
        data: whose targets are boxes.
        input: the network's.
    """

    def __init__(self, data: Dataset, input: InputSpec) -> None:
        self._data = data
        self._input = input

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, Seen]:  # type: ignore[override]
        image, target = at_size(self._data[index], self._input)
        assert isinstance(target, BoxesTarget)
        height, width = self._input.size_hw
        return image.contiguous(), seen_objects(target, plain_view((0, 0, width, height), self._input))


def sample_spec(input: InputSpec, variation: Variation) -> InputSpec:
    """How pictures are brought to the size that training views are taken of; the input's where nothing is moved.

    Example:
        >>> sample_spec(InputSpec(size_hw=(320, 320)), Variation(scale=1.25)).size_hw
        (480, 480)
    """
    if (variation.rotation, variation.scale, variation.shift) == (0, 1, 0):
        return input
    height, width = (round(side * _LARGER) for side in input.size_hw)
    return input.model_copy(update={"size_hw": (height, width)})


def seen_objects(target: BoxesTarget, view: View) -> Seen:
    """The objects that a view shows, their boxes cut to it.

    Crowds are left out, and objects of which less than `LEAST_VISIBLE` of the box, or a strip thinner than two pixels,
    is to be seen.

    Example:
        >>> view = plain_view((50, 0, 150, 100), InputSpec(size_hw=(100, 100)))
        >>> target = BoxesTarget(np.array([[0, 10, 60, 20], [40, 10, 90, 50]]), np.array([0, 1]))
        >>> seen = seen_objects(target, view)
        >>> seen.boxes.tolist(), seen.labels.tolist()
        ([[0.0, 10.0, 40.0, 50.0]], [1])
    """
    height, width = view.size_hw
    whole = view.boxes(target.boxes)
    cut = whole.clip(0, [width, height, width, height])
    sizes = cut[:, 2:] - cut[:, :2]
    shown = sizes.prod(axis=1) / (whole[:, 2:] - whole[:, :2]).prod(axis=1)
    kept = (shown >= LEAST_VISIBLE) & (sizes >= _LEAST_SIDE).all(axis=1) & ~target.crowd
    return Seen(torch.from_numpy(cut[kept]).float(), torch.from_numpy(target.labels[kept]))


def part_of(view: View, size_hw: tuple[int, int], random: np.random.Generator) -> View:
    """A part of a view at random, of a size that is not larger."""
    most = np.array([view.size_hw[1] - size_hw[1], view.size_hw[0] - size_hw[0]])
    matrix = view.matrix.copy()
    matrix[:, 2] -= (random.uniform(size=2) * most).round()
    return View(matrix, size_hw, view.mirrored)


def check_objects(data: Dataset, plugin: str) -> None:
    """Refuse what nothing can be learnt from.

    Args:
        data: to train on, or to validate with.
        plugin: what to call the learner in messages.

    Raises:
        DataError: a sample has no boxes, or there is no object at all.
    """
    found = 0
    for sample in data:
        if not isinstance(sample.target, BoxesTarget):
            raise DataError(
                f"the {plugin} plugin learns from pictures with boxes, which '{sample.name}' has none of",
                hint="Give a data set of boxes: COCO, Pascal VOC or YOLO",
            )
        found += int((~sample.target.crowd).sum())
    if not found:
        raise DataError(
            f"none of the {len(data)} pictures of '{data.root}' has an object to learn from",
            hint="Give pictures with boxes, or look at them with `cvtl data info`",
        )


def plain_objects(data: Dataset, input: InputSpec) -> list[Seen]:
    """The objects of each picture as it is predicted; of many pictures, those of some thousands evenly spread.

    Raises:
        DataError: a picture cannot be read.
    """
    samples = list(data)[:: max(1, len(data) // _MOST_LOOKED_AT)]
    return list(map_ahead(partial(_plain_objects, input=input), samples, _READERS))


def _plain_objects(sample: Sample, input: InputSpec) -> Seen:
    height, width = sample.read().shape[:2]
    assert isinstance(sample.target, BoxesTarget)
    return seen_objects(sample.target, plain_view((0, 0, width, height), input))
