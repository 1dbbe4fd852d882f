"""Tables of boxes, their overlaps, and who is taken for what, against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvtl.evaluation.detection import matching
from cvtl.evaluation.detection.matching import COCO_IOUS, match, overlapping
from cvtl.evaluation.detection.tables import BoxTables, ranks_within, tabulate


def iou_of(box: Any, other: Any, crowd: bool) -> float:
    width, height = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    area, other_area = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return float(width * height / (area if crowd else area + other_area - width * height))


def pairs_slowly(tables: BoxTables, least: float, across_classes: bool) -> dict[tuple[int, int], float]:
    found, true = tables.found, tables.true
    overlaps = {
        (i, j): iou_of(found.boxes[i], true.boxes[j], true.crowd[j])
        for i in range(len(found))
        for j in range(len(true))
        if found.pictures[i] == true.pictures[j] and (across_classes or found.labels[i] == true.labels[j])
    }
    return {pair: iou for pair, iou in overlaps.items() if iou >= least}


@pytest.mark.parametrize("across_classes", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_overlaps_are_those_of_a_plain_loop(
    make_scene: Any, monkeypatch: pytest.MonkeyPatch, across_classes: bool, chunk: int
) -> None:
    monkeypatch.setattr(matching, "_CHUNK", chunk)
    tables = make_scene(0).tables
    pairs = overlapping(tables.found, tables.true, 0.3, across_classes=across_classes)
    expected = pairs_slowly(tables, 0.3, across_classes)
    assert list(zip(pairs.found.tolist(), pairs.true.tolist(), strict=True)) == sorted(expected)
    assert pairs.ious == pytest.approx([expected[pair] for pair in sorted(expected)])


@pytest.mark.parametrize("found", [False, True])
def test_without_objects_or_detections_nothing_overlaps(make_scene: Any, found: bool) -> None:
    tables = make_scene(0).tables
    none = np.zeros(0, np.int64)
    sides = (tables.found.select(none), tables.true) if found else (tables.found, tables.true.select(none))
    pairs = overlapping(*sides, 0.5)
    assert len(pairs.found) == len(pairs.true) == len(pairs.ious) == 0
    assert match(*sides, pairs, COCO_IOUS).true.shape == (10, len(sides[0]))


def test_large_coordinates_do_not_overflow() -> None:
    from cvtl.data import BoxesTarget
    from cvtl.evaluation.found import FoundBoxes

    box = np.array([[0, 0, 50_000, 50_000]], np.int32)
    tables = tabulate([FoundBoxes(box, np.ones(1), np.zeros(1, int))], [BoxesTarget(box, np.zeros(1, int))], ["sky"])  # type: ignore[arg-type]
    assert overlapping(tables.found, tables.true, 0.5).ious == pytest.approx([1.0])


def match_slowly(tables: BoxTables, iou: float) -> tuple[list[int], list[bool]]:
    """COCO's greedy matching at one threshold; table rows are in the order of their scores already."""
    found, true = tables.found, tables.true
    taken: set[int] = set()
    chosen, ignored = [], []
    for i in range(len(found)):
        best, place = iou, -1
        here = np.flatnonzero((true.pictures == found.pictures[i]) & (true.labels == found.labels[i]))
        for j in [*here[~true.crowd[here]], *here[true.crowd[here]]]:
            if j in taken and not true.crowd[j]:
                continue
            if place >= 0 and not true.crowd[place] and true.crowd[j]:
                break
            overlap = iou_of(found.boxes[i], true.boxes[j], true.crowd[j])
            if overlap >= best:
                best, place = overlap, int(j)
        chosen.append(place)
        ignored.append(place >= 0 and bool(true.crowd[place]))
        taken.add(place)
    return chosen, ignored


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [0, 5])
def test_matches_are_those_of_a_plain_loop_at_all_thresholds(make_scene: Any, seed: int, step: int) -> None:
    tables = make_scene(seed, step=step).tables
    pairs = overlapping(tables.found, tables.true, 0.3)
    thresholds = [0.3, 0.5, 0.62, 0.9]
    matches = match(tables.found, tables.true, pairs, thresholds)
    for t, iou in enumerate(thresholds):
        chosen, ignored = match_slowly(tables, iou)
        assert matches.true[t].tolist() == chosen
        assert matches.ignored[t].tolist() == ignored


def test_no_object_but_a_crowd_is_taken_twice(make_scene: Any) -> None:
    tables = make_scene(5, most=20).tables
    matches = match(tables.found, tables.true, overlapping(tables.found, tables.true, 0.5), COCO_IOUS)
    for taken in matches.true:
        objects = taken[(taken >= 0) & ~tables.true.crowd[taken]]
        assert len(objects) == len(set(objects.tolist()))
    assert matches.right.any()
    assert not (matches.right & matches.wrong).any()
    assert np.array_equal(matches.right | matches.wrong, ~matches.ignored)


def test_tables_are_sorted_by_score_and_keep_the_order_of_ties(make_scene: Any) -> None:
    scene = make_scene(0)
    rows = [
        (-score, i, n)
        for i, answer in enumerate(scene.found)
        for n, score in enumerate(answer.scores)
    ]  # fmt: skip
    expected = [scene.found[i].boxes[n].tolist() for _, i, n in sorted(rows)]
    assert scene.tables.found.boxes.tolist() == expected


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_best_of_each_picture_and_class_are_kept(make_scene: Any, count: int) -> None:
    tables = make_scene(0).tables
    kept = tables.best(count).found
    groups = list(zip(kept.pictures.tolist(), kept.labels.tolist(), strict=True))
    everything = list(zip(tables.found.pictures.tolist(), tables.found.labels.tolist(), strict=True))
    assert {group: groups.count(group) for group in set(groups)} == {
        group: min(count, everything.count(group)) for group in set(everything) if count
    }


def test_ranks_of_nothing_are_nothing() -> None:
    assert len(ranks_within(np.zeros(0, np.int64))) == 0


def test_tables_of_no_pictures_are_empty() -> None:
    tables = tabulate([], [], [])
    assert len(tables.found) == len(tables.true) == tables.pictures == 0
    assert tables.found.boxes.shape == tables.true.boxes.shape == (0, 4)


def test_as_many_answers_as_targets_are_needed(make_scene: Any) -> None:
    scene = make_scene(0)
    with pytest.raises(ValueError, match="zip"):
        tabulate(scene.found[:-1], scene.targets, scene.classes)
