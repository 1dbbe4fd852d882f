"""Making a backbone: build the network, split it into stages, read its weights."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cvtl.backbones.backbone import Backbone, Stage, find_stage
from cvtl.backbones.classic import LeNet5, ZFNet
from cvtl.backbones.families import Chain, Network, find
from cvtl.backbones.timm_backbone import load_timm
from cvtl.checkpoints import load_into, read_state_dict
from cvtl.download import fetch, fetch_from_hub
from cvtl.errors import UsageError
from cvtl.preprocessing import InputSpec

IMAGENET = "imagenet"
NO_WEIGHTS = "none"
# Common multiple of the strides of all networks: widening the input by it widens a map by exactly this over the stride.
_EXTRA_WIDTH = 1344
_TF_NORMALISED = ("googlenet", "inception_v3")
_HALF = (0.5, 0.5, 0.5)
# The files of timm's repositories on the hub, the preferred first.
_HUB_NAMES = ("model.safetensors", "pytorch_model.bin")
# torchvision's published DenseNets are older than its modules' names.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")

_Parts = dict[str, nn.Module]


@dataclass(frozen=True)
class Layers:
    """The modules of a backbone one by one, as far as its weights reach.

    Attributes:
        modules: all of them in the order they are used, `nn.Module`s of the network's own.
        stages: for each, the stage that it belongs to.
        reached: how many have their weights, from the first on; the others' are random.
        input: the preprocessing the weights expect.
    """

    modules: tuple[nn.Module, ...]
    stages: tuple[str, ...]
    reached: int
    input: InputSpec


def load(
    name: str, weights: str | Path | None = None, *, cut: str | None = None, offline: bool | None = None
) -> Backbone:
    """A backbone by its name, in evaluation mode.

    Args:
        name: one of `list_backbones()`. Where torchvision and timm share a name it means torchvision's;
            `timm:resnet50` or `torchvision:resnet50` asks for one of them.
        weights: None for random ones; `"imagenet"` for those that the library publishes as its default (downloaded
            once, into torch's or Hugging Face's cache); else a `.pth` or `.safetensors` file with a state dict of the
            library's network, whose classification head may be missing, extra or of another size.
        cut: end after this stage; weights of later ones are then neither needed nor kept.
        offline: never download; by default as the environment variable `CVTL_OFFLINE` says.

    Raises:
        UsageError: there is no such backbone or stage, or it has no published weights; the message lists what there is.
        WeightsError: the file is damaged or does not fit; what is missing or misshapen is named.
        OfflineError: the weights would have to be downloaded and cannot be; the message says where to put them.

    Example:
        >>> backbone = load("squeezenet1_1", cut="fire4-5")
        >>> backbone.stages[-1]
        Stage(name='fire4-5', channels=256, stride=8)
        >>> backbone(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 256, 7, 7])
    """
    network = find(name)
    source = str(_published(network, offline) if weights == IMAGENET else weights)
    state = None if weights is None else read_state_dict(source)
    if network.chain is None:
        return load_timm(name, network.network, _input(network), state, source, cut).eval()
    whole = _build(network, random=state is None).eval()
    groups = _split(_parts(whole, network.chain), _input(network), network.chain)
    if cut is not None:
        count = find_stage(cut, [stage.name for stage in groups], name) + 1
        groups = dict(list(groups.items())[:count])
    if state is not None:
        _read_weights(name, whole, groups, state, source)
    body = nn.Sequential(OrderedDict((stage.name, _sequential(parts)) for stage, parts in groups.items()))
    return Backbone(name, tuple(groups), _input(network), body).eval()


def is_chain(name: str) -> bool:
    """Whether a backbone is a plain chain of modules, which `load_layers` takes apart.

    Raises:
        UsageError: there is no such backbone.

    Example:
        >>> is_chain("vgg19"), is_chain("vit_tiny_patch16_224")
        (True, False)
    """
    return find(name).chain is not None


def load_layers(name: str, weights: str | Path | None = None, *, offline: bool | None = None) -> Layers:
    """The modules of a backbone that is a chain, for whoever needs maps from inside its stages.

    Weights need not be complete, nor reach the end of a stage: a file may hold the first layers alone.

    Args:
        name: of a backbone for which `is_chain`.
        weights: as for `load`.
        offline: as for `load`.

    Raises:
        UsageError: there is no such backbone, or it has no published weights.
        WeightsError: the file is damaged, or has not even the first layer's weights.
        OfflineError: the weights would have to be downloaded and cannot be.

    Example:
        >>> layers = load_layers("lenet5")
        >>> layers.stages, layers.reached
        (('conv1', 'conv1', 'conv2', 'conv2', 'conv2', 'pool2'), 6)
    """
    network = find(name)
    assert network.chain is not None, "only chains are taken apart"
    source = str(_published(network, offline) if weights == IMAGENET else weights)
    state = None if weights is None else read_state_dict(source)
    # Most of VGG is its head, which would be filled for nothing.
    with nullcontext() if state is None else torch.device("meta"):
        whole = _build(network, random=state is None).eval()
    parts = _parts(whole, network.chain)
    groups = _split(parts, _input(network), network.chain)
    reached = len(parts) if state is None else _read_first_weights(name, whole, parts, state, source)
    stages = tuple(stage.name for stage, group in groups.items() for _ in group)
    return Layers(tuple(parts.values()), stages, reached, _input(network))


def chosen_weights(named: str | None, backbone: str) -> str | Path | None:
    """What a plugin's option `weights` means, as `load` takes it.

    Args:
        named: `"imagenet"`, a path, or `"none"` for random ones.
        backbone: its name, for the message.

    Raises:
        UsageError: nothing is said: nothing is downloaded that nobody has asked for, nor is chance taken for knowledge.

    Example:
        >>> chosen_weights("none", "lenet5") is None, chosen_weights("imagenet", "lenet5")
        (True, 'imagenet')
    """
    if named is None:
        raise UsageError(
            f"nothing says where the weights of the backbone '{backbone}' come from",
            hint="Add --weights imagenet (published ones, downloaded once), --weights FILE, or --weights none",
        )
    if named == NO_WEIGHTS:
        return None
    return named if named == IMAGENET else Path(named)


def _build(network: Network, *, random: bool) -> nn.Module:
    if network.source == "cvtl":
        return {"lenet5": LeNet5, "zfnet": ZFNet}[network.network]()
    if network.source == "timm":
        import timm

        return timm.create_model(network.network)
    from torchvision import models

    choices = {"aux_logits": False} if network.network in _TF_NORMALISED else {}
    if network.network.startswith(("vgg", *_TF_NORMALISED)):
        # Theirs takes seconds, for nothing where weights follow.
        choices["init_weights"] = random
    built: nn.Module = models.get_model(network.network, weights=None, **choices)
    if isinstance(built, models.DenseNet):
        # Its forward ends in a functional ReLU.
        built.get_submodule("features").add_module("relu5", nn.ReLU())
    return built


def _parts(whole: nn.Module, chain: Chain) -> _Parts:
    """The modules of the chain in order, by their path in the whole network."""
    parts: _Parts = {}
    for path in chain.modules.split():
        parent, star, _ = path.partition(".*")
        if star:
            parts |= {f"{parent}.{child}": module for child, module in whole.get_submodule(parent).named_children()}
        else:
            parts[path] = whole.get_submodule(path)
    return parts


def _split(parts: _Parts, input: InputSpec, chain: Chain) -> dict[Stage, _Parts]:
    """Group the modules into stages: a new one begins where the stride grows."""
    x = torch.empty(1, 3, input.size_hw[0], input.size_hw[0] + _EXTRA_WIDTH, device="meta")
    groups: list[_Parts] = []
    scales: list[tuple[int, int]] = []
    stride = 0
    for path, part in parts.items():
        x = _on_meta(part, x)
        before, stride = stride, _EXTRA_WIDTH // (x.shape[3] - x.shape[2])
        if stride > before:
            groups.append({})
            scales.append((0, 0))
        groups[-1][path] = part
        scales[-1] = (x.shape[1], stride)
    names = chain.stages.split() or [f"stage{number}" for number in range(1, len(groups) + 1)]
    return {Stage(name, *scale): group for name, scale, group in zip(names, scales, groups, strict=True)}


def _on_meta(module: nn.Module, x: Tensor) -> Tensor:
    """A module's output without its numbers, at no cost: only the shape is wanted."""
    tensors = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    output: Tensor = functional_call(module, tensors, (x,))
    return output


