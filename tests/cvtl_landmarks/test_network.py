"""The network's parts."""

from __future__ import annotations

import pytest
import torch

from cvtl import backbones
from cvtl.backbones import Stage
from cvtl_landmarks.network import HeatmapHead, PointsNetwork, RegressionHead, mean_places, merged_stages
from cvtl_landmarks.options import LandmarksOptions


def test_the_mean_place_of_a_map_is_that_of_a_plain_loop() -> None:
    heatmaps = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    heatmaps /= heatmaps.sum(dim=(2, 3), keepdim=True)
    places = mean_places(heatmaps)
    for i in range(2):
        for k in range(3):
            x = sum(float(heatmaps[i, k, row, column]) * (column + 0.5) / 7 for row in range(5) for column in range(7))
            y = sum(float(heatmaps[i, k, row, column]) * (row + 0.5) / 5 for row in range(5) for column in range(7))
            assert places[i, k].tolist() == pytest.approx([x, y])


def test_places_are_finer_than_cells() -> None:
    heatmaps = torch.zeros(1, 1, 4, 4)
    heatmaps[0, 0, 1, 1], heatmaps[0, 0, 1, 2] = 0.7, 0.3
    assert mean_places(heatmaps)[0, 0].tolist() == pytest.approx([(1.5 + 0.3) / 4, 1.5 / 4])


def test_heat_maps_are_merged_at_the_finest_stage_and_add_up_to_one() -> None:
    stages = (Stage("a", 4, 4), Stage("b", 6, 8))
    head = HeatmapHead(stages, points=3, channels=8)
    maps = {"a": torch.randn(2, 4, 15, 11), "b": torch.randn(2, 6, 7, 5)}
    heatmaps = head(maps)
    assert heatmaps.shape == (2, 3, 15, 11)
    assert heatmaps.sum(dim=(2, 3)).flatten().tolist() == pytest.approx([1.0] * 6)


def test_every_merged_stage_matters() -> None:
    torch.manual_seed(0)
    stages = (Stage("a", 4, 4), Stage("b", 6, 8))
    head = HeatmapHead(stages, points=3, channels=8)
    maps = {"a": torch.randn(1, 4, 8, 8), "b": torch.randn(1, 6, 4, 4)}
    before = head(maps)
    for name in maps:
        assert not torch.allclose(head(maps | {name: maps[name] * 2}), before)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([("s", 2), ("a", 4), ("b", 4), ("c", 8)], ["b", "c"]),
        ([("s", 1), ("t", 2)], ["t"]),
        ([("s", 32)], ["s"]),
    ],
)
def test_of_each_stride_the_last_stage_is_merged(stages: list[tuple[str, int]], expected: list[str]) -> None:
    made = [Stage(name, 8, stride) for name, stride in stages]
    assert [stage.name for stage in merged_stages(made)] == expected


def test_the_regression_head_keeps_where_things_are() -> None:
    """Average pooling over the whole map would give the same answer for a picture whose parts have changed places."""
    torch.manual_seed(0)
    head = RegressionHead(16, points=4, hidden=32, dropout=0).eval()
    maps = torch.randn(1, 16, 7, 7)
    assert not torch.allclose(head(maps), head(maps.flip(-1)), atol=1e-3)


@pytest.mark.parametrize("head", ["heatmap", "regression"])
@pytest.mark.parametrize("backbone", ["squeezenet1_1", "resnet18", "mobilenet_v3_small", "timm:resnet18"])
@pytest.mark.parametrize("size_hw", [(64, 64), (96, 64)])
def test_any_backbone_serves(backbone: str, head: str, size_hw: tuple[int, int]) -> None:
    network = PointsNetwork(backbones.load(backbone), 5, LandmarksOptions(head=head)).eval()
    with torch.inference_mode():
        found = network(torch.zeros(2, 3, *size_hw))
    assert found.places.shape == (2, 5, 2)
    assert found.logits.shape == (2, 5)
    assert (found.heatmaps is None) == (head == "regression")
