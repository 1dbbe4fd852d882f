"""How the lectures' networks were trained, by name. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Recipe = Literal["modern", "alexnet", "resnet"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a recipe says.

    Attributes:
        common: training settings.
        dropout: before dense layers.
        label_smoothing: of the cross-entropy.
        he_init: whether new layers start as He et al. (arXiv 1502.01852, equation 10) propose.
    """

    common: Mapping[str, Any]
    dropout: float = 0.0
    label_smoothing: float = 0.0
    he_init: bool = False

    def settings(self, strategy: str, head: str) -> dict[str, Any]:
        """The training settings with a strategy and a head."""
        return dict(self.common)


RECIPES: Mapping[Recipe, Training] = {
    "modern": Training(common={"optimizer": "adamw", "schedule": "cosine"}, label_smoothing=0.1),
    "alexnet": Training(
        common={
            "optimizer": "sgd",
            "learning_rate": 1e-2,
            "schedule": "plateau",
            "weight_decay": 5e-4,
            "batch_size": 128,
        },
        dropout=0.5,
    ),
    "resnet": Training(
        common={
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "schedule": "plateau",
            "weight_decay": 1e-5,
            "batch_size": 256,
        },
        he_init=True,
    ),
}
