"""The maps that torchvision's detectors look at, made of any backbone's."""

from __future__ import annotations

from collections import OrderedDict
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork

from cvtl.backbones import Backbone, Stage
from cvtl.backbones.levels import aligned_maps, level_stages, map_margin

_MOST_GROUPS = 32
_GROUP_CHANNELS = 4
# What ParseNet and SSD scale a normalised map by at first.
_FIRST_SCALE = 20.0


class Pyramid(nn.Module):
    """The maps of a backbone's coarsest strides, merged top-down, and still coarser ones behind them.

    Merged maps are normalised in groups: backbones without normalisation give values of tens, with which the layers
    behind them would begin far off. Groups of a picture, not of a batch, for batches of large pictures are small.

    Source: Lin et al. 2017, arXiv 1612.03144, by torchvision's `FeaturePyramidNetwork`; group normalisation: Wu and He
    2018, arXiv 1803.08494.

    Args:
        backbone: with its weights.
        levels: how many of its strides, the coarsest.
        channels: of every map that is given.
        extra: makes the coarser maps, each of twice the stride of the one before.
        extra_levels: how many those are.

    Attributes:
        out_channels: as torchvision's detectors ask for it.
        merged: names of the maps without the extra ones.

    Example:
        >>> from cvtl import backbones
        >>> from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
        >>> pyramid = Pyramid(backbones.load("lenet5"), 2, 8, LastLevelMaxPool(), 1)
        >>> [tuple(each.shape) for each in pyramid(torch.zeros(1, 3, 32, 48)).values()], pyramid.strides
        ([(1, 8, 16, 24), (1, 8, 8, 12), (1, 8, 4, 6)], (2, 4, 8))
    """

    def __init__(self, backbone: Backbone, levels: int, channels: int, extra: ExtraFPNBlock, extra_levels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.stages = level_stages(backbone, levels)
        self.margin = map_margin(backbone, self.stages)
        self.out_channels = channels
        self.merged = [stage.name for stage in self.stages]
        self.strides = _strides(self.stages, extra_levels)
        self.fpn = FeaturePyramidNetwork([stage.channels for stage in self.stages], channels, extra, _normalized)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised pictures (N, 3, H, W) to maps (N, channels, H / stride, W / stride), the finest first."""
        maps: dict[str, Tensor] = self.fpn(aligned_maps(self.backbone, self.stages, self.margin, images))
        return maps


class PlainMaps(nn.Module):
    """The maps of a backbone's coarsest strides as they are, brought to one scale, and convolved on to coarser ones.

    Source: Liu et al. 2016, arXiv 1512.02325, section 2.1, and 3.1 for the scale (ParseNet's, arXiv 1506.04579).

    Args:
        backbone: with its weights.
        levels: how many of its strides, the coarsest.
        channels: of the maps that are added.
        extra_levels: how many are added, each of twice the stride of the one before.

    Attributes:
        out_channels: of each map, as torchvision's SSD asks for it.

    Example:
        >>> from cvtl import backbones
        >>> maps = PlainMaps(backbones.load("lenet5"), 1, 8, 2)
        >>> [tuple(each.shape) for each in maps(torch.zeros(1, 3, 32, 48)).values()], maps.out_channels
        ([(1, 16, 8, 12), (1, 8, 4, 6), (1, 8, 2, 3)], [16, 8, 8])
    """

    def __init__(self, backbone: Backbone, levels: int, channels: int, extra_levels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.stages = level_stages(backbone, levels)
        self.margin = map_margin(backbone, self.stages)
        taken = [stage.channels for stage in self.stages]
        self.out_channels = taken + [channels] * extra_levels
        self.strides = _strides(self.stages, extra_levels)
        self.scales = nn.ParameterList(nn.Parameter(torch.full((count, 1, 1), _FIRST_SCALE)) for count in taken)
        inputs = [taken[-1], *[channels] * extra_levels][:extra_levels]
        self.extra = nn.ModuleList(_halving(count, channels) for count in inputs)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised pictures (N, 3, H, W) to maps (N, C_i, H / stride, W / stride), the finest first."""
        plain = aligned_maps(self.backbone, self.stages, self.margin, images)
        maps = OrderedDict(
            (name, scale * F.normalize(each)) for (name, each), scale in zip(plain.items(), self.scales, strict=True)
        )
        last = next(reversed(maps.values()))
        for number, layer in enumerate(self.extra):
            last = maps[f"extra{number}"] = layer(last)
        return maps


def _strides(stages: tuple[Stage, ...], extra_levels: int) -> tuple[int, ...]:
    own = tuple(stage.stride for stage in stages)
    return own + tuple(own[-1] * 2**number for number in range(1, extra_levels + 1))


def _normalized(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, gcd(_MOST_GROUPS * _GROUP_CHANNELS, channels) // _GROUP_CHANNELS), channels)


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    """A map of half the size, as SSD's extra layers make it."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs // 2, 1),
        nn.ReLU(),
        nn.Conv2d(outputs // 2, outputs, 3, stride=2, padding=1),
        nn.ReLU(),
    )
