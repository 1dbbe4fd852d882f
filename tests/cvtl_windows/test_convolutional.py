"""The convolutional window network against a plain loop over crops."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from cvtl.errors import UsageError
from cvtl_windows import to_convolutional
from cvtl_windows.classifier import Classifier, as_classifier, map_shape
from cvtl_windows.convolutional import measure_stride

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Build = Callable[[], tuple[Classifier, tuple[int, int]]]


def classify_each_window(classifier: Classifier, picture: Tensor, window_hw: tuple[int, int], stride: int) -> Tensor:
    """The slow truth: (K, rows, columns) by two loops."""
    height, width = window_hw
    rows = []
    for top in range(0, picture.shape[1] - height + 1, stride):
        lefts = range(0, picture.shape[2] - width + 1, stride)
        crops = [picture[None, :, top : top + height, left : left + width] for left in lefts]
        rows.append(torch.stack([classifier(crop)[0] for crop in crops], dim=-1))
    return torch.stack(rows, dim=1)


def lenet() -> tuple[Classifier, tuple[int, int]]:
    features = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
    )
    head = nn.Sequential(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))
    return Classifier(features, "flatten", head), (32, 32)


def alexnet_without_padding() -> tuple[Classifier, tuple[int, int]]:
    """AlexNet's layers with fewer channels: strided convolution, overlapping pooling, dropout in the head."""
    features = nn.Sequential(
        *(nn.Conv2d(3, 8, 11, stride=4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(8, 12, 5), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
    )
    head = nn.Sequential(nn.Dropout(), nn.Linear(12 * 3 * 4, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, 3))
    return Classifier(features, "flatten", head), (103, 119)


def pooled_head() -> tuple[Classifier, tuple[int, int]]:
    """Like a ResNet's or MobileNet's end: BatchNorm, average pooling, a head of two layers."""
    norm = nn.BatchNorm2d(8)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), norm, nn.ReLU6(), nn.Conv2d(8, 12, 3, stride=3))
    head = nn.Sequential(nn.Linear(12, 20), nn.Hardswish(), nn.Dropout(), nn.Linear(20, 4, bias=False))
    norm.load_state_dict(norm.state_dict() | {"running_mean": torch.randn(8), "running_var": torch.rand(8) + 0.5})
    return Classifier(features, "average", head), (29, 41)


def convolution_then_average() -> tuple[Classifier, tuple[int, int]]:
    """Like a SqueezeNet's end: pooling in ceil_mode, a 1 x 1 convolution, average pooling, no fully-connected layer."""
    features = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(nn.Conv2d(8, 8, 3), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(), nn.Conv2d(8, 5, 1), nn.ReLU()),
    )
    return Classifier(features, "average", nn.Sequential()), (39, 47)


def nothing_but_convolutions() -> tuple[Classifier, tuple[int, int]]:
    return Classifier(nn.Sequential(nn.Conv2d(3, 4, 7, stride=3)), "flatten", nn.Sequential()), (7, 7)


UNPADDED = [lenet, alexnet_without_padding, pooled_head, convolution_then_average, nothing_but_convolutions]


@pytest.mark.parametrize("build", UNPADDED)
@pytest.mark.parametrize("extra_hw", [(0, 0), (0, 41), (37, 50)])
def test_without_padding_the_map_equals_crops_at_every_stride_position(build: Build, extra_hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    classifier, window_hw = build()
    classifier.eval()
    picture = torch.randn(3, window_hw[0] + extra_hw[0], window_hw[1] + extra_hw[1])
    net = to_convolutional(classifier, window_hw)
    with torch.no_grad():
        expected = classify_each_window(classifier, picture, window_hw, net.stride)
        torch.testing.assert_close(net(picture[None])[0], expected, atol=1e-4, rtol=1e-4)


def test_several_pictures_of_one_size_go_through_at_once() -> None:
    classifier, window_hw = lenet()
    net = to_convolutional(classifier.eval(), window_hw)
    pictures = torch.randn(3, 3, 50, 60)
    with torch.no_grad():
        together = net(pictures)
        apart = torch.cat([net(picture[None]) for picture in pictures])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [23, 31, 40, 47, 48])
