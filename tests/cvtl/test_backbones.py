"""Backbones: every family of the lectures, its stages, cutting and freezing."""

from __future__ import annotations

import copy
import gc
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from cvtl import backbones
from cvtl.backbones import Backbone
from cvtl.backbones.classic import ZFNet
from cvtl.errors import UsageError

RESNET = {"stem": (64, 2), "layer1": (64, 4), "layer2": (128, 8), "layer3": (256, 16), "layer4": (512, 32)}
BOTTLENECK = {"stem": (64, 2), "layer1": (256, 4), "layer2": (512, 8), "layer3": (1024, 16), "layer4": (2048, 32)}
VGG = {
    "conv1": (64, 1),
    "conv2": (128, 2),
    "conv3": (256, 4),
    "conv4": (512, 8),
    "conv5": (512, 16),
    "pool5": (512, 32),
}


def dense(*channels: int) -> dict[str, tuple[int, int]]:
    names = ("stem", "denseblock1", "denseblock2", "denseblock3", "denseblock4")
    return {name: (width, 2**power) for power, (name, width) in enumerate(zip(names, channels, strict=True), start=1)}


def numbered(*channels: int) -> dict[str, tuple[int, int]]:
    return {f"stage{power}": (width, 2**power) for power, width in enumerate(channels, start=1)}


# Channels and strides as the papers' tables give them.
PUBLISHED = {
    "lenet5": {"conv1": (6, 1), "conv2": (16, 2), "pool2": (16, 4)},
    "alexnet": {"conv1": (64, 4), "conv2": (192, 8), "conv3-5": (256, 16), "pool5": (256, 32)},
    "zfnet": {"conv1": (96, 2), "pool1": (96, 4), "conv2": (256, 8), "conv3-5": (256, 16), "pool5": (256, 32)},
    "vgg11": VGG,
    "vgg13": VGG,
    "vgg16_bn": VGG,
    "vgg19": VGG,
    "googlenet": {
        "conv1": (64, 2),
        "conv2-3": (192, 4),
        "inception3": (480, 8),
        "inception4": (832, 16),
        "inception5": (1024, 32),
    },
    "inception_v3": {
        "conv1-2": (64, 2),
        "conv3-4": (192, 4),
        "mixed5": (288, 8),
        "mixed6": (768, 16),
        "mixed7": (2048, 32),
    },
    "inception_v4": {
        "conv1-3": (64, 2),
        "mixed3-4": (192, 4),
        "inception_a": (384, 8),
        "inception_b": (1024, 16),
        "inception_c": (1536, 32),
    },
    "inception_resnet_v2": {
        "conv1-2": (64, 2),
        "conv3-4": (192, 4),
        "block35": (320, 8),
        "block17": (1088, 16),
        "block8": (1536, 32),
    },
    "resnet18": RESNET,
    "resnet34": RESNET,
    "resnet50": BOTTLENECK,
    "resnet101": BOTTLENECK,
    "resnet152": BOTTLENECK,
    "wide_resnet50_2": BOTTLENECK,
    "resnext50_32x4d": BOTTLENECK,
    "senet154": BOTTLENECK | {"stem": (128, 2)},
    "se_resnet50": BOTTLENECK,
    "legacy_seresnet50": BOTTLENECK,
    "densenet121": dense(64, 256, 512, 1024, 1024),
    "mobilenet_v1": numbered(64, 128, 256, 512, 1024),
    "mobilenet_v2": numbered(16, 24, 32, 96, 1280),
    "mobilenet_v3_large": numbered(16, 24, 40, 112, 960),
    "mobilenet_v3_small": numbered(16, 16, 24, 48, 576),
    "nasnet": numbered(96, 168, 1008, 2016, 4032),
    "xception": {
        "conv1-2": (64, 2),
        "block1": (128, 4),
        "block2": (256, 8),
        "block3-11": (728, 16),
        "block12": (2048, 32),
    },
    "squeezenet1_0": {"stem": (96, 2), "fire2-4": (256, 4), "fire5-8": (512, 8), "fire9": (512, 16)},
    "squeezenet1_1": {"stem": (64, 2), "fire2-3": (128, 4), "fire4-5": (256, 8), "fire6-9": (512, 16)},
    "shufflenet_v2_x1_0": {
        "conv1": (24, 2),
        "maxpool": (24, 4),
        "stage2": (116, 8),
        "stage3": (232, 16),
        "stage4": (1024, 32),
    },
    # The rest of torchvision and timm: one of each way in.
    "efficientnet_b0": numbered(16, 24, 40, 112, 1280),
    "mnasnet1_0": numbered(16, 24, 40, 96, 1280),
    "regnet_y_400mf": {
        "stem": (32, 2),
        "block1": (48, 4),
        "block2": (104, 8),
        "block3": (208, 16),
        "block4": (440, 32),
    },
    "convnext_tiny": {"stage1": (96, 4), "stage2": (192, 8), "stage3": (384, 16), "stage4": (768, 32)},
    "timm:regnetx_002": numbered(32, 24, 56, 152, 368),
    "mambaout_femto": {"stage1": (48, 4), "stage2": (96, 8), "stage3": (192, 16), "stage4": (288, 32)},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small inputs gain nothing from more, and lose much where other processes want the cores too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(height: int, width: int, count: int = 1) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PUBLISHED)
