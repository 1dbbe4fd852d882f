"""Every other network of timm, through its `features_only` door."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from cvtl.backbones.backbone import Backbone, Stage, forbid_inplace
from cvtl.checkpoints import FOREIGN, list_some
from cvtl.errors import WeightsError
from cvtl.preprocessing import InputSpec


class TimmBackbone(Backbone):
    """A network that timm takes apart itself; its stages are called `stage1`, `stage2`, ... and it has no `body`.

    Channels and strides are those that timm states. Transformers without a pyramid give their last blocks, all of one
    stride.

    Args:
        name: as given to `load`.
        network: timm's name of it.
        input: the preprocessing its weights expect.
        net: timm's feature extractor of it.
    """

    def __init__(self, name: str, network: str, input: InputSpec, net: nn.Module) -> None:
        info: Any = net.feature_info
        scales = enumerate(zip(info.channels(), info.reduction(), strict=True), start=1)
        stages = tuple(Stage(f"stage{number}", channels, stride) for number, (channels, stride) in scales)
        super().__init__(name, stages, input, body=None)
        self.network = network
        self.net = net
        forbid_inplace(net)

    def forward(self, images: Tensor) -> Tensor:
        """The last stage's map, (N, channels, h, w)."""
        return self.features(images)[self.stages[-1].name]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Every stage's map by the stage's name, in order; each (N, channels, h, w)."""
        maps = self.net(images)
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return {stage.name: x for stage, x in zip(self.stages, maps, strict=True)}

    def _first(self, count: int) -> Backbone:
        shorter = TimmBackbone(self.name, self.network, self.input, self._net_of(count))
        return self._hand_down(shorter)

    def _modules_of(self, count: int) -> list[nn.Module]:
        if not count:
            return []
        paths = {path for path, _ in self._net_of(count).named_modules()}
        return [module for path, module in self.net.named_modules() if path in paths]

    def _net_of(self, count: int) -> nn.Module:
        info: Any = self.net.feature_info
        net = make_feature_net(self.network, out_indices=tuple(info.out_indices)[:count])
        for path, module in net.named_modules():
            mine = self.net.get_submodule(path)
            tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, _ in tensors:
                setattr(module, name, getattr(mine, name))
        return net


def load_timm(
    name: str, network: str, input: InputSpec, state: Mapping[str, Tensor] | None, source: str, cut: str | None
) -> Backbone:
    """Build one, with these weights where there are any, and cut it after a stage.

    Raises:
        UsageError: there is no such stage.
        WeightsError: the weights do not fit.
    """
    backbone: Backbone = TimmBackbone(name, network, input, _with_weights(network, state, source))
    if cut is not None:
        backbone = backbone.cut(cut)
    if state is not None:
        # timm renames and resizes weights in ways it does not show, and passes over those it misses. What weights of
        # NaN leave finite was not in the file.
        marks = {key: torch.full((), torch.nan).expand(value.shape) for key, value in state.items()}
        marked = TimmBackbone(name, network, input, _with_weights(network, marks, source)).state_dict()
        missed = [
            key.removeprefix("net.")
            for key in backbone.state_dict()
            if marked[key].is_floating_point() and not marked[key].isnan().all()
        ]
        if missed:
            raise WeightsError(
                f"'{source}' does not fit '{name}': {len(missed)} missing: {list_some(missed)}", hint=FOREIGN
            )
    return backbone


def _with_weights(network: str, state: Mapping[str, Tensor] | None, source: str) -> nn.Module:
    if state is None:
        return make_feature_net(network)
    try:
        net = make_feature_net(network, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state)})
    except Exception as error:  # What is foreign makes timm's converters stumble in any way.
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"'{source}' does not fit timm's '{network}': {reason}", hint=FOREIGN) from error
    for module in net.modules():
        # timm keeps the weights it was handed: a second copy of the network.
        vars(module).get("pretrained_cfg", {}).pop("state_dict", None)
    return net


def make_feature_net(network: str, **choices: Any) -> nn.Module:
    """The network as timm takes it apart; later modules that it can do without are dropped."""
    import timm

    return timm.create_model(network, features_only=True, **_feature_class(network), **choices)


@cache
def _feature_class(network: str) -> dict[str, Any]:
    import timm
    from timm.models import FeatureHookNet

    with torch.device("meta"):
        net = timm.create_model(network, features_only=True)
    # Hooks keep and run the whole network; a traced one ends where its last map is.
    return {"feature_cls": "fx"} if isinstance(net, FeatureHookNet) else {}
