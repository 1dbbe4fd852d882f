"""The average of the weights that goes along with a training."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class Learner(nn.Module):
    """The network that learns beside the one that its weights are averaged in.

    What belongs to the average is a part of the module's state, so that a resumed training goes on as it would have.

    Args:
        average: starts as it is; the learner is a copy.
        decay: the part of the average that a step leaves, in the long run.

    Example:
        >>> average = nn.Linear(1, 1)
        >>> learner = Learner(average, 0.99)
        >>> learner.network.weight.requires_grad, average.weight.requires_grad
        (True, False)
    """

    steps: Tensor

    def __init__(self, average: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = deepcopy(average)
        self.decay = decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        average.requires_grad_(False)

    @torch.no_grad()
    def update(self, average: nn.Module) -> None:
        """Take the learner's weights and statistics into the average: average <- d * average + (1 - d) * learner.

        d is the decay, but at first (1 + n) / (10 + n) behind n steps, if that is less: the start is soon forgotten.
        Source: Polyak and Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage.
        """
        steps = int(self.steps)
        rest = 1 - min(self.decay, (1 + steps) / (10 + steps))
        self.steps += 1
        for old, new in zip(average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, rest)
            else:
                old.copy_(new)
