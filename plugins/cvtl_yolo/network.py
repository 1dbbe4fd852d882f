"""From pictures to a vector for each cell and anchor: a backbone, its stages merged top-down, and outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl.backbones import Backbone
from cvtl.backbones.levels import aligned_maps, level_stages, map_margin


class YoloNetwork(nn.Module):
    """A backbone, a map for each level, and outputs t for each cell and anchor.

    Backbones without padding give fewer cells than the input has strides; the input gets a margin so that cell i of
    every map looks at the pixels from stride * i on, wherever in the picture it is.

    Args:
        backbone: with its weights, in evaluation mode.
        classes: C.
        levels: how many of its strides, the coarsest, get a grid.
        anchors: A, vectors of a cell.
        channels: of the maps between backbone and outputs.
        prior: probability that untrained outputs give for an object.

    Raises:
        UsageError: the backbone has fewer strides than `levels`.

    Example:
        >>> from cvtl import backbones
        >>> network = YoloNetwork(backbones.load("lenet5"), 2, levels=2, anchors=3, channels=8, prior=0.01)
        >>> [tuple(level.shape) for level in network(torch.zeros(1, 3, 32, 48))]
        [(1, 16, 24, 3, 7), (1, 8, 12, 3, 7)]
    """

    def __init__(
        self, backbone: Backbone, classes: int, *, levels: int, anchors: int, channels: int, prior: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.stages = level_stages(backbone, levels)
        self.shape = (anchors, 5 + classes)
        self.margin = map_margin(backbone, self.stages)
        self.lateral = nn.ModuleList(_layer(stage.channels, channels, 1) for stage in self.stages)
        self.context = Context(channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(_layer(channels, channels, 3), _layer(channels, channels, 3)) for _ in self.stages
        )
        self.output = nn.ModuleList(nn.Conv2d(channels, anchors * (5 + classes), 1) for _ in self.stages)
        self._prepare_outputs(prior)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised pictures (N, 3, H, W) to outputs t of each level, the finest first.

        H and W are multiples of the coarsest stride. A level has (N, H / stride, W / stride, A, 5 + C).
        """
        merged: Tensor | None = None
        outputs = []
        maps = aligned_maps(self.backbone, self.stages, self.margin, images)
        for name, lateral, smooth, output in zip(
            reversed(maps), reversed(self.lateral), reversed(self.smooth), reversed(self.output), strict=True
        ):
            own = lateral(maps[name])
            if merged is None:
                merged = self.context(own)
            else:
                merged = own + F.interpolate(merged, size=own.shape[-2:], mode="nearest")
            values = output(smooth(merged))
            outputs.append(values.permute(0, 2, 3, 1).unflatten(-1, self.shape))
        return outputs[::-1]

    def _prepare_outputs(self, prior: float) -> None:
        """Let untrained outputs say that objects are rare, or the many cells without one would be all that is learnt.

        Source: Lin et al. 2017, arXiv 1708.02002, section 4.1.
        """
        for output in self.output:
            assert isinstance(output, nn.Conv2d)
            nn.init.normal_(output.weight, std=0.01)
            assert output.bias is not None
            nn.init.zeros_(output.bias)
            with torch.no_grad():
                output.bias.view(self.shape)[:, 0] = math.log(prior / (1 - prior))


class Context(nn.Module):
    """What is round each cell, out to 12 cells: three poolings of 5 x 5 one behind the other, all of them seen.

    Backbones that end at a small stride see only a part of a large object in each cell.

    Source: spatial pyramid pooling (He et al. 2014, arXiv 1406.4729) in the form of YOLOv5's SPPF.

    Example:
        >>> Context(8)(torch.zeros(2, 8, 5, 6)).shape
        torch.Size([2, 8, 5, 6])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.mix = _layer(4 * channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, channels, h, w) to maps of the same shape."""
        seen = [maps]
        for _ in range(3):
            seen.append(self.pool(seen[-1]))
        mixed: Tensor = self.mix(torch.cat(seen, dim=1))
        return mixed


def _layer(inputs: int, outputs: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