def test_an_adaptive_pooling_before_the_head_is_worked_into_it(window: int) -> None:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d((7, 4)))
    head = nn.Sequential(nn.Dropout(), nn.Linear(6 * 7 * 4, 16), nn.ReLU(), nn.Linear(16, 3))
    classifier = Classifier(features, "flatten", head).eval()
    picture = torch.randn(3, window + 19, window + 30)
    net = to_convolutional(classifier, (window, window))
    with torch.no_grad():
        expected = classify_each_window(classifier, picture, (window, window), net.stride)
        torch.testing.assert_close(net(picture[None])[0], expected, atol=1e-4, rtol=1e-4)


def test_torchvisions_alexnet_with_its_padding_taken_out_equals_crops() -> None:
    torch.manual_seed(0)
    model = models.alexnet(weights=None, num_classes=7).eval()
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
    classifier = as_classifier(model).eval()
    picture = torch.randn(3, 227, 260)
    net = to_convolutional(classifier, (195, 195))
    with torch.no_grad():
        expected = classify_each_window(classifier, picture, (195, 195), 32)
        torch.testing.assert_close(net(picture[None])[0], expected, atol=1e-4, rtol=1e-4)


def at_the_centre_only(features: nn.Module, window_hw: tuple[int, int]) -> Classifier:
    """A head that reads nothing but the cell at the centre of the window's map, which no padding reaches."""
    channels, height, width = map_shape(features, window_hw)
    weight = torch.zeros(4, channels, height, width)
    weight[:, :, height // 2, width // 2] = torch.randn(4, channels)
    linear = nn.Linear(weight[0].numel(), 4)
    linear.weight.data = weight.flatten(1)
    return Classifier(features, "flatten", nn.Sequential(linear)).eval()


# The windows are larger than the receptive field of a cell (150, 207, 195 and 43 pixels).
PADDED = {
    "vgg11": (lambda: models.vgg.make_layers([8, "M", 8, "M", *[16, 16, "M"] * 3]), 224),  # with fewer channels
    "squeezenet1_1": (lambda: models.squeezenet1_1(weights=None).features, 240),
    "alexnet": (lambda: models.alexnet(weights=None).features, 256),
    "resnet18 to its first stage": (lambda: nn.Sequential(*list(models.resnet18(weights=None).children())[:5]), 96),
}


@pytest.mark.parametrize(("build", "window"), PADDED.values(), ids=PADDED)
@pytest.mark.parametrize("fine", [1, 4])
def test_with_padding_what_it_does_not_reach_equals_crops(
    build: Callable[[], nn.Module], window: int, fine: int
) -> None:
    torch.manual_seed(0)
    features = build().eval()
    stride = measure_stride(features, (window, window))
    classifier = at_the_centre_only(features, (window, window))
    picture = torch.randn(3, window + stride // fine, window + stride)
    net = to_convolutional(classifier, (window, window), fine=fine)
    with torch.no_grad():
        expected = classify_each_window(classifier, picture, (window, window), stride // fine)
        found = net(picture[None])[0]
    assert expected.std() > 0
    torch.testing.assert_close(found / expected.std(), expected / expected.std(), atol=1e-3, rtol=1e-4)


STRIDES = {"alexnet": 32, "resnet18": 32, "squeezenet1_0": 16, "squeezenet1_1": 16, "mobilenet_v3_small": 32}


@pytest.mark.parametrize(("name", "stride"), STRIDES.items())
@pytest.mark.parametrize("window_hw", [(64, 64), (97, 130)])
def test_the_stride_is_found_by_measuring(name: str, stride: int, window_hw: tuple[int, int]) -> None:
    features = as_classifier(models.get_model(name, weights=None)).features
    if name == "alexnet":
        features = next(features.children())  # without the adaptive pooling
    assert measure_stride(features, window_hw) == stride


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 6, 7, 12, 24])
def test_strides_that_are_no_power_of_two_are_found(stride: int) -> None:
    assert measure_stride(nn.Conv2d(3, 1, 5, stride=stride), (20, 33)) == stride


def test_the_map_has_no_windows_that_reach_beyond_the_picture() -> None:
    # 43 pixels give this network 11 cells; they hold 6 windows of 6 cells, the last of which would need 44 pixels.
    features = nn.Sequential(nn.Conv2d(3, 2, 3, stride=2, padding=1), nn.MaxPool2d(2, 2, ceil_mode=True))
    classifier = Classifier(features, "average", nn.Sequential()).eval()
    net = to_convolutional(classifier, (24, 24))
    assert net(torch.zeros(1, 3, 43, 39)).shape[2:] == ((43 - 24) // 4 + 1, (39 - 24) // 4 + 1)


def test_importing_the_plugin_imports_no_torch() -> None:
    code = "import sys, cvtl_windows; assert cvtl_windows.plugin.name == 'windows'; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PLUGINS).returncode == 0


def test_the_net_follows_its_classifier() -> None:
    classifier, window_hw = lenet()
    net = to_convolutional(classifier.eval(), window_hw)
    assert {id(parameter) for parameter in net.parameters()} == {id(parameter) for parameter in classifier.parameters()}
    other, _ = lenet()
    classifier.load_state_dict(other.state_dict())
    classifier.double()
    picture = torch.randn(1, 3, *window_hw, dtype=torch.float64)
    torch.testing.assert_close(net(picture).flatten(1), other.double().eval()(picture))


def test_dropout_is_inactive_in_a_classifier_put_to_eval() -> None:
    classifier, window_hw = alexnet_without_padding()
    net = to_convolutional(classifier.eval(), window_hw)
    picture = torch.randn(1, 3, *window_hw)
    torch.testing.assert_close(net(picture), net(picture), rtol=0, atol=0)


def test_frozen_layers_of_a_classifier_in_training_stay_frozen() -> None:
    classifier, window_hw = pooled_head()
    next(classifier.features.children()).eval()
    modes = [module.training for module in classifier.modules()]
    assert len(set(modes)) == 2
    to_convolutional(classifier, window_hw)
    assert [module.training for module in classifier.modules()] == modes


def test_a_backbones_body_is_taken_for_its_chain_of_layers() -> None:
    class Backbone(nn.Module):
        def __init__(self, body: nn.Sequential) -> None:
            super().__init__()
            self.body = body

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.body(images)
            return maps

    classifier, window_hw = lenet()
    wrapped = Classifier(Backbone(nn.Sequential(classifier.features)), "flatten", classifier.head).eval()
    picture = torch.randn(1, 3, 60, 50)
    plain = to_convolutional(classifier.eval(), window_hw, fine=2)
    torch.testing.assert_close(to_convolutional(wrapped, window_hw, fine=2)(picture), plain(picture))


def bad_heads() -> list[tuple[Classifier, tuple[int, int], str]]:
    lenet_classifier, _ = lenet()
    features = nn.Sequential(nn.Conv2d(3, 4, 5))
    normalized = Classifier(features, "average", nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)))
    empty = Classifier(features, "flatten", nn.Sequential())
    between = nn.Sequential(nn.ReLU(), nn.Linear(36, 2))
    pooled = Classifier(nn.Sequential(features, nn.AdaptiveAvgPool2d(3)), "flatten", between)
    whole = Classifier(nn.Sequential(features, nn.AdaptiveAvgPool2d(3), nn.ReLU()), "flatten", nn.Sequential())
    return [
        (lenet_classifier, (10, 10), "cannot take 10 x 10 pixels"),
        (lenet_classifier, (36, 32), "takes 400 values, but the features of a window give 480"),
        (normalized, (16, 16), "a head with a LayerNorm"),
        (empty, (16, 16), "without a Linear layer"),
        (pooled, (16, 16), "a head with a ReLU"),
        (whole, (16, 16), "does not grow evenly"),
    ]


@pytest.mark.parametrize(("classifier", "window_hw", "message"), bad_heads())
def test_what_cannot_be_slid_says_why(classifier: Classifier, window_hw: tuple[int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        to_convolutional(classifier, window_hw)


def test_a_picture_smaller_than_the_window_is_a_usage_error() -> None:
    classifier, window_hw = lenet()
    with pytest.raises(UsageError, match="60 x 31 is smaller than the window"):
        to_convolutional(classifier, window_hw)(torch.zeros(1, 3, 31, 60))
