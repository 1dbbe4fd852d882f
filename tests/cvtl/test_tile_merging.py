"""Boxes of one object that were found in several tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cvtl.tile_merging import cut_sides, merge_tiles
from cvtl.tiling import tiles_of

PAIR = torch.tensor([[0, 0, 100, 100], [80, 0, 180, 100]])
Boxes = Sequence[Sequence[float]]


def merged(
    boxes: Boxes, scores: Sequence[float], origins: Sequence[int], tiles: Tensor = PAIR, labels: Sequence[int] = ()
) -> tuple[list[list[float]], list[float], list[int]]:
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    of_class = torch.tensor(labels or [0] * len(boxes), dtype=torch.int64)
    answer = merge_tiles(found, torch.tensor(scores), of_class, torch.tensor(origins, dtype=torch.int64), tiles)
    return answer[0].tolist(), [round(score, 3) for score in answer[1].tolist()], answer[2].tolist()


def seen(objects: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a detector finds that sees in each tile all that is to be seen there; the larger, the surer."""
    boxes, scores, labels, origins = [], [], [], []
    for number, (left, top, right, bottom) in enumerate(tiles.tolist()):
        for label, each in enumerate(objects):
            part = each.clone()
            part[0::2].clamp_(left, right)
            part[1::2].clamp_(top, bottom)
            if part[2] > part[0] and part[3] > part[1]:
                boxes.append(part)
                scores.append(float((part[2] - part[0]) * (part[3] - part[1])) / 1e6)
                labels.append(label % 2)
                origins.append(number)
    return torch.stack(boxes), torch.tensor(scores), torch.tensor(labels), torch.tensor(origins)


def test_an_object_that_both_tiles_show_whole_is_one_with_the_better_score_and_box() -> None:
    assert merged([[82, 10, 96, 30], [82, 11, 97, 30]], [0.6, 0.8], [0, 1]) == ([[82, 11, 97, 30]], [0.8], [0])


def test_an_object_cut_off_in_both_tiles_has_the_outer_sides_of_both() -> None:
    for scores in ([0.9, 0.5], [0.5, 0.9]):
        boxes, (score,), _ = merged([[70, 10, 100, 40], [80, 10, 120, 40]], scores, [0, 1])
        assert (boxes, score) == ([[70, 10, 120, 40]], 0.9)


def test_an_object_that_is_whole_in_one_tile_keeps_its_sides_though_the_piece_scores_more() -> None:
    assert merged([[50, 10, 95, 40], [80, 12, 95, 40]], [0.5, 0.9], [0, 1])[0] == [[50, 12, 95, 40]]


def test_an_object_larger_than_the_overlap_is_put_together() -> None:
    assert merged([[10, 10, 100, 90], [80, 12, 170, 88]], [0.9, 0.8], [0, 1]) == ([[10, 10, 170, 90]], [0.9], [0])


def test_an_object_over_a_chain_of_tiles_is_one() -> None:
    tiles = tiles_of((100, 420), 100, 0.2)
    assert len(tiles) == 5
    found = seen(torch.tensor([[20.0, 30, 400, 70]]), tiles)
    boxes, _, _ = merge_tiles(*found, tiles)
    assert boxes.tolist() == [[20, 30, 400, 70]]


def test_an_object_where_four_tiles_meet_is_one() -> None:
    tiles = tiles_of((180, 180), 100, 0.2)
    boxes, _, _ = merge_tiles(*seen(torch.tensor([[50.0, 60, 130, 120]]), tiles), tiles)
    assert boxes.tolist() == [[50, 60, 130, 120]]


def test_neighbours_at_a_seam_stay_two() -> None:
    boxes = [[60, 10, 90, 40], [80, 10, 90, 40], [90, 10, 100, 40], [90, 10, 120, 40]]
    assert merged(boxes, [0.9, 0.8, 0.7, 0.95], [0, 1, 0, 1])[0] == [[90, 10, 120, 40], [60, 10, 90, 40]]


def test_objects_of_two_classes_in_one_place_stay_two() -> None:
    answer = merged([[82, 10, 96, 30], [82, 10, 96, 30]], [0.6, 0.8], [0, 1], labels=[0, 1])
    assert answer == ([[82, 10, 96, 30], [82, 10, 96, 30]], [0.8, 0.6], [1, 0])


def test_two_boxes_of_one_tile_are_never_made_one() -> None:
    boxes = [[82, 10, 98, 30], [82, 10, 98, 29], [82, 10, 98, 28]]
    assert merged(boxes, [0.9, 0.8, 0.7], [0, 0, 1])[1] == [0.9, 0.8]


