"""Receptive fields, against the pixels whose gradients are not zero and against published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl import backbones
from cvtl.backbones import Backbone
from cvtl.inspection.layers import Layer, layers, stage_layers
from cvtl.inspection.receptive_field import Axis


def make_transparent(network: nn.Module) -> nn.Module:
    """The same windows, with weights that let something of every pixel through: positive ones, and means for maxima."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
            elif isinstance(child, nn.ReLU6):
                setattr(module, name, nn.Identity())
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            values = torch.rand(parameter.shape, generator=generator) + 0.5
            parameter.data = values / parameter[0].numel()
    return network.eval()


def seen_columns(network: nn.Module, input_hw: tuple[int, int]) -> tuple[int, int, int]:
    """The middle column of the output, and the first and last column of the input that it depends on."""
    images = torch.rand(1, 3, *input_hw, generator=torch.Generator().manual_seed(1))
    images.requires_grad_()
    maps = network(images)
    column = maps.shape[3] // 2
    maps[0, :, maps.shape[2] // 2, column].sum().backward()
    assert images.grad is not None
    columns = images.grad.abs().sum((0, 1, 2)).nonzero()
    return column, int(columns.min()), int(columns.max())


def width_for(backbone: Backbone) -> int:
    """Wide enough that the middle of the map sees no border."""
    field = stage_layers(backbone, backbone.input.size_hw)[-1].field
    assert field is not None
    return int(field[1].size) + 4 * field[1].jump


def shapes_of(name: str) -> Backbone:
    """A backbone without numbers, which is soon made."""
    with torch.device("meta"):
        return backbones.load(name)


@pytest.mark.parametrize(
    ("name", "stage", "height"),
    [
        ("alexnet", "pool5", 64),
        ("zfnet", "pool5", 64),
        ("vgg11", "pool5", 32),
        ("googlenet", "inception4", 32),
        ("inception_v3", "mixed5", 75),
        ("squeezenet1_1", "fire6-9", 32),
        ("resnet18", "layer4", 32),
        ("resnet50", "layer3", 32),
        ("densenet121", "denseblock2", 32),
        ("mobilenet_v2", "stage4", 32),
        ("shufflenet_v2_x1_0", "stage3", 32),
        ("convnext_tiny", "stage2", 32),
        ("xception", "block2", 32),
        ("timm:tf_efficientnetv2_b0", "stage2", 32),
    ],
)
def test_the_field_is_as_wide_as_the_gradient_of_the_real_network(name: str, stage: str, height: int) -> None:
    backbone = backbones.load(name, cut=stage)
    input_hw = height, width_for(backbone)
    field = stage_layers(backbone, input_hw)[-1].field
    assert field is not None
    across = field[1]
    column, first, last = seen_columns(make_transparent(backbone), input_hw)
    assert (first, last) == (column * across.jump + across.low, column * across.jump + across.high)


@pytest.mark.parametrize(
    ("name", "stage", "size", "jump"),
    [
        # Araujo, Norris, Sim 2019, table 1; torchvision's ResNet-50 strides in its 3 x 3 instead of its 1 x 1 layers.
        ("alexnet", "pool5", 195, 32),
        ("vgg16", "conv5", 196, 16),
        ("vgg16", "pool5", 212, 32),
        ("inception_v3", "mixed7", 1311, 32),
        ("inception_v4", "inception_c", 2071, 32),
        ("mobilenet_v1", "stage5", 315, 32),
        ("timm:resnet50", "layer4", 427, 32),
        ("resnet18", "layer4", 435, 32),
        ("resnet50", "layer4", 427, 32),
    ],
)
def test_fields_of_known_networks_are_as_published(name: str, stage: str, size: int, jump: int) -> None:
    field = next(each.field for each in stage_layers(shapes_of(name), (331, 331)) if each.stage.name == stage)
    assert field is not None
    assert [(axis.size, axis.jump) for axis in field] == [(size, jump)] * 2


def test_strides_in_the_1x1_layers_widen_the_field_of_resnet50_to_the_papers_483() -> None:
    backbone = shapes_of("resnet50")
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and name.endswith(".conv2"):
            first = backbone.get_submodule(name.removesuffix("2") + "1")
            assert isinstance(first, nn.Conv2d)
            module.stride, first.stride = first.stride, module.stride
    field = stage_layers(backbone, (224, 224))[-1].field
    assert field is not None
    assert [axis.size for axis in field] == [483, 483]


class Branches(nn.Module):
    """Two random chains that end at the same scale, joined."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        strides = random.integers(1, 4, 2).tolist()
        self.branches = nn.ModuleList(nn.Sequential(*(self._layer(random, s) for s in strides)) for _ in range(2))
        self.adds = bool(random.integers(2))

    def _layer(self, random: np.random.Generator, stride: int) -> nn.Module:
        kernel = int(random.integers(1, 6))
        padding = int(random.integers(0, kernel // 2 + 1))
        if random.integers(4) == 0:
            return nn.AvgPool2d(kernel, stride, padding)
        return nn.Conv2d(3, 3, kernel, stride, padding, dilation=int(random.integers(1, 3)))

    def forward(self, x: Tensor) -> Tensor:
        first, second = (branch(x) for branch in self.branches)
        rows, columns = (min(first.shape[dim], second.shape[dim]) for dim in (2, 3))
        first, second = first[..., :rows, :columns], second[..., :rows, :columns]
        return first + second if self.adds else torch.cat([first, second], dim=1)


@pytest.mark.parametrize("seed", range(25))
def test_the_field_of_random_branches_is_that_of_the_gradient(seed: int) -> None:
    network = Branches(seed)
    field = layers(network, (3, 120, 120))[-1].field
    assert field is not None
    across = field[1]
    column, first, last = seen_columns(make_transparent(network), (120, 120))
    assert (first, last) == (column * across.jump + across.low, column * across.jump + across.high)


class Call(nn.Module):
    """A convolution, and something behind it."""

    def __init__(self, *behind: nn.Module | object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        (self.behind,) = behind

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.behind(self.conv(x))  # type: ignore[operator]
        return y


def last(network: nn.Module) -> Layer:
    return layers(network, (4, 14, 14))[-1]


@pytest.mark.parametrize(
    "behind",
    [
        lambda x: torch.roll(x, 1, dims=3),
        lambda x: x.softmax(dim=3),
        lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
        lambda x: x.view(1, 4, 3, 4, 3, 4),
        lambda x: torch.cat([x, x], dim=3),
        lambda x: x + x.transpose(2, 3),
        lambda x: F.interpolate(x, scale_factor=2.0),
        lambda x: x.chunk(2, dim=2)[0],
        lambda x: x[:, :, 0],
        lambda x: F.adaptive_avg_pool2d(x, 5),
        lambda x: F.conv_transpose2d(x, torch.ones(4, 4, 2, 2)),
        lambda x: x.mean(2),
    ],
)
def test_behind_what_mixes_positions_in_other_ways_the_field_is_not_known(behind: object) -> None:
    def with_sum(x: Tensor) -> Tensor:
        y: Tensor = behind(x)  # type: ignore[operator]
        return torch.cat([y, y], dim=1)

    assert last(Call(with_sum)).kind == "concatenation"
    assert last(Call(with_sum)).field is None


@pytest.mark.parametrize(
    "behind",
    [
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 12 * 12, 2)),
        nn.GroupNorm(2, 4),
        nn.LayerNorm((4, 12, 12)),
        nn.Sequential(nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 1)),
    ],
)
def test_behind_what_looks_everywhere_the_field_is_the_whole_picture(behind: nn.Module) -> None:
    field = last(Call(behind)).field
    assert field is not None
    assert [axis.size for axis in field] == [math.inf, math.inf]


@pytest.mark.parametrize(
    "behind",
    [
        nn.ChannelShuffle(2),
        nn.LocalResponseNorm(2),
        nn.Hardswish(),
        nn.PReLU(),
        nn.Mish(),
        nn.BatchNorm2d(4),
        nn.Dropout(),
        lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        lambda x: torch.cat(x.chunk(2, dim=1), dim=1),
        lambda x: x[:, :2] * torch.full((2, 1, 1), 3.0),
        lambda x: x.unsqueeze(1).squeeze(1),
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
        lambda x: x * x[:, :1].sigmoid(),
    ],
)
def test_behind_what_keeps_each_position_apart_the_field_stays(behind: object) -> None:
    def then_conv(x: Tensor) -> Tensor:
        y: Tensor = behind(x)  # type: ignore[operator]
        return F.conv2d(y, torch.ones(1, y.shape[1], 3, 3))

    network = Call(then_conv)
    if isinstance(behind, nn.Module):
        network = Call(nn.Sequential(behind, nn.Conv2d(4, 1, 3)))
    field = last(network).field
    assert field == (Axis(-2, 1, 0, 4), Axis(-1, 1, 0, 4))


def test_dense_layers_over_the_channels_of_each_position_keep_it() -> None:
    class OverChannels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.dense(x.permute(0, 2, 3, 1))
            return y

    found = last(Call(OverChannels()))
    assert (found.kind, found.output, found.multiplications) == ("dense", (8, 12, 12), 12 * 12 * 4 * 8)
    assert found.field == (Axis(-3, 1, 0, 2), Axis(-2, 1, 0, 2))


def test_gates_that_see_everything_make_the_gated_map_see_everything() -> None:
    field = last(Call(lambda x: F.conv2d(x * x.mean((2, 3), keepdim=True), torch.ones(1, 4, 1, 1)))).field
    assert field is not None
    assert [(axis.size, axis.jump) for axis in field] == [(math.inf, 1)] * 2


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        (lambda x: x[:, :, 1:, 3::2], (Axis(-2, 1, 1, 3), Axis(-1, 2, 3, 5))),
        (lambda x: x[:, :, -5:], (Axis(-2, 1, 7, 9), Axis(-1, 1, 0, 2))),
        (lambda x: F.pad(x, (2, 0, 1, 5)), (Axis(-2, 1, -1, 1), Axis(-1, 1, -2, 0))),
    ],
)
def test_cropping_and_padding_shift_the_field(behind: object, expected: tuple[Axis, Axis]) -> None:
    def then_conv(x: Tensor) -> Tensor:
        return F.conv2d(behind(x), torch.ones(1, 4, 1, 1))  # type: ignore[operator]

    assert last(Call(then_conv)).field == expected
