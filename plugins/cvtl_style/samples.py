"""What a painting network trains on: parts of pictures, without targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cvtl.data import Dataset
from cvtl.preprocessing import InputSpec
from cvtl.training.memory import at_size

# By how much pictures are larger than the parts that are cut out of them.
_MARGIN = 1.25


def sample_spec(input: InputSpec) -> InputSpec:
    """How pictures are brought to the size that parts are cut out of.

    Example:
        >>> sample_spec(InputSpec(size_hw=(256, 256))).size_hw
        (320, 320)
    """
    height, width = (round(side * _MARGIN) for side in input.size_hw)
    return input.model_copy(update={"size_hw": (height, width)})


class TrainingSamples(Sequence[tuple[Tensor, None]]):
    """A part of each picture, mirrored or not, another one in every epoch.

    Args:
        data: its targets are not looked at.
        input: the network's.
        seed: parts are a function of this, the epoch and the index.
        epoch: from 0.
    """

    def __init__(self, data: Dataset, input: InputSpec, *, seed: int, epoch: int) -> None:
        self._data = data
        self._input = input
        self._seed = (seed, epoch)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, None]:  # type: ignore[override]
        image, _ = at_size(self._data[index], sample_spec(self._input))
        random = np.random.default_rng([*self._seed, index])
        height, width = self._input.size_hw
        top, left = (int(random.integers(most + 1)) for most in (image.shape[1] - height, image.shape[2] - width))
        part = image[:, top : top + height, left : left + width]
        return (part.flip(-1) if random.random() < 0.5 else part).contiguous(), None


class ValidationSamples(Sequence[tuple[Tensor, None]]):
    """The middle of each picture."""

    def __init__(self, data: Dataset, input: InputSpec) -> None:
        self._data = data
        self._input = input

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, None]:  # type: ignore[override]
        return at_size(self._data[index], self._input)[0].contiguous(), None
