"""Boxes that a detector found in overlapping tiles of a picture, made one where they are of one object.

At a seam an object is in two tiles, whole in one and cut off in the other, or cut off in both if it is larger than the
overlap. The IoU of such boxes says little. But both tiles have seen the part in which they overlap, and of that part
they say the same: boxes are of one object if, cut to what both tiles show, they agree. That holds for objects of any
size, for chains of tiles, and for a tile that is the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from cvtl import boxes as box_ops

AGREEMENT = 0.5
"""IoU, of the parts that both tiles show, from which boxes are of one object."""

# A pair of which neither shows at least this part of itself to the other's tile has nothing to agree about, unless the
# tiles cut both off.
_LEAST_SHOWN = 0.1
# A box that ends nearer to the end of its tile than this part of the tile's side may go on beyond it.
_CUT_MARGIN = 0.02
# A box cut off by its tile, so much of which lies in a better one, is a piece of that one.
_COVERED = 0.8

Pair = tuple[int, int]
Box = Sequence[float]


def merge_tiles(
    boxes: Tensor, scores: Tensor, labels: Tensor, origins: Tensor, tiles: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Make one box of those that are of one object.

    From the best score down, each box joins those of its class in other tiles that agree with it in what both tiles
    show, those that agree best first; but never are two boxes of one tile joined, which the detector held for two
    objects. Each side of a joined box is that of the
    best-scored one that is not cut off there. Cut-off boxes that were not joined go, if they agree with or lie in a
    better one of another tile.

    Args:
        boxes: float (N, 4), xyxy in pixels of the picture.
        scores: (N,).
        labels: int64 (N,).
        origins: int64 (N,), the number of the tile that each was found in.
        tiles: int64 (T, 4), xyxy, together the picture; one may be all of it.

    Returns:
        Boxes (K, 4), scores (K,), of joined ones the best, and labels (K,), best first.

    Example:
        >>> tiles = torch.tensor([[0, 0, 100, 100], [80, 0, 180, 100]])
        >>> halves = torch.tensor([[30.0, 20, 100, 40], [80, 21, 130, 40]])
        >>> merge_tiles(halves, torch.tensor([0.9, 0.8]), torch.tensor([0, 0]), torch.tensor([0, 1]), tiles)
        (tensor([[ 30.,  20., 130.,  40.]]), tensor([0.9000]), tensor([0]))
    """
    best_first = scores.argsort(descending=True, stable=True)
    boxes, scores, labels, origins = (each[best_first] for each in (boxes, scores, labels, origins))
    cut = cut_sides(boxes, origins, tiles)
    is_cut = cut.any(dim=1)
    agreeing, covered = _relations(boxes, labels, origins, tiles, is_cut)
    groups = _joined(agreeing, origins.tolist())
    pieces = {worse for _, worse in agreeing + covered if is_cut[worse]}
    kept = [group for group in groups if len(group) > 1 or group[0] not in pieces]
    best = torch.tensor([group[0] for group in kept], dtype=torch.int64)
    merged = boxes[best]
    for place, group in enumerate(kept):
        if len(group) > 1:
            merged[place] = boxes.new_tensor(_put_together(boxes[group].tolist(), cut[group].tolist()))
    return merged, scores[best], labels[best]


def cut_sides(boxes: Tensor, origins: Tensor, tiles: Tensor) -> Tensor:
    """Which sides of boxes (N, 4) lie at the end of their tile, but not of the picture: bool (N, 4), as in xyxy.

    Example:
        >>> tiles = torch.tensor([[0, 0, 100, 100], [80, 0, 180, 100]])
        >>> cut_sides(torch.tensor([[0.0, 20, 99, 100]]), torch.tensor([0]), tiles).tolist()
        [[False, False, True, False]]
    """
    own = tiles[origins]
    picture = torch.cat([tiles[:, :2].amin(dim=0), tiles[:, 2:].amax(dim=0)])
    sides = own[:, 2:] - own[:, :2]
    inwards = (boxes - own).abs() <= _CUT_MARGIN * sides.repeat(1, 2)
    return inwards & (own != picture)


