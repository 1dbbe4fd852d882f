"""The window classifier and the splitting of torchvision's networks into its parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision import models

from cvtl.errors import UsageError
from cvtl_windows.classifier import Classifier, as_classifier, map_shape

NETWORKS = {
    "alexnet": (models.alexnet, "flatten"),
    "vgg11_bn": (lambda **kwargs: models.vgg11_bn(init_weights=False, **kwargs), "flatten"),
    "resnet18": (models.resnet18, "average"),
    "resnext50_32x4d": (models.resnext50_32x4d, "average"),
    "mobilenet_v2": (models.mobilenet_v2, "average"),
    "mobilenet_v3_small": (models.mobilenet_v3_small, "average"),
    "squeezenet1_0": (models.squeezenet1_0, "average"),
    "squeezenet1_1": (models.squeezenet1_1, "average"),
}


@pytest.mark.parametrize(("build", "pooling"), NETWORKS.values(), ids=NETWORKS)
def test_a_split_network_gives_the_outputs_of_the_whole(build: Callable[..., nn.Module], pooling: str) -> None:
    torch.manual_seed(0)
    model = build(weights=None, num_classes=5).eval()
    classifier = as_classifier(model).eval()
    windows = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(classifier(windows), model(windows))
    assert classifier.pooling == pooling


def test_a_split_network_shares_its_parameters() -> None:
    model = models.resnet18(weights=None)
    shared = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in as_classifier(model).parameters()} == shared


def test_an_unknown_network_cannot_be_split() -> None:
    with pytest.raises(UsageError, match="DenseNet"):
        as_classifier(models.densenet121(weights=None))


def test_flatten_keeps_places_and_average_does_not() -> None:
    windows = torch.randn(2, 3, 8, 8)
    mirrored = windows.flip(-1)
    flat = Classifier(nn.Identity(), "flatten", nn.Sequential())
    average = Classifier(nn.Identity(), "average", nn.Sequential())
    assert not torch.allclose(flat(windows), flat(mirrored))
    torch.testing.assert_close(average(windows), average(mirrored))
    assert flat(windows).shape == (2, 192)


@pytest.mark.parametrize("image_hw", [(64, 64), (65, 131), (224, 160)])
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", "mobilenet_v3_small"])
def test_the_map_shape_is_that_of_a_real_pass(name: str, image_hw: tuple[int, int]) -> None:
    features = as_classifier(NETWORKS[name][0](weights=None)).features.eval()
    with torch.no_grad():
        assert map_shape(features, image_hw) == tuple(features(torch.zeros(1, 3, *image_hw)).shape[1:])


def test_asking_for_the_map_shape_changes_no_statistics() -> None:
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in features.state_dict().items()}
    map_shape(features, (3, 3))
    torch.testing.assert_close(dict(features.state_dict()), before, rtol=0, atol=0)


def test_the_map_shape_of_a_half_precision_network_is_found() -> None:
    assert map_shape(nn.Conv2d(3, 4, 3).to(torch.bfloat16), (10, 12)) == (4, 8, 10)


class OneSizeOnly(nn.Module):
    """Like a vision transformer."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError(f"Input width ({images.shape[-1]}) doesn't match model (224)")


@pytest.mark.parametrize("features", [models.alexnet(weights=None).features, OneSizeOnly()])
def test_an_image_that_the_network_cannot_take_is_a_usage_error(features: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"20 x 30 pixels.*larger window"):
        map_shape(features, (30, 20))
