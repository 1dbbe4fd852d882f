"""J(G) and its gradient, for the whole picture or tile by tile: the same up to rounding.

Gram matrices are sums over the whole picture. A first pass adds them up over the tiles; what they say of each
activation is then known, and a second pass brings it back to the pixels, tile by tile. Nothing is seen of the seams.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from cvtl_style.layers import FeatureNetwork
from cvtl_style.losses import gram_loss, total_variation
from cvtl_style.tiles import Region, Tile


@dataclass(frozen=True)
class Terms:
    """What the terms of J count.

    Attributes:
        alpha: of the content.
        beta: of the style.
        variation: of the total variation.
        content_layer: where the content is compared.
        style_layers: weights of the layers where the style is, by name.
    """

    alpha: float
    beta: float
    variation: float
    content_layer: str
    style_layers: Mapping[str, float]

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that is needed."""
        return tuple(dict.fromkeys([*self.style_layers, self.content_layer]))


@dataclass(frozen=True, eq=False)
class Style:
    """What a style wants.

    Attributes:
        grams: Gram matrices (n_c, n_c), divided by the number of positions, by layer.
        weight: among the styles.
        mask: float (H, W) in [0, 1], where in the generated picture it is to hold; None for everywhere.
    """

    grams: Mapping[str, Tensor]
    weight: float
    mask: Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """The terms of J, weighted; their sum is J."""

    content: float
    style: float
    variation: float

    @property
    def total(self) -> float:
        """J."""
        return self.content + self.style + self.variation


