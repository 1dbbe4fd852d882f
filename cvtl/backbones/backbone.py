"""What every backbone offers: stages to take maps from, to cut after, and to freeze."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from cvtl.errors import UsageError
from cvtl.preprocessing import InputSpec

EVERYTHING = "all"


@dataclass(frozen=True)
class Stage:
    """A part of a backbone that works at one scale.

    Attributes:
        name: such as `layer3`; what `cut` and `freeze` take.
        channels: of its map.
        stride: pixels of the input from one position of its map to the next.
    """

    name: str
    channels: int
    stride: int


class Backbone(nn.Module):
    """The part of a network that turns pictures into maps: a chain of stages.

    Args:
        name: as given to `load`.
        stages: what the body's parts are called and give, in order.
        input: the preprocessing its weights expect, at its native size.
        body: the stages in order, each an `nn.Sequential` of the network's own modules.

    Attributes:
        body: the same, or None where the source library gives no chain (`TimmBackbone`).
    """

    body: nn.Sequential | None

    def __init__(self, name: str, stages: tuple[Stage, ...], input: InputSpec, body: nn.Sequential | None) -> None:
        super().__init__()
        self.name = name
        self.stages = stages
        self.input = input
        self.body = body
        self._frozen_count = 0
        self._frozen: list[nn.Module] = []
        forbid_inplace(self)

    def forward(self, images: Tensor) -> Tensor:
        """The last stage's map.

        Args:
            images: float (N, 3, H, W), normalised as `input` says; any H and W that the network supports.

        Returns:
            (N, channels, h, w), whatever layout the network has inside.
        """
        maps: Tensor = self._body()(images)
        return maps

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Every stage's map by the stage's name, in order; each (N, channels, h, w)."""
        maps = {}
        x = images
        for stage, part in zip(self.stages, self._body(), strict=True):
            x = maps[stage.name] = part(x)
        return maps

    def cut(self, stage: str) -> Backbone:
        """A backbone that ends after this stage.

        It shares the modules that it keeps, frozen ones included, and holds none of the later ones.

        Raises:
            UsageError: there is no such stage; those there are are listed.
        """
        return self._first(self._index(stage) + 1)

    def freeze(self, below: str | None) -> None:
        """Stop the stages before this one from learning; it and the later ones learn (again).

        Frozen parameters take no gradient, and frozen modules stay in evaluation mode after `train()`: BatchNorm keeps
        and uses its statistics, dropout does nothing.

        Args:
            below: a stage's name; `"all"` freezes every stage, None or the first stage's name none.

        Raises:
            UsageError: there is no such stage; those there are are listed.
        """
        self._frozen_count = 0 if below is None else len(self.stages) if below == EVERYTHING else self._index(below)
        self._frozen = self._modules_of(self._frozen_count)
        self.requires_grad_(True)
        for module in self._frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self

    def _first(self, count: int) -> Backbone:
        body = nn.Sequential(OrderedDict(list(self._body().named_children())[:count]))
        return self._hand_down(Backbone(self.name, self.stages[:count], self.input, body))

    def _hand_down(self, shorter: Backbone) -> Backbone:
        shorter._frozen_count = min(self._frozen_count, len(shorter.stages))
        shorter._frozen = shorter._modules_of(shorter._frozen_count)
        return shorter.train(self.training)

    def _modules_of(self, count: int) -> list[nn.Module]:
        """Every module, at any depth, that the first `count` stages consist of."""
        return [module for part in self._body()[:count] for module in part.modules()]

    def _body(self) -> nn.Sequential:
        assert self.body is not None
        return self.body

    def _index(self, stage: str) -> int:
        return find_stage(stage, [known.name for known in self.stages], self.name)


def forbid_inplace(network: nn.Module) -> None:
    """Let every activation make a new tensor: at the start of a stage it would rewrite the map of the stage before."""
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            setattr(module, "inplace", False)  # noqa: B010, nn.Module's typing takes no plain attributes


def find_stage(stage: str, names: Sequence[str], backbone: str) -> int:
    """The place of a stage among a backbone's stages.

    Raises:
        UsageError: there is no such stage; those there are are listed.
    """
    if stage not in names:
        raise UsageError(f"backbone '{backbone}' has no stage '{stage}'", hint=f"It has: {', '.join(names)}")
    return names.index(stage)
