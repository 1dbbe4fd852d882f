"""Which layers weights can serve, and that their maps are the network's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_style import save_vgg11
from torch import nn

from cvtl import backbones
from cvtl.errors import UsageError
from cvtl_style.layers import FeatureNetwork, Layers, digest

TWO_CONVOLUTIONS = ("conv1_1", "relu1_1", "pool1", "conv2_1", "relu2_1", "pool2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vgg11(tmp_path_factory.mktemp("weights") / "two.pth", 2)


@pytest.fixture(scope="module")
def layers(weights: Path) -> Layers:
    return Layers("vgg11", weights)


def images() -> torch.Tensor:
    return torch.randn(1, 3, 21, 26, generator=torch.Generator().manual_seed(0))


def test_a_file_with_the_first_layers_serves_what_lies_before_the_first_weights_it_lacks(layers: Layers) -> None:
    assert layers.served == TWO_CONVOLUTIONS
    assert layers.unreached[:3] == ("conv3_1", "relu3_1", "conv3_2")
    assert layers.unreached[-1] == "pool5"


def test_the_usual_layers_are_reduced_to_those_that_can_be_served(layers: Layers) -> None:
    assert layers.style_layers(None) == ("relu1_1", "relu2_1")
    assert layers.content_layer(None) == "pool2"


@pytest.mark.parametrize(
    ("wanted", "problem"), [("relu4_1", "reach no layer 'relu4_1'"), ("relu9_9", "have no layer 'relu9_9'")]
)
def test_a_layer_beyond_the_weights_is_an_error_that_names_those_that_can_be_served(
    layers: Layers, wanted: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        layers.style_layers([wanted])
    assert ", ".join(TWO_CONVOLUTIONS) in caught.value.hint
    with pytest.raises(UsageError, match=problem):
        layers.content_layer(wanted)


def test_maps_are_those_of_the_modules_one_after_the_other(weights: Path, layers: Layers) -> None:
    network = layers.cut(["relu2_1", "conv1_1", "pool1"])
    modules = [nn.ReLU() if isinstance(m, nn.ReLU) else m for m in backbones.load_layers("vgg11", weights).modules[:5]]
    x, plain = images(), []
    for module in modules:
        x = module(x)
        plain.append(x)
    found = network(images())
    assert list(found) == ["conv1_1", "pool1", "relu2_1"]
    for name, expected in zip(found, (plain[0], plain[2], plain[4]), strict=True):
        assert torch.allclose(found[name], expected, atol=1e-6)


def test_a_map_that_is_taken_is_not_rewritten_by_the_relu_behind_it(layers: Layers) -> None:
    found = layers.cut(["conv1_1", "relu1_1"])(images())
    assert bool((found["conv1_1"] < 0).any())
    assert torch.equal(found["relu1_1"], found["conv1_1"].relu())


def test_nothing_behind_the_deepest_layer_is_kept_or_computed(layers: Layers) -> None:
    modules = list(layers.cut(["relu1_1"]).modules())
    assert sum(isinstance(module, nn.Conv2d) for module in modules) == 1


def test_average_pooling_takes_the_place_of_maxima(weights: Path) -> None:
    network = Layers("vgg11", weights, pooling="average").cut(["relu1_1", "pool1"])
    found = network(images())
    assert torch.allclose(found["pool1"], nn.functional.avg_pool2d(found["relu1_1"], 2))


def test_other_backbones_serve_their_stages() -> None:
    layers = Layers("squeezenet1_1")
    assert layers.served == ("stem", "fire2-3", "fire4-5", "fire6-9")
    assert layers.style_layers(None) == layers.served
    assert layers.content_layer(None) == "fire4-5"
    network = layers.cut(["fire2-3", "stem"])
    found = network(torch.zeros(1, 3, 64, 64))
    assert {name: each.shape[1] for name, each in found.items()} == {"stem": 64, "fire2-3": 128}


def test_backbones_that_are_no_chain_serve_their_stages_too() -> None:
    layers = Layers("timm:mobilenetv4_conv_small")
    network = layers.cut(layers.served[:2])
    plain = backbones.load("timm:mobilenetv4_conv_small")
    assert set(layers.served) == {stage.name for stage in plain.stages}
    assert list(network(torch.zeros(1, 3, 64, 64))) == list(layers.served[:2])


def test_the_network_stays_in_evaluation_mode_and_learns_nothing(layers: Layers) -> None:
    holder = nn.ModuleList([layers.cut(["relu1_1"])]).train()
    network = holder[0]
    assert isinstance(network, FeatureNetwork)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_digest_tells_weights_apart(layers: Layers, tmp_path: Path) -> None:
    same = Layers("vgg11", save_vgg11(tmp_path / "again.pth", 3)).cut(["relu1_1"])
    other = Layers("vgg11", save_vgg11(tmp_path / "other.pth", 3)).cut(["relu1_1"])
    next(other.parameters()).data[0, 0, 0, 0] += 1e-3
    assert digest(same) == digest(layers.cut(["relu1_1"])) != digest(other)


@pytest.mark.shared
def test_the_front_end_of_vgg19_reaches_conv3_1(shared_data: Path) -> None:
    layers = Layers("vgg19", shared_data / "weights" / "vgg19_features_to_conv3_1_normalised_tvnorm.pth")
    assert layers.served[-2:] == ("conv3_1", "relu3_1")
    assert layers.style_layers(None) == ("relu1_1", "relu2_1", "relu3_1")
    assert layers.content_layer(None) == "relu3_1"
