"""What a localizer trains and is validated on: views of pictures, each with the vector that is right for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cvtl.augmentation import Variation, View, draw_view, plain_view
from cvtl.data import BoxesTarget, Dataset
from cvtl.errors import DataError
from cvtl.evaluation.objects import largest_object
from cvtl.preprocessing import InputSpec
from cvtl.training.memory import at_size
from cvtl_localize.vector import encode, visible_share

LEAST_VISIBLE = 0.75
"""Part of the object's box that a training view shows: it is drawn again otherwise."""

# By how much pictures are larger than the input before they are moved: views that enlarge them find more to show.
_MARGIN = 1.5
_TRIES = 10


def sample_spec(input: InputSpec, variation: Variation) -> InputSpec:
    """How pictures are brought to the size that training views are taken of; the input's where nothing is moved.

    Example:
        >>> sample_spec(InputSpec(size_hw=(128, 128)), Variation(scale=1.25)).size_hw
        (192, 192)
        >>> sample_spec(InputSpec(size_hw=(128, 128)), Variation(flip=True)).size_hw
        (128, 128)
    """
    if (variation.rotation, variation.scale, variation.shift) == (0, 1, 0):
        return input
    height, width = (round(side * _MARGIN) for side in input.size_hw)
    return input.model_copy(update={"size_hw": (height, width)})


class TrainingSamples(Sequence[tuple[Tensor, Tensor]]):
    """Views of the pictures, another one of each in every epoch, and their vectors.

    A view that leaves less than `LEAST_VISIBLE` of the object's box in the input is drawn again; if none of ten will
    do, it is the plain one. So whatever is called present can be recognised, and nothing that can be is called absent.

    Args:
        data: whose targets are boxes; from `cvtl.training.memory.in_memory` with `sample_spec`, or not: the samples
            are the same to the bit.
        input: the network's.
        variation: of the views.
        seed: views are a function of this, the epoch and the index.
        epoch: from 0.
    """

    def __init__(self, data: Dataset, input: InputSpec, variation: Variation, *, seed: int, epoch: int) -> None:
        self._data = data
        self._input = input
        self._variation = variation
        self._spec = sample_spec(input, variation)
        self._seed = (seed, epoch)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        image, target = at_size(self._data[index], self._spec)
        assert isinstance(target, BoxesTarget)
        view = self._draw(target, np.random.default_rng([*self._seed, index]))
        return view.show(image.permute(1, 2, 0).numpy()), encode(target, view, len(self._data.classes))

    def _draw(self, target: BoxesTarget, random: np.random.Generator) -> View:
        height, width = self._spec.size_hw
        region = (0, 0, width, height)
        # The larger picture has the input's shape, whether it was stretched or padded to it.
        for _ in range(_TRIES):
            view = draw_view(region, self._input, self._variation, random)
            if visible_share(target, view) >= LEAST_VISIBLE:
                return view
        return plain_view(region, self._input)


class ValidationSamples(Sequence[tuple[Tensor, Tensor]]):
    """The pictures as they are predicted, and their vectors.

    Args:
        data: whose targets are boxes.
        input: the network's.
    """

    def __init__(self, data: Dataset, input: InputSpec) -> None:
        self._data = data
        self._input = input

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        image, target = at_size(self._data[index], self._input)
        assert isinstance(target, BoxesTarget)
        height, width = self._input.size_hw
        view = plain_view((0, 0, width, height), self._input)
        return image.contiguous(), encode(target, view, len(self._data.classes))


def check_objects(data: Dataset) -> int:
    """How many pictures of a data set have no object.

    Raises:
        DataError: its samples have no boxes, or there is no object at all.
    """
    empty = 0
    for sample in data:
        if not isinstance(sample.target, BoxesTarget):
            raise DataError(
                f"the localize plugin learns from pictures with boxes, which '{sample.name}' has none of",
                hint="Give a data set of boxes; class folders need a boxes.csv beside them",
            )
        empty += largest_object(sample.target) is None
    if empty == len(data):
        raise DataError(
            f"none of the {len(data)} pictures of '{data.root}' has an object to learn from",
            hint="Give pictures with boxes, or look at them with `cvtl data info`",
        )
    return empty
