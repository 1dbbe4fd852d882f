"""Weights of backbones: from files, whole or in part, and the libraries' published ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from cvtl import backbones
from cvtl.backbones import loading
from cvtl.checkpoints import load_into, read_state_dict
from cvtl.errors import OfflineError, UsageError, WeightsError
from cvtl.images import read_image
from cvtl.preprocessing import prepare


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small inputs gain nothing from more, and lose much where other processes want the cores too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def randomised(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, with BatchNorm statistics that matter."""
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return network.eval()


def saved(network: nn.Module, path: Path, *, without: str = "$") -> Path:
    state = network.state_dict()
    torch.save({key: value for key, value in state.items() if not re.match(without, key)}, path)
    return path


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("squeezenet1_1", "classifier"),
        ("densenet121", "classifier"),
        ("shufflenet_v2_x0_5", "fc"),
        ("mnasnet0_5", "classifier"),
    ],
)
@pytest.mark.parametrize("with_head", [True, False], ids=["with its head", "without its head"])
def test_torchvisions_weights_give_torchvisions_maps(name: str, head: str, with_head: bool, tmp_path: Path) -> None:
    whole = randomised(models.get_model(name, weights=None))
    heads_input: list[Tensor] = []
    whole.get_submodule(head).register_forward_pre_hook(lambda module, inputs: heads_input.append(inputs[0]))
    backbone = backbones.load(name, saved(whole, tmp_path / "w.pth", without="$" if with_head else head))
    with torch.inference_mode():
        whole(pictures(64))
        maps = backbone(pictures(64))
    # Some networks average between the last map and the head.
    found = maps if heads_input[0].ndim == 4 else maps.mean(dim=(2, 3))
    torch.testing.assert_close(found, heads_input[0])


@pytest.mark.parametrize(
    "name", ["mobilenetv1_100", "resnet10t", "timm:regnetx_002", "mambaout_femto", "vit_tiny_patch16_224"]
)
def test_timms_weights_give_timms_maps(name: str, tmp_path: Path) -> None:
    whole = randomised(timm.create_model(name.removeprefix("timm:")))
    path = saved(whole, tmp_path / "w.pth")
    backbone = backbones.load(name, path)
    net = timm.create_model(
        name.removeprefix("timm:"),
        features_only=True,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
    ).eval()
    with torch.inference_mode():
        expected = net(pictures(224))[-1]
        found = backbone(pictures(224))
    torch.testing.assert_close(found, expected.permute(0, 3, 1, 2) if expected.shape[1] != found.shape[1] else expected)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_tensorflows_normalisation_replaces_the_one_inside_the_network(name: str, tmp_path: Path) -> None:
    whole: Any = randomised(models.get_model(name, weights=None, aux_logits=True, init_weights=True))
    whole.transform_input = True
    last = whole.inception5b if name == "googlenet" else whole.Mixed_7c
    maps: list[Tensor] = []
    last.register_forward_hook(lambda module, inputs, output: maps.append(output))
    backbone = backbones.load(name, saved(whole, tmp_path / "w.pth"))
    preset = models.get_model_weights(name)["DEFAULT"].transforms()
    unit = pictures(128).sigmoid()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    own_mean, own_std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.input.mean, backbone.input.std))
    with torch.inference_mode():
        whole((unit - mean) / std)
        found = backbone((unit - own_mean) / own_std)
    torch.testing.assert_close(found, maps[0], rtol=1e-3, atol=1e-4)


def test_densenets_old_key_names_are_understood(tmp_path: Path) -> None:
    whole: Any = randomised(models.densenet121())
    old = {re.sub(r"(denselayer\d+\.(norm|conv))(\d)", r"\1.\3", key): v for key, v in whole.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "w.pth")
    backbone = backbones.load("densenet121", tmp_path / "w.pth")
    with torch.inference_mode():
        torch.testing.assert_close(backbone(pictures(64)), whole.features(pictures(64)).relu())