def test_a_large_object_found_in_the_whole_picture_is_not_found_again_in_tiles() -> None:
    tiles = torch.cat([torch.tensor([[0, 0, 260, 100]]), tiles_of((100, 260), 100, 0.2)])
    boxes, scores, labels, origins = seen(torch.tensor([[5.0, 5, 255, 95]]), tiles)
    assert len(boxes) == 4
    assert merge_tiles(boxes, scores, labels, origins, tiles)[0].tolist() == [[5, 5, 255, 95]]


def test_a_piece_that_lies_in_a_better_object_goes() -> None:
    """A cut-off part is often drawn badly: here twice too low for it to agree."""
    assert merged([[50, 10, 95, 90], [80, 50, 95, 88]], [0.9, 0.4], [0, 1])[0] == [[50, 10, 95, 90]]


def test_a_whole_object_inside_another_stays() -> None:
    assert len(merged([[50, 10, 95, 90], [84, 50, 94, 88]], [0.9, 0.4], [0, 1])[0]) == 2


def test_nothing_found_is_nothing() -> None:
    assert merged([], [], []) == ([], [], [])


def test_inputs_are_left_as_they_are() -> None:
    given_ = seen(torch.tensor([[10.0, 10, 170, 90]]), PAIR)
    before = [each.clone() for each in given_]
    merge_tiles(*given_, PAIR)
    assert all(torch.equal(one, other) for one, other in zip(given_, before, strict=True))


def test_sides_at_the_edge_of_the_picture_are_not_cut_off() -> None:
    boxes = torch.tensor([[0.0, 0, 100, 100], [80, 0, 180, 100]])
    assert cut_sides(boxes, torch.tensor([0, 1]), PAIR).tolist() == [
        [False, False, True, False],
        [True, False, False, False],
    ]


@given(st.integers(0, 2**32 - 1), st.integers(60, 200), st.sampled_from([0.1, 0.2, 0.5]), st.booleans())
@settings(deadline=None, max_examples=60)
def test_what_is_seen_perfectly_in_tiles_is_found_perfectly_in_the_picture(
    seed: int, side: int, overlap: float, whole: bool
) -> None:
    """Whatever the sizes of objects and tiles: no object is lost, doubled or cut."""
    random = np.random.default_rng(seed)
    height, width = (int(each) for each in random.integers(50, 500, 2))
    tiles = tiles_of((height, width), side, overlap)
    if whole:
        tiles = torch.cat([torch.tensor([[0, 0, width, height]]), tiles])
    objects = apart(random, height, width)
    boxes, _, labels = merge_tiles(*seen(objects, tiles), tiles)
    assert sorted(boxes.tolist()) == sorted(objects.tolist())
    at = {tuple(box): label for box, label in zip(boxes.tolist(), labels.tolist(), strict=True)}
    assert [at[tuple(each)] for each in objects.tolist()] == [number % 2 for number in range(len(objects))]


def apart(random: np.random.Generator, height: int, width: int) -> Tensor:
    """Boxes of any sizes that do not touch."""
    kept: list[list[int]] = []
    for _ in range(12):
        xs, ys = (np.sort(random.choice(length + 1, 2, replace=False)) for length in (width, height))
        box = [int(xs[0]), int(ys[0]), int(xs[1]), int(ys[1])]
        if all(box[0] > o[2] or o[0] > box[2] or box[1] > o[3] or o[1] > box[3] for o in kept):
            kept.append(box)
    return torch.tensor(kept, dtype=torch.float32)


@pytest.mark.parametrize("count", [0, 3000])
def test_boxes_far_from_all_seams_are_left_as_they_are(count: int) -> None:
    tiles = tiles_of((2000, 2000), 200, 0.1)
    random = np.random.default_rng(0)
    origins = torch.from_numpy(random.integers(0, len(tiles), count))
    corners = tiles[origins][:, :2] + torch.from_numpy(random.integers(40, 120, (count, 2)))
    boxes = torch.cat([corners, corners + 30], dim=1).float()
    scores = torch.from_numpy(random.permutation(count) / max(count, 1))
    labels = torch.zeros(count, dtype=torch.int64)
    merged_boxes, merged_scores, _ = merge_tiles(boxes, scores, labels, origins, tiles)
    order = scores.argsort(descending=True)
    assert torch.equal(merged_boxes, boxes[order])
    assert torch.equal(merged_scores, scores[order])