def test_stages_have_the_published_channels_and_strides_on_a_real_forward_pass(name: str) -> None:
    gc.collect()
    backbone = backbones.load(name)
    with torch.inference_mode():
        maps = backbone.features(pictures(96, 96 + 64))
    # The input is 64 pixels wider than high: by how many positions is the map?
    found = {stage: (x.shape[1], 64 / (x.shape[3] - x.shape[2])) for stage, x in maps.items()}
    assert found == PUBLISHED[name]
    assert {stage.name: (stage.channels, stage.stride) for stage in backbone.stages} == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "side", "map_sides"),
    [
        ("lenet5", 32, [28, 10, 5]),
        ("alexnet", 224, [55, 27, 13, 6]),
        ("zfnet", 224, [110, 55, 26, 13, 6]),
        ("vgg11", 224, [224, 112, 56, 28, 14, 7]),
        ("googlenet", 224, [112, 56, 28, 14, 7]),
        ("squeezenet1_1", 224, [111, 55, 27, 13]),
        ("resnet18", 224, [112, 56, 28, 14, 7]),
    ],
)
def test_maps_at_the_native_size_are_as_large_as_in_the_paper(name: str, side: int, map_sides: list[int]) -> None:
    backbone = backbones.load(name)
    assert backbone.input.size_hw == (side, side)
    with torch.inference_mode():
        maps = backbone.features(pictures(side, side))
    assert [tuple(x.shape[2:]) for x in maps.values()] == [(each, each) for each in map_sides]


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224", "mambaout_femto"])
def test_maps_are_channels_first_whatever_the_network_does_inside(name: str) -> None:
    backbone = backbones.load(name)
    with torch.inference_mode():
        maps = backbone.features(pictures(224, 224))
    expected = [(1, stage.channels, 224 // stage.stride, 224 // stage.stride) for stage in backbone.stages]
    assert [tuple(x.shape) for x in maps.values()] == expected


# One of each way in: own, torchvision's chains, timm's chains, and timm's three kinds of feature nets.
KINDS = [
    "lenet5",
    "squeezenet1_1",
    "densenet121",
    "resnet18",
    "mobilenet_v1",
    "timm:regnetx_002",
    "mambaout_femto",
    "xception41",
]


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_backbone_gives_the_same_map_and_drops_what_comes_later(name: str) -> None:
    whole = backbones.load(name)
    images = pictures(96, 96)
    with torch.inference_mode():
        maps = {stage: x.clone() for stage, x in whole.features(images).items()}
        middle = whole.stages[1].name
        cut = whole.cut(middle)
        assert torch.equal(cut(images), maps[middle])
        assert torch.equal(whole(images), maps[whole.stages[-1].name])
    assert cut.stages == whole.stages[:2]
    assert set(cut.state_dict()) <= set(whole.state_dict())
    kept = list(cut.parameters())
    assert {id(each) for each in kept} <= {id(each) for each in whole.parameters()}
    loss = cut.train()(images).sum()
    assert all(gradient is not None for gradient in torch.autograd.grad(loss, kept, allow_unused=True))


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "timm:regnetx_002", "vit_tiny_patch16_224"])
def test_freezing_below_a_stage_leaves_it_and_the_later_ones_to_learn(name: str) -> None:
    backbone = backbones.load(name)
    stage = backbone.stages[2].name
    backbone.freeze(below=stage)
    frozen = set(map(id, backbone.cut(backbone.stages[1].name).parameters()))
    assert frozen
    assert {id(each) for each in backbone.parameters() if not each.requires_grad} == frozen


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v1", "timm:regnetx_002"])
def test_frozen_batchnorm_keeps_its_statistics_in_training(name: str) -> None:
    backbone = backbones.load(name)
    backbone.freeze(below=backbone.stages[2].name)
    before = copy.deepcopy(backbone.state_dict())
    part = set(backbone.cut(backbone.stages[1].name).state_dict())
    backbone.train()(pictures(96, 96, count=2))
    changed = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.endswith("running_mean") for key in part)
    assert changed
    assert not changed & part


