"""What a network consists of: every layer, its output, its receptive field and what it costs; nothing is computed."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from cvtl.backbones import Backbone, Stage
from cvtl.errors import UsageError
from cvtl.inspection.receptive_field import INPUT_FIELD, Field, Window, aten, field_after, window_of

# What is shown. Activations and dropout have no parameters and change no shape.
_KINDS = {
    aten.convolution: "conv",
    aten.max_pool2d_with_indices: "max pool",
    aten.avg_pool2d: "average pool",
    aten._adaptive_avg_pool2d: "average pool",
    aten.mean: "global average",
    aten.native_batch_norm: "batch norm",
    aten.native_layer_norm: "layer norm",
    aten.native_group_norm: "group norm",
    aten.cat: "concatenation",
}
_MATRIX_PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm)
_SUMS = (aten.add, aten.add_)
# They take values apart and put them together again, each at its place.
_PLACE_BY_PLACE = (nn.Linear, nn.LocalResponseNorm)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of a network, or a concatenation or addition that no layer makes.

    Attributes:
        name: path of the module in the network; several layers have one name where a module makes them itself.
        kind: `conv`, `max pool`, `average pool`, `global average`, `dense`, `matrix product` (of two things that
            depend on the input, as in attention), `batch norm`, `layer norm`, `group norm`, `concatenation`,
            `addition`, or the module's class where it has parameters but is none of these.
        window: kernel, stride, padding and dilation; None where it has none.
        groups: into which a convolution divides its channels.
        output: shape of the output without the batch: (channels, height, width) where it is a map.
        field: what a value of the output sees; None where that cannot be known.
        parameters: weights and biases; 0 where a layer before has counted them already.
        multiplications: for one picture; each goes with an addition. Only of convolutions, dense layers and matrix
            products: what the others take does not count beside it.
    """

    name: str
    kind: str
    window: Window | None = None
    groups: int = 1
    output: tuple[int, ...]
    field: Field | None
    parameters: int = 0
    multiplications: int = 0


@dataclass(frozen=True, kw_only=True)
class StageLayers:
    """The layers of one stage of a backbone.

    Attributes:
        stage: which.
        layers: in the order in which they work, named within the stage.
        output: shape of its map, (channels, height, width).
        field: what a position of its map sees.
    """

    stage: Stage
    layers: tuple[Layer, ...]
    output: tuple[int, ...]
    field: Field | None


def layers(network: nn.Module, input_shape: tuple[int, int, int]) -> list[Layer]:
    """Every layer of a network in the order in which they work.

    Args:
        network: any that takes one tensor of pictures (N, C, H, W); looked at in evaluation mode, and left alone.
        input_shape: (C, H, W) of a picture.

    Raises:
        UsageError: the network cannot take pictures of this size, mostly because they are too small.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(192, 16, 1), nn.Conv2d(16, 32, 5, padding="same"))
        >>> [layer.multiplications for layer in layers(network, (192, 28, 28))]
        [2408448, 10035200]
    """
    return _trace(network, input_shape, lambda shadow, images: shadow(images)).layers


def stage_layers(backbone: Backbone, input_hw: tuple[int, int]) -> list[StageLayers]:
    """The layers of each stage of a backbone.

    Raises:
        UsageError: the backbone cannot take pictures of this size.

    Example:
        >>> from cvtl import backbones
        >>> [stage.output for stage in stage_layers(backbones.load("lenet5"), (32, 32))]
        [(6, 28, 28), (16, 10, 10), (16, 5, 5)]
    """
    maps: dict[str, Tensor] = {}
    trace = _trace(backbone, (3, *input_hw), lambda shadow, images: maps.update(shadow.features(images)))
    made = [trace.facts[x] for x in maps.values()]
    ends = [0, *accumulate((fact.layers for fact in made[:-1]), max), len(trace.layers)]
    return [
        StageLayers(
            stage=stage,
            layers=tuple(replace(layer, name=_within(layer.name, stage)) for layer in trace.layers[start:end]),
            output=tuple(x.shape[1:]),
            field=fact.field,
        )
        for stage, x, fact, (start, end) in zip(backbone.stages, maps.values(), made, pairwise(ends), strict=True)
    ]


def _within(name: str, stage: Stage) -> str:
    return re.sub(rf"^(body\.{re.escape(stage.name)}|net(\.graph_module|\.model)?)\.?", "", name)


@dataclass(frozen=True)
class _Fact:
    """What is known of a tensor that comes from the input.

    Attributes:
        field: what a value of it sees.
        layers: up to the last one that it depends on.
    """

    field: Field | None
    layers: int


