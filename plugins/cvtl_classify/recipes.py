"""How the lectures' networks were trained, by name. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RecipeName = Literal["modern", "alexnet", "resnet"]

MLP_DROPOUT = 0.5
"""Of the head `mlp`, whatever the recipe."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a recipe says.

    Attributes:
        common: training settings with every strategy.
        special: those that a strategy, or a strategy and a head, have otherwise.
        dropout: before the last dense layer.
        label_smoothing: of the cross-entropy.
        he_init: whether new layers start as He et al. (arXiv 1502.01852, equation 10) propose.
    """

    common: Mapping[str, Any]
    special: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dropout: float = 0.0
    label_smoothing: float = 0.0
    he_init: bool = False

    def settings(self, strategy: str, head: str) -> dict[str, Any]:
        """The training settings with a strategy and a head.

        Example:
            >>> RECIPES["alexnet"].settings("finetune", "linear")["learning_rate"]
            0.001
        """
        # A solver has no epochs: it is one.
        solved = {"epochs": 1} if head == "svm" else {}
        return {**self.common, **self.special.get(strategy, {}), **self.special.get(f"{strategy} {head}", {}), **solved}


RECIPES: Mapping[RecipeName, Recipe] = {
    "modern": Recipe(
        common={"optimizer": "adamw", "schedule": "cosine", "weight_decay": 1e-2},
        special={
            "features": {"epochs": 60, "learning_rate": 1e-3},
            # Softmax regression has one optimum, mostly a little better than what minibatches come to.
            "features linear": {"epochs": 30, "optimizer": "lbfgs", "weight_decay": 0.03},
            "augmented": {"epochs": 20, "learning_rate": 1e-3},
            "finetune": {"epochs": 10, "learning_rate": 1e-4, "batch_size": 32},
            "full": {"epochs": 20, "learning_rate": 1e-4, "batch_size": 32},
            "scratch": {"epochs": 60, "learning_rate": 1e-3, "batch_size": 32},
        },
        label_smoothing=0.1,
    ),
    # Krizhevsky et al. 2012, section 5. Fine-tuning starts with a tenth, as in R-CNN (arXiv 1311.2524, section 2.3).
    "alexnet": Recipe(
        common={
            "optimizer": "sgd",
            "learning_rate": 1e-2,
            "schedule": "plateau",
            "weight_decay": 5e-4,
            "batch_size": 128,
            "epochs": 90,
        },
        special={"finetune": {"learning_rate": 1e-3, "epochs": 20}, "full": {"learning_rate": 1e-3, "epochs": 30}},
        dropout=0.5,
    ),
    # He et al. 2015 (arXiv 1512.03385), section 3.4.
    "resnet": Recipe(
        common={
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "schedule": "plateau",
            "weight_decay": 1e-5,
            "batch_size": 256,
            "epochs": 90,
        },
        special={"finetune": {"learning_rate": 1e-2, "epochs": 20}, "full": {"learning_rate": 1e-2, "epochs": 30}},
        he_init=True,
    ),
}
