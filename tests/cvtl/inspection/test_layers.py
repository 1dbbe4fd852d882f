"""Layers: shapes, parameters and multiplications, against the lectures, published figures and PyTorch's own counter."""

from __future__ import annotations

import copy
from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from cvtl import backbones
from cvtl.errors import UsageError
from cvtl.inspection.layers import Layer, layers, stage_layers


def parameters(found: list[Layer]) -> list[int]:
    return [layer.parameters for layer in found]


def test_the_lectures_exercise_on_28x28x1_has_55744_parameters() -> None:
    pool = nn.MaxPool2d(2)
    network = nn.Sequential(nn.Conv2d(1, 32, 3), pool, nn.Conv2d(32, 64, 3), pool, nn.Conv2d(64, 64, 3))
    found = layers(network, (1, 28, 28))
    assert [layer.output for layer in found] == [(32, 26, 26), (32, 13, 13), (64, 11, 11), (64, 5, 5), (64, 3, 3)]
    assert parameters(found) == [320, 0, 18_496, 0, 36_928]
    assert sum(parameters(found)) == 55_744


def test_the_lectures_inception_block_takes_a_tenth_with_the_reduction() -> None:
    shape = (192, 28, 28)
    direct = nn.Conv2d(192, 32, 5, padding="same")
    reduced = nn.Sequential(nn.Conv2d(192, 16, 1), nn.Conv2d(16, 32, 5, padding="same"))
    assert [layer.multiplications for layer in layers(direct, shape)] == [120_422_400]
    assert [layer.multiplications for layer in layers(reduced, shape)] == [2_408_448, 10_035_200]
    assert sum(layer.multiplications for layer in layers(reduced, shape)) == 12_443_648


def test_lenet5_has_the_parameters_of_the_lectures_table() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    found = layers(network, (3, 32, 32))
    assert [layer.kind for layer in found] == ["conv", "max pool", "conv", "max pool", "dense", "dense", "dense"]
    assert [layer.output for layer in found][-3:] == [(120,), (84,), (10,)]
    assert parameters(found) == [608, 0, 3_216, 0, 48_120, 10_164, 850]
    assert [layer.multiplications for layer in found] == [470_400, 0, 320_000, 0, 48_000, 10_080, 840]


WHOLE = ["alexnet", "vgg16", "vgg11_bn", "resnet18", "resnext50_32x4d", "squeezenet1_1", "mobilenet_v3_small"]
WHOLE += ["shufflenet_v2_x1_0", "efficientnet_b0", "convnext_tiny", "mnasnet1_0", "vit_b_32", "swin_t"]


@pytest.mark.parametrize("name", WHOLE)
def test_totals_of_whole_networks_are_those_that_torchvision_publishes(name: str) -> None:
    published = models.get_model_weights(name)["DEFAULT"]
    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    found = layers(network, (3, *published.transforms().crop_size * 2))
    assert sum(parameters(found)) == published.meta["num_params"]
    assert sum(layer.multiplications for layer in found) / 1e9 == pytest.approx(published.meta["_ops"], abs=6e-4)


@pytest.mark.parametrize(
    ("name", "total", "multiplications"),
    [
        # LeCun et al. 1998 with 3 colours and full connections; VGG: arXiv 1409.1556; ResNet: arXiv 1512.03385.
        ("lenet5", 456 + 2_416, 28 * 28 * 6 * 75 + 10 * 10 * 16 * 150),
        ("vgg16", 14_714_688, 15_346_630_656),
        ("resnet18", 11_176_512, 1_813_561_344),
    ],
)
def test_backbones_have_the_known_totals_without_their_heads(name: str, total: int, multiplications: int) -> None:
    with torch.device("meta"):
        backbone = backbones.load(name)
    found = [layer for stage in stage_layers(backbone, backbone.input.size_hw) for layer in stage.layers]
    assert sum(parameters(found)) == total
    assert sum(layer.multiplications for layer in found) == multiplications


