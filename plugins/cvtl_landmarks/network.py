"""From pictures to points: a backbone, one of two heads, and how sure it is of each point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl.backbones import Backbone, Stage
from cvtl_landmarks.options import LandmarksOptions

# Cells on a side to which the map is averaged: where in the picture something is must not get lost.
_GRID = 7
_REDUCED = 128
# Maps finer than this cost more than they give.
_LEAST_STRIDE = 4


@dataclass(frozen=True)
class Points:
    """What a network says of N pictures.

    Attributes:
        places: (N, K, 2), x and y as fractions of the input's width and height.
        logits: (N, K), of the probability that the point is there and in its place.
        heatmaps: (N, K, h, w), each adds up to 1, of a head that has them.
    """

    places: Tensor
    logits: Tensor
    heatmaps: Tensor | None = None


class RegressionHead(nn.Module):
    """Coordinates from a dense layer: the 2K outputs of the lectures.

    Args:
        channels: of the backbone's last map.
        points: K.
        hidden: units of the layer before.
        dropout: before the last layer.

    Example:
        >>> RegressionHead(512, points=68, hidden=256, dropout=0.2)(torch.zeros(2, 512, 7, 7)).shape
        torch.Size([2, 68, 2])
    """

    def __init__(self, channels: int, *, points: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(channels, _REDUCED, 1, bias=False), nn.BatchNorm2d(_REDUCED), nn.ReLU())
        self.dense = nn.Linear(_REDUCED * _GRID**2, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, 2 * points)

    def forward(self, maps: Tensor) -> Tensor:
        """The last map (N, C, h, w) to places (N, K, 2)."""
        cells = F.adaptive_avg_pool2d(self.reduce(maps), _GRID).flatten(1)
        offsets = self.output(self.dropout(self.dense(cells).relu()))
        # From the middle of the picture: that is where the points of an untrained head lie.
        places: Tensor = 0.5 + offsets.view(len(maps), -1, 2)
        return places


class HeatmapHead(nn.Module):
    """A map for each point, from the backbone's stages merged top-down (Lin et al. 2017, arXiv 1612.03144, section 3).

    Args:
        stages: whose maps are merged, the coarsest last.
        points: K.
        channels: of the merged maps.
    """

    def __init__(self, stages: Sequence[Stage], *, points: int, channels: int) -> None:
        super().__init__()
        self.stages = tuple(stage.name for stage in stages)
        self.lateral = nn.ModuleList(nn.Conv2d(stage.channels, channels, 1) for stage in stages)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)
        self.output = nn.Conv2d(channels, points, 1)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Maps of the stages (N, C, h, w) to heat maps (N, K, h, w) at the finest stage's size, each adding up to 1."""
        merged = None
        for name, lateral in zip(reversed(self.stages), reversed(self.lateral), strict=True):
            own = lateral(maps[name])
            if merged is not None:
                own = own + F.interpolate(merged, size=own.shape[-2:], mode="bilinear", align_corners=False)
            merged = own.relu()
        assert merged is not None
        logits: Tensor = self.output(self.smooth(merged).relu())
        return logits.float().flatten(2).softmax(dim=2).view(logits.shape)


class PointsNetwork(nn.Module):
    """A backbone and what makes points of its maps.

    Args:
        backbone: with its weights.
        points: K.
        options: which head, and how large.

    Example:
        >>> from cvtl import backbones
        >>> network = PointsNetwork(backbones.load("lenet5"), 5, LandmarksOptions(backbone="lenet5"))
        >>> found = network(torch.zeros(2, 3, 32, 32))
        >>> found.places.shape, found.logits.shape
        (torch.Size([2, 5, 2]), torch.Size([2, 5]))
    """

    def __init__(self, backbone: Backbone, points: int, options: LandmarksOptions) -> None:
        super().__init__()
        self.backbone = backbone
        channels = backbone.stages[-1].channels
        self.head: RegressionHead | HeatmapHead
        if options.head == "regression":
            self.head = RegressionHead(channels, points=points, hidden=options.hidden, dropout=options.dropout)
        else:
            self.head = HeatmapHead(merged_stages(backbone.stages), points=points, channels=options.channels)
        self.confidence = nn.Linear(channels, points)

    def forward(self, images: Tensor) -> Points:
        """Normalised pictures (N, 3, H, W) to their points."""
        if isinstance(self.head, RegressionHead):
            last = self.backbone(images)
            return Points(self.head(last).float(), self._logits(last))
        maps = self.backbone.features(images)
        heatmaps = self.head(maps)
        return Points(mean_places(heatmaps), self._logits(maps[self.backbone.stages[-1].name]), heatmaps)

    def _logits(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.confidence(maps.mean(dim=(2, 3)))
        return logits.float()


def merged_stages(stages: Sequence[Stage]) -> list[Stage]:
    """The stages whose maps a heat map is made of: the last of each stride, none finer than 4 but for the last.

    Example:
        >>> from cvtl import backbones
        >>> [stage.name for stage in merged_stages(backbones.load("squeezenet1_1").stages)]
        ['fire2-3', 'fire4-5', 'fire6-9']
    """
    by_stride = {stage.stride: stage for stage in stages}
    return [stage for stage in by_stride.values() if stage.stride >= _LEAST_STRIDE or stage is stages[-1]]


def mean_places(heatmaps: Tensor) -> Tensor:
    """Where each map's mean lies, finer than its cells: integral regression (Sun et al. 2018, arXiv 1711.08229, eq. 3).

    Args:
        heatmaps: (N, K, h, w), each adds up to 1.

    Returns:
        (N, K, 2), x and y as fractions of width and height.

    Example:
        >>> maps = torch.zeros(1, 1, 2, 4)
        >>> maps[0, 0, 1, 2:] = 0.5
        >>> mean_places(maps)
        tensor([[[0.7500, 0.7500]]])
    """
    height, width = heatmaps.shape[-2:]
    x = (torch.arange(width, device=heatmaps.device, dtype=heatmaps.dtype) + 0.5) / width
    y = (torch.arange(height, device=heatmaps.device, dtype=heatmaps.dtype) + 0.5) / height
    return torch.stack([heatmaps.sum(dim=2) @ x, heatmaps.sum(dim=3) @ y], dim=-1)
