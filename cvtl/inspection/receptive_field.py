"""The receptive field: which pixels of the input a value inside a network can depend on, through any branches.

The arithmetic is that of Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, Distill 2019
(doi 10.23915/distill.00021), with the field's two ends in place of its size, so that branches can be joined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


@dataclass(frozen=True)
class Axis:
    """What the positions along one axis of a map see: position i the pixels `i * jump + low` to `i * jump + high`.

    Pixels are counted along the input from 0; ends may lie outside it, where padding is.

    Attributes:
        dim: the map's dimension that this axis is, from the end (-1 is the last); None where all positions have become
            one, or one vector.
        jump: pixels of the input from one position to the next.
        low: the first pixel that position 0 sees; minus infinity where every position sees the whole input.
        high: the last one.

    Example:
        >>> Axis(-1).through(kernel=7, stride=2, padding=3).through(kernel=3, stride=2, padding=1)
        Axis(dim=-1, jump=4, low=-5, high=5)
    """

    dim: int | None
    jump: int = 1
    low: float = 0
    high: float = 0

    @property
    def size(self) -> float:
        """How many pixels a position sees; infinity for all, however many there are."""
        return self.high - self.low + 1

    def through(self, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Axis:
        """The axis behind a convolution or pooling, which sees what the positions in its window see."""
        first, last = -padding, (kernel - 1) * dilation - padding
        low, high = self.low + first * self.jump, self.high + last * self.jump
        return replace(self, jump=self.jump * stride, low=low, high=high)

    def everything(self) -> Axis:
        """The axis, each of its positions seeing the whole input."""
        return replace(self, low=-math.inf, high=math.inf)


# Of the vertical and the horizontal axis.
Field = tuple[Axis, Axis]
INPUT_FIELD: Field = (Axis(-2), Axis(-1))

# A tensor that comes from the network's input, and its field where that is known.
Operand = tuple[Tensor, Field | None]


@dataclass(frozen=True)
class Window:
    """What a convolution or pooling looks at; a value for each axis, the vertical one first."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