def _relations(
    boxes: Tensor, labels: Tensor, origins: Tensor, tiles: Tensor, is_cut: Tensor
) -> tuple[list[Pair], list[Pair]]:
    """Pairs of boxes of one class in different tiles, the better box first.

    Returns:
        Those that agree, of the best worse box first, of one box those that agree best; and those whose worse box is
        cut off and lies in the other.
    """
    pairs, overlaps, covered = [], [], []
    for first, second, shared in _overlapping(boxes, origins, tiles):
        shown = [boxes[each].clamp(shared[[0, 1, 0, 1]], shared[[2, 3, 2, 3]]) for each in (first, second)]
        parts = [
            box_ops.area(part) / box_ops.area(boxes[each]).clamp(min=1e-9)
            for part, each in zip(shown, (first, second), strict=True)
        ]
        same = labels[first][:, None] == labels[second][None]
        overlap = box_ops.iou(*shown)
        both_cut = is_cut[first][:, None] & is_cut[second][None]
        known = both_cut | (torch.maximum(parts[0][:, None], parts[1][None]) >= _LEAST_SHOWN)
        found = (same & known & (overlap >= AGREEMENT)).nonzero()
        pairs.append(torch.stack([first[found[:, 0]], second[found[:, 1]]], dim=1))
        overlaps.append(overlap[found[:, 0], found[:, 1]])
        for whole, piece, alike in ((first, second, same), (second, first, same.T)):
            inside = box_ops.intersection(boxes[whole], boxes[piece]) >= _COVERED * box_ops.area(boxes[piece])
            better = whole[:, None] < piece[None]
            at = (alike & inside & better & is_cut[piece]).nonzero()
            covered.append(torch.stack([whole[at[:, 0]], piece[at[:, 1]]], dim=1))
    if not pairs:
        return [], []
    best_agreement = torch.cat(overlaps).argsort(descending=True, stable=True)
    agreeing = torch.cat(pairs).sort(dim=1).values[best_agreement]
    return _as_pairs(agreeing[agreeing[:, 1].argsort(stable=True)]), _as_pairs(torch.cat(covered))


def _overlapping(boxes: Tensor, origins: Tensor, tiles: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each two tiles that overlap: which boxes of each reach into what both show, and what that is, xyxy."""
    members = torch.split(origins.argsort(stable=True), torch.bincount(origins, minlength=len(tiles)).tolist())
    shared = torch.cat(
        [torch.maximum(tiles[:, None, :2], tiles[None, :, :2]), torch.minimum(tiles[:, None, 2:], tiles[None, :, 2:])],
        dim=2,
    )
    overlapping = (shared[..., 2:] > shared[..., :2]).all(dim=2).triu(diagonal=1)
    for first, second in overlapping.nonzero().tolist():
        zone = shared[first, second]
        reaching = [_reaching(members[each], boxes, zone) for each in (first, second)]
        if all(map(len, reaching)):
            yield reaching[0], reaching[1], zone


def _reaching(members: Tensor, boxes: Tensor, zone: Tensor) -> Tensor:
    own = boxes[members]
    return members[((own[:, :2] < zone[2:]) & (own[:, 2:] > zone[:2])).all(dim=1)]


def _joined(pairs: Iterable[Pair], origins: Sequence[int]) -> list[list[int]]:
    """Groups of boxes: of each pair in turn both groups become one, unless both have a box of the same tile."""
    home = list(range(len(origins)))
    groups = [[each] for each in home]
    for better, worse in pairs:
        into, gone = sorted((home[better], home[worse]))
        tiles = {origins[each] for each in groups[into]}
        if into == gone or any(origins[each] in tiles for each in groups[gone]):
            continue
        for each in groups[gone]:
            home[each] = into
        groups[into] += groups[gone]
        groups[gone] = []
    return [sorted(group) for group in groups if group]


def _put_together(boxes: Sequence[Box], cut: Sequence[Sequence[bool]]) -> list[float]:
    """One box of several, best first: each side from the first that is not cut off there."""
    furthest = [min, min, max, max]
    sides = [
        next((box[side] for box, ends in zip(boxes, cut, strict=True) if not ends[side]), None) for side in range(4)
    ]
    hull = [choose(box[side] for box in boxes) for side, choose in enumerate(furthest)]
    put = [edge if side is None else side for side, edge in zip(sides, hull, strict=True)]
    return put if put[0] < put[2] and put[1] < put[3] else hull


def _as_pairs(pairs: Tensor) -> list[Pair]:
    return [(better, worse) for better, worse in pairs.tolist()]