# One of each way in, and of each kind of layer.
KINDS = ["lenet5", "zfnet", "googlenet", "resnet50", "xception", "mobilenet_v1"]
KINDS += ["tf_efficientnet_b0", "se_resnet18", "mambaout_femto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_and_multiplication_of_a_backbone_is_found_once(name: str) -> None:
    with torch.device("meta"):
        backbone = backbones.load(name)
    stages = stage_layers(backbone, backbone.input.size_hw)
    assert [stage.stage for stage in stages] == list(backbone.stages)
    assert all(stage.layers for stage in stages)
    found = [layer for stage in stages for layer in stage.layers]
    assert sum(parameters(found)) == sum(tensor.numel() for tensor in backbone.parameters())
    images = torch.empty(1, 3, *backbone.input.size_hw, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        maps = backbone.features(images)
    assert sum(layer.multiplications for layer in found) == counter.get_total_flops() / 2
    assert [stage.output for stage in stages] == [tuple(x.shape[1:]) for x in maps.values()]


def test_layers_of_a_stage_are_named_within_it() -> None:
    fire = stage_layers(backbones.load("squeezenet1_1"), (64, 64))[1].layers[:5]
    assert [(layer.name, layer.kind) for layer in fire] == [
        ("2", "max pool"),
        ("3.squeeze", "conv"),
        ("3.expand1x1", "conv"),
        ("3.expand3x3", "conv"),
        ("3", "concatenation"),
    ]
    assert [layer.output[0] for layer in fire] == [64, 16, 64, 64, 128]


@pytest.mark.parametrize(
    ("layer", "channels", "kernel", "stride", "padding", "dilation", "groups"),
    [
        (nn.Conv2d(6, 12, 3), 6, (3, 3), (1, 1), (0, 0), (1, 1), 1),
        (nn.Conv2d(6, 12, (1, 7), stride=(1, 2), padding=(0, 3)), 6, (1, 7), (1, 2), (0, 3), (1, 1), 1),
        (nn.Conv2d(6, 12, 3, padding=2, dilation=2, groups=3), 6, (3, 3), (1, 1), (2, 2), (2, 2), 3),
        (nn.Conv2d(6, 6, 5, padding="same", groups=6), 6, (5, 5), (1, 1), (2, 2), (1, 1), 6),
        (nn.MaxPool2d(3, stride=2, padding=1), 4, (3, 3), (2, 2), (1, 1), (1, 1), 1),
        (nn.MaxPool2d(2), 4, (2, 2), (2, 2), (0, 0), (1, 1), 1),
        (nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1),
        (nn.AdaptiveAvgPool2d(4), 4, (3, 3), (3, 3), (0, 0), (1, 1), 1),
    ],
)
def test_a_layer_says_what_it_looks_at(
    layer: nn.Module,
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    (found,) = layers(layer, (channels, 12, 12))
    assert found.window is not None
    assert (found.window.kernel, found.window.stride) == (kernel, stride)
    assert (found.window.padding, found.window.dilation, found.groups) == (padding, dilation, groups)
    assert found.output == tuple(layer(torch.zeros(1, channels, 12, 12)).shape[1:])
    if isinstance(layer, nn.Conv2d):
        assert found.multiplications == prod(found.output) * prod(kernel) * channels // groups


class Odd(nn.Module):
    """Shares a layer, holds a parameter of its own, and works without modules, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = x + F.relu(self.conv(x), inplace=True)
        return F.max_pool2d(x * self.gain, 2).mean((2, 3))


def test_shared_layers_are_counted_once_and_what_no_module_does_is_seen() -> None:
    found = layers(Odd(), (3, 8, 8))
    kinds = ["conv", "addition", "conv", "addition", "max pool", "global average"]
    assert [layer.kind for layer in found] == kinds
    assert parameters(found) == [84, 3, 0, 0, 0, 0]
    assert [layer.name for layer in found] == ["conv", "", "conv", "", "", ""]


def test_parameters_that_belong_to_no_layer_are_shown_by_the_modules_class() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    (found,) = layers(Scale(), (3, 4, 4))
    assert (found.kind, found.parameters, found.output) == ("Scale", 1, (3, 4, 4))


def test_the_network_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    before = copy.deepcopy(network.state_dict())
    layers(network, (3, 8, 8))
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("side", [1, 8])
def test_pictures_that_are_too_small_are_refused(side: int) -> None:
    with pytest.raises(UsageError, match=f"'alexnet' cannot take pictures of {side} x {side} pixels"):
        stage_layers(backbones.load("alexnet"), (side, side))
