"""What a classifier trains and is validated on: pictures of one size, from files or from memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cvtl.data import ClassTarget, Dataset, UInt8Image
from cvtl.preprocessing import InputSpec, resize
from cvtl.progress import Progress
from cvtl.training import memory
from cvtl.training.memory import at_size
from cvtl_classify.albumentations_file import Transforms
from cvtl_classify.options import ClassifyOptions

# By how much a training sample is larger than the input: 256 to 224, as AlexNet's.
_MARGIN = 8 / 7


def sample_spec(input: InputSpec, options: ClassifyOptions) -> InputSpec:
    """How pictures are brought to the size of training samples: with a margin for cropping, if that is to follow.

    Example:
        >>> sample_spec(InputSpec(size_hw=(224, 224)), ClassifyOptions()).size_hw
        (256, 256)
        >>> sample_spec(InputSpec(size_hw=(224, 224)), ClassifyOptions(augment="none")).size_hw
        (224, 224)
    """
    if options.augment == "none":
        return input
    height, width = (round(side * _MARGIN) for side in input.size_hw)
    return input.model_copy(update={"size_hw": (height, width)})


class ClassSamples(Sequence[tuple[Tensor, ClassTarget]]):
    """The pictures of a data set, each decoded and brought to a size when it is asked for, and their classes.

    Args:
        data: whose targets are classes.
        spec: the size of the samples, and how pictures are brought to it.
        transforms: what is done to each sample then, at random.
        input: what the result of `transforms` is brought to.
    """

    def __init__(
        self, data: Dataset, spec: InputSpec, transforms: Transforms | None = None, input: InputSpec | None = None
    ) -> None:
        self._data = data
        self._spec = spec
        self._transforms = transforms
        self._input = input or spec

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, ClassTarget]:  # type: ignore[override]
        sample = self._data[index]
        assert isinstance(sample.target, ClassTarget)
        image, _ = at_size(sample, self._spec)
        if self._transforms is not None:
            image = resize(_to_tensor(self._transforms(_to_array(image), sample.name)), self._input)
        return image.contiguous(), sample.target


def training_samples(data: Dataset, input: InputSpec, options: ClassifyOptions) -> ClassSamples:
    """What one epoch trains on.

    Args:
        data: whose targets are classes; from `in_memory`, or not: the samples are the same to the bit.
        input: the network's.
        options: `augment` says what follows. device: the samples have a margin round the input's size, for
            `augment_batch`. albumentations: the same samples pass through the file `transforms`, with random numbers
            from Python's global generator, and what comes out is brought to the input's size. none: they have that.

    Returns:
        uint8 (3, h, w), all of one size, and the target, for each sample in the data's order.

    Raises:
        CvtlError: the transforms cannot be used. Samples raise `DataError` when their pictures cannot be read.
    """
    spec = sample_spec(input, options)
    if options.augment == "albumentations":
        return ClassSamples(data, spec, Transforms(options.transforms), input)
    return ClassSamples(data, spec)


def validation_samples(data: Dataset, input: InputSpec) -> ClassSamples:
    """What every epoch is measured on: pictures at the input's size, as in prediction."""
    return ClassSamples(data, input)


def in_memory(
    data: Dataset,
    input: InputSpec,
    options: ClassifyOptions | None = None,
    *,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Keep pictures in memory at the samples' size, if they fit (`cvtl.training.memory.in_memory`).

    `training_samples` and `validation_samples` of the data set that this gives are the same to the bit as of the one
    it is given.

    Args:
        data: a data set.
        input: the network's.
        options: of the training; None where the samples are for validation.
        budget_bytes: what the pictures may take; None leaves it to the core.
        progress: is told of each picture that is decoded; whoever calls starts and finishes it.

    Raises:
        DataError: a picture cannot be read.
    """
    spec = sample_spec(input, options) if options else input
    return memory.in_memory(data, spec, budget_bytes=budget_bytes, progress=progress)


def _to_tensor(image: UInt8Image) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


def _to_array(image: Tensor) -> UInt8Image:
    # A copy always: what lies in memory must not be written to.
    return image.permute(1, 2, 0).clone(memory_format=torch.contiguous_format).numpy()