def _trace(network: nn.Module, input_shape: tuple[int, ...], run: Callable[[Any, Tensor], object]) -> _Trace:
    shadow = _shadow(network)
    trace = _Trace()
    for name, module in shadow.named_modules():
        module.register_forward_pre_hook(lambda module, inputs, name=name: trace.enter(name))
        module.register_forward_hook(trace.leave)
    images = torch.empty(1, *input_shape, device="meta")
    trace.facts[images] = _Fact(INPUT_FIELD, 0)
    try:
        with torch.no_grad(), trace:
            run(shadow, images)
    except (RuntimeError, AssertionError) as error:
        name = getattr(network, "name", type(network).__name__)
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"'{name}' cannot take pictures of {input_shape[1]} x {input_shape[2]} pixels: {reason}",
            hint="Give larger ones, with --input where there is one",
        ) from error
    return trace


def _shadow(network: nn.Module) -> nn.Module:
    """A copy of a network that has shapes instead of numbers, and so costs nothing to keep or to run."""
    tensors = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor.to("meta") for tensor in tensors}).eval()


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows tensors from the input through PyTorch's operations, and writes down those that are layers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self.facts = WeakTensorKeyDictionary()
        self._inside: list[tuple[str, int]] = []
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
        if any(x.is_meta for x in given):
            # What the network makes anew while it works has numbers.
            args = tree_map_only(Tensor, lambda x: x.to("meta"), args)
        result = function(*args, **(kwargs or {}))
        sources = [x for x in given if x in self.facts]
        if not sources:
            return result
        operands = [(x, self.facts[x].field) for x in sources]
        last = max(self.facts[x].layers for x in sources)
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        fields = [field_after(function, args, operands, x) for x in outputs]
        operation = function.overloadpacket
        kind = _kind(operation, len(operands), fields[0])
        if kind:
            self.layers.append(
                Layer(
                    name=self._inside[-1][0] if self._inside else "",
                    kind=kind,
                    window=window_of(operation, args),
                    groups=args[8] if operation is aten.convolution else 1,
                    output=_shape(outputs[0], fields[0]),
                    field=fields[0],
                    multiplications=_multiplications(operation, args, outputs[0]),
                )
            )
            last = len(self.layers)
        for x, field in zip(outputs, fields, strict=True):
            self.facts[x] = _Fact(field, last)
        return result

    def enter(self, name: str) -> None:
        """A module begins its work."""
        self._inside.append((name, len(self.layers)))

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A module has done its work: only now is it known what came out, and which parameters are its own."""
        name, first = self._inside.pop()
        x = self._first(output)
        if x is None:
            return
        if isinstance(module, _PLACE_BY_PLACE):
            source = self._first(inputs)
            self.facts[x] = replace(self.facts[x], field=self.facts[source].field)
        field = self.facts[x].field
        own = [number for number, layer in enumerate(self.layers[first:], first) if layer.name == name]
        if own and not list(module.children()):
            self.layers[own[-1]] = replace(self.layers[own[-1]], output=_shape(x, field), field=field)
        # Those of modules inside that were used, but not called, are nobody else's.
        new = [tensor for tensor in module.parameters() if id(tensor) not in self._counted]
        self._counted.update(map(id, new))
        parameters = sum(tensor.numel() for tensor in new)
        if parameters and not own:
            kind = type(module).__name__
            self.layers.append(Layer(name=name, kind=kind, output=_shape(x, field), field=field, parameters=parameters))
            self.facts[x] = _Fact(field, len(self.layers))
        elif parameters:
            self.layers[own[0]] = replace(self.layers[own[0]], parameters=parameters)

    def _first(self, values: Any) -> Tensor | None:
        """The first tensor that comes from the network's input."""
        return next((x for x in tree_leaves(values) if isinstance(x, Tensor) and x in self.facts), None)


def _kind(operation: Any, operands: int, field: Field | None) -> str:
    """What kind of layer an operation is; nothing where it is none."""
    if operation in _MATRIX_PRODUCTS:
        return "matrix product" if operands > 1 else "dense"
    if operation in _SUMS:
        return "addition" if operands > 1 else ""
    if operation is aten.mean and not (field and field[0].size == torch.inf):
        return ""
    return _KINDS.get(operation, "")


def _multiplications(operation: Any, arguments: Sequence[Any], output: Tensor) -> int:
    if operation is aten.convolution:
        x, weight, transposed = arguments[0], arguments[1], arguments[6]
        # Each output position takes a kernel's worth of input channels; transposed, each input position gives one.
        return int((x if transposed else output).numel() * weight[0].numel())
    if operation in _MATRIX_PRODUCTS:
        left, right = [each for each in arguments if isinstance(each, Tensor)][-2:]
        return int(left.numel() * right.shape[-1])
    return 0


def _shape(x: Tensor, field: Field | None) -> tuple[int, ...]:
    """Without the batch, and channels first."""
    shape = tuple(x.shape[1:])
    channels_last = len(shape) == 3 and field is not None and [axis.dim for axis in field] == [-3, -2]
    return (shape[2], *shape[:2]) if channels_last else shape
