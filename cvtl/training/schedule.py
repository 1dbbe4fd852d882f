"""The learning rate and the best epoch as functions of what has happened, so that no state has to be kept for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Mode = Literal["min", "max"]
Schedule = Literal["cosine", "plateau", "constant"]

PLATEAU_EPOCHS = 3
PLATEAU_FACTOR = 0.1


def better(value: float, than: float, mode: Mode) -> bool:
    """Whether a monitored figure is better than another."""
    return value < than if mode == "min" else value > than


def best_index(values: Sequence[float], mode: Mode) -> int:
    """Index of the best value, the first of equal ones.

    Example:
        >>> best_index([0.5, 0.3, 0.3, 0.4], "min")
        1
    """
    return values.index(min(values) if mode == "min" else max(values))


def rate_factor(schedule: Schedule, progress: float, epochs: int, values: Sequence[float], mode: Mode) -> float:
    """What the learning rate is multiplied by.

    Args:
        schedule: its shape; `cosine` is SGDR without restarts (arXiv 1608.03983, equation 5).
        progress: epochs done, with the fraction of the current one.
        epochs: in all.
        values: the monitored figure of each epoch done.
        mode: whether the least or the most of it is best.

    Example:
        >>> rate_factor("cosine", 5.0, 10, [], "min")
        0.5
        >>> rate_factor("plateau", 4.0, 10, [0.5, 0.6, 0.6, 0.6], "min")
        0.1
    """
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress / epochs))
    if schedule == "plateau":
        return PLATEAU_FACTOR ** _plateaus(values, mode)
    return 1.0


def _plateaus(values: Sequence[float], mode: Mode) -> int:
    """How often `PLATEAU_EPOCHS` epochs in a row were no better than the best before them."""
    count, waited = 0, 0
    best = math.inf if mode == "min" else -math.inf
    for value in values:
        if better(value, best, mode):
            best, waited = value, 0
        else:
            waited += 1
        if waited == PLATEAU_EPOCHS:
            count, waited = count + 1, 0
    return count