@pytest.mark.parametrize("name", ["resnet18", "timm:regnetx_002"])
def test_a_file_that_misses_keys_is_refused_with_their_names(name: str, tmp_path: Path) -> None:
    network = timm.create_model("regnetx_002") if "timm" in name else models.resnet18()
    last = "s4" if "timm" in name else "layer4"
    path = saved(network, tmp_path / "w.pth", without=last)
    with pytest.raises(WeightsError, match=rf"'.*w.pth' does not fit '{name}': \d+ missing: {last}.* and \d+ more"):
        backbones.load(name, path)


@pytest.mark.parametrize("name", ["resnet18", "timm:regnetx_002"])
def test_a_file_that_serves_the_first_stages_can_be_used_with_a_cut(name: str, tmp_path: Path) -> None:
    network = timm.create_model("regnetx_002") if "timm" in name else models.resnet18()
    path = saved(network, tmp_path / "w.pth", without="s4" if "timm" in name else "layer4")
    cut = backbones.load(name, path, cut=backbones.load(name).stages[3].name)
    assert len(cut.stages) == 4
    first = next(iter(network.state_dict().values()))
    assert torch.equal(next(iter(cut.state_dict().values())), first)


def test_the_hint_names_the_last_stage_that_a_partial_file_serves(tmp_path: Path) -> None:
    path = saved(models.resnet18(), tmp_path / "w.pth", without="layer3.1|layer4|fc")
    with pytest.raises(WeightsError) as caught:
        backbones.load("resnet18", path)
    assert caught.value.hint == "It has everything up to the stage 'layer2': load it with cut='layer2'"


def test_the_modules_of_a_chain_are_those_of_the_whole_network(tmp_path: Path) -> None:
    whole = randomised(models.resnet18())
    layers = backbones.load_layers("resnet18", saved(whole, tmp_path / "w.pth"))
    assert layers.reached == len(layers.modules) == len(layers.stages)
    assert list(dict.fromkeys(layers.stages)) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    backbone = backbones.load("resnet18", tmp_path / "w.pth")
    with torch.inference_mode():
        assert torch.equal(nn.Sequential(*layers.modules)(pictures(64)), backbone(pictures(64)))


@pytest.mark.parametrize(
    ("without", "reached"), [("fc", 8), ("layer4|fc", 7), ("layer3.1|layer4", 6), ("layer2", 5), ("bn1", 1)]
)
def test_a_partial_file_serves_the_modules_before_the_first_gap(tmp_path: Path, without: str, reached: int) -> None:
    path = saved(models.resnet18(), tmp_path / "w.pth", without=without)
    layers = backbones.load_layers("resnet18", path)
    assert layers.reached == reached
    for module in layers.modules[:reached]:
        assert all(tensor.device.type == "cpu" for tensor in module.state_dict().values())