def test_a_frozen_dropout_does_nothing_in_training() -> None:
    dropout = nn.Dropout(0.5)
    stage = backbones.Stage("only", 3, 1)
    backbone = Backbone("toy", (stage,), backbones.load("lenet5").input, nn.Sequential(nn.Sequential(dropout)))
    images = pictures(8, 8)
    assert not torch.equal(backbone.train()(images), images)
    backbone.freeze(below=backbones.EVERYTHING)
    assert torch.equal(backbone.train()(images), images)


@pytest.mark.parametrize(("below", "frozen"), [(None, 0), ("conv1", 0), ("conv2", 2), ("pool2", 4), ("all", 4)])
def test_freezing_can_stop_at_any_stage(below: str | None, frozen: int) -> None:
    backbone = backbones.load("lenet5")
    backbone.freeze(below="all")
    backbone.freeze(below=below)
    assert sum(not each.requires_grad for each in backbone.parameters()) == frozen


def test_a_cut_of_a_frozen_backbone_is_frozen_too() -> None:
    backbone = backbones.load("resnet18")
    backbone.freeze(below="layer3")
    cut = backbone.cut("layer2").train()
    assert not any(each.requires_grad for each in cut.parameters())
    assert not any(each.training for each in cut.modules() if isinstance(each, nn.BatchNorm2d))


def test_a_copy_of_a_frozen_backbone_is_frozen_on_its_own() -> None:
    backbone = backbones.load("resnet18")
    backbone.freeze(below="layer1")
    copied = copy.deepcopy(backbone).train()
    assert not any(each.training for each in copied.get_submodule("body.stem").modules())
    assert copied.get_submodule("body.layer1").training
    assert not backbone.get_submodule("body.layer1").training


@pytest.mark.parametrize(
    "use",
    [
        lambda stage: backbones.load("lenet5", cut=stage),
        lambda stage: backbones.load("lenet5").cut(stage),
        lambda stage: backbones.load("lenet5").freeze(below=stage),
    ],
    ids=["load", "cut", "freeze"],
)
def test_an_unknown_stage_is_refused_and_the_known_ones_are_listed(use: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match=re.escape("'lenet5' has no stage 'conv9'. It has: conv1, conv2, pool2.")):
        use("conv9")


def test_the_body_holds_the_networks_own_modules_in_order() -> None:
    body = backbones.load("squeezenet1_1").body
    assert body is not None
    flat = [type(module).__name__ for stage in body.children() for module in stage.children()]
    assert flat == [type(module).__name__ for module in models.squeezenet1_1().features]
    assert [name for name, _ in body.named_children()] == ["stem", "fire2-3", "fire4-5", "fire6-9"]


