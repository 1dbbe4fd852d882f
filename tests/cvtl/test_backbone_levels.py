"""Maps of several strides whose cells lie where their strides say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cvtl import backbones
from cvtl.backbones.levels import aligned_maps, check_side, level_stages, map_margin
from cvtl.errors import UsageError


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1", "resnet18", "alexnet"])
@pytest.mark.parametrize("size_hw", [(64, 128), (160, 96)])
def test_each_map_has_a_cell_for_each_stride_of_the_input(name: str, size_hw: tuple[int, int]) -> None:
    backbone = backbones.load(name)
    stages = level_stages(backbone, 2)
    with torch.no_grad():
        maps = aligned_maps(backbone, stages, map_margin(backbone, stages), torch.zeros(2, 3, *size_hw))
    for stage in stages:
        shape = (2, stage.channels, size_hw[0] // stage.stride, size_hw[1] // stage.stride)
        assert maps[stage.name].shape == shape


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1"])
def test_a_spot_that_moves_by_cells_moves_what_is_seen_by_as_many(name: str) -> None:
    """Without drift, though the backbone pads less than it strides."""
    torch.manual_seed(0)
    backbone = backbones.load(name)
    stages = level_stages(backbone, 1)
    margin, stride = map_margin(backbone, stages), stages[0].stride
    size = 24 * stride

    def seen(cells: int) -> Tensor:
        images = torch.zeros(1, 3, size, size)
        images[..., stride * cells : stride * (cells + 1), stride * cells : stride * (cells + 1)] = 5.0
        with torch.no_grad():
            spot, plain = (
                aligned_maps(backbone, stages, margin, each)[stages[0].name]
                for each in (images, torch.zeros_like(images))
            )
        return (spot - plain).abs().sum(dim=1)[0]

    near, far = seen(9), seen(13)
    torch.testing.assert_close(far[10:18, 10:18], near[6:14, 6:14], rtol=1e-3, atol=1e-4)
    assert near.max() > 0


def test_levels_are_the_coarsest_strides_of_the_backbone() -> None:
    backbone = backbones.load("resnet18")
    assert [stage.stride for stage in level_stages(backbone, 3)] == [8, 16, 32]
    assert [stage.stride for stage in level_stages(backbone.cut("layer3"), 1)] == [16]


def test_more_levels_than_strides_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="3 levels need as many strides, and backbone 'lenet5' has 1, 2"):
        level_stages(backbones.load("lenet5", cut="conv2"), 3)


@pytest.mark.parametrize(("side", "hint"), [(66, "Take 64 or 68"), (3, "Take 4")])
def test_sides_that_do_not_fit_the_largest_stride_are_refused(side: int, hint: str) -> None:
    backbone = backbones.load("lenet5")
    with pytest.raises(UsageError, match=f"--size {side} is no multiple of 4") as caught:
        check_side(side, level_stages(backbone, 2), backbone)
    assert caught.value.hint == hint
