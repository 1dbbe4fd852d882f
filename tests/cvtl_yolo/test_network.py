"""The network: as many cells as strides, wherever in the picture, and outputs that are rare at first."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cvtl import backbones
from cvtl.errors import UsageError
from cvtl_yolo.network import YoloNetwork, level_stages

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


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1"])
def test_a_spot_that_moves_by_cells_moves_what_is_seen_by_as_many(name: str) -> None:
    """Without drift, though the backbone pads less than it strides."""
    network = make(name, levels=1)
    stride = network.stages[0].stride
    size = 24 * stride

    def seen(cells: int) -> Tensor:
        images = torch.zeros(1, 3, size, size)
        images[..., stride * cells : stride * (cells + 1), stride * cells : stride * (cells + 1)] = 5.0
        with torch.no_grad():
            maps = network._maps(images)[network.stages[0].name]
            return (maps - network._maps(torch.zeros_like(images))[network.stages[0].name]).abs().sum(dim=1)[0]

    near, far = seen(9), seen(13)
    torch.testing.assert_close(far[10:18, 10:18], near[6:14, 6:14], rtol=1e-3, atol=1e-4)
    assert near.max() > 0


def test_untrained_outputs_say_that_objects_are_rare() -> None:
    with torch.no_grad():
        levels = make("lenet5", prior=0.02)(torch.rand(1, 3, 32, 32))
    for level in levels:
        assert level[..., 0].sigmoid().mean().item() == pytest.approx(0.02, rel=0.2)


def test_levels_are_the_coarsest_strides_of_the_backbone() -> None:
    backbone = backbones.load("resnet18")
    assert [stage.stride for stage in level_stages(backbone, 3)] == [8, 16, 32]
    assert [stage.stride for stage in level_stages(backbone.cut("layer3"), 1)] == [16]


def test_more_levels_than_strides_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="3 levels need as many strides, and backbone 'lenet5' has 1, 2"):
        level_stages(backbones.load("lenet5", cut="conv2"), 3)


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
