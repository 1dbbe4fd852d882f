"""Which backbones there are: names, families, where each comes from, and how it splits into stages.

The libraries are asked, and imported, on use.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cvtl.errors import UsageError

Source = Literal["cvtl", "torchvision", "timm"]

OWN = ("lenet5", "zfnet")

# The names of the papers, where timm has others. `xception` is the network of Chollet's paper.
_ALIASES = {
    "mobilenet_v1": "mobilenetv1_100",
    "nasnet": "nasnetalarge",
    "xception": "legacy_xception",
    "se_resnet18": "seresnet18",
    "se_resnet34": "seresnet34",
    "se_resnet50": "seresnet50",
    "se_resnet101": "seresnet101",
    "se_resnet152": "seresnet152",
}

# In the order of the listing; families not named here are called as timm calls the module they are in.
_FAMILIES = {
    "LeNet": r"lenet5",
    "AlexNet": r"alexnet",
    "ZFNet": r"zfnet",
    "VGG": r"vgg\d",
    "GoogLeNet": r"googlenet",
    "Inception": r"inception_v\d",
    "Inception-ResNet": r"inception_resnet",
    "ResNet": r"resnet\d",
    "Wide ResNet": r"wide_resnet",
    "ResNeXt": r"resnext\d",
    "SENet": r"(legacy_)?se_?(net|resnet|resnext)\d",
    "DenseNet": r"densenet",
    "MobileNet v1": r"mobilenet_?v1",
    "MobileNet v2": r"mobilenet_?v2",
    "MobileNet v3": r"(tf_)?mobilenet_?v3",
    "NASNet": r"p?nasnet",
    "Xception": r"(legacy_)?xception",
    "SqueezeNet": r"squeezenet",
    "ShuffleNet": r"shufflenet",
}


@dataclass(frozen=True)
class Chain:
    """How a network that is a plain chain of modules becomes stages.

    A stage ends where the stride grows, so that its map is the last, richest one of its scale.

    Attributes:
        networks: pattern of `source:name`, for timm `timm:module` since its modules hold one structure each.
        modules: paths of the modules in the order they are used; `features.*` stands for the children of `features`.
        stages: what the stages are called; `stage1`, `stage2`, ... where nothing is said.
    """

    networks: str
    modules: str
    stages: str = ""


_CHAINS = (
    Chain("cvtl:lenet5", "features.*", "conv1 conv2 pool2"),
    Chain("cvtl:zfnet", "features.*", "conv1 pool1 conv2 conv3-5 pool5"),
    Chain("torchvision:alexnet", "features.*", "conv1 conv2 conv3-5 pool5"),
    Chain(r"torchvision:vgg\d+(_bn)?", "features.*", "conv1 conv2 conv3 conv4 conv5 pool5"),
    Chain(
        "torchvision:googlenet",
        "conv1 maxpool1 conv2 conv3 maxpool2 inception3a inception3b maxpool3 inception4a inception4b inception4c "
        "inception4d inception4e maxpool4 inception5a inception5b",
        "conv1 conv2-3 inception3 inception4 inception5",
    ),
    Chain(
        "torchvision:inception_v3",
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 Mixed_5b Mixed_5c "
        "Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a Mixed_7b Mixed_7c",
        "conv1-2 conv3-4 mixed5 mixed6 mixed7",
    ),
    Chain(
        r"torchvision:(wide_)?resne[x]?t\d+.*",
        "conv1 bn1 relu maxpool layer1 layer2 layer3 layer4",
        "stem layer1 layer2 layer3 layer4",
    ),
    Chain(r"torchvision:densenet\d+", "features.*", "stem denseblock1 denseblock2 denseblock3 denseblock4"),
    Chain("torchvision:squeezenet1_0", "features.*", "stem fire2-4 fire5-8 fire9"),
    Chain("torchvision:squeezenet1_1", "features.*", "stem fire2-3 fire4-5 fire6-9"),
    Chain(
        r"torchvision:shufflenet_v2_.*",
        "conv1 maxpool stage2 stage3 stage4 conv5",
        "conv1 maxpool stage2 stage3 stage4",
    ),
    Chain(r"torchvision:(mobilenet_v\d.*|efficientnet_.*|convnext_.*)", "features.*"),
    Chain(r"torchvision:mnasnet.*", "layers.*"),
    Chain(r"torchvision:regnet_.*", "stem trunk_output.*", "stem block1 block2 block3 block4"),
    Chain("timm:inception_v4", "features.*", "conv1-3 mixed3-4 inception_a inception_b inception_c"),
    Chain(
        "timm:inception_resnet_v2",
        "conv2d_1a conv2d_2a conv2d_2b maxpool_3a conv2d_3b conv2d_4a maxpool_5a mixed_5b repeat mixed_6a repeat_1 "
        "mixed_7a repeat_2 block8 conv2d_7b",
        "conv1-2 conv3-4 block35 block17 block8",
    ),
    Chain("timm:resnet", "conv1 bn1 act1 maxpool layer1 layer2 layer3 layer4", "stem layer1 layer2 layer3 layer4"),
    Chain("timm:senet", "layer0 pool0 layer1 layer2 layer3 layer4", "stem layer1 layer2 layer3 layer4"),
    Chain("timm:(efficientnet|mobilenetv3|hardcorenas)", "conv_stem bn1 blocks.*"),
    Chain(
        "timm:xception",
        "conv1 bn1 act1 conv2 bn2 act2 block1 block2 block3 block4 block5 block6 block7 block8 block9 block10 block11 "
        "block12 conv3 bn3 act3 conv4 bn4 act4",
        "conv1-2 block1 block2 block3-11 block12",
    ),
)


@dataclass(frozen=True)
class Network:
    """Where the backbone of a name comes from.

    Attributes:
        name: as the user gave it.
        source: the library that has the network.
        network: what that library calls it.
    """

    name: str
    source: Source
    network: str

    @property
    def chain(self) -> Chain | None:
        """How it splits into stages; None where timm splits it."""
        key = f"{self.source}:{timm_module(self.network) if self.source == 'timm' else self.network}"
        return next((chain for chain in _CHAINS if re.fullmatch(chain.networks, key)), None)


@dataclass(frozen=True)
class BackboneInfo:
    """A line of `cvtl backbones`.

    Attributes:
        name: what `load` takes.
        family: the architecture's name.
        source: `cvtl`, `torchvision` or `timm`.
        weights: whether `weights="imagenet"` finds published ones.
    """

    name: str
    family: str
    source: Source
    weights: bool


def find(name: str) -> Network:
    """The network of this name: torchvision's where both libraries have one.

    Args:
        name: a name of the listing, or one of timm with its tag (`resnet50.a1_in1k`); `torchvision:` or `timm:` before
            it asks for that library's.

    Raises:
        UsageError: nobody has it; similar names are listed.
    """
    library, _, network = name.rpartition(":")
    network = _ALIASES.get(network, network)
    if library in ("", "cvtl") and network in OWN:
        return Network(name, "cvtl", network)
    if library in ("", "torchvision") and network in torchvision_names():
        return Network(name, "torchvision", network)
    if library in ("", "timm") and _is_timm_name(network):
        return Network(name, "timm", network)
    similar = difflib.get_close_matches(network, [info.name for info in list_backbones()], n=5)
    raise UsageError(
        f"there is no backbone '{name}'",
        hint=f"Similar are: {', '.join(similar)}" if similar else "`cvtl backbones` lists them",
    )


def list_backbones() -> list[BackboneInfo]:
    """Every backbone by the name that `load` takes: the lectures' families first, then the rest of timm.

    Imports torchvision and timm, reads nothing else.
    """
    found = {name: _info(name, "cvtl", name, weights=False) for name in OWN}
    found |= {name: _info(name, "torchvision", name, weights=True) for name in torchvision_names()}
    for name, network, weights in _timm_networks():
        found.setdefault(name, _info(name, "timm", network, weights=weights))
    ranks = {family: rank for rank, family in enumerate(_FAMILIES)}
    return sorted(found.values(), key=lambda info: (ranks.get(info.family, len(ranks)), info.family))


def torchvision_names() -> list[str]:
    """The names of torchvision's classification networks that are chains of modules."""
    from torchvision import models

    patterns = [chain.networks for chain in _CHAINS]
    names = models.list_models(module=models)
    return [name for name in names if any(re.fullmatch(pattern, f"torchvision:{name}") for pattern in patterns)]


def timm_module(network: str) -> str:
    """The module of timm that has this network, such as `vision_transformer`."""
    from timm.models import model_entrypoint

    return str(model_entrypoint(network).__module__).rpartition(".")[2]


def _is_timm_name(network: str) -> bool:
    from timm import is_model
    from timm.models import is_model_pretrained

    # A tag (`resnet50.a1_in1k`) names published weights.
    return is_model(network) and ("." not in network or is_model_pretrained(network))


def _timm_networks() -> Iterator[tuple[str, str, bool]]:
    from timm import list_models
    from timm.models import get_pretrained_cfg

    for name, network in (*_ALIASES.items(), *((name, name) for name in list_models())):
        published = get_pretrained_cfg(network)
        yield name, network, published is not None and bool(published.has_weights)


def _info(name: str, source: Source, network: str, *, weights: bool) -> BackboneInfo:
    family = next((family for family, pattern in _FAMILIES.items() if re.match(pattern, name)), None)
    if family is None:
        family = timm_module(network) if source == "timm" else re.split(r"[\d_]", name)[0]
    return BackboneInfo(name, family, source, weights)
