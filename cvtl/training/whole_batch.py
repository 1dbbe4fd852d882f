"""A batch shared out among processes, and what of a step depends on all of it.

Each process computes a part of every batch. The gradients of the parts, each weighted by its share of the pictures, add
up to that of the whole batch, as far as a loss is a mean over pictures. What mixes the pictures of a batch sees to it
that this holds for it, too: batch normalisation, dropout, random changes of pictures, and means over something else
than pictures (objects, say). In a training of one process all of this is what it is without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cvtl.training.processes import Processes


@dataclass(frozen=True)
class Part:
    """What one process has of a batch.

    Attributes:
        first: number of its first picture in the batch.
        count: how many it has.
        total: how many the batch has.

    Example:
        >>> [part_of(5, number, 2) for number in (0, 1)]
        [Part(first=0, count=3, total=5), Part(first=3, count=2, total=5)]
    """

    first: int
    count: int
    total: int

    @property
    def share(self) -> float:
        """By how much a mean over the part counts in the mean over the batch."""
        return self.count / self.total


def part_of(total: int, number: int, processes: int) -> Part:
    """What a process has of a batch: parts are as equal as they can be, in the batch's order.

    Of fewer pictures than processes some have none.
    """
    first, end = (-(-total * each // processes) for each in (number, number + 1))
    return Part(first, end - first, total)


_current: ContextVar[tuple[Part, Processes] | None] = ContextVar("part of a batch", default=None)


@contextmanager
def computing(part: Part, processes: Processes) -> Iterator[None]:
    """While entered, what is computed is a part of a batch. Nothing changes where the part is all of it."""
    if processes.count == 1:
        yield
        return
    token = _current.set((part, processes))
    try:
        with _WholeBatch(part, processes):
            yield
    finally:
        _current.reset(token)


def drawn(draw: Callable[[int], Tensor], count: int, *, dim: int = 0) -> Tensor:
    """Random numbers for pictures: of those drawn for a whole batch, the ones for the part that is computed.

    Args:
        draw: given a number of pictures, draws for them, from a global generator.
        count: the pictures at hand.
        dim: the dimension that has an entry for each picture.

    Example:
        >>> drawn(lambda pictures: torch.rand(2, pictures), 4, dim=1).shape
        torch.Size([2, 4])
    """
    if (current := _current.get()) is None:
        return draw(count)
    part = current[0]
    # A process without a picture computes one that does not count.
    return draw(part.total).narrow(dim, min(part.first, part.total - count), count)


def batch_divisor(count: int) -> float:
    """What to divide a sum over a batch by for its mean: `count`, or 1 if there is nothing.

    Where a part is computed, that is the count in the whole batch times the part's share, so that the parts' means,
    weighted by their shares, add up to that of the whole. All processes have to ask as often.

    Example:
        >>> batch_divisor(3), batch_divisor(0)
        (3, 1)
    """
    if (current := _current.get()) is None:
        return max(1, count)
    part, processes = current
    counts = processes.gather(count if part.count else 0)
    return max(1, sum(counts)) * (part.share or 1.0)


class _WholeBatch(TorchFunctionMode):
    """Lets batch normalisation see the statistics of the whole batch, and dropout draw for all of it.

    It stands before the two functions that all layers of either kind come to, whoever wrote them, so that no network
    has to be changed.
    """

    def __init__(self, part: Part, processes: Processes) -> None:
        super().__init__()
        self._part = part
        self._processes = processes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return _batch_norm(self._part, self._processes, *args, **kwargs)
        if func is F.dropout:
            return _dropout(self._part, *args, **kwargs)
        return func(*args, **kwargs)


def _dropout(part: Part, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or len(input) != max(1, part.count):
        return F.dropout(input, p, training, inplace)
    whole = input.new_ones(part.total, *input.shape[1:])
    if input.ndim == 4 and not input.is_contiguous():
        # The order of the numbers in memory is that in which they are drawn.
        whole = whole.contiguous(memory_format=torch.channels_last)
    kept = F.dropout(whole, p).narrow(0, min(part.first, part.total - len(input)), len(input))
    return input.mul_(kept) if inplace else input * kept


def _batch_norm(
    part: Part,
    processes: Processes,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    counted = part.count > 0
    output, mean, variance, total = _Normalization.apply(input, weight, bias, eps, counted, processes)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * total / (total - 1).clamp(min=1)).to(running_var.dtype), momentum)
    normalized: Tensor = output
    return normalized


class _Normalization(torch.autograd.Function):
    """Batch normalisation over the batches of all processes (Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1).

    PyTorch's own, `SyncBatchNorm`, is for CUDA devices only. Variances are put together from means and variances of the
    parts (Chan et al. 1979), which loses no digits where a mean is large.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        counted: bool,
        processes: Processes,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        over = [dim for dim in range(input.ndim) if dim != 1]
        wide, channels = _at_least_float32(input), input.shape[1]
        count = input.numel() // channels if counted else 0
        if count:
            own_var, own_mean = torch.var_mean(wide, over, correction=0)
        else:
            own_var = own_mean = wide.new_zeros(channels)
        stacked = processes.stack(torch.cat([wide.new_tensor([count]), own_mean, own_var]))
        counts, means, variances = torch.split(stacked, [1, channels, channels], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
        shape = [1, channels, *[1] * (input.ndim - 2)]
        scale = (variance + eps).rsqrt()
        normal = (wide - mean.view(shape)) * scale.view(shape)
        output = normal if weight is None else normal * weight.view(shape)
        output = output if bias is None else output + bias.view(shape)
        ctx.save_for_backward(normal, weight, scale, total)
        ctx.over, ctx.shape, ctx.counted, ctx.processes, ctx.biased = over, shape, counted, processes, bias is not None
        ctx.mark_non_differentiable(mean, variance, total)
        return output.to(input.dtype), mean, variance, total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        normal, weight, scale, total = ctx.saved_tensors
        wide = _at_least_float32(gradient)
        own = torch.cat([wide.sum(ctx.over), (wide * normal).sum(ctx.over)])
        sums = ctx.processes.add(own)
        along, across = (each.view(ctx.shape) / total for each in sums.chunk(2))
        factor = scale if weight is None else scale * weight
        inner = (wide - along - normal * across) * factor.view(ctx.shape) * ctx.counted
        of_bias, of_weight = own.chunk(2)
        return (
            inner.to(gradient.dtype),
            None if weight is None else of_weight.to(weight.dtype),
            of_bias if ctx.biased else None,
            None,
            None,
            None,
        )


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
