"""The network: a backbone, its maps pooled into one vector, and a head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cvtl.backbones import Backbone
from cvtl.features import FeatureSpace, pool, width
from cvtl_classify.options import Pooling, Stages


class Classifier(nn.Module):
    """From pictures to logits.

    Args:
        backbone: it ends with the last stage that is needed.
        spaces: the stages whose maps are seen, and how each becomes a vector; these stand side by side, D in all.
        head: features (N, D) to logits (N, C).

    Example:
        >>> from cvtl import backbones
        >>> backbone = backbones.load("lenet5")
        >>> spaces = feature_spaces(backbone, "last", "average")
        >>> network = Classifier(backbone, spaces, nn.Linear(feature_width(backbone, spaces), 10))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, backbone: Backbone, spaces: Sequence[FeatureSpace], head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.spaces = tuple(spaces)
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """Normalised pictures (N, 3, H, W) to features (N, D).

        No graph is kept where nothing could learn from it: with a frozen backbone, and pictures without gradient.
        """
        learns = images.requires_grad or any(parameter.requires_grad for parameter in self.backbone.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            if len(self.spaces) == 1:
                return pool(self.backbone(images), self.spaces[0].pooling)
            maps = self.backbone.features(images)
            return torch.cat([pool(maps[space.stage], space.pooling) for space in self.spaces], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pictures (N, 3, H, W) to logits (N, C)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def stage_parameters(backbone: Backbone) -> dict[str, list[nn.Parameter]]:
    """Each stage's own parameters by its name, in order; a stage of pooling has none and is left out.

    Example:
        >>> from cvtl import backbones
        >>> list(stage_parameters(backbones.load("lenet5")))
        ['conv1', 'conv2']
    """
    seen: set[int] = set()
    stages = {}
    for stage in backbone.stages:
        mine = [each for each in backbone.cut(stage.name).parameters() if id(each) not in seen]
        seen.update(map(id, mine))
        if mine:
            stages[stage.name] = mine
    return stages


def feature_spaces(backbone: Backbone, stages: Stages, pooling: Pooling) -> tuple[FeatureSpace, ...]:
    """The last stage or all of them, each pooled in the same way.

    Example:
        >>> from cvtl import backbones
        >>> [space.stage for space in feature_spaces(backbones.load("squeezenet1_1"), "all", "max")]
        ['stem', 'fire2-3', 'fire4-5', 'fire6-9']
    """
    used = backbone.stages if stages == "all" else backbone.stages[-1:]
    return tuple(FeatureSpace(stage.name, pooling) for stage in used)


def feature_width(backbone: Backbone, spaces: Sequence[FeatureSpace]) -> int:
    """D, the number of features of a picture."""
    channels = {stage.name: stage.channels for stage in backbone.stages}
    return sum(width(channels[space.stage], space.pooling) for space in spaces)