def test_the_weights_of_a_relative_are_refused_for_the_modules_too(tmp_path: Path) -> None:
    # The first layers of the two are alike.
    path = saved(models.squeezenet1_1(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"does not fit 'vgg11': .* unexpected"):
        backbones.load_layers("vgg11", path)


def test_a_file_without_even_the_first_layer_is_refused(tmp_path: Path) -> None:
    path = saved(models.resnet18(), tmp_path / "w.pth", without="conv1")
    with pytest.raises(WeightsError, match=r"does not fit 'resnet18': 1 missing: conv1\.weight"):
        backbones.load_layers("resnet18", path)


@pytest.mark.parametrize(
    ("given", "asked"), [("resnet34", "resnet18"), ("resnet50", "resnet18"), ("squeezenet1_0", "squeezenet1_1")]
)
def test_the_weights_of_a_relative_are_refused(given: str, asked: str, tmp_path: Path) -> None:
    path = saved(models.get_model(given, weights=None), tmp_path / "w.pth", without="classifier")
    with pytest.raises(WeightsError, match=f"does not fit '{asked}': .*unexpected: .*It belongs to another network"):
        backbones.load(asked, path)


@pytest.mark.parametrize("name", ["timm:regnetx_002", "mambaout_femto"])
def test_foreign_weights_are_refused_by_timms_networks_too(name: str, tmp_path: Path) -> None:
    path = saved(models.resnet18(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth' does not fit"):
        backbones.load(name, path)


def test_published_weights_are_fetched_only_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = saved(randomised(models.resnet18()), tmp_path / "w.pth")
    asked: list[tuple[str, str, bool | None]] = []

    def fetch(url: str, folder: Path, *, offline: bool | None) -> Path:
        asked.append((url.rpartition("/")[2], folder.name, offline))
        return path

    monkeypatch.setattr(loading, "fetch", fetch)
    backbones.load("resnet18")
    backbones.load("resnet18", path)
    assert asked == []
    backbone = backbones.load("resnet18", "imagenet", offline=False)
    assert asked == [("resnet18-f37072fd.pth", "checkpoints", False)]
    assert torch.equal(backbone.get_parameter("body.stem.conv1.weight"), read_state_dict(path)["conv1.weight"])


def test_timms_published_weights_come_from_its_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = saved(timm.create_model("resnet10t"), tmp_path / "w.pth")
    asked: list[Any] = []

    def fetch_from_hub(repo: str, names: list[str], *, offline: bool | None) -> Path:
        asked.append((repo, *names, offline))
        return path

    monkeypatch.setattr(loading, "fetch_from_hub", fetch_from_hub)
    backbones.load("resnet10t", "imagenet", offline=True)
    assert asked == [("timm/resnet10t.c3_in1k", "model.safetensors", "pytorch_model.bin", True)]


def test_without_a_network_published_weights_say_where_to_put_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(OfflineError) as caught:
        backbones.load("resnet18", "imagenet", offline=True)
    folder = tmp_path / "checkpoints"
    assert caught.value.what == f"'resnet18-f37072fd.pth' is not in '{folder}', and downloading is off"
    assert caught.value.hint == (
        f"Get https://download.pytorch.org/models/resnet18-f37072fd.pth elsewhere and put it into {folder}"
    )


@pytest.mark.parametrize("name", ["lenet5", "zfnet", "convnext_atto_rms"])
def test_unpublished_weights_are_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"nobody publishes weights for backbone '{name}'"):
        backbones.load(name, "imagenet")


@pytest.mark.shared
def test_squeezenets_real_weights_recognise_daisies(shared_data: Path) -> None:
    path = shared_data / "weights" / "squeezenet1_1_imagenet_tvnorm_fp16.pth"
    backbone = backbones.load("squeezenet1_1", path)
    head = models.squeezenet1_1().eval()
    load_into(head, read_state_dict(path), path)
    photos = sorted((shared_data / "classify_flowers" / "val" / "daisy").iterdir())[:20]
    with torch.inference_mode():
        batch = prepare([torch.from_numpy(read_image(photo)).permute(2, 0, 1) for photo in photos], backbone.input)
        logits = head.classifier(backbone(batch)).flatten(1)
    daisy = models.SqueezeNet1_1_Weights.DEFAULT.meta["categories"].index("daisy")
    assert (logits.argmax(dim=1) == daisy).float().mean() >= 0.7


@pytest.mark.shared
def test_squeezenets_file_without_its_head_serves_a_backbone(shared_data: Path) -> None:
    file = shared_data / "bad_checkpoints" / "missing_head_squeezenet_fp16.pth"
    whole = shared_data / "weights" / "squeezenet1_1_imagenet_tvnorm_fp16.pth"
    with torch.inference_mode():
        expected = backbones.load("squeezenet1_1", whole)(pictures(64))
        assert torch.equal(backbones.load("squeezenet1_1", file)(pictures(64)), expected)


@pytest.mark.shared
def test_the_vgg19_file_serves_a_cut_and_says_so(shared_data: Path) -> None:
    path = shared_data / "weights" / "vgg19_features_to_conv3_1_normalised_tvnorm.pth"
    with pytest.raises(WeightsError, match=r"does not fit 'vgg19': 22 missing: features.12.weight.*cut='conv2'"):
        backbones.load("vgg19", path)
    assert torch.isfinite(backbones.load("vgg19", path, cut="conv2")(pictures(32))).all()
