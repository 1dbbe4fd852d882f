"""What networks look for: first filters, maximising pictures, strongest patches, and their sheets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cvtl import backbones
from cvtl.backbones import Backbone, Stage
from cvtl.data import UInt8Image
from cvtl.errors import UsageError
from cvtl.inspection.filters import first_filters
from cvtl.inspection.layers import stage_layers
from cvtl.inspection.maximisation import maximise
from cvtl.inspection.patches import PATCHES, strongest_patches
from cvtl.inspection.tiles import grid
from cvtl.preprocessing import InputSpec, normalize
from cvtl.progress import Progress

SPEC = InputSpec(size_hw=(24, 24), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def backbone_of(*modules: nn.Module, channels: int) -> Backbone:
    """One stage, at the scale of the input."""
    body = nn.Sequential(OrderedDict(stage=nn.Sequential(*modules)))
    return Backbone("tiny", (Stage("stage", channels, 1),), SPEC, body).eval()


def conv(weight: Tensor, bias: float = 0.0) -> nn.Conv2d:
    out, channels, height, width = weight.shape
    layer = nn.Conv2d(channels, out, (height, width), padding=(height // 2, width // 2))
    layer.weight.data, layer.bias.data = weight, torch.full((out,), bias)  # type: ignore[union-attr]
    return layer


class Counting(Progress):
    """Adds up what it is told."""

    done = 0

    def advance(self, count: int) -> None:
        self.done += count


def test_each_first_filter_spans_black_to_white() -> None:
    weight = torch.randn(5, 3, 7, 3, generator=torch.Generator().manual_seed(0))
    filters = first_filters(backbone_of(conv(weight), channels=5))
    assert [each.shape for each in filters] == [(7, 3, 3)] * 5
    assert [(each.min(), each.max()) for each in filters] == [(0, 255)] * 5
    brightest = np.unravel_index(int(weight[2].argmax()), (3, 7, 3))
    assert filters[2][brightest[1], brightest[2], brightest[0]] == 255


def test_a_constant_filter_is_black() -> None:
    (only,) = first_filters(backbone_of(conv(torch.ones(1, 3, 3, 3)), channels=1))
    assert not only.any()


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ((nn.Identity(),), "begins with no convolution"),
        ((nn.Conv2d(3, 4, 1),), "are 1 x 1"),
        ((nn.Conv2d(12, 4, 3),), "take 12 channels"),
    ],
)
def test_first_filters_that_are_no_pictures_are_refused_with_the_reason(
    modules: tuple[nn.Module, ...], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        first_filters(backbone_of(*modules, channels=4))


def answers(backbone: Backbone, pictures: list[UInt8Image], channels: list[int]) -> list[float]:
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        maps = backbone(normalize(images, backbone.input))
    return [float(maps[number, channel].mean()) for number, channel in enumerate(channels)]


def test_ascent_makes_the_channels_of_a_network_answer_more() -> None:
    backbone = backbones.load("squeezenet1_1", cut="fire2-3")
    channels = [3, 77]
    progress = Counting()
    before = answers(backbone, maximise(backbone, channels, side=48, steps=1), channels)
    after = answers(backbone, maximise(backbone, channels, side=48, steps=24, progress=progress), channels)
    assert all(late > 1.5 * early for early, late in zip(before, after, strict=True))
    assert progress.done == 24


def test_each_picture_is_made_for_its_own_channel() -> None:
    red, blue = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).view(2, 3, 1, 1)
    backbone = backbone_of(conv(torch.stack([red, blue, -red])), channels=3)
    of_blue, of_red, of_not_red = maximise(backbone, [1, 0, 2], side=32, steps=40)
    means = [picture.mean((0, 1)) for picture in (of_blue, of_red, of_not_red)]
    assert [int(mean.argmax()) for mean in means[:2]] == [2, 0]
    assert min(means[0][2], means[1][0]) > 145
    assert means[2][0] < 110


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6()])
def test_a_channel_that_is_silent_at_first_wakes_up(activation: nn.Module) -> None:
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    backbone = backbone_of(conv(red, bias=-0.6), activation, channels=1)
    assert answers(backbone, maximise(backbone, [0], side=32, steps=1), [0]) == [0]
    assert answers(backbone, maximise(backbone, [0], side=32, steps=60), [0])[0] > 0


def test_the_same_seed_makes_the_same_pictures_and_another_one_others() -> None:
    backbone = backbones.load("lenet5")
    first, again, other = (maximise(backbone, [0, 5], side=32, steps=4, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_ascent_leaves_the_network_alone() -> None:
    backbone = backbones.load("lenet5")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    maximise(backbone, [0], side=32, steps=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert all(tensor.grad is None and tensor.requires_grad for tensor in backbone.parameters())


def dotted(row: int, column: int, red: int) -> UInt8Image:
    image = np.zeros((24, 24, 3), np.uint8)
    image[row, column, 0] = red
    return image


def red_finder() -> Backbone:
    """Answers with the redness of a pixel, and claims to see the 5 x 5 around it."""
    weight = torch.zeros(1, 3, 5, 5)
    weight[0, 0, 2, 2] = 1
    return backbone_of(conv(weight), channels=1)


def test_patches_are_what_the_strongest_position_of_each_picture_sees() -> None:
    backbone = red_finder()
    field = stage_layers(backbone, (24, 24))[0].field
    images = [dotted(10, 7, 200), dotted(0, 23, 250), dotted(5, 5, 100)]
    ((first, second),) = strongest_patches(backbone, [0], field, images)
    assert [first.image.shape, second.image.shape] == [(5, 5, 3)] * 2
    assert [first.image[2, 2, 0], second.image[2, 2, 0]] == [250, 200]
    assert first.answer == pytest.approx(250 / 127.5 - 1)
    beyond = first.image[:2].tolist() + first.image[:, 3:].tolist()
    assert all(pixel == [96, 96, 96] for line in beyond for pixel in line)
    assert second.image.sum() == 200


def test_nine_patches_are_kept_of_any_number_of_pictures_strongest_first() -> None:
    progress = Counting()
    shades = np.random.default_rng(0).permutation(np.arange(140, 240)).tolist()
    images = (dotted(12, 12, shade) for shade in shades)
    (found,) = strongest_patches(red_finder(), [0], None, images, progress=progress)
    assert [patch.image[12, 12, 0] for patch in found] == list(range(239, 239 - PATCHES, -1))
    assert progress.done == 100


def test_pictures_are_drawn_as_they_are_needed() -> None:
    drawn = 0

    def images() -> Iterator[UInt8Image]:
        nonlocal drawn
        for _ in range(1000):
            drawn += 1
            yield dotted(1, 1, 200)

    class Stop(Progress):
        def advance(self, count: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        strongest_patches(red_finder(), [0], None, images(), progress=Stop())
    assert drawn <= 32


def test_without_a_field_or_with_an_unlimited_one_the_patch_is_the_whole_picture() -> None:
    pooled = backbone_of(conv(torch.ones(1, 3, 1, 1), bias=4.0), nn.AdaptiveAvgPool2d(1), channels=1)
    field = stage_layers(pooled, (24, 24))[0].field
    images = [dotted(3, 3, 255)]
    for given in (field, None):
        ((patch,),) = strongest_patches(pooled, [0], given, images)
        assert np.array_equal(patch.image, images[0])


def test_pictures_that_do_not_move_a_channel_and_no_pictures_give_no_patches() -> None:
    assert strongest_patches(red_finder(), [0], None, [dotted(1, 1, 90)]) == [[]]
    assert strongest_patches(red_finder(), [0, 0], None, []) == [[], []]


def test_tiles_keep_their_order_and_shape() -> None:
    tall = np.full((8, 4, 3), 200, np.uint8)
    sheet = grid([np.full((2, 2, 3), shade, np.uint8) for shade in (50, 100, 150)] + [tall], columns=2, side=16)
    assert sheet.shape == (2 * 19 + 3, 2 * 19 + 3, 3)
    assert [sheet[y, x, 0] for y, x in ((11, 11), (11, 30), (30, 11), (30, 30))] == [50, 100, 150, 200]
    assert sheet[30, 23, 0] == 24  # beside the tall one


def test_captions_stand_above_their_tiles() -> None:
    plain, captioned = (
        grid([np.zeros((16, 64, 3), np.uint8)], columns=1, side=64, captions=captions) for captions in ((), ("7",))
    )
    assert captioned.shape[0] > plain.shape[0]
    assert captioned[:18].max() > 200


def test_no_tiles_make_an_empty_sheet() -> None:
    assert len(np.unique(grid([], columns=3, side=10))) == 1
