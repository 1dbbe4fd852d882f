"""The optimizers: against torch's, on functions that are hard, and that a restored one goes on as it would have."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from cvtl_style.optimizers import Adam, Evaluate, Lbfgs, Optimizer, make_optimizer


def rosenbrock(x: Tensor) -> tuple[float, Tensor]:
    """A curved valley; its lowest point is where every value is 1."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        loss = (100 * (at[1:] - at[:-1] ** 2) ** 2 + (1 - at[:-1]) ** 2).sum()
        (gradient,) = torch.autograd.grad(loss, at)
    return float(loss.detach()), gradient


def run(optimizer: Optimizer, x: Tensor, steps: int, evaluate: Evaluate = rosenbrock) -> tuple[Tensor, list[float]]:
    losses = []
    for _ in range(steps):
        x, loss = optimizer.step(x, evaluate)
        losses.append(loss)
    return x, losses


def test_adam_takes_the_steps_that_torch_takes() -> None:
    x = torch.linspace(-1, 1, 6, dtype=torch.float64)
    theirs = x.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.05)
    for _ in range(30):
        theirs.grad = rosenbrock(theirs.detach())[1]
        adam.step()
    ours, _ = run(Adam(0.05), x, 30)
    assert torch.allclose(ours, theirs.detach(), atol=1e-9)


def test_lbfgs_finds_the_end_of_a_curved_valley() -> None:
    x, losses = run(Lbfgs(10), torch.full((6,), -1.0, dtype=torch.float64), 80)
    assert torch.allclose(x, torch.ones(6, dtype=torch.float64), atol=1e-4)
    assert losses[-1] < 1e-8


def test_lbfgs_never_goes_uphill() -> None:
    _, losses = run(Lbfgs(5), torch.full((20,), -1.0), 60)
    assert all(after <= before for before, after in pairwise(losses))


def test_lbfgs_takes_about_one_evaluation_a_step() -> None:
    count = 0

    def counted(x: Tensor) -> tuple[float, Tensor]:
        nonlocal count
        count += 1
        return float((x**2 * torch.arange(1, 21)).sum()), 2 * x * torch.arange(1, 21)

    run(Lbfgs(10), torch.ones(20), 20, counted)
    assert count <= 24


def test_lbfgs_stays_where_there_is_no_way_down() -> None:
    x, losses = run(Lbfgs(5), torch.zeros(3), 3, lambda x: (float((x**2).sum()), 2 * x))
    assert torch.equal(x, torch.zeros(3))
    assert losses == [0, 0, 0]


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_a_restored_optimizer_goes_on_to_the_bit(name: str) -> None:
    def made() -> Optimizer:
        return make_optimizer(name, rate=0.05, history=4)  # type: ignore[arg-type]

    whole, losses = run(made(), torch.full((8,), -0.5), 20)
    first = made()
    x, early = run(first, torch.full((8,), -0.5), 9)
    second = made()
    second.restore({key: tensor.clone() for key, tensor in first.state().items()})
    x, late = run(second, x, 11)
    assert torch.equal(x, whole)
    assert early + late == losses


def test_an_optimizer_that_has_not_begun_has_a_state_to_restore_too() -> None:
    for optimizer in (Lbfgs(3), Adam(0.1)):
        optimizer.restore(optimizer.state())
        assert optimizer.state() == {}
