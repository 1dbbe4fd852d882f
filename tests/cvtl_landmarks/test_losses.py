"""Losses, against the papers' formulas written out as loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cvtl_landmarks.losses import (
    WITHIN,
    confidence_loss,
    coordinate_loss,
    is_right,
    mean_errors,
    shares_right,
    smooth_l1,
    spread_loss,
    wing,
)


def slow_wing(error: float) -> float:
    x, w, e = abs(error) * 256, 10.0, 2.0
    c = w - w * math.log(1 + w / e)
    return (w * math.log(1 + x / e) if x < w else x - c) / w


def slow_smooth_l1(error: float) -> float:
    x = abs(error) * 256 / 10
    return x * x / 2 if x < 1 else x - 0.5


def random_case(seed: int = 0, count: int = 4, points: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found, true = torch.rand(2, count, points, 2, generator=generator)
    return found, true, torch.rand(count, points, generator=generator) < 0.7


@pytest.mark.parametrize("error", [0.0, 0.001, 9.999 / 256, 10 / 256, 0.2, -0.03, -1.5])
def test_single_errors_cost_what_the_papers_say(error: float) -> None:
    assert float(wing(torch.tensor(error))) == pytest.approx(slow_wing(error), abs=1e-5)
    assert float(smooth_l1(torch.tensor(error))) == pytest.approx(slow_smooth_l1(error), abs=1e-5)


@pytest.mark.parametrize("kind", ["wing", "smooth-l1"])
def test_the_coordinate_loss_is_the_mean_over_points_that_are_there(kind: str) -> None:
    found, true, visible = random_case()
    slow = slow_wing if kind == "wing" else slow_smooth_l1
    errors = [
        slow(float(found[i, k, axis] - true[i, k, axis]))
        for i in range(4)
        for k in range(5)
        for axis in range(2)
        if visible[i, k]
    ]
    assert float(coordinate_loss(found, true, visible, kind)) == pytest.approx(sum(errors) / len(errors), rel=1e-5)


def test_missing_points_cost_nothing_whatever_they_say() -> None:
    found, true, visible = random_case()
    before = coordinate_loss(found, true, visible, "wing"), mean_errors(found, true, visible)
    nonsense = torch.where(visible[..., None], true, torch.nan)
    assert coordinate_loss(found, nonsense, visible, "wing") == before[0]
    assert torch.equal(mean_errors(found, nonsense, visible), before[1])
    assert not is_right(found, nonsense, visible)[~visible].any()


@pytest.mark.parametrize("count", [0, 3])
def test_no_points_at_all_cost_nothing_and_teach_nothing(count: int) -> None:
    found = torch.rand(count, 5, 2, requires_grad=True)
    heatmaps = torch.rand(count, 5, 4, 4, requires_grad=True)
    nowhere, invisible = torch.full((count, 5, 2), torch.nan), torch.zeros(count, 5, dtype=torch.bool)
    loss = coordinate_loss(found, nowhere, invisible, "wing") + spread_loss(heatmaps, nowhere, invisible)
    loss.backward()
    assert float(loss.detach()) == 0
    assert found.grad is not None
    assert (found.grad == 0).all()
    assert (heatmaps.grad == 0).all()  # type: ignore[union-attr]


def slow_spread(heatmap: Tensor, x: float, y: float) -> float:
    height, width = heatmap.shape
    spot = {
        (i, j): math.exp(-((j + 0.5 - x * width) ** 2 + (i + 0.5 - y * height) ** 2) / 2)
        for i in range(height)
        for j in range(width)
    }
    total = sum(spot.values())
    divergence = 0.0
    for (i, j), value in spot.items():
        p, q = float(heatmap[i, j]), value / total
        middle = (p + q) / 2
        divergence += (p * math.log(p / middle) if p else 0) / 2 + (q * math.log(q / middle) if q else 0) / 2
    return divergence


def test_the_spread_loss_is_the_jensen_shannon_divergence_from_a_spot() -> None:
    _, true, visible = random_case()
    heatmaps = torch.rand(4, 5, 6, 7, generator=torch.Generator().manual_seed(1)).double()
    heatmaps[0, 0, 2] = 0
    heatmaps /= heatmaps.sum(dim=(2, 3), keepdim=True)
    expected = [slow_spread(heatmaps[i, k], *true[i, k].tolist()) for i, k in visible.nonzero().tolist()]
    found = spread_loss(heatmaps, true.double(), visible)
    assert float(found) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_the_spread_loss_of_the_spot_itself_is_nothing_and_of_a_wrong_cell_the_most_there_is() -> None:
    x = torch.arange(8) + 0.5
    spot = torch.exp(-((x[None] - 3) ** 2) / 2 - (x[:, None] - 5) ** 2 / 2)
    true, there = torch.tensor([[[3 / 8, 5 / 8]]]), torch.ones(1, 1, dtype=torch.bool)
    assert float(spread_loss((spot / spot.sum())[None, None], true, there)) == pytest.approx(0, abs=1e-6)
    far = torch.zeros(1, 1, 8, 8)
    far[0, 0, 0, 7] = 1
    assert float(spread_loss(far, true, there)) == pytest.approx(math.log(2), abs=0.01)


def test_maps_whose_cells_are_exactly_zero_keep_their_gradients_finite() -> None:
    logits = torch.zeros(1, 1, 8, 8)
    logits[0, 0, 0, 0] = 1000
    logits.requires_grad_()
    heatmaps = logits.flatten(2).softmax(dim=2).view(1, 1, 8, 8)
    spread_loss(heatmaps, torch.tensor([[[0.9, 0.9]]]), torch.ones(1, 1, dtype=torch.bool)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_point_is_right_if_it_is_there_and_found_near_its_place() -> None:
    true = torch.full((1, 4, 2), 0.5)
    found = true + torch.tensor([[[0, 0], [0.9 * WITHIN, 0], [0, 1.1 * WITHIN], [0, 0]]])
    visible = torch.tensor([[True, True, True, False]])
    assert is_right(found, true, visible).tolist() == [[True, True, False, False]]


def test_the_confidence_loss_teaches_the_confidence_and_not_the_points() -> None:
    found, true, visible = random_case()
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(2)).requires_grad_()
    found.requires_grad_()
    loss = confidence_loss(logits, found, true, visible)
    right = is_right(found, true, visible)
    expected = [
        -math.log(torch.sigmoid(logit)) if hit else -math.log(1 - torch.sigmoid(logit))
        for logit, hit in zip(logits.detach().double().flatten(), right.flatten(), strict=True)
    ]
    assert float(loss.detach()) == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    loss.backward()
    assert found.grad is None
    assert logits.grad is not None
    assert logits.grad.abs().min() > 0


def test_the_figures_of_an_object_are_means_over_its_points_that_are_there() -> None:
    true = torch.zeros(3, 2, 2)
    found = torch.tensor([[[0.3, 0.4], [0.0, 0.1]], [[0.01, 0.0], [9.0, 9.0]], [[1.0, 1.0], [1.0, 1.0]]])
    visible = torch.tensor([[True, True], [True, False], [False, False]])
    errors, shares = mean_errors(found, true, visible), shares_right(found, true, visible)
    assert errors[:2].tolist() == pytest.approx([0.3, 0.01])
    assert shares[:2].tolist() == [0.0, 1.0]
    assert errors[2].isnan()
    assert shares[2].isnan()
