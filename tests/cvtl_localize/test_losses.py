"""Both losses against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from cvtl_localize.losses import activate, modern_loss, squared_loss

Loss = Callable[[Tensor, Tensor], dict[str, Tensor]]

LOSSES = (squared_loss, modern_loss)


def total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def batch(seed: int, count: int = 12, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Outputs, and targets of which a third have no object."""
    generator = torch.Generator().manual_seed(seed)
    outputs = 2 * torch.randn(count, 5 + classes, generator=generator)
    targets = torch.zeros(count, 5 + classes)
    for row in range(count):
        if row % 3:
            centre, size = torch.rand(2, generator=generator), 0.05 + 0.5 * torch.rand(2, generator=generator)
            targets[row, :5] = torch.cat([torch.ones(1), centre, size])
            targets[row, 5 + row % classes] = 1
    return outputs, targets


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def plain_squared(outputs: Tensor, targets: Tensor) -> float:
    total = 0.0
    for z, y in zip(outputs.tolist(), targets.tolist(), strict=True):
        answer = [sigmoid(value) for value in z[:5]] + softmax(z[5:])
        counted = len(y) if y[0] == 1 else 1
        total += sum((answer[i] - y[i]) ** 2 for i in range(counted))
    return total / len(outputs)


def corners(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def plain_giou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union - (hull - union) / hull


def plain_modern(outputs: Tensor, targets: Tensor) -> float:
    total = 0.0
    for z, y in zip(outputs.tolist(), targets.tolist(), strict=True):
        total += -math.log(sigmoid(z[0]) if y[0] == 1 else 1 - sigmoid(z[0]))
        if y[0] == 1:
            total += 1 - plain_giou(corners(*map(sigmoid, z[1:5])), corners(*y[1:5]))
            total -= math.log(softmax(z[5:])[y[5:].index(1)])
    return total / len(outputs)


@pytest.mark.parametrize("seed", range(3))
def test_the_squared_loss_equals_the_lectures_formula(seed: int) -> None:
    outputs, targets = batch(seed)
    assert total(squared_loss(outputs, targets)).item() == pytest.approx(plain_squared(outputs, targets))


@pytest.mark.parametrize("seed", range(3))
def test_the_modern_loss_equals_a_plain_loop(seed: int) -> None:
    outputs, targets = batch(seed)
    found = total(modern_loss(outputs, targets)).item()
    assert found == pytest.approx(plain_modern(outputs, targets), rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_where_nothing_is_there_only_the_presence_learns(loss: Loss) -> None:
    outputs, targets = batch(0)
    outputs.requires_grad_()
    total(loss(outputs, targets)).backward()
    assert outputs.grad is not None
    empty = targets[:, 0] == 0
    assert (outputs.grad[empty, 1:] == 0).all()
    assert (outputs.grad[empty, 0] != 0).all()
    assert (outputs.grad[~empty] != 0).any(dim=0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_objects_has_a_loss_and_gradients_that_are_finite(loss: Loss) -> None:
    outputs = torch.randn(4, 8).requires_grad_()
    terms = loss(outputs, torch.zeros(4, 8))
    total(terms).backward()
    assert terms["box"] == terms["class"] == 0
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_outputs_leave_gradients_finite(loss: Loss) -> None:
    _, targets = batch(1)
    outputs = (200 * torch.randn(*targets.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    total(loss(outputs, targets)).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_right_answer_costs_next_to_nothing(loss: Loss) -> None:
    _, targets = batch(2)
    clipped = targets.clamp(1e-6, 1 - 1e-6)
    outputs = torch.cat([clipped[:, :5].logit(), 40 * targets[:, 5:]], dim=1)
    assert total(loss(outputs, targets)).item() < 1e-4


def test_answers_are_probabilities() -> None:
    answers = activate(batch(3)[0])
    assert answers.min() >= 0
    assert answers.max() <= 1
    assert torch.allclose(answers[:, 5:].sum(dim=1), torch.ones(12))


def test_half_precision_is_made_whole_first() -> None:
    outputs, targets = batch(4)
    for loss in LOSSES:
        assert all(term.dtype == torch.float32 for term in loss(outputs.bfloat16(), targets).values())