@dataclass(eq=False)
class Objective:
    """J of pictures of one size.

    Attributes:
        network: what looks.
        terms: what counts how much.
        styles: what is wanted.
        tiles: of the picture.
        content: the content picture's map at the content layer (1, n_c, n_h, n_w); None where alpha is 0.
        scales: activations of a layer are divided by this: the mean over the style pictures, so that layers count
            alike, as Gatys et al. rescaled their network.
    """

    network: FeatureNetwork
    terms: Terms
    styles: Sequence[Style]
    tiles: Sequence[Tile]
    scales: Mapping[str, float]
    content: Tensor | None = None
    _masks: dict[tuple[int, str], Tensor] = field(default_factory=dict)

    def __call__(self, image: Tensor) -> tuple[Losses, Tensor]:
        """The terms of J of a picture, and J's gradient.

        Args:
            image: (1, 3, H, W), normalised.

        Returns:
            The terms, and (1, 3, H, W).
        """
        single = len(self.tiles) == 1
        grams: dict[tuple[int, str], Tensor] = {}
        content = 0.0
        kept: tuple[Tensor, dict[str, Tensor]] | None = None
        for each in self.tiles:
            with torch.set_grad_enabled(single):
                crop, maps = kept = self._see(image, each)
            with torch.no_grad():
                self._add_grams(grams, maps, each)
                content += self._content_of(maps, each)
        wanted, style = self._wanted(grams)
        gradient = torch.zeros_like(image)
        for each in self.tiles:
            if not single:
                with torch.enable_grad():
                    kept = self._see(image, each)
            assert kept is not None
            crop, maps = kept
            (top, bottom), (left, right) = each.crop
            gradient[..., top:bottom, left:right] += self._pulled(crop, maps, each, wanted)
        variation = self._add_variation(image, gradient)
        return Losses(content, style, variation), gradient

    def _see(self, image: Tensor, tile: Tile) -> tuple[Tensor, dict[str, Tensor]]:
        (top, bottom), (left, right) = tile.crop
        crop = image[..., top:bottom, left:right].detach().contiguous(memory_format=torch.channels_last)
        crop.requires_grad_(torch.is_grad_enabled())
        maps = self.network(crop)
        return crop, {name: maps[name] for name in self.terms.layers}

    def _add_grams(self, grams: dict[tuple[int, str], Tensor], maps: Mapping[str, Tensor], tile: Tile) -> None:
        for key, positions, _ in self._looks(maps, tile):
            gram = exact_gram(positions)
            grams[key] = grams[key] + gram if key in grams else gram

    def _looks(self, maps: Mapping[str, Tensor], tile: Tile) -> Iterator[tuple[tuple[int, str], Tensor, Tensor | None]]:
        """For each style and layer the tile's own positions (n, n_c), as the style's mask shows them, and the mask.

        Styles that hold everywhere share the Gram matrices of the first.
        """
        shared = False
        for number, style in enumerate(self.styles):
            if style.mask is None:
                if shared:
                    continue
                shared = True
            for name in self.terms.style_layers:
                own = own_part(maps[name].detach(), tile.parts[name])
                positions = to_positions(own)
                mask = None
                if style.mask is not None:
                    mask = own_part(self._mask(number, name), tile.places[name]).reshape(-1, 1)
                    positions = positions * mask
                yield (number, name), positions, mask

    def _mask(self, number: int, name: str) -> Tensor:
        """A style's mask (1, 1, n_h, n_w) at a layer's size."""
        key = number, name
        if key not in self._masks:
            mask = self.styles[number].mask
            assert mask is not None
            self._masks[key] = adaptive_avg_pool2d(mask[None, None], self._map_hw(name))
        return self._masks[key]

    def _map_hw(self, name: str) -> tuple[int, int]:
        last = self.tiles[-1].places[name]
        return last[0][1], last[1][1]

    def _count(self, number: int, name: str) -> float:
        """By what a Gram matrix is divided: the positions it is a sum over."""
        if self.styles[number].mask is None:
            height, width = self._map_hw(name)
            return float(height * width)
        return max(float(self._mask(number, name).square().sum()), 1e-6)

    def _wanted(self, grams: Mapping[tuple[int, str], Tensor]) -> tuple[dict[tuple[int, str], Tensor], float]:
        """J's derivative by each Gram sum (n_c, n_c), and the style's part of J."""
        wanted: dict[tuple[int, str], Tensor] = {}
        loss = 0.0
        whole = sum(style.weight for style in self.styles)
        everywhere = next((number for number, style in enumerate(self.styles) if style.mask is None), 0)
        for number, style in enumerate(self.styles):
            source = everywhere if style.mask is None else number
            for name, layer_weight in self.terms.style_layers.items():
                key, count = (source, name), self._count(source, name)
                weight = self.terms.beta * layer_weight * style.weight / whole
                # Scaling Gram matrices is cheaper than scaling activations.
                square = self.scales[name] ** 2
                mean, target = grams[key] / (count * square), style.grams[name] / square
                loss += weight * float(gram_loss(target, mean))
                pull = weight / (2 * mean.numel() * count * square) * (mean - target)
                wanted[key] = wanted[key] + pull if key in wanted else pull
        return wanted, loss

    def _pulled(
        self, crop: Tensor, maps: Mapping[str, Tensor], tile: Tile, wanted: Mapping[tuple[int, str], Tensor]
    ) -> Tensor:
        """J's gradient by the pixels of a crop, as far as it comes from the tile's own activations."""
        pulls = {name: torch.zeros_like(maps[name], dtype=torch.float32) for name in self.terms.layers}
        for (number, name), positions, mask in self._looks(maps, tile):
            # d(sum W_kk' G_kk') / da = 2 W a, W being symmetric.
            pull = exact_product(positions, 2 * wanted[number, name])
            own = own_part(pulls[name], tile.parts[name])
            own += from_positions(pull if mask is None else pull * mask, own)
        if self.content is not None:
            name = self.terms.content_layer
            own_part(pulls[name], tile.parts[name]).add_(self._content_pull(maps, tile))
        with torch.no_grad():
            cotangents = [pulls[name].to(maps[name].dtype) for name in self.terms.layers]
        (gradient,) = torch.autograd.grad([maps[name] for name in self.terms.layers], crop, cotangents)
        return gradient

    def _content_of(self, maps: Mapping[str, Tensor], tile: Tile) -> float:
        if self.content is None:
            return 0.0
        difference = self._content_difference(maps, tile)
        return self._content_weight() / 4 * float(difference.square().sum(dtype=torch.float64))

    def _content_pull(self, maps: Mapping[str, Tensor], tile: Tile) -> Tensor:
        return self._content_difference(maps, tile) * (self._content_weight() / 2)

    def _content_weight(self) -> float:
        assert self.content is not None
        return self.terms.alpha / (self.content.numel() * self.scales[self.terms.content_layer] ** 2)

    def _content_difference(self, maps: Mapping[str, Tensor], tile: Tile) -> Tensor:
        assert self.content is not None
        name = self.terms.content_layer
        own = own_part(maps[name].detach(), tile.parts[name]).float()
        return own - own_part(self.content, tile.places[name])

    def _add_variation(self, image: Tensor, gradient: Tensor) -> float:
        if not self.terms.variation:
            return 0.0
        with torch.enable_grad():
            pixels = image.detach().requires_grad_()
            loss = self.terms.variation * total_variation(pixels)
            gradient += torch.autograd.grad(loss, pixels)[0]
        return float(loss.detach())


