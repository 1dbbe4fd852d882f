"""The parts of a user's pictures to which the channels of a network answer most strongly.

Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, arXiv 1311.2901, fig. 2: for a channel the nine
pictures with the strongest answers, of each the part that the answering position sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from cvtl.backbones import Backbone
from cvtl.data import UInt8Image
from cvtl.inspection.receptive_field import Axis, Field
from cvtl.preprocessing import normalize, resize
from cvtl.progress import Progress

PATCHES = 9
_BATCH_SIZE = 32
_OUTSIDE_GREY = 96


@dataclass(frozen=True, eq=False)
class Patch:
    """Part of a picture.

    Attributes:
        answer: what the channel gave for it.
        image: RGB uint8 (h, w, 3), at the scale at which the network sees it; grey where it reaches beyond the border.
    """

    answer: float
    image: UInt8Image


def strongest_patches(
    backbone: Backbone,
    channels: Sequence[int],
    field: Field | None,
    images: Iterable[UInt8Image],
    *,
    progress: Progress | None = None,
) -> list[list[Patch]]:
    """For each channel of the last stage's map, where it answers most strongly: at most one patch of a picture.

    Args:
        backbone: in evaluation mode; end it after the stage to look at with `cut`.
        channels: their numbers.
        field: the map's receptive field, which becomes the patch; the whole picture where it is unknown or unlimited.
        images: upright RGB uint8 (H, W, 3), of any sizes; a batch of them is held at a time.
        progress: is told of each picture.

    Returns:
        For each channel up to `PATCHES` of them, strongest first; pictures that leave it at 0 or below do not count.
    """
    progress = progress or Progress()
    device = next(backbone.parameters()).device
    best: list[list[Patch]] = [[] for _ in channels]
    progress.start(0)
    try:
        for batch in _batches(images):
            inputs = torch.stack([resize(torch.from_numpy(image).permute(2, 0, 1), backbone.input) for image in batch])
            with torch.inference_mode():
                maps = backbone(normalize(inputs.to(device), backbone.input))[:, list(channels)].cpu()
            for number, patches in enumerate(best):
                _add_stronger(patches, inputs, maps[:, number], field)
            progress.advance(len(batch))
    finally:
        progress.finish()
    return best


def _add_stronger(patches: list[Patch], inputs: Tensor, maps: Tensor, field: Field | None) -> None:
    """Let the strongest positions of one channel's maps (N, h, w) in among the strongest so far."""
    answers, places = maps.flatten(1).max(dim=1)
    for image, answer, place in zip(inputs, answers.tolist(), places.tolist(), strict=True):
        if answer > (patches[-1].answer if len(patches) == PATCHES else 0):
            row, column = divmod(place, maps.shape[2])
            patches.append(Patch(answer, _seen(image.permute(1, 2, 0).numpy(), field, row, column)))
            patches.sort(key=lambda patch: -patch.answer)
            del patches[PATCHES:]


def _batches(images: Iterable[UInt8Image]) -> Iterator[list[UInt8Image]]:
    left = iter(images)
    while batch := list(islice(left, _BATCH_SIZE)):
        yield batch


def _seen(image: UInt8Image, field: Field | None, row: int, column: int) -> UInt8Image:
    """What the map's position at this row and column sees of a picture."""
    if field is None:
        return image.copy()
    padding, window = [], []
    for axis, position, size in zip(field, (row, column), image.shape, strict=False):
        first, end = _span(axis, position, size)
        before, after = max(0, -first), max(0, end - size)
        padding.append((before, after))
        window.append(slice(first + before, end + before))
    padded = np.pad(image, (*padding, (0, 0)), constant_values=_OUTSIDE_GREY)
    return padded[window[0], window[1]].copy()


def _span(axis: Axis, position: int, size: int) -> tuple[int, int]:
    """First pixel that a position sees, and the one after the last; the whole picture where it sees as much."""
    if axis.size >= size:
        return 0, size
    return position * axis.jump + int(axis.low), position * axis.jump + int(axis.high) + 1
