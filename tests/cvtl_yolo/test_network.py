"""The network: as many cells as strides, wherever in the picture, and outputs that are rare at first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cvtl import backbones
from cvtl_yolo.network import YoloNetwork

Shape = tuple[int, int]


def make(name: str, levels: int = 2, **options: object) -> YoloNetwork:
    torch.manual_seed(0)
    more = {"levels": levels, "anchors": 3, "channels": 8, "prior": 0.01} | options
    return YoloNetwork(backbones.load(name), 2, **more).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1", "resnet18", "alexnet", "mobilenet_v3_small"])
@pytest.mark.parametrize("size_hw", [(64, 128), (160, 96)])
def test_each_level_has_a_cell_for_each_stride_of_the_input(name: str, size_hw: Shape) -> None:
    network = make(name)
    with torch.no_grad():
        levels = network(torch.zeros(2, 3, *size_hw))
    for stage, level in zip(network.stages, levels, strict=True):
        assert level.shape == (2, size_hw[0] // stage.stride, size_hw[1] // stage.stride, 3, 7)


def test_untrained_outputs_say_that_objects_are_rare() -> None:
    with torch.no_grad():
        levels = make("lenet5", prior=0.02)(torch.rand(1, 3, 32, 32))
    for level in levels:
        assert level[..., 0].sigmoid().mean().item() == pytest.approx(0.02, rel=0.2)


def test_a_large_object_is_seen_from_its_middle() -> None:
    """The context reaches 6 cells to either side for each pooling."""
    network = make("lenet5", levels=1)
    assert isinstance(network.context.pool, nn.MaxPool2d)
    maps = torch.zeros(1, 8, 21, 21)
    maps[..., 10, 4] = 9.0
    with torch.no_grad():
        changed = (network.context(maps) - network.context(torch.zeros_like(maps))).abs().sum(dim=1)[0]
    assert changed[10, 10] > 0
    assert changed[10, 11] == 0
