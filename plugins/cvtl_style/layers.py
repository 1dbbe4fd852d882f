"""The network that looks: a backbone's first layers, cut behind the deepest one that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from cvtl import backbones
from cvtl.backbones.backbone import Backbone, forbid_inplace
from cvtl.errors import UsageError
from cvtl.inspection.layers import layers as list_layers
from cvtl.inspection.layers import stage_layers
from cvtl.inspection.receptive_field import Axis, Field
from cvtl.preprocessing import InputSpec

# Those of Gatys et al., for networks whose layers have such names.
_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_CONTENT_LAYER = "relu4_2"
_PROBE_HW = (224, 224)


class FeatureNetwork(nn.Module):
    """Maps of some layers of a backbone, by the layers' names.

    Args:
        blocks: one for each layer of `names`, each going on where the one before ended.
        names: of the layers, in order.
        fields: what a position of each layer's map sees, the vertical axis first.
        input: the preprocessing the weights expect.

    Attributes:
        unreached: layers that the weights do not reach.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        names: Sequence[str],
        fields: Sequence[Field],
        input: InputSpec,
        unreached: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.names = tuple(names)
        self.fields = tuple(fields)
        self.input = input
        self.unreached = tuple(unreached)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """It looks and never learns: whoever trains something beside it leaves it as it is."""
        return super().train(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The map of each layer, (N, channels, h, w), of normalised pictures (N, 3, H, W)."""
        maps = {}
        x = images
        for name, block in zip(self.names, self.blocks, strict=True):
            x = maps[name] = block(x)
        return maps


class Layers:
    """What layers a backbone's weights can serve, before it is known which are wanted.

    Args:
        backbone: its name.
        weights: as `cvtl.backbones.load` takes them.
        pooling: `max` as it is, or `average` in place of maxima, as Gatys et al. advise.

    Raises:
        UsageError: there is no such backbone.
        WeightsError: the weights do not fit it.

    Example:
        >>> layers = Layers("lenet5")
        >>> layers.served
        ('conv1', 'conv2', 'pool2')
        >>> layers.cut(["conv2", "conv1"]).names
        ('conv1', 'conv2')
    """

    def __init__(self, backbone: str, weights: str | Path | None = None, *, pooling: str = "max") -> None:
        self.backbone = backbone
        self._stages: Backbone | None = None
        self._modules: list[nn.Module] = []
        if backbones.is_chain(backbone):
            found = backbones.load_layers(backbone, weights)
            self._modules = [_pooled(module, pooling) for module in found.modules[: found.reached]]
            self.input = found.input
            ends = dict(_layer_ends(backbone, found))
            self.served = tuple(name for name, end in ends.items() if end <= found.reached)
            self.unreached = tuple(name for name in ends if name not in self.served)
            self._ends = ends
        else:
            self._stages = backbones.load(backbone, weights)
            self.input = self._stages.input
            self.served = tuple(stage.name for stage in self._stages.stages)
            self.unreached = ()

    def style_layers(self, wanted: Sequence[str] | None) -> tuple[str, ...]:
        """The layers for the style: those that are wanted, or else the usual ones as far as the weights reach.

        Raises:
            UsageError: one that is wanted cannot be served; the message lists those that can.
        """
        if wanted is not None:
            return tuple(map(self._checked, dict.fromkeys(wanted)))
        usual = tuple(name for name in _STYLE_LAYERS if name in self.served)
        return usual or self.served

    def content_layer(self, wanted: str | None) -> str:
        """The layer for the content, in the same way: the deepest that can be served where the usual one cannot."""
        if wanted is not None:
            return self._checked(wanted)
        if _CONTENT_LAYER in self.served:
            return _CONTENT_LAYER
        if _CONTENT_LAYER in self.unreached:
            return self.served[-1]
        return self.served[len(self.served) // 2]

    def _checked(self, name: str) -> str:
        if name in self.served:
            return name
        problem = "reach no layer" if name in self.unreached else f"of backbone '{self.backbone}' have no layer"
        raise UsageError(f"the weights {problem} '{name}'", hint=f"They can serve {', '.join(self.served)}")

    def cut(self, names: Sequence[str]) -> FeatureNetwork:
        """A network that ends behind the deepest of some layers that can be served."""
        wanted = [name for name in self.served if name in names]
        if self._stages is not None:
            return _StageNetwork(self._stages.cut(wanted[-1]), wanted)
        blocks, begin = [], 0
        for name in wanted:
            end = self._ends[name]
            blocks.append(_block(self._modules[begin:end]))
            begin = end
        fields = [_field(nn.Sequential(*blocks[: count + 1])) for count in range(len(blocks))]
        return FeatureNetwork(blocks, wanted, fields, self.input, self.unreached)


class _StageNetwork(FeatureNetwork):
    """The maps of some stages of a backbone that is no chain."""

    def __init__(self, backbone: Backbone, names: Sequence[str]) -> None:
        listed = {each.stage.name: each.field for each in stage_layers(backbone, _PROBE_HW)}
        super().__init__([backbone], names, [_known(listed[name]) for name in names], backbone.input)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The map of each stage."""
        maps: Mapping[str, Tensor] = self.blocks[0].features(images)  # type: ignore[operator]
        return {name: maps[name] for name in self.names}


def _layer_ends(backbone: str, layers: backbones.Layers) -> Iterator[tuple[str, int]]:
    """Names of the layers that maps can be taken from, and how many modules lie up to there.

    Networks that consist of convolutions, ReLU and pooling have the names that VGG's layers have in the literature.
    """
    if backbone.rpartition(":")[2].startswith("vgg"):
        yield from _vgg_ends(layers.modules)
        return
    following = [*layers.stages[1:], ""]
    for count, (stage, after) in enumerate(zip(layers.stages, following, strict=True), start=1):
        if stage != after:
            yield stage, count


def _vgg_ends(modules: Sequence[nn.Module]) -> Iterator[tuple[str, int]]:
    """conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1, ...: a convolution's name is its sum's, before the ReLU."""
    block, number = 1, 0
    for count, module in enumerate(modules, start=1):
        if isinstance(module, nn.Conv2d):
            number += 1
            yield f"conv{block}_{number}", count
        elif isinstance(module, nn.ReLU):
            yield f"relu{block}_{number}", count
        elif isinstance(module, nn.MaxPool2d):
            yield f"pool{block}", count
            block, number = block + 1, 0


def _block(modules: Sequence[nn.Module]) -> nn.Sequential:
    """Modules between two maps that are taken; what is needed by nobody else is rewritten in place.

    The first module gets a map that was taken, so it never works in place.
    """
    block = nn.Sequential(*modules)
    forbid_inplace(block)
    for module in block[1:]:
        if isinstance(module, nn.ReLU):
            module.inplace = True
    return block


def _pooled(module: nn.Module, pooling: str) -> nn.Module:
    if pooling == "max" or not isinstance(module, nn.MaxPool2d):
        return module
    kernel, stride, padding = (int(each) for each in (module.kernel_size, module.stride, module.padding))  # type: ignore[arg-type]
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode=bool(module.ceil_mode), count_include_pad=False)


def _field(network: nn.Module) -> Field:
    """What a position of a network's map sees; everything, where that cannot be known."""
    return _known(list_layers(network, (3, *_PROBE_HW))[-1].field)


def _known(field: Field | None) -> Field:
    if field is None or [axis.dim for axis in field] != [-2, -1]:
        return Axis(-2).everything(), Axis(-1).everything()
    return field


def digest(network: nn.Module) -> str:
    """SHA-256 over a network's tensors in hexadecimal: which weights it has, wherever they came from."""
    import hashlib

    state = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        state.update(f"{name}{tuple(tensor.shape)}".encode())
        state.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return state.hexdigest()
