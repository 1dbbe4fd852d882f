"""Maps of several strides of a backbone whose cells lie where their strides say: what grids and anchors are put on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from cvtl.backbones.backbone import Backbone, Stage
from cvtl.errors import UsageError

_PROBED_SIDES = 10


def level_stages(backbone: Backbone, levels: int) -> tuple[Stage, ...]:
    """The last stage of each of the coarsest strides, the finest first.

    Raises:
        UsageError: there are fewer strides.

    Example:
        >>> from cvtl import backbones
        >>> [(stage.name, stage.stride) for stage in level_stages(backbones.load("squeezenet1_1"), 2)]
        [('fire4-5', 8), ('fire6-9', 16)]
    """
    by_stride = {stage.stride: stage for stage in backbone.stages}
    if len(by_stride) < levels:
        known = ", ".join(str(stride) for stride in by_stride)
        raise UsageError(
            f"{levels} levels need as many strides, and backbone '{backbone.name}' has {known}",
            hint="Ask for fewer with --levels, or leave out --cut",
        )
    return tuple(by_stride.values())[-levels:]


def map_margin(backbone: Backbone, stages: Sequence[Stage]) -> int:
    """Pixels by which an input has to be larger so that each map has a cell for each stride of it.

    Backbones without padding give fewer cells than the input has strides. The margin is the same for all inputs whose
    sides are multiples of the largest stride: one such larger makes maps one such larger.

    Example:
        >>> from cvtl import backbones
        >>> backbone = backbones.load("squeezenet1_1")
        >>> map_margin(backbone, level_stages(backbone, 2))
        1
    """
    side = max(_PROBED_SIDES * max(stage.stride for stage in stages), *backbone.input.size_hw)
    side -= side % max(stage.stride for stage in stages)
    margin = 0
    device = next(backbone.parameters()).device
    while True:
        with torch.no_grad():
            maps = backbone.features(torch.zeros(1, 3, side + margin, side + margin, device=device))
        more = [(side // stage.stride - maps[stage.name].shape[-1] - 1) * stage.stride + 1 for stage in stages]
        if max(more) <= 0:
            return margin
        margin += max(more)


def aligned_maps(backbone: Backbone, stages: Sequence[Stage], margin: int, images: Tensor) -> dict[str, Tensor]:
    """The stages' maps with as many cells as the input has strides.

    Cell i of every map looks at the pixels from stride * i on, wherever in the picture it is.

    Args:
        backbone: with these stages.
        stages: whose maps are wanted.
        margin: from `map_margin`.
        images: (N, 3, H, W), normalised; H and W are multiples of the largest stride.

    Returns:
        (N, channels, H / stride, W / stride) by the stage's name, in the order of `stages`.
    """
    height, width = images.shape[-2:]
    before, behind = margin // 2, margin - margin // 2
    maps = backbone.features(F.pad(images, (before, behind, before, behind)))
    return {stage.name: maps[stage.name][..., : height // stage.stride, : width // stage.stride] for stage in stages}


def check_side(side: int, stages: Sequence[Stage], backbone: Backbone) -> None:
    """Refuse an input whose side is no multiple of the largest stride.

    Raises:
        UsageError: it is none; the nearest ones are named.
    """
    stride = stages[-1].stride
    if side % stride:
        nearest = [each for each in (side - side % stride, side - side % stride + stride) if each]
        raise UsageError(
            f"--size {side} is no multiple of {stride}, the stride of backbone '{backbone.name}'",
            hint=f"Take {' or '.join(map(str, nearest))}",
        )