def _sequential(parts: _Parts) -> nn.Sequential:
    return nn.Sequential(OrderedDict((path.rpartition(".")[2], part) for path, part in parts.items()))


def _read_weights(
    name: str, whole: nn.Module, groups: dict[Stage, _Parts], state: Mapping[str, Tensor], source: str
) -> None:
    state = {_OLD_DENSENET.sub(r"\1\2.", key): value for key, value in state.items()}
    known = whole.state_dict()
    prefixes = {stage.name: tuple(f"{path}." for path in parts) for stage, parts in groups.items()}
    kept = tuple(prefix for stage in prefixes.values() for prefix in stage)
    roots = {prefix.partition(".")[0] for prefix in kept}

    def is_other_part(key: str) -> bool:
        # What the network does not know is its head's unless it stands among the backbone's own.
        return not key.startswith(kept) if key in known else key.partition(".")[0] not in roots

    hint = ""
    fitting = {key for key, value in state.items() if key in known and known[key].shape == value.shape}
    if len(fitting) == len(state):
        complete = takewhile(
            lambda stage: all(key in fitting for key in known if key.startswith(prefixes[stage])), prefixes
        )
        *_, last = ("", *complete)
        hint = last and f"It has everything up to the stage '{last}': load it with cut='{last}'"
    load_into(whole, state, source, may_miss=is_other_part, name=name, hint=hint)


