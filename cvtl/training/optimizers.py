"""The optimizers that settings name, for the core's loop and for whoever trains in a way of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from cvtl.errors import UsageError
from cvtl.training.settings import TrainSettings


def make_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[Mapping[str, Any]], settings: TrainSettings
) -> torch.optim.Optimizer:
    """An optimizer of minibatches.

    Args:
        parameters: what learns, or groups of it as torch takes them.
        settings: say which, its rate and its weight decay.

    Raises:
        UsageError: it is L-BFGS, which needs all samples at once.

    Example:
        >>> make_optimizer([nn.Parameter(torch.zeros(1))], TrainSettings(optimizer="sgd")).defaults["momentum"]
        0.9
    """
    learning: Any = parameters
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(learning, lr=rate, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(learning, lr=rate, weight_decay=decay, momentum=0.9)
        case "rmsprop":
            return torch.optim.RMSprop(learning, lr=rate, weight_decay=decay)
        case "lbfgs":
            raise UsageError(
                "L-BFGS needs all samples at once, which do not pass through a whole network",
                hint="Use --optimizer adamw, sgd or rmsprop",
            )
