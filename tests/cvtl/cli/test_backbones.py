"""`cvtl backbones`."""

from __future__ import annotations

import json

import pytest
from commands import Command

from cvtl.backbones import list_backbones


def test_all_of_them_are_listed(command: Command) -> None:
    listed = json.loads(command("backbones", "--json").out)
    assert [each["name"] for each in listed] == [info.name for info in list_backbones()]
    alexnet = next(each for each in listed if each["name"] == "alexnet")
    assert alexnet == {"name": "alexnet", "family": "AlexNet", "source": "torchvision", "weights": True}


def test_the_table_groups_them_by_family_in_80_columns(command: Command) -> None:
    said = command("backbones")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    words = said.out.split()
    assert all(info.name in words or f"{info.name}*" in words for info in list_backbones())
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "LeNet lenet5*" in lines
    assert lines.index("LeNet lenet5*") < lines.index("AlexNet alexnet")


def test_a_pattern_chooses_among_them(command: Command) -> None:
    names = {each["name"] for each in json.loads(command("backbones", "resnet1?", "--json").out)}
    assert names == {"resnet18"}


@pytest.mark.parametrize(("name", "last"), [("resnet18", "layer4 512 32"), ("lenet5", "pool2 16 4")])
def test_a_name_shows_its_stages(command: Command, name: str, last: str) -> None:
    said = command("backbones", name)
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0].startswith(f"{name}: ")
    assert "stage channels stride" in lines
    assert last in lines


def test_stages_as_json(command: Command) -> None:
    said = json.loads(command("backbones", "resnet18", "--json").out)
    assert (said["name"], said["size_hw"]) == ("resnet18", [224, 224])
    assert said["parameters"] == 11_176_512
    assert said["stages"][-1] == {"name": "layer4", "channels": 512, "stride": 32}