def map_of(network: FeatureNetwork, image: Tensor, tiles: Sequence[Tile], name: str) -> Tensor:
    """A layer's map of a whole picture (1, 3, H, W), float32, put together from those of its tiles."""
    height, width = (span[1] for span in tiles[-1].places[name])
    whole: Tensor | None = None
    with torch.no_grad():
        for tile in tiles:
            (top, bottom), (left, right) = tile.crop
            crop = image[..., top:bottom, left:right].contiguous(memory_format=torch.channels_last)
            own = own_part(network(crop)[name], tile.parts[name]).float()
            if whole is None:
                whole = own.new_empty(1, own.shape[1], height, width).contiguous(memory_format=torch.channels_last)
            own_part(whole, tile.places[name]).copy_(own)
    assert whole is not None, "a picture has at least one tile"
    return whole


def grams_of(
    network: FeatureNetwork, image: Tensor, tiles: Sequence[Tile], names: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Gram matrices of a picture (1, 3, H, W), divided by the numbers of positions, and mean sizes of activations."""
    grams: dict[str, Tensor] = {}
    sums = dict.fromkeys(names, 0.0)
    counts = dict.fromkeys(names, 0)
    with torch.no_grad():
        for tile in tiles:
            (top, bottom), (left, right) = tile.crop
            maps = network(image[..., top:bottom, left:right].contiguous(memory_format=torch.channels_last))
            for name in names:
                positions = to_positions(own_part(maps[name], tile.parts[name]))
                gram = exact_gram(positions)
                grams[name] = grams[name] + gram if name in grams else gram
                sums[name] += float(positions.abs().sum(dtype=torch.float64))
                counts[name] += len(positions)
    means = {name: sums[name] / (counts[name] * len(grams[name])) for name in names}
    return {name: gram / counts[name] for name, gram in grams.items()}, means


def own_part(maps: Tensor, region: Region) -> Tensor:
    """A view of rows and columns of maps (..., h, w)."""
    (top, bottom), (left, right) = region
    return maps[..., top:bottom, left:right]


def to_positions(maps: Tensor) -> Tensor:
    """(1, n_c, h, w) to float32 (h * w, n_c)."""
    return maps[0].movedim(0, -1).flatten(0, 1).float()


def from_positions(positions: Tensor, like: Tensor) -> Tensor:
    """(h * w, n_c) to (1, n_c, h, w)."""
    return positions.view(like.shape[2], like.shape[3], -1).movedim(-1, 0)[None]


def exact_gram(positions: Tensor) -> Tensor:
    """The Gram matrix of (n, n_c) in float32, whatever precision the network runs in."""
    return exact_product(positions.T, positions)


def exact_product(a: Tensor, b: Tensor) -> Tensor:
    """A matrix product in float32: autocast would round what is summed up over a whole picture."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b
