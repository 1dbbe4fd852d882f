"""Kinds of mistakes and what they cost: each kind by hand, and all together against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cvtl.data import BoxesTarget
from cvtl.evaluation.detection.coco import coco_figures
from cvtl.evaluation.detection.error_types import ERROR_TYPES, error_costs, error_sections, find_errors
from cvtl.evaluation.detection.outcome import Outcome, judge
from cvtl.evaluation.detection.tables import tabulate
from cvtl.evaluation.found import FoundBoxes

Box = tuple[float, float, float, float]
Rows = list[tuple[Box, int]]
CAT, DOG = 0, 1
THERE: Box = (0, 0, 10, 10)
NEAR: Box = (4, 0, 14, 10)  # IoU 0.43
FAR: Box = (100, 100, 110, 110)
ELSEWHERE: Box = (200, 200, 220, 220)


def outcome_of(found: Rows, there: Rows, crowd: list[bool] | None = None, iou: float = 0.5) -> Outcome:
    """One picture; detections best first, from 0.9 down."""
    scores = np.linspace(0.9, 0.5, len(found))
    answer = FoundBoxes(boxes_of(found), scores, labels_of(found))
    target = BoxesTarget(boxes_of(there), labels_of(there), np.array(crowd or [], bool))
    return judge(tabulate([answer], [target], ["cat", "dog"]), iou)


def boxes_of(rows: Rows) -> npt.NDArray[np.float64]:
    return np.array([box for box, _ in rows], np.float64).reshape(-1, 4)


def labels_of(rows: Rows) -> npt.NDArray[np.int64]:
    return np.array([label for _, label in rows], np.int64)


def counts_and_costs(outcome: Outcome) -> tuple[dict[str, int], dict[str, float]]:
    errors = find_errors(outcome)
    costs = error_costs(outcome, errors)[1].tolist()
    counts = zip(ERROR_TYPES, errors.counts().tolist(), strict=True)
    return {k: n for k, n in counts if n}, {k: c for k, c in zip(ERROR_TYPES, costs, strict=True) if c}


@pytest.mark.parametrize(
    ("found", "there", "counts", "costs"),
    [
        # What each costs: AP with 101 recall levels, the mean over the classes that are there.
        pytest.param([(FAR, DOG), (THERE, DOG)], [(FAR, DOG), (THERE, CAT)], {"class": 1}, {"class": 0.5}, id="class"),
        pytest.param(
            [(FAR, DOG), (NEAR, CAT)], [(FAR, DOG), (THERE, CAT)], {"location": 1}, {"location": 0.5}, id="location"
        ),
        pytest.param(
            [(NEAR, DOG), (FAR, DOG)],
            [(FAR, DOG), (THERE, CAT)],
            {"both": 1, "missed": 1},
            {"both": 0.25, "missed": 0.5},
            id="both",
        ),
        pytest.param(
            [(THERE, CAT), (THERE, CAT), (FAR, CAT)],
            [(THERE, CAT), (FAR, CAT)],
            {"duplicate": 1},
            {"duplicate": 1 - (51 + 50 * 2 / 3) / 101},
            id="duplicate",
        ),
        pytest.param(
            [(ELSEWHERE, CAT), (THERE, CAT)], [(THERE, CAT)], {"background": 1}, {"background": 0.5}, id="background"
        ),
        pytest.param([(THERE, CAT)], [(THERE, CAT), (FAR, CAT)], {"missed": 1}, {"missed": 1 - 51 / 101}, id="missed"),
    ],
)
def test_each_kind(found: Rows, there: Rows, counts: dict[str, int], costs: dict[str, float]) -> None:
    got_counts, got_costs = counts_and_costs(outcome_of(found, there))
    assert got_counts == counts
    assert got_costs == pytest.approx(costs, abs=1e-9)


def test_nothing_found_of_all_there_is_costs_everything() -> None:
    counts, costs = counts_and_costs(outcome_of([], [(THERE, CAT), (FAR, DOG)]))
    assert (counts, costs) == ({"missed": 2}, {"missed": 1})


def test_no_mistakes_cost_nothing() -> None:
    assert counts_and_costs(outcome_of([(THERE, CAT)], [(THERE, CAT)])) == ({}, {})


def test_of_two_detections_that_would_become_the_same_object_only_the_better_does() -> None:
    outcome = outcome_of([(THERE, DOG), (THERE, DOG)], [(THERE, CAT)])
    counts, costs = counts_and_costs(outcome)
    assert counts == {"class": 2}
    assert costs == pytest.approx({"class": 1})


def test_an_object_that_is_found_is_not_found_again_by_mending() -> None:
    counts, costs = counts_and_costs(outcome_of([(THERE, CAT), (THERE, DOG), (FAR, DOG)], [(THERE, CAT), (FAR, DOG)]))
    assert counts == {"class": 1}
    assert costs == pytest.approx({"class": 0.25})


def test_what_lies_in_a_crowd_is_no_mistake() -> None:
    outcome = outcome_of([(THERE, CAT), (NEAR, CAT)], [((-50, -50, 50, 50), CAT), (FAR, CAT)], [True, False])
    assert find_errors(outcome).counts().tolist() == [0, 0, 0, 0, 0, 1]


def test_without_objects_nothing_is_known_of_costs() -> None:
    outcome = outcome_of([(THERE, CAT)], [])
    assert find_errors(outcome).counts().tolist() == [0, 0, 0, 0, 1, 0]
    assert np.isnan(error_costs(outcome, find_errors(outcome))[1]).all()


def test_with_an_iou_below_that_of_background_nothing_is_badly_placed() -> None:
    outcome = outcome_of([(NEAR, DOG), ((9, 9, 19, 19), CAT)], [(THERE, CAT)], iou=0.05)
    assert find_errors(outcome).counts().tolist() == [1, 0, 0, 0, 1, 0]


def iou_of(box: Any, other: Any) -> float:
    width, height = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return float(width * height / (areas - width * height))


def kinds_slowly(outcome: Outcome) -> tuple[list[str | None], list[int]]:
    """The kind of each detection, and the object that mending would make of it."""
    found, true = outcome.tables.found, outcome.tables.true
    kinds: list[str | None] = []
    objects = []
    for i in range(len(found)):
        here = [j for j in range(len(true)) if true.pictures[j] == found.pictures[i] and not true.crowd[j]]
        ious = {j: iou_of(found.boxes[i], true.boxes[j]) for j in here}
        own = max((j for j in here if true.labels[j] == found.labels[i]), key=lambda j: ious[j], default=-1)
        other = max((j for j in here if true.labels[j] != found.labels[i]), key=lambda j: ious[j], default=-1)
        own_iou, other_iou = ious.get(own, 0.0), ious.get(other, 0.0)
        kind: str | None = "both"
        if not outcome.wrong[i]:
            kind = None
        elif 0.1 <= own_iou < outcome.iou:
            kind = "location"
        elif other_iou >= outcome.iou:
            kind = "class"
        elif own_iou >= outcome.iou:
            kind = "duplicate"
        elif max(own_iou, other_iou) < 0.1:
            kind = "background"
        kinds.append(kind)
        objects.append({"location": own, "class": other}.get(kind or "", -1))
    return kinds, objects


def ap_slowly(rows: list[tuple[int, bool]], totals: dict[int, int], shown: list[int]) -> float:
    """Mean AP of (label, right), best first."""
    aps = []
    for label in shown:
        right = [ok for said, ok in rows if said == label]
        if not totals[label]:
            aps.append(float(not right))
            continue
        points = [(sum(right[: n + 1]) / totals[label], sum(right[: n + 1]) / (n + 1)) for n in range(len(right))]
        best = [max([p for r, p in points if r >= level], default=0.0) for level in np.linspace(0, 1, 101)]
        aps.append(sum(best) / 101)
    return float(np.mean(aps))


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_costs_are_those_of_plain_loops(make_scene: Any, seed: int) -> None:
    outcome = judge(make_scene(seed, pictures=15).tables, 0.5)
    found, true = outcome.tables.found, outcome.tables.true
    kinds, objects = kinds_slowly(outcome)
    taken = set(outcome.true[outcome.right].tolist())
    missed = [j for j in range(len(true)) if not true.crowd[j] and j not in taken and j not in objects]
    errors = find_errors(outcome)
    assert dict(zip(ERROR_TYPES, errors.counts().tolist(), strict=True)) == {
        kind: len(missed) if kind == "missed" else kinds.count(kind) for kind in ERROR_TYPES
    }

    totals = {k: int((true.labels[~true.crowd] == k).sum()) for k in range(3)}
    shown = [k for k in totals if totals[k]]
    counted = [i for i in range(len(found)) if outcome.right[i] or outcome.wrong[i]]
    ap = ap_slowly([(found.labels[i], bool(outcome.right[i])) for i in counted], totals, shown)
    expected = []
    for kind in ERROR_TYPES[:-1]:
        rows, gone = [], set(taken)
        for i in counted:
            if kinds[i] != kind:
                rows.append((found.labels[i], bool(outcome.right[i])))
            elif objects[i] >= 0 and objects[i] not in gone:
                gone.add(objects[i])
                rows.append((true.labels[objects[i]], True))
        expected.append(ap_slowly(rows, totals, shown) - ap)
    rows = [(found.labels[i], bool(outcome.right[i])) for i in counted]
    left = {k: totals[k] - sum(true.labels[j] == k for j in missed) for k in totals}
    expected.append(ap_slowly(rows, left, shown) - ap)

    got_ap, costs = error_costs(outcome, errors)
    assert got_ap == pytest.approx(ap)
    assert costs == pytest.approx(np.array(expected), abs=1e-9)
    assert set(kinds) >= {None, *ERROR_TYPES[:-1]} or seed


def test_the_ap_they_are_measured_against_is_cocos(make_scene: Any) -> None:
    scene = make_scene(1)
    outcome = judge(scene.tables.best(), 0.5)
    ap, _ = error_costs(outcome, find_errors(outcome))
    assert ap == pytest.approx(coco_figures(scene.tables.best()).figures[1])


def test_bars_and_table_say_the_same(make_scene: Any) -> None:
    outcome = judge(make_scene(1).tables, 0.5)
    bars, table = error_sections(outcome, find_errors(outcome))
    assert {row[0]: row[2] for row in table.rows} == bars.values  # type: ignore[union-attr]
    assert list(bars.values) == list(ERROR_TYPES)  # type: ignore[union-attr]
