"""The two optimizers of a picture. Their whole state is tensors, so that a killed run goes on as it would have.

The networks' own (`torch.optim`) keep Python objects in theirs, and torch's L-BFGS takes its first step of every call
without looking where it leads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[float, Tensor]]
OptimizerName = Literal["lbfgs", "adam"]

_ARMIJO = 1e-4
_MOST_TRIALS = 12
# Of values that have unit variance.
_FIRST_STEP = 0.1


class Optimizer(Protocol):
    """What makes a picture better, step by step."""

    def step(self, x: Tensor, evaluate: Evaluate) -> tuple[Tensor, float]:
        """One step.

        Args:
            x: where it stands.
            evaluate: gives loss and gradient anywhere.

        Returns:
            Where it stands now, a new tensor, and the loss there (Adam: that before the step).
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on besides `x`."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up such a state."""
        ...


class Adam:
    """Adam (Kingma, Ba: arXiv 1412.6980, algorithm 1).

    Args:
        rate: its step size.

    Example:
        >>> x = torch.zeros(1)
        >>> adam = Adam(rate=0.5)
        >>> for _ in range(3):
        ...     x, loss = adam.step(x, lambda x: (float((x - 1) ** 2), 2 * (x - 1)))
        >>> x
        tensor([1.3359])
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._count = 0
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def step(self, x: Tensor, evaluate: Evaluate) -> tuple[Tensor, float]:
        """One step; the loss is that before it."""
        loss, gradient = evaluate(x)
        mean = torch.zeros_like(x) if self._mean is None else self._mean
        square = torch.zeros_like(x) if self._square is None else self._square
        self._mean, self._square = mean.lerp(gradient, 0.1), square.lerp(gradient.square(), 0.001)
        self._count += 1
        mean = self._mean / (1 - 0.9**self._count)
        square = self._square / (1 - 0.999**self._count)
        return x - self.rate * mean / (square.sqrt() + 1e-8), loss

    def state(self) -> dict[str, Tensor]:
        """Moments, and how many steps there were."""
        if self._mean is None or self._square is None:
            return {}
        return {"count": torch.tensor(self._count), "mean": self._mean, "square": self._square}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up such a state."""
        if state:
            self._count, self._mean, self._square = int(state["count"]), state["mean"], state["square"]


class Lbfgs:
    """L-BFGS (Nocedal, Wright: Numerical Optimization, algorithms 7.4 and 7.5) with backtracking.

    A step of full length is nearly always good, so a step costs one evaluation.

    Args:
        history: how many steps its idea of the curvature rests on; each takes the memory of two pictures.

    Example:
        >>> x = torch.zeros(2)
        >>> lbfgs = Lbfgs(history=5)
        >>> scale = torch.tensor([1.0, 100.0])
        >>> for _ in range(12):
        ...     x, loss = lbfgs.step(x, lambda x: (float((scale * (x - 1) ** 2).sum()), 2 * scale * (x - 1)))
        >>> bool((x - 1).abs().max() < 1e-3)
        True
    """

    def __init__(self, history: int) -> None:
        self.history = history
        self._steps: list[Tensor] = []
        self._changes: list[Tensor] = []
        self._here: tuple[float, Tensor] | None = None

    def step(self, x: Tensor, evaluate: Evaluate) -> tuple[Tensor, float]:
        """One step downhill; the loss is that behind it. Where there is no way down, `x` and the loss stay."""
        loss, gradient = self._here = self._here or evaluate(x)
        direction = self._direction(gradient)
        slope = _dot(direction, gradient)
        if slope >= 0:
            self._forget()
            direction, slope = -gradient, -_dot(gradient, gradient)
        length = 1.0 if self._steps else _FIRST_STEP / max(float(gradient.abs().max()), 1e-30)
        for _ in range(_MOST_TRIALS):
            there = x + length * direction
            new_loss, new_gradient = evaluate(there)
            if new_loss <= loss + _ARMIJO * length * slope:
                self._learn(there - x, new_gradient - gradient)
                self._here = new_loss, new_gradient
                return there, new_loss
            length *= _shorter(length * slope, new_loss - loss)
        self._forget()
        return x.clone(), loss

    def _direction(self, gradient: Tensor) -> Tensor:
        """Downhill, by what is known of the curvature: the two-loop recursion."""
        direction = -gradient
        known = [(s, y, 1 / _dot(s, y)) for s, y in zip(self._steps, self._changes, strict=True)]
        shares = []
        for s, y, rho in reversed(known):
            shares.append(rho * _dot(s, direction))
            direction.sub_(y, alpha=shares[-1])
        if known:
            _, y, rho = known[-1]
            direction.mul_(1 / (rho * _dot(y, y)))
        for (s, y, rho), share in zip(known, reversed(shares), strict=True):
            direction.add_(s, alpha=share - rho * _dot(y, direction))
        return direction

    def _learn(self, step: Tensor, change: Tensor) -> None:
        # Where the curvature is not positive, the pair would turn directions uphill.
        if _dot(step, change) > 1e-10 * _dot(change, change):
            self._steps = [*self._steps, step][-self.history :]
            self._changes = [*self._changes, change][-self.history :]

    def _forget(self) -> None:
        self._steps, self._changes = [], []

    def state(self) -> dict[str, Tensor]:
        """The steps it remembers, and loss and gradient where it stands."""
        state = {f"step{number}": step for number, step in enumerate(self._steps)}
        state |= {f"change{number}": change for number, change in enumerate(self._changes)}
        if self._here is not None:
            state |= {"loss": torch.tensor(self._here[0], dtype=torch.float64), "gradient": self._here[1]}
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up such a state."""
        count = sum(name.startswith("step") for name in state)
        self._steps = [state[f"step{number}"] for number in range(count)]
        self._changes = [state[f"change{number}"] for number in range(count)]
        self._here = (float(state["loss"]), state["gradient"]) if "loss" in state else None


def make_optimizer(name: OptimizerName, *, rate: float, history: int) -> Optimizer:
    """The optimizer of that name."""
    return Adam(rate) if name == "adam" else Lbfgs(history)


def _shorter(slope: float, rise: float) -> float:
    """By how much to shorten a step that led uphill: to the parabola's lowest point, between a tenth and a half."""
    return min(0.5, max(0.1, -slope / (2 * (rise - slope)))) if rise > slope else 0.5


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))
