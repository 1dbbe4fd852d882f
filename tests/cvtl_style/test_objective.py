"""J and its gradient: against the formula with autograd, whole and in tiles, with masks and several styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tiny_style import noise, save_vgg11, stripes
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from cvtl_style.layers import FeatureNetwork, Layers
from cvtl_style.losses import content_loss, gram_loss, gram_matrix, total_variation
from cvtl_style.memory import map_shapes
from cvtl_style.objective import Objective, Style, Terms, grams_of, map_of
from cvtl_style.pictures import to_network
from cvtl_style.tiles import Tile, tile

TERMS = Terms(
    alpha=2.0, beta=30.0, variation=0.5, content_layer="relu2_1", style_layers={"relu1_1": 0.75, "conv2_1": 0.25}
)
HW = (46, 53)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> FeatureNetwork:
    weights = save_vgg11(tmp_path_factory.mktemp("weights") / "two.pth", 2)
    return Layers("vgg11", weights).cut(TERMS.layers)


def tiles_of(network: FeatureNetwork, image: Tensor, most: int | None = None) -> list[Tile]:
    image_hw = image.shape[2], image.shape[3]
    fields = dict(zip(network.names, network.fields, strict=True))
    sizes = {name: shape[1:] for name, shape in map_shapes(network, image_hw).items()}
    return tile(image_hw, fields, sizes, most)


def objective(network: FeatureNetwork, masks: Sequence[Tensor | None] = (None,), terms: Terms = TERMS) -> Objective:
    """Of a picture of smooth noise, and a style for each mask: stripes first, then other noise."""
    content = to_network(noise(*HW), network.input)
    sources = [stripes(40, 60), noise(50, 44, seed=5)]
    styles, scales = [], {}
    for number, (source, mask) in enumerate(zip(sources, masks, strict=False)):
        seen = to_network(source, network.input)
        grams, means = grams_of(network, seen, tiles_of(network, seen), network.names)
        styles.append(Style(grams, 1.0 + number, mask))
        scales = scales or means
    tiles = tiles_of(network, content)
    kept = map_of(network, content, tiles, terms.content_layer) if terms.alpha else None
    return Objective(network, terms, styles, tiles, scales, kept)


def plain(network: FeatureNetwork, made: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    """J and its gradient as the formula has them."""
    x = image.clone().requires_grad_()
    maps = {name: each[0] / made.scales[name] for name, each in network(x).items()}
    terms = made.terms
    loss = terms.variation * total_variation(x)
    if made.content is not None:
        name = terms.content_layer
        loss = loss + terms.alpha * content_loss(made.content[0] / made.scales[name], maps[name])
    whole = sum(style.weight for style in made.styles)
    for style in made.styles:
        for name, weight in terms.style_layers.items():
            a = maps[name]
            mask = a.new_ones(1, *a.shape[1:])
            if style.mask is not None:
                mask = adaptive_avg_pool2d(style.mask[None], (a.shape[1], a.shape[2]))
            gram = gram_matrix(a * mask) / mask.square().sum()
            wanted = style.grams[name] / made.scales[name] ** 2
            loss = loss + terms.beta * weight * style.weight / whole * gram_loss(wanted, gram)
    (gradient,) = torch.autograd.grad(loss, x)
    return loss.detach(), gradient


def halves() -> tuple[Tensor, Tensor]:
    left = torch.zeros(HW)
    left[:, : HW[1] // 2] = 1
    return left, 1 - left


def somewhere(network: FeatureNetwork) -> Tensor:
    return to_network(noise(*HW, seed=9), network.input)


CASES = {
    "one style": (None,),
    "two styles everywhere": (None, None),
    "one style in a part": (halves()[0],),
    "two styles in two parts": halves(),
    "a style everywhere beside one in a part": (None, halves()[1]),
}


@pytest.mark.parametrize("masks", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("most", [None, 700], ids=["whole", "in tiles"])
def test_j_and_its_gradient_are_the_formulas(
    network: FeatureNetwork, masks: tuple[Tensor | None, ...], most: int | None
) -> None:
    made, image = objective(network, masks), somewhere(network)
    if most is not None:
        made = replace(made, tiles=tiles_of(network, image, most))
        assert len(made.tiles) > 3
    losses, gradient = made(image)
    expected, slope = plain(network, made, image)
    assert losses.total == pytest.approx(float(expected), rel=1e-5)
    assert torch.allclose(gradient, slope, atol=1e-5 * float(slope.abs().max()))


def test_the_terms_are_told_apart(network: FeatureNetwork) -> None:
    made = objective(network)
    losses, _ = made(to_network(noise(*HW), network.input))
    assert losses.content == pytest.approx(0, abs=1e-9)
    assert losses.style > 0
    assert losses.variation > 0


def test_without_alpha_the_content_is_not_looked_at(network: FeatureNetwork) -> None:
    made = objective(network, terms=replace(TERMS, alpha=0.0))
    losses, gradient = made(somewhere(network))
    assert made.content is None
    assert losses.content == 0
    assert torch.allclose(gradient, plain(network, made, somewhere(network))[1], atol=1e-4)


def test_gram_matrices_of_tiles_are_those_of_the_whole(network: FeatureNetwork) -> None:
    image = somewhere(network)
    whole, sizes = grams_of(network, image, tiles_of(network, image), network.names)
    parts, part_sizes = grams_of(network, image, tiles_of(network, image, 700), network.names)
    for name in network.names:
        assert torch.allclose(whole[name], parts[name], rtol=1e-4, atol=1e-6)
        assert sizes[name] == pytest.approx(part_sizes[name], rel=1e-6)


def test_half_precision_changes_j_by_less_than_a_hundredth(network: FeatureNetwork) -> None:
    made, image = objective(network), somewhere(network)
    exact, _ = made(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, gradient = made(image)
    assert rough.total == pytest.approx(exact.total, rel=1e-2)
    assert gradient.dtype == torch.float32
