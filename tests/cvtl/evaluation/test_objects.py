"""Localization figures against plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from cvtl import boxes
from cvtl.data import BoxesTarget, Dataset, Sample
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.found import FoundObject, Predictions
from cvtl.evaluation.objects import evaluate_objects, iou, largest_object
from cvtl.evaluation.settings import EvalSettings
from cvtl.reporting.sections import Curves, Gallery, Matrix

CLASSES = ("cat", "dog")
FIGURES = ("class accuracy", "mean IoU", "class right and IoU >= 0.5", "presence accuracy", "presence AP")
EMPTY = BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))


def target(*box: float, label: int = 0) -> BoxesTarget:
    return BoxesTarget(np.array([box]), np.array([label]))


def answer(*box: float, label: int = 0, present: float = 1.0, score: float = 0.9) -> FoundObject:
    return FoundObject(present, label, score, np.array(box, np.float64))


def evaluated(pairs: list[tuple[BoxesTarget, FoundObject | None]], **settings: Any) -> Evaluation:
    samples = [Sample.of_file(f"{i}.jpg", f"{i}.jpg", each) for i, (each, _) in enumerate(pairs)]
    predictions = Predictions(name="model", task="localize", found=[found for _, found in pairs])
    data = Dataset(samples, CLASSES, "memory")
    return evaluate_objects(predictions, data, EvalSettings(**({"draws": 0} | settings)))


def figures(evaluation: Evaluation) -> dict[str, float]:
    return {figure.name: figure.value for figure in evaluation.figures}


def section(evaluation: Evaluation, title: str) -> Any:
    (found,) = [each for each in evaluation.sections if each.title == title]
    return found


def random_pairs(seed: int, count: int) -> list[tuple[BoxesTarget, FoundObject | None]]:
    random = np.random.default_rng(seed)
    pairs: list[tuple[BoxesTarget, FoundObject | None]] = []
    for _ in range(count):
        corners = random.uniform(0, 50, (3, 2))
        true = np.hstack([corners, corners + random.uniform(5, 60, (3, 2))])[: random.integers(0, 4)]
        labels, crowd = random.integers(0, 2, len(true)), random.random(len(true)) < 0.3
        base = true[0] if len(true) else np.array([0.0, 0, 30, 30])
        box = base + random.normal(0, 4, 4)
        found = FoundObject(random.random(), int(random.integers(-1, 2)), random.random(), box)
        pairs.append((BoxesTarget(true, labels, crowd), None if random.random() < 0.1 else found))
    return pairs


def plain(pairs: list[tuple[BoxesTarget, FoundObject | None]]) -> list[float]:
    judged = right = both = present = 0
    overlap = 0.0
    for truth, found in pairs:
        single = [i for i in range(len(truth.boxes)) if not truth.crowd[i]]
        sure = found is not None and found.present >= 0.5
        present += found is not None and sure == bool(single)
        if single:
            judged += 1
            areas = [(truth.boxes[i, 2] - truth.boxes[i, 0]) * (truth.boxes[i, 3] - truth.boxes[i, 1]) for i in single]
            best = single[areas.index(max(areas))]
            if found is not None and sure:
                a, b = (torch.from_numpy(each).reshape(1, 4) for each in (truth.boxes[best], found.box))
                shared = float(boxes.iou(a, b))
                overlap += shared
                right += found.label == truth.labels[best]
                both += found.label == truth.labels[best] and shared >= 0.5
    return [right / judged, overlap / judged, both / judged, present / len(pairs), plain_average_precision(pairs)]


def plain_average_precision(pairs: list[tuple[BoxesTarget, FoundObject | None]]) -> float:
    certainties = [0.0 if found is None else found.present for _, found in pairs]
    there = [not all(truth.crowd) for truth, _ in pairs]
    area = recall = 0.0
    for threshold in sorted(set(certainties), reverse=True):
        shown = [yes for yes, certainty in zip(there, certainties, strict=True) if certainty >= threshold]
        area += (sum(shown) / sum(there) - recall) * sum(shown) / len(shown)
        recall = sum(shown) / sum(there)
    return area


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_plain_loops(seed: int) -> None:
    pairs = random_pairs(seed, 80)
    assert figures(evaluated(pairs)) == pytest.approx(dict(zip(FIGURES, plain(pairs), strict=True)))


def test_weighted_figures_equal_those_of_repeated_pictures() -> None:
    pairs = random_pairs(9, 40)
    scorer = evaluated(pairs).scorer
    for weights in np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 10).astype(float):
        repeated = [pairs[i] for i in np.repeat(np.arange(40), weights.astype(int))]
        assert scorer(weights[None])[0] == pytest.approx(plain(repeated))


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        (target(0, 0, 10, 10), answer(0, 0, 10, 10), (1, 1, 1, 1)),
        (target(0, 0, 10, 10), answer(0, 0, 10, 5), (1, 0.5, 1, 1)),
        (target(0, 0, 10, 10), answer(0, 0, 10, 4), (1, 0.4, 0, 1)),
        (target(0, 0, 10, 10), answer(0, 0, 10, 10, label=1), (0, 1, 0, 1)),
        (target(0, 0, 10, 10), answer(0, 0, 10, 10, label=-1), (0, 1, 0, 1)),
        (target(0, 0, 10, 10), answer(0, 0, 10, 10, present=0.4), (0, 0, 0, 0)),
        (target(0, 0, 10, 10), answer(9, 9, 3, 3), (1, 0, 0, 1)),
        (target(0, 0, 10, 10), None, (0, 0, 0, 0)),
        (EMPTY, answer(0, 0, 10, 10, present=0.4), (math.nan, math.nan, math.nan, 1)),
        (EMPTY, answer(0, 0, 10, 10), (math.nan, math.nan, math.nan, 0)),
        (EMPTY, None, (math.nan, math.nan, math.nan, 0)),
    ],
)
def test_one_picture_is_judged_by_presence_class_and_place(
    truth: BoxesTarget, found: FoundObject | None, expected: tuple[float, ...]
) -> None:
    assert tuple(figures(evaluated([(truth, found)])).values()) == pytest.approx((*expected, math.nan), nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_the_average_precision_of_the_presence_is_scikit_learns(seed: int) -> None:
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(seed)
    there, certainty = random.random(60) < 0.7, random.random(60).round(seed)
    pairs = [
        (target(0, 0, 9, 9) if yes else EMPTY, answer(0, 0, 9, 9, present=each))
        for yes, each in zip(there, certainty, strict=True)
    ]
    expected = average_precision_score(there, certainty)
    assert figures(evaluated([*pairs]))["presence AP"] == pytest.approx(expected)


@pytest.mark.parametrize("truth", [EMPTY, target(0, 0, 10, 10)])
def test_pictures_of_one_kind_cannot_be_ranked(truth: BoxesTarget) -> None:
    evaluation = evaluated([(truth, answer(0, 0, 10, 10, present=each)) for each in (0.2, 0.7)])
    assert math.isnan(figures(evaluation)["presence AP"])
    assert "Presence" not in [each.title for each in evaluation.sections]


def test_the_curve_of_the_presence_has_a_point_for_each_probability() -> None:
    pairs = [
        (target(0, 0, 10, 10), answer(0, 0, 10, 10, present=0.9)),
        (EMPTY, answer(0, 0, 10, 10, present=0.9)),
        (target(0, 0, 10, 10), answer(0, 0, 10, 10, present=0.4)),
        (EMPTY, None),
    ]
    ((recall, precision),) = section(evaluated([*pairs]), "Presence").lines.values()
    assert recall.tolist() == [0.5, 1, 1]
    assert precision.tolist() == pytest.approx([1 / 2, 2 / 3, 1 / 2])


def test_without_pictures_there_is_nothing_to_measure() -> None:
    assert all(math.isnan(value) for value in figures(evaluated([])).values())


@pytest.mark.parametrize(
    ("corners", "crowd", "expected"),
    [
        ([[0, 0, 2, 2], [0, 0, 5, 5]], [False, False], 1),
        ([[0, 0, 2, 2], [0, 0, 5, 5]], [False, True], 0),
        ([[0, 0, 2, 2], [0, 0, 5, 5]], [True, True], None),
        (np.zeros((0, 4)), [], None),
    ],
)
def test_the_true_object_is_the_largest_that_is_no_crowd(corners: Any, crowd: list[bool], expected: int | None) -> None:
    target = BoxesTarget(np.array(corners), np.zeros(len(corners), np.int64), np.array(crowd, bool))
    assert largest_object(target) == expected


def test_overlaps_equal_those_of_the_core() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 50, (2, 30, 2))
    a, b = np.concatenate([corners, corners + random.uniform(-5, 40, (2, 30, 2))], axis=-1)
    expected = boxes.iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert iou(a[:, None], b[None]) == pytest.approx(expected)


def test_headline_figures_have_intervals() -> None:
    evaluation = evaluated(random_pairs(0, 100), draws=200)
    assert all(each.low is not None for each in evaluation.figures)


def test_tables_tell_of_each_class() -> None:
    pairs = [
        (target(0, 0, 10, 10, label=1), answer(0, 0, 10, 10, label=1)),
        (target(0, 0, 10, 10, label=1), answer(0, 0, 10, 5, label=0)),
        (EMPTY, answer(0, 0, 10, 10)),
    ]
    evaluation = evaluated([*pairs])
    assert section(evaluation, "Per class").rows == (
        ("cat", 0, *[pytest.approx(math.nan, nan_ok=True)] * 3),
        ("dog", 2, 0.5, 0.75, 0.5),
    )
    matrix, curves = section(evaluation, "Confusion"), section(evaluation, "Overlap")
    assert isinstance(matrix, Matrix)
    assert matrix.values.tolist() == [[0, 0], [1, 1]]
    assert isinstance(curves, Curves)
    ((x, y),) = curves.lines.values()
    assert dict(zip(x.round(2).tolist(), y.tolist(), strict=True)).items() >= {0: 1, 0.5: 1, 0.51: 0.5, 1: 0.5}.items()


def test_the_gallery_shows_the_mistakes_the_model_is_surest_of() -> None:
    pairs = [
        (target(0, 0, 10, 10), None),
        (target(0, 0, 10, 10), answer(0, 0, 10, 10)),
        (target(0, 0, 10, 10), answer(0, 0, 10, 10, label=1, present=0.5, score=0.5)),
        (EMPTY, answer(0, 0, 10, 10, label=-1)),
    ]
    gallery = section(evaluated([*pairs]), "Worst mistakes")
    assert isinstance(gallery, Gallery)
    assert [(each.sample.name, each.caption) for each in gallery.thumbnails] == [
        ("3.jpg", "(no object), found as (other or none) (0.90), IoU 0.00"),
        ("2.jpg", "cat, found as dog (0.25), IoU 1.00"),
        ("0.jpg", "cat, found as (no object), IoU 0.00"),
    ]
    assert [[mark.role for mark in each.marks] for each in gallery.thumbnails] == [
        ["wrong"],
        ["true", "wrong"],
        ["true"],
    ]
