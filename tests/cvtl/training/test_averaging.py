"""The average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cvtl.training.averaging import Learner


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def test_the_average_equals_a_plain_loop() -> None:
    average = network()
    learner = Learner(average, 0.5)
    weight = average[0].weight
    expected = weight.clone()
    for step in range(20):
        with torch.no_grad():
            learner.network[0].weight.copy_(torch.full_like(expected, float(step)))
        learner.update(average)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(weight, expected)


def test_statistics_are_averaged_and_counts_are_taken_over() -> None:
    average = network()
    learner = Learner(average, 0.99)
    learner.network(torch.rand(4, 1, 5, 5) + 3)
    learner.update(average)
    mean, learnt = average[1].running_mean, learner.network[1].running_mean
    torch.testing.assert_close(mean, 0.9 * learnt)  # a tenth of the zeros it had is left
    assert average[1].num_batches_tracked == 1


def test_only_the_learner_takes_gradients() -> None:
    average = network()
    learner = Learner(average, 0.9)
    assert not any(each.requires_grad for each in average.parameters())
    assert all(each.requires_grad for each in learner.network.parameters())


def test_what_goes_on_from_a_saved_state_equals_what_was_never_interrupted() -> None:
    def step(learner: Learner, average: nn.Module, number: int) -> None:
        with torch.no_grad():
            learner.network[0].weight.add_(number)
        learner.update(average)

    average, other = network(), network()
    whole, first = Learner(average, 0.9), Learner(other, 0.9)
    for number in range(3):
        step(whole, average, number)
        step(first, other, number)
    later_average = network()
    later = Learner(later_average, 0.9)
    later.load_state_dict(first.state_dict())
    later_average.load_state_dict(other.state_dict())
    for number in range(3, 6):
        step(whole, average, number)
        step(later, later_average, number)
    assert torch.equal(average[0].weight, later_average[0].weight)


@pytest.mark.parametrize("decay", [0.0, 0.999])
def test_the_first_step_forgets_most_of_the_start(decay: float) -> None:
    average = network()
    learner = Learner(average, decay)
    with torch.no_grad():
        learner.network[0].weight.fill_(1.0)
        average[0].weight.zero_()
    learner.update(average)
    assert average[0].weight.min() >= 0.9
