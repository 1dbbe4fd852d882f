"""Thresholds, confusion and what each class comes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtl.data import BoxesTarget
from cvtl.evaluation.classes import LARGEST_MATRIX
from cvtl.evaluation.detection.classes import class_table, f1_curves, precision_recall_curves
from cvtl.evaluation.detection.coco import coco_figures
from cvtl.evaluation.detection.confusion import confusion_matrix
from cvtl.evaluation.detection.outcome import judge, score_curve
from cvtl.evaluation.detection.tables import tabulate
from cvtl.evaluation.found import FoundBoxes


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=30), st.integers(0, 10))
def test_the_best_threshold_is_that_of_trying_all(rows: list[tuple[int, bool]], more: int) -> None:
    rows.sort(key=lambda row: -row[0])
    scores, right = np.array([s / 6 for s, _ in rows], np.float64), np.array([r for _, r in rows], bool)
    total = int(right.sum()) + more
    curve = score_curve(scores, right, total)

    def f1(threshold: float) -> float:
        kept = scores >= threshold
        return 2 * float(right[kept].sum()) / max(1, int(kept.sum()) + total)

    if not right.any():
        assert curve.best_threshold() is None
    else:
        best = max(map(f1, scores))
        assert curve.best_threshold() == max(s for s in scores if f1(s) == best)
    tried = np.array([0, 0.1, 1 / 6, 0.5, 1, 2])
    assert curve.f1_at(tried) == pytest.approx([f1(threshold) for threshold in tried])


@pytest.mark.parametrize("seed", range(4))
def test_the_class_table_is_that_of_counting(make_scene: Any, seed: int) -> None:
    tables = make_scene(seed).tables.best()
    outcome = judge(tables, 0.5)
    coco = coco_figures(tables)
    table = class_table(outcome, coco)
    rows: dict[Any, dict[str, Any]] = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    for k, name in enumerate(tables.classes):
        row = rows[name]
        there = (tables.true.labels == k) & ~tables.true.crowd
        believed = (tables.found.labels == k) & (tables.found.scores >= row["threshold"])
        assert row["TP"] == (believed & outcome.right).sum()
        assert row["FP"] == (believed & outcome.wrong).sum()
        assert row["TP"] + row["FN"] == row["objects"] == there.sum()
        assert row["pictures"] == len(set(tables.true.pictures[there].tolist()))
        assert row["precision"] == pytest.approx(row["TP"] / (row["TP"] + row["FP"]))
        assert row["recall"] == pytest.approx(row["TP"] / row["objects"])
        assert row["F1"] == pytest.approx(outcome.curves[k].f1.max())
        assert (row["AP"], row["AP50"]) == (coco.ap[k], coco.ap50[k])
    for column in ("objects", "TP", "FP", "FN"):
        assert rows["(all)"][column] == sum(rows[name][column] for name in tables.classes)


def test_a_class_of_which_nothing_is_found_has_the_threshold_of_all() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    found = FoundBoxes(np.vstack([box, box + 50, box]), np.array([0.8, 0.7, 0.9]), np.array([0, 1, 2]))
    outcome = judge(
        tabulate([found], [BoxesTarget(np.vstack([box, box]), np.array([0, 1]))], ["cat", "dog", "eel"]), 0.5
    )
    assert outcome.thresholds.tolist() == [0.8, 0.8, 0.8]
    assert outcome.believed.tolist() == [True, True, False]
    table = class_table(outcome, coco_figures(outcome.tables))
    eel = dict(zip(table.columns, table.rows[3], strict=True))
    assert (eel["FP"], eel["precision"], eel["recall"], eel["F1"]) == (1, 0, None, None)


@pytest.mark.parametrize("what", ["nothing", "nothing found", "nothing there"])
def test_degenerate_input_gives_empty_sections(make_scene: Any, what: str) -> None:
    scene = make_scene(0)
    if what != "nothing there":
        scene.found[:] = [FoundBoxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))] * 30
    if what != "nothing found":
        scene.targets[:] = [BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))] * 30
    outcome = judge(scene.tables, 0.5)
    assert outcome.thresholds.tolist() == [0.5] * 3
    assert len(class_table(outcome, coco_figures(scene.tables)).rows) == (1 if what == "nothing" else 4)
    counts = confusion_matrix(outcome).values
    assert counts[:, :-1].sum() == outcome.believed.sum()
    assert counts[:, -1].sum() == outcome.missed.sum()
    lines = precision_recall_curves(outcome).lines
    assert all((y == 0).all() for _, y in lines.values())
    assert bool(lines) == (what == "nothing found")
    assert f1_curves(outcome).lines.keys() == ({"(all together)", *scene.classes} if lines else set())


def test_the_mean_under_the_precision_curves_is_ap50(make_scene: Any) -> None:
    scene = make_scene(2, ties=False)
    coco = coco_figures(scene.tables.best())
    lines = precision_recall_curves(judge(scene.tables.best(), 0.5)).lines
    assert lines["(mean of classes)"][1].mean() == pytest.approx(coco.figures[1])
    for name, ap50 in zip(scene.classes, coco.ap50, strict=True):
        assert lines[name][1].mean() == pytest.approx(ap50)


def test_of_many_classes_those_with_the_most_objects_are_drawn(make_scene: Any) -> None:
    outcome = judge(make_scene(0, classes=25, pictures=60).tables, 0.5)
    curves = precision_recall_curves(outcome)
    assert len(curves.lines) == len(f1_curves(outcome).lines) == 8
    assert "the 7 with the most objects" in curves.note
    drawn = [
        curve.total for name, curve in zip(outcome.tables.classes, outcome.curves, strict=True) if name in curves.lines
    ]
    assert sorted(drawn) == sorted(curve.total for curve in outcome.curves)[-7:]


def test_scores_beyond_one_are_drawn_as_well() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    tables = tabulate([FoundBoxes(box, np.array([7.5]), np.array([0]))], [BoxesTarget(box, np.array([0]))], ["cat"])
    curves = f1_curves(judge(tables, 0.5))
    assert np.array_equal(np.array(curves.x_range), [0, 7.5])
    assert curves.lines["cat"][1].tolist() == [1] * 201


@pytest.mark.parametrize("seed", range(4))
def test_the_confusion_matrix_adds_up(make_scene: Any, seed: int) -> None:
    outcome = judge(make_scene(seed).tables, 0.5)
    counts, true, found = confusion_matrix(outcome).values, outcome.tables.true, outcome.tables.found
    assert counts[:-1].sum(axis=1).tolist() == outcome.tables.objects_by_class().tolist()
    assert counts[:, :-1].sum(axis=0).tolist() == np.bincount(found.labels[outcome.believed], minlength=3).tolist()
    right = found.labels[outcome.believed & outcome.right]
    assert counts.diagonal().tolist() == [*np.bincount(right, minlength=3).tolist(), 0]
    assert counts.sum() - np.trace(counts) > 0
    assert outcome.missed.sum() == (~true.crowd).sum() - np.trace(counts)


def test_confusion_of_each_kind_by_hand() -> None:
    there = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], np.float64)
    found = FoundBoxes(
        np.vstack([there[:2], there[1:2], there[2:3], [[90, 0, 99, 9]]]),
        np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        np.array([0, 1, 0, 0, 0]),
    )
    # Class 0 is right at 0.9 and, in another picture, at 0.1: so all of its detections are believed.
    more = FoundBoxes(np.tile(there, (3, 1)) + np.arange(12)[:, None] * 100, np.full(12, 0.1), np.zeros(12, int))
    targets = [BoxesTarget(there, np.array([0, 1, 1, 1])), BoxesTarget(more.boxes, more.labels)]
    counts = confusion_matrix(judge(tabulate([found, more], targets, ["cat", "dog"]), 0.5)).values
    # Of the second object's two detections the dog is right; the cat then has nothing left, and is background.
    assert counts.tolist() == [[13, 0, 0], [1, 1, 1], [2, 0, 0]]


def test_the_shown_matrix_has_names_on_both_sides(make_scene: Any) -> None:
    matrix = confusion_matrix(judge(make_scene(0).tables, 0.5))
    assert matrix.rows == ("class 0", "class 1", "class 2", "(nothing there)")
    assert matrix.columns == ("class 0", "class 1", "class 2", "(missed)")
    assert matrix.values.shape == (4, 4)


def test_of_many_classes_the_matrix_holds_those_with_the_most_mistakes() -> None:
    there = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], np.float64)
    found = FoundBoxes(np.vstack([there[:3], [[90, 0, 99, 9]]]), np.full(4, 0.9), np.array([5, 9_000, 9_001, 7]))
    target = BoxesTarget(there, np.array([5, 9_000, 17, 18]))
    matrix = confusion_matrix(judge(tabulate([found], [target], [str(k) for k in range(10_000)]), 0.5))
    assert matrix.values.shape == (LARGEST_MATRIX + 1, LARGEST_MATRIX + 2)
    assert {"7", "17", "18", "9001"} <= set(matrix.rows)
    assert matrix.columns == (*matrix.rows[:-1], "(other)", "(missed)")
    named = {(matrix.rows[i], matrix.columns[j]): matrix.values[i, j] for i, j in np.argwhere(matrix.values).tolist()}
    # What is right of classes without mistakes is not shown, unless there is room for it.
    del named["5", "5"]
    assert named == {("17", "9001"): 1, ("18", "(missed)"): 1, ("(nothing there)", "7"): 1}
