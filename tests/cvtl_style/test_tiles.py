"""Tiles make up the picture, and their maps are the whole picture's."""

from __future__ import annotations

import pytest
import torch
from tiny_style import save_vgg11

from cvtl.errors import UsageError
from cvtl.inspection.receptive_field import Axis
from cvtl_style.layers import FeatureNetwork, Layers
from cvtl_style.memory import map_shapes
from cvtl_style.objective import map_of
from cvtl_style.tiles import Tile, tile


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> FeatureNetwork:
    weights = save_vgg11(tmp_path_factory.mktemp("weights") / "two.pth", 2)
    return Layers("vgg11", weights).cut(["relu1_1", "conv2_1", "pool2"])


def tiles_of(network: FeatureNetwork, image_hw: tuple[int, int], most: int | None) -> list[Tile]:
    fields = dict(zip(network.names, network.fields, strict=True))
    sizes = {name: shape[1:] for name, shape in map_shapes(network, image_hw).items()}
    return tile(image_hw, fields, sizes, most)


@pytest.mark.parametrize("image_hw", [(64, 64), (61, 67), (40, 99), (97, 33)])
@pytest.mark.parametrize("most", [900, 1600, 2500])
def test_maps_of_tiles_make_up_the_map_of_the_whole(vgg: FeatureNetwork, image_hw: tuple[int, int], most: int) -> None:
    tiles = tiles_of(vgg, image_hw, most)
    assert len(tiles) > 1
    image = torch.randn(1, 3, *image_hw, generator=torch.Generator().manual_seed(0))
    whole = tiles_of(vgg, image_hw, None)
    assert len(whole) == 1
    for name in vgg.names:
        assert torch.allclose(map_of(vgg, image, tiles, name), map_of(vgg, image, whole, name), atol=1e-5)


@pytest.mark.parametrize("image_hw", [(64, 64), (61, 67), (97, 33)])
def test_every_position_belongs_to_exactly_one_tile(vgg: FeatureNetwork, image_hw: tuple[int, int]) -> None:
    tiles = tiles_of(vgg, image_hw, 900)
    for name, (_, height, width) in map_shapes(vgg, image_hw).items():
        owners = torch.zeros(height, width)
        for each in tiles:
            (top, bottom), (left, right) = each.places[name]
            owners[top:bottom, left:right] += 1
        assert bool((owners == 1).all())


def test_no_crop_has_more_pixels_than_the_budget_allows(vgg: FeatureNetwork) -> None:
    for each in tiles_of(vgg, (200, 150), 4000):
        (top, bottom), (left, right) = each.crop
        assert (bottom - top) * (right - left) <= 4000


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1", "zfnet", "resnet18", "timm:mobilenetv4_conv_small"])
def test_networks_that_pad_stride_and_pool_otherwise_can_be_tiled_too(name: str) -> None:
    layers = Layers(name)
    network = layers.cut(layers.served[:3])
    image = torch.randn(1, 3, 157, 148, generator=torch.Generator().manual_seed(0))
    tiles, whole = tiles_of(network, (157, 148), 16_000), tiles_of(network, (157, 148), None)
    assert len(tiles) > 1
    for each in network.names:
        assert torch.allclose(map_of(network, image, tiles, each), map_of(network, image, whole, each), atol=1e-4)


def test_a_budget_too_small_for_any_tile_is_an_error_that_says_what_to_do(vgg: FeatureNetwork) -> None:
    with pytest.raises(UsageError, match="does not fit into --max-memory") as caught:
        tiles_of(vgg, (64, 64), 100)
    assert "--size" in caught.value.hint


def test_a_network_that_looks_at_pictures_as_a_whole_is_not_tiled() -> None:
    everything = Axis(-2).everything(), Axis(-1).everything()
    with pytest.raises(UsageError, match="as a whole"):
        tile((64, 64), {"a": everything}, {"a": (8, 8)}, 1000)