def window_of(operation: Any, arguments: Sequence[Any]) -> Window | None:
    """The window of one of PyTorch's operations; None where it has none, or not the same one everywhere.

    Args:
        operation: such as `torch.ops.aten.convolution`.
        arguments: what it is called with, by position.
    """
    if operation is aten.convolution:
        _, weight, _, stride, padding, dilation, transposed, *_ = arguments
        return None if transposed else Window(tuple(weight.shape[2:]), tuple(stride), tuple(padding), tuple(dilation))
    if operation in (aten.max_pool2d_with_indices, aten.avg_pool2d):
        kernel, *others = arguments[1:]
        stride, padding, dilation = [*others, *([], 0, 1)[len(others) :]][:3]
        # Where the dilation would be, average pooling has something else.
        dilation = dilation if operation is aten.max_pool2d_with_indices else 1
        return Window(_pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation))
    if operation is aten._adaptive_avg_pool2d:
        sizes = list(zip(arguments[0].shape[-2:], arguments[1], strict=True))
        kernel = tuple(size // parts for size, parts in sizes)
        return None if any(size % parts for size, parts in sizes) else Window(kernel, kernel, (0, 0), (1, 1))
    return None


def field_after(function: Any, arguments: Sequence[Any], operands: Sequence[Operand], output: Tensor) -> Field | None:
    """The receptive field behind one of PyTorch's operations.

    Args:
        function: an overload, such as `torch.ops.aten.convolution.default`.
        arguments: what it was called with, by position.
        operands: those of its tensors that come from the network's input.
        output: what it gave, or one of the tensors that it gave.

    Returns:
        None where it cannot be known: behind attention, shifts, and whatever has no rule here.
    """
    operation = function.overloadpacket
    x, field = operands[0]
    if field is None or any(other is None for _, other in operands):
        return None
    if operation in _RULES:
        return _RULES[operation](field, x, output, *arguments[1:])
    window = window_of(operation, arguments)
    if window is not None:
        return _through(field, window)
    joins = operation is aten.cat and _dims(field).isdisjoint({_from_end(_argument(arguments, 1, 0), output)})
    if joins or operation in _PLACE_BY_PLACE or torch.Tag.pointwise in function.tags:
        return _joined(operands, output)
    return None


def _through(field: Field, window: Window) -> Field | None:
    if _dims(field) == {None}:
        return field
    if [axis.dim for axis in field] != [-2, -1] or len(window.kernel) != 2:
        return None
    y, x = (
        axis.through(
            kernel=window.kernel[n], stride=window.stride[n], padding=window.padding[n], dilation=window.dilation[n]
        )
        for n, axis in enumerate(field)
    )
    return y, x


def _joined(operands: Sequence[Operand], output: Tensor) -> Field | None:
    """The field of what is added, multiplied or concatenated: it reaches as far as the farthest of its parts."""
    axes = []
    for number in range(2):
        spread: list[Axis] = []
        single: list[Axis] = []
        for x, field in operands:
            assert field is not None
            axis = field[number]
            has_places = axis.dim is not None and x.shape[axis.dim] == output.shape[axis.dim]
            (spread if has_places else single).append(axis)
        # What is the same for all positions fits any of them only if it comes from the whole input.
        if len({(axis.dim, axis.jump) for axis in spread}) > 1 or (
            spread and any(axis.size < math.inf for axis in single)
        ):
            return None
        every = spread + single
        low, high = min(axis.low for axis in every), max(axis.high for axis in every)
        axes.append(replace(every[0], low=low, high=high))
    return axes[0], axes[1]


def _permuted(field: Field, x: Tensor, output: Tensor, dims: Sequence[int]) -> Field:
    places: dict[int | None, int | None] = {None: None} | {
        _from_end(dim, x): place - x.ndim for place, dim in enumerate(dims)
    }
    return _moved(field, lambda axis: places[axis.dim])


def _transposed(field: Field, x: Tensor, output: Tensor, first: int = 0, second: int = 1) -> Field:
    dims = list(range(x.ndim))
    dims[first], dims[second] = dims[second], dims[first]
    return _permuted(field, x, output, dims)


def _reshaped(field: Field, x: Tensor, output: Tensor, *_: Any) -> Field | None:
    """An axis lasts where a dimension of its size has as many values behind it as before."""

    def place(axis: Axis) -> int | None:
        if axis.dim is None or x.shape[axis.dim] == 1:
            return axis.dim if output.ndim == x.ndim else None
        behind = math.prod(x.shape[x.ndim + axis.dim + 1 :])
        fitting = (
            dim
            for dim in range(-1, -output.ndim - 1, -1)
            if output.shape[dim] == x.shape[axis.dim] and math.prod(output.shape[output.ndim + dim + 1 :]) == behind
        )
        return next(fitting, None)

    moved = _moved(field, place)
    lost = [axis for axis, now in zip(field, moved, strict=True) if now.dim is None and _is_spread(axis, x)]
    if not lost:
        return moved
    # A vector holds all positions; anything else mixes them in ways that are not followed here.
    return _whole(moved) if output.ndim == 2 else None


def _sliced(
    field: Field, x: Tensor, output: Tensor, dim: int = 0, start: int | None = None, end: Any = None, step: int = 1
) -> Field:
    first = min(start or 0, x.shape[dim]) if (start or 0) >= 0 else max(0, x.shape[dim] + (start or 0))
    sliced = _from_end(dim, x)
    return _each(
        field, lambda axis: axis.through(kernel=1, stride=step, padding=-first) if axis.dim == sliced else axis
    )


def _padded(field: Field, x: Tensor, output: Tensor, padding: Sequence[int], *_: Any) -> Field:
    # Two values for each dimension, the last one's first.
    before: dict[int | None, int] = {-1 - number: amount for number, amount in enumerate(padding[::2])}
    return _each(field, lambda axis: axis.through(kernel=1, padding=before.get(axis.dim, 0)))


def _divided(field: Field, x: Tensor, output: Tensor, _: Any, dim: int = 0) -> Field | None:
    return None if _from_end(dim, x) in _dims(field) else field


def _taken(field: Field, x: Tensor, output: Tensor, dim: int = 0, *_: Any) -> Field | None:
    return None if _from_end(dim, x) in _dims(field) else _reshaped(field, x, output)


def _reduced(field: Field, x: Tensor, output: Tensor, dims: Sequence[int] = (), keep: bool = False) -> Field | None:
    reduced = {_from_end(dim, x) for dim in (dims or range(x.ndim))}
    if not reduced & _dims(field):
        return field if keep else _reshaped(field, x, output)
    if not _dims(field) - {None} <= reduced:
        return None
    return _each(field, lambda axis: replace(axis.everything(), dim=axis.dim if keep else None))


def _layer_normed(field: Field, x: Tensor, output: Tensor, shape: Sequence[int], *_: Any) -> Field:
    over = set(range(-len(shape), 0))
    return _whole(field) if over & _dims(field) else field


def _batch_normed(
    field: Field, x: Tensor, output: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *_: Any
) -> Field:
    return _whole(field) if training else field


def _group_normed(field: Field, x: Tensor, output: Tensor, *_: Any) -> Field:
    return _whole(field)


def _whole(field: Field) -> Field:
    return _each(field, Axis.everything)


def _moved(field: Field, place: Callable[[Axis], int | None]) -> Field:
    return _each(field, lambda axis: replace(axis, dim=place(axis)))


def _each(field: Field, change: Callable[[Axis], Axis]) -> Field:
    return change(field[0]), change(field[1])


def _is_spread(axis: Axis, x: Tensor) -> bool:
    return axis.dim is not None and x.shape[axis.dim] > 1


def _dims(field: Field) -> set[int | None]:
    return {axis.dim for axis in field}


def _from_end(dim: int, x: Tensor) -> int:
    return dim - x.ndim if dim >= 0 else dim


def _argument(arguments: Sequence[Any], place: int, default: Any) -> Any:
    return arguments[place] if len(arguments) > place else default


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


# They are, though PyTorch does not mark them as pointwise.
_PLACE_BY_PLACE = (
    aten.alias,
    aten.expand,
    aten.channel_shuffle,
    aten.hardswish,
    aten.hardswish_,
    aten.mish_,
    aten._prelu_kernel,
)
_RULES: dict[Any, Callable[..., Field | None]] = {
    aten.permute: _permuted,
    aten.transpose: _transposed,
    **dict.fromkeys((aten.view, aten._unsafe_view, aten.unsqueeze, aten.squeeze), _reshaped),
    aten.slice: _sliced,
    aten.constant_pad_nd: _padded,
    **dict.fromkeys((aten.split, aten.split_with_sizes), _divided),
    **dict.fromkeys((aten.unbind, aten.select), _taken),
    **dict.fromkeys((aten.mean, aten.sum, aten.amax), _reduced),
    aten.native_layer_norm: _layer_normed,
    aten.native_batch_norm: _batch_normed,
    aten.native_group_norm: _group_normed,
}