def _read_first_weights(name: str, whole: nn.Module, parts: _Parts, state: Mapping[str, Tensor], source: str) -> int:
    """Read the weights of as many modules as the file has them of, without a gap; gives how many."""
    state = {_OLD_DENSENET.sub(r"\1\2.", key): value for key, value in state.items()}
    known = whole.state_dict()
    fitting = {key for key, value in state.items() if key in known and known[key].shape == value.shape}

    def is_there(path: str) -> bool:
        own = [key for key in known if key.startswith(f"{path}.") and not key.endswith("num_batches_tracked")]
        return all(key in fitting for key in own)

    complete = tuple(f"{path}." for path in takewhile(is_there, parts))
    roots = {path.partition(".")[0] for path in parts}
    foreign = any(key.partition(".")[0] in roots and key not in fitting for key in state)
    if foreign or not any(key.startswith(complete) for key in fitting):
        # What belongs to another network is refused as a file for the whole is.
        complete = tuple(f"{path}." for path in parts)
    for path in complete:
        whole.get_submodule(path[:-1]).to_empty(device="cpu")
    load_into(whole, state, source, may_miss=lambda key: not key.startswith(complete), name=name)
    return len(complete)


def _published(network: Network, offline: bool | None) -> Path:
    """The file of the weights that the library publishes as its default."""
    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
    if network.source == "torchvision":
        from torchvision import models

        return fetch(models.get_model_weights(network.network)["DEFAULT"].url, checkpoints, offline=offline)
    if network.source == "timm":
        published = _timm_cfg(network)
        if published.hf_hub_id:
            names = [published.hf_hub_filename] if published.hf_hub_filename else _HUB_NAMES
            return fetch_from_hub(published.hf_hub_id, names, offline=offline)
        if published.url:
            return fetch(published.url, checkpoints, offline=offline)
    raise UsageError(
        f"nobody publishes weights for backbone '{network.name}'",
        hint="Give a file of weights, or start from random ones",
    )


def _input(network: Network) -> InputSpec:
    if network.source == "cvtl":
        side = {"lenet5": 32, "zfnet": 224}[network.network]
        return InputSpec(size_hw=(side, side), resize="crop")
    if network.source == "timm":
        cfg = _timm_cfg(network)
        return _input_spec(cfg.input_size[1:], cfg.interpolation, cfg.mean, cfg.std)
    from torchvision import models

    preset = models.get_model_weights(network.network)["DEFAULT"].transforms()
    # Their weights come from TensorFlow. torchvision's own models undo its usual normalisation first.
    mean, std = (_HALF, _HALF) if network.network in _TF_NORMALISED else (preset.mean, preset.std)
    return _input_spec(preset.crop_size * 2, preset.interpolation.value, mean, std)


def _input_spec(size_hw: Sequence[int], interpolation: str, mean: Sequence[float], std: Sequence[float]) -> InputSpec:
    return InputSpec.model_validate(
        {"size_hw": size_hw, "resize": "crop", "interpolation": interpolation, "mean": mean, "std": std}
    )


def _timm_cfg(network: Network) -> Any:
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(network.network)
