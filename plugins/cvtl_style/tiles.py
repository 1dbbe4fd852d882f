"""Tiles of a picture, each with the halo that makes its maps equal the whole picture's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cvtl.errors import UsageError
from cvtl.inspection.receptive_field import Axis, Field

# More would be mostly halo.
_MOST_TILES = 256

Span = tuple[int, int]
Region = tuple[Span, Span]


@dataclass(frozen=True)
class Tile:
    """A part of a picture.

    Attributes:
        crop: rows and columns of the picture that go through the network.
        parts: for each layer, rows and columns of its map of the crop that are this tile's own; those of all tiles
            make up the layer's map of the whole picture.
        places: for each layer, where these lie in that map.
    """

    crop: Region
    parts: Mapping[str, Region]
    places: Mapping[str, Region]


def tile(
    image_hw: tuple[int, int],
    fields: Mapping[str, Field],
    map_sizes: Mapping[str, tuple[int, int]],
    most_pixels: int | None,
) -> list[Tile]:
    """Cut a picture into tiles whose crops have no more pixels than a budget; one tile where the whole does.

    A crop ends at the picture's border or so far beyond the tile that what its layers pad with zeros is not seen.

    Args:
        image_hw: of the picture.
        fields: for each layer, what a position of its map sees.
        map_sizes: for each layer, height and width of its map of the whole picture.
        most_pixels: of a crop; None for as many as there are.

    Raises:
        UsageError: the budget is too small for any tile, or the network looks at pictures as a whole.

    Example:
        >>> axes = Axis(-2, 2, -1, 2), Axis(-1, 2, -1, 2)
        >>> tiles = tile((8, 6), {"conv": axes}, {"conv": (4, 3)}, most_pixels=36)
        >>> [each.crop for each in tiles]
        [((0, 6), (0, 6)), ((2, 8), (0, 6))]
        >>> [each.parts["conv"] for each in tiles]
        [((0, 2), (0, 3)), ((1, 3), (0, 3))]
    """
    height, width = image_hw
    if most_pixels is None or height * width <= most_pixels:
        whole = {name: ((0, h), (0, w)) for name, (h, w) in map_sizes.items()}
        return [Tile(((0, height), (0, width)), whole, whole)]
    for rows, columns in _grids(image_hw, _step(fields)):
        ys, xs = (
            _spans(size, count, number, fields, map_sizes)
            for number, (size, count) in enumerate(((height, rows), (width, columns)))
        )
        if max(map(_length, ys)) * max(map(_length, xs)) <= most_pixels:
            return [_tile(y, x, map_sizes) for y in ys for x in xs]
    raise UsageError(
        f"a picture of {width} x {height} pixels does not fit into --max-memory, however small its tiles are",
        hint="Give it more memory, take a smaller --size, or --layers that are less deep",
    )


@dataclass(frozen=True)
class _Strip:
    """A tile along one axis: its crop, and its own positions of each layer in the whole map."""

    crop: Span
    own: Mapping[str, Span]
    jumps: Mapping[str, int]


def _step(fields: Mapping[str, Field]) -> int:
    """Tiles begin at multiples of this, so that every layer's windows fall as they do in the whole picture."""
    if any(math.isinf(axis.size) for field in fields.values() for axis in field):
        raise UsageError(
            "the picture does not fit into --max-memory, and this backbone can only look at it as a whole",
            hint="Give it more memory, a smaller --size, or take a backbone like vgg19",
        )
    return math.lcm(*(axis.jump for field in fields.values() for axis in field))


def _grids(image_hw: tuple[int, int], step: int) -> list[tuple[int, int]]:
    """Numbers of rows and columns of tiles, the fewest tiles first and of these the squarest."""
    most = [max(1, size // step) for size in image_hw]
    grids = [
        (rows, columns)
        for rows in range(1, min(most[0], _MOST_TILES) + 1)
        for columns in range(1, min(most[1], _MOST_TILES // rows) + 1)
    ]

    def lengthiness(grid: tuple[int, int]) -> float:
        return abs(math.log(image_hw[0] * grid[1] / (image_hw[1] * grid[0])))

    return sorted(grids, key=lambda grid: (grid[0] * grid[1], lengthiness(grid)))


def _spans(
    size: int,
    count: int,
    number: int,
    fields: Mapping[str, Field],
    map_sizes: Mapping[str, tuple[int, int]],
) -> list[_Strip]:
    """Divide one axis into strips of about equal size that begin at multiples of the step."""
    step = _step(fields)
    axes = {name: field[number] for name, field in fields.items()}
    inner = sorted({round(size * part / count / step) * step for part in range(1, count)})
    bounds = [0, *(bound for bound in inner if 0 < bound < size), size]
    strips = []
    for begin, end in pairwise(bounds):
        own = {}
        for name, axis in axes.items():
            # Without padding a map ends before the picture does.
            most = map_sizes[name][number]
            own[name] = min(begin // axis.jump, most), most if end == size else min(end // axis.jump, most)
        if all(first == last for first, last in own.values()):
            continue
        low, high = _seen(axes, own)
        crop = max(0, low // step * step), min(size, -(-high // step) * step)
        strips.append(_Strip(crop, own, {name: axis.jump for name, axis in axes.items()}))
    return strips


def _seen(axes: Mapping[str, Axis], own: Mapping[str, Span]) -> Span:
    """The pixels that some positions of all layers see."""
    ends = [
        (own[name][0] * axis.jump + int(axis.low), (own[name][1] - 1) * axis.jump + int(axis.high) + 1)
        for name, axis in axes.items()
        if own[name][0] < own[name][1]
    ]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _tile(y: _Strip, x: _Strip, names: Sequence[str] | Mapping[str, object]) -> Tile:
    places = {name: (y.own[name], x.own[name]) for name in names}
    return Tile((y.crop, x.crop), {name: (_inside(y, name), _inside(x, name)) for name in names}, places)


def _inside(strip: _Strip, name: str) -> Span:
    begin, end = strip.own[name]
    before = strip.crop[0] // strip.jumps[name]
    return begin - before, end - before


def _length(strip: _Strip) -> int:
    return strip.crop[1] - strip.crop[0]
