"""Parts of a batch, computed apart, come to what the whole batch comes to."""

from __future__ import annotations

import copy

import pytest
import torch
from parallel import Threads, in_parts, in_threads
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl.augmentation import jitter
from cvtl.training.whole_batch import Part, batch_divisor, computing, drawn, part_of


@pytest.mark.parametrize(("total", "processes"), [(8, 2), (7, 2), (7, 3), (2, 3), (1, 2), (64, 5)])
def test_parts_cover_a_batch_in_order_and_are_nearly_equal(total: int, processes: int) -> None:
    parts = [part_of(total, number, processes) for number in range(processes)]
    pictures = [picture for part in parts for picture in range(part.first, part.first + part.count)]
    assert pictures == list(range(total))
    counts = [part.count for part in parts]
    assert max(counts) - min(counts) <= 1
    assert counts[0] > 0
    assert sum(part.share for part in parts) == pytest.approx(1)


def network(shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(shape[0]) if len(shape) == 1 else nn.BatchNorm2d(shape[0])
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(torch.Size(shape).numel(), 2)).double()


def step(model: nn.Module, images: Tensor, share: float = 1.0) -> tuple[Tensor, Tensor]:
    """The gradient with respect to the images and that of the parameters, laid end to end."""
    images = images.clone().requires_grad_()
    (model(images).square().mean() * share).backward()
    return images.grad, torch.cat([each.grad.reshape(-1) for each in model.parameters()])


@pytest.mark.parametrize(("total", "processes"), [(8, 2), (5, 2), (7, 3), (2, 3)])
@pytest.mark.parametrize("shape", [(4,), (4, 3, 5)])
def test_batch_normalisation_of_parts_is_that_of_the_whole(total: int, processes: int, shape: tuple[int, ...]) -> None:
    model = network(shape)
    # Means far from zero, where squares would lose digits.
    images = torch.randn(total, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 + 50
    whole = copy.deepcopy(model)
    of_images, of_parameters = step(whole, images)

    def work(at: slice, part: Part) -> tuple[nn.Module, Tensor, Tensor, int]:
        own = copy.deepcopy(model)
        return own, *step(own, images[at], part.share), part.count

    found = in_parts(total, processes, work)
    parts = torch.cat([of_own for _, of_own, _, count in found if count])
    torch.testing.assert_close(parts, of_images, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(sum(each for _, _, each, _ in found), of_parameters, rtol=1e-9, atol=1e-11)
    for own, _, _, _ in found:
        torch.testing.assert_close(own[0].running_mean, whole[0].running_mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(own[0].running_var, whole[0].running_var, rtol=1e-12, atol=0)


def test_a_process_without_pictures_adds_nothing_to_gradients() -> None:
    def work(at: slice, part: Part) -> tuple[int, Tensor, Tensor]:
        return part.count, *step(network((4, 3, 5)), torch.randn(1, 4, 3, 5, dtype=torch.float64), part.share)

    (_, *_), (count, of_images, of_parameters) = in_parts(1, 2, work)
    assert count == 0
    assert of_images.abs().max() == 0
    assert of_parameters.abs().max() == 0


def test_batch_normalisation_in_evaluation_mode_is_torchs() -> None:
    images = torch.randn(4, 4, 3, 5, dtype=torch.float64)
    model = network((4, 3, 5)).eval()
    for found in in_parts(4, 2, lambda at, part: model(images[at])):
        assert found.shape == (2, 2)
    parts = torch.cat(in_parts(4, 2, lambda at, part: model[0](images[at])))
    assert torch.equal(parts, model[0](images))


def in_turn(total: int, processes: int, work: object) -> Tensor:
    """Parts one behind the other, for what draws from the one global generator."""
    drawn_parts = []
    for number in range(processes):
        part = part_of(total, number, processes)
        torch.manual_seed(7)
        with computing(part, Threads(number, [None] * processes, None)):  # type: ignore[arg-type]
            drawn_parts.append(work(slice(part.first, part.first + part.count)))  # type: ignore[operator]
    return torch.cat(drawn_parts)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_dropout_of_parts_is_that_of_the_whole(inplace: bool, channels_last: bool) -> None:
    images = torch.randn(7, 4, 3, 5)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(7)
    whole = F.dropout(images, 0.3)
    layer = nn.Dropout(0.3, inplace=inplace)
    assert torch.equal(in_turn(7, 3, lambda at: layer(images[at].clone())), whole)
    assert torch.equal(in_turn(7, 3, lambda at: F.dropout(images[at], 0.3, training=False)), images)


def test_colours_of_parts_are_changed_as_those_of_the_whole() -> None:
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    torch.manual_seed(7)
    whole = jitter(images, 0.5)
    assert torch.equal(in_turn(5, 2, lambda at: jitter(images[at], 0.5)), whole)


def test_what_is_drawn_alone_is_what_is_asked_for() -> None:
    assert drawn(lambda count: torch.arange(count), 3).tolist() == [0, 1, 2]
    assert batch_divisor(4) == 4


def test_divisors_of_parts_make_sums_the_mean_of_the_whole() -> None:
    values = [[1.0, 2.0, 6.0], [], [4.0], [], [5.0]]

    def work(at: slice, part: Part) -> float:
        own = [value for each in values[at] for value in each]
        return sum(own) / batch_divisor(len(own)) * part.share

    assert sum(in_parts(5, 2, work)) == pytest.approx(18 / 5)
    assert sum(in_parts(5, 7, work)) == pytest.approx(18 / 5)
    assert in_parts(2, 2, lambda at, part: batch_divisor(0)) == [0.5, 0.5]


def test_gradients_are_added_where_any_process_has_one() -> None:
    def work(processes: Threads) -> list[list[float] | None]:
        parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
        parameters[0].grad = torch.tensor([1.0, 2.0]) * (processes.number + 1)
        if processes.number == 1:
            parameters[1].grad = torch.tensor([5.0, 6.0])
        processes.add_gradients(parameters)
        return [None if each.grad is None else each.grad.tolist() for each in parameters]

    assert in_threads(2, work) == [[[3.0, 6.0], [5.0, 6.0], None]] * 2
