"""`cvtl backbones NAME --layers` and `--filters`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command

from cvtl.backbones.classic import LeNet5
from cvtl.images import read_image

QUICK = ("--filters", "--steps", "2", "--device", "cpu")


def lines_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_layers_are_shown_with_totals_of_stages_and_of_all(command: Command) -> None:
    said = command("backbones", "squeezenet1_1", "--layers")
    assert said.code == 0
    lines = lines_of(said.out)
    assert lines[0] == "squeezenet1_1, pictures of 224 x 224"
    assert "stem 64x111x111 3 2 1,792 21,290,688" in lines
    assert "squeeze conv 1x1 1 0 16x55x55 7 4 1,040 3,097,600" in lines
    assert "expand3x3 conv 3x3 1 1 64x55x55 15 4 9,280 27,878,400" in lines
    assert "concatenation 128x55x55 15 4 - -" in lines
    assert "in all 722,496 262,623,936" in lines


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "googlenet", "resnet50", "densenet121", "inception_v3"])
def test_the_table_fits_100_columns(command: Command, name: str) -> None:
    said = command("backbones", name, "--layers")
    assert max(map(len, said.out.splitlines())) <= 100
    rows = [line for line in said.out.splitlines() if "conv" in line and "x" in line]
    assert rows
    assert all(line.rstrip()[-1].isdigit() or line.rstrip()[-1] == "-" for line in rows)


def test_layers_as_json_add_up(command: Command) -> None:
    said = json.loads(command("backbones", "resnet18", "--layers", "--json").out)
    assert (said["name"], said["size_hw"]) == ("resnet18", [224, 224])
    assert (said["parameters"], said["multiplications"]) == (11_176_512, 1_813_561_344)
    last = said["stages"][-1]
    assert (last["name"], last["output"], last["receptive_field"], last["jump"]) == (
        "layer4",
        [512, 7, 7],
        [435, 435],
        [32, 32],
    )
    for count in ("parameters", "multiplications"):
        assert sum(stage[count] for stage in said["stages"]) == said[count]
        assert all(sum(each[count] for each in stage["layers"]) == stage[count] for stage in said["stages"])
    assert said["stages"][0]["layers"][0] == {
        "name": "conv1",
        "kind": "conv",
        "kernel": [7, 7],
        "stride": [2, 2],
        "padding": [3, 3],
        "dilation": [1, 1],
        "groups": 1,
        "output": [64, 112, 112],
        "receptive_field": [7, 7],
        "jump": [2, 2],
        "parameters": 9_408,
        "multiplications": 118_013_952,
    }


def test_layers_of_attention_and_gates_say_what_is_not_known_and_what_is_everything(command: Command) -> None:
    gated = json.loads(command("backbones", "mobilenet_v3_small", "--layers", "--json").out)
    assert gated["stages"][-1]["receptive_field"] == ["all", "all"]
    attending = json.loads(command("backbones", "vit_tiny_patch16_224", "--layers", "--json").out)
    assert attending["stages"][-1]["receptive_field"] is None


@pytest.mark.parametrize(("given", "size_hw"), [("64", [64, 64]), ("96,160", [96, 160])])
def test_the_size_of_the_pictures_can_be_chosen(command: Command, given: str, size_hw: list[int]) -> None:
    said = json.loads(command("backbones", "lenet5", "--layers", "--json", "--input", given).out)
    assert said["size_hw"] == size_hw
    assert said["stages"][0]["output"] == [6, size_hw[0] - 4, size_hw[1] - 4]


def test_filters_are_written_and_named(command: Command, pictures: Path, tmp_path: Path) -> None:
    said = command("backbones", "lenet5", *QUICK, "--channels", "0,5", "--pictures", pictures)
    assert said.code == 0
    folder = tmp_path / "cvtl-runs" / "backbones"
    assert {path.name for path in folder.iterdir()} == {"first-layer.png", "pool2-maximised.png", "pool2-patches.png"}
    assert "What the channels of 'pool2' look for: cvtl-runs/backbones/pool2-maximised.png" in said.out
    assert "The weights are random" in said.out
    assert "1 of the pictures could not be read" in said.out
    assert read_image(folder / "first-layer.png").shape == (2 * 43 + 3, 3 * 43 + 3, 3)
    assert read_image(folder / "pool2-maximised.png").shape[1] == 2 * 195 + 3


def test_filters_of_a_chosen_stage_with_weights_are_repeatable(command: Command, tmp_path: Path) -> None:
    torch.save(LeNet5().state_dict(), tmp_path / "w.pth")
    words = ("backbones", "lenet5", *QUICK, "--weights", "w.pth", "--stage", "conv1", "--json")
    first, again = (json.loads(command(*words).out) for _ in range(2))
    assert (first["stage"], first["channels"], first["notes"]) == ("conv1", [0, 1, 2, 3, 4, 5], [])
    assert first["files"]["conv1-maximised"] != again["files"]["conv1-maximised"]
    for name in ("first-layer", "conv1-maximised"):
        assert np.array_equal(read_image(first["files"][name]), read_image(again["files"][name]))


def test_networks_of_one_size_and_without_colour_filters_say_so(command: Command) -> None:
    said = command("backbones", "timm:tresnet_m", *QUICK, "--steps", "1", "--channels", "0", "--stage", "stage1")
    assert said.code == 0, said.err
    assert "channels, so they have no colours" in " ".join(lines_of(said.out))


def test_quiet_prints_nothing(command: Command) -> None:
    said = command("backbones", "lenet5", *QUICK, "--channels", "0", "--quiet", "--out", "o")
    assert (said.code, said.out, said.err) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("lenet5 --layers --filters", ["--layers and --filters"]),
        ("--layers", ["--layers needs the name of one network"]),
        ("resnet* --filters", ["--filters needs the name of one network"]),
        ("lenet5 --weights imagenet", ["--weights belongs to --filters"]),
        ("lenet5 --steps 3", ["--steps belongs to --filters"]),
        ("lenet5 --layers --stage conv1", ["--stage belongs to --filters"]),
        ("lenet5 --filters --input 64", ["--input belongs to --layers"]),
        ("lenet5 --layers --input 1,2,3", ["--input must be one size", "--input 480,640"]),
        ("lenet5 --layers --input 0", ["--input must be one size"]),
        ("lenet5 --layers --input wide", ["--input must be a valid integer"]),
        ("lenet5 --layers --input 8", ["'lenet5' cannot take pictures of 8 x 8 pixels", "with --input"]),
        ("vit_tiny_patch16_224 --layers --input 64", ["cannot take pictures of 64 x 64"]),
        ("lenet5 --filters --stage conv9", ["no stage 'conv9'", "conv1, conv2, pool2"]),
        ("lenet5 --filters --channels 3,16", ["stage 'pool2' has no channel 16", "0 to 15"]),
        ("lenet5 --filters --channels -1", ["stage 'pool2' has no channel -1"]),
        ("lenet5 --filters --steps 0", ["--steps must be greater than or equal to 1"]),
        ("lenet5 --filters --pictures nowhere", ["nowhere"]),
        ("lenet5 --filters --device abacus", ["abacus"]),
        ("lenet5 --filters --weights imagenet", ["nobody publishes weights for backbone 'lenet5'"]),
    ],
)
def test_what_does_not_fit_is_said(command: Command, words: str, parts: list[str]) -> None:
    said = command("backbones", *words.split())
    assert said.code == 2
    assert said.out == ""
    assert all(part in said.err for part in parts)


def test_offline_without_the_weights_is_an_error_that_says_where_to_put_them(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("CVTL_OFFLINE", "1")
    said = command("backbones", "squeezenet1_1", "--filters", "--weights", "imagenet")
    assert said.code == 1
    assert "squeezenet1_1" in said.err
    assert str(tmp_path / "torch") in said.err


def test_pictures_that_are_all_bad_are_an_error_before_the_ascent(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    said = command("backbones", "lenet5", "--filters", "--steps", "1000000", "--pictures", "bad")
    assert said.code == 2
    assert "no picture of 'bad' could be read" in said.err