def test_own_networks_equal_their_stages() -> None:
    torch.manual_seed(0)
    backbone = backbones.load("zfnet")
    torch.manual_seed(0)
    whole = ZFNet().eval()
    with torch.inference_mode():
        assert torch.equal(backbone(pictures(96, 80)), whole(pictures(96, 80)))


def test_an_inplace_activation_does_not_rewrite_the_map_before_it() -> None:
    stages = (backbones.Stage("first", 3, 1), backbones.Stage("second", 3, 1))
    body = nn.Sequential(nn.Sequential(nn.Identity()), nn.Sequential(nn.ReLU(inplace=True)))
    backbone = Backbone("toy", stages, backbones.load("lenet5").input, body)
    maps = backbone.features(pictures(4, 4))
    assert torch.equal(maps["first"], pictures(4, 4))
    assert torch.equal(maps["second"], pictures(4, 4).relu())


@pytest.mark.parametrize(("name", "side"), [("lenet5", 32), ("squeezenet1_1", 64), ("resnet18", 64)])
def test_small_inputs_are_fine(name: str, side: int) -> None:
    with torch.inference_mode():
        assert backbones.load(name)(pictures(side, side)).numel() > 0


def test_a_plain_name_means_torchvision_and_a_prefix_asks_for_one_library() -> None:
    assert list(backbones.load("resnet18").get_submodule("body.stem").named_children())[-1][0] == "relu"
    assert list(backbones.load("timm:resnet18").get_submodule("body.stem").named_children())[-1][0] == "act1"
    assert backbones.load("resnet18.a1_in1k").get_submodule("body.stem.act1")
    with pytest.raises(UsageError, match="there is no backbone 'torchvision:senet154'"):
        backbones.load("torchvision:senet154")


@pytest.mark.parametrize(
    ("name", "similar"),
    [("resnet51", "resnet50"), ("squeezenet", "squeezenet1_1"), ("mobilenetv2", "mobilenet_v2"), ("lenet", "lenet5")],
)
def test_an_unknown_name_is_refused_with_similar_ones(name: str, similar: str) -> None:
    with pytest.raises(UsageError, match=f"there is no backbone '{name}'") as caught:
        backbones.load(name)
    assert similar in caught.value.hint


@pytest.mark.parametrize("name", ["", "hf-hub:timm/resnet18.a1_in1k", "resnet50.no_such_tag"])
def test_a_name_that_would_need_a_look_up_on_the_network_is_unknown(name: str) -> None:
    with pytest.raises(UsageError, match="there is no backbone"):
        backbones.load(name)


def test_the_listing_has_every_family_and_only_loadable_names() -> None:
    listed = {info.name: info for info in backbones.list_backbones()}
    plain = {name for name in PUBLISHED if ":" not in name}
    assert plain <= set(listed)
    families = [info.family for info in backbones.list_backbones()]
    assert families == sorted(families, key=families.index), "families stand together"
    assert listed["vgg16"] == backbones.BackboneInfo("vgg16", "VGG", "torchvision", weights=True)
    assert listed["lenet5"] == backbones.BackboneInfo("lenet5", "LeNet", "cvtl", weights=False)
    assert listed["mobilenet_v1"].family == listed["mobilenetv1_100"].family == "MobileNet v1"
    assert listed["senet154"].family == listed["se_resnet50"].family == "SENet"
    assert listed["vit_tiny_patch16_224"].family == "vision_transformer"
    assert listed["efficientnet_b0"].source == "torchvision"
    assert listed["beit_base_patch16_224"] == backbones.BackboneInfo(
        "beit_base_patch16_224", "beit", "timm", weights=True
    )
    assert not listed["convnext_atto_rms"].weights


def test_importing_the_package_imports_neither_timm_nor_torchvision() -> None:
    code = "import sys, cvtl.backbones; print(sorted({'timm', 'torchvision'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
