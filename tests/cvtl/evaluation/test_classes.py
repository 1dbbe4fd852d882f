"""Classification figures against scikit-learn and plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.evaluation.bootstrap import draw_weights
from cvtl.evaluation.classes import BINS, ClassScorer, evaluate_classes
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.found import FoundClasses, Predictions
from cvtl.evaluation.settings import EvalSettings
from cvtl.reporting.sections import Bars, Curves, Gallery, Matrix, Table

Found = list[FoundClasses | None]
Ints = npt.NDArray[np.int64]


def random_case(seed: int, pictures: int, classes: int) -> tuple[Ints, Found]:
    """True labels, and top-five answers that are often right, sometimes none, sometimes of a foreign class."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, pictures)
    found: Found = []
    for label in truth:
        scores = random.dirichlet(np.full(classes, 0.3))
        scores[label] += random.random()
        best = np.argsort(-scores)[:5]
        labels = np.where(random.random(len(best)) < 0.05, -1, best)
        found.append(None if random.random() < 0.05 else FoundClasses(labels, (scores / scores.sum())[best]))
    return truth, found


def evaluated(truth: Any, found: Found, classes: int, **settings: Any) -> Evaluation:
    samples = [Sample.of_file(f"{i}.jpg", f"{i}.jpg", ClassTarget(int(label))) for i, label in enumerate(truth)]
    data = Dataset(samples, tuple(f"class {i}" for i in range(classes)), "memory")
    predictions = Predictions(name="model", task="classify", found=found)
    return evaluate_classes(predictions, data, EvalSettings(**({"draws": 0} | settings)))


def figures(evaluation: Evaluation) -> dict[str, float]:
    return {figure.name: figure.value for figure in evaluation.figures}


def section(evaluation: Evaluation, title: str) -> Any:
    (found,) = [each for each in evaluation.sections if each.title == title]
    return found


def answers(found: Found) -> Ints:
    return np.array([-1 if each is None else each.labels[0] for each in found])


def plain(truth: Any, found: Found, classes: int) -> dict[str, float]:
    """The headline figures by scikit-learn and loops."""
    best = answers(found)
    right = truth == best
    there = np.unique(truth)
    expected = {"top-1 accuracy": metrics.accuracy_score(truth, best)}
    if classes > 5:
        hits = [each is not None and label in each.labels for label, each in zip(truth, found, strict=True)]
        expected["top-5 accuracy"] = sum(hits) / len(hits)
    expected["macro F1"] = metrics.f1_score(truth, best, labels=there, average="macro", zero_division=0)
    expected["balanced accuracy"] = metrics.recall_score(truth, best, labels=there, average="macro", zero_division=0)
    bins: dict[int, list[tuple[float, float]]] = {}
    for hit, each in zip(right, found, strict=True):
        if each is not None:
            number = max(math.ceil(each.scores[0] * BINS) - 1, 0)
            bins.setdefault(number, []).append((float(hit), float(each.scores[0])))
    total = sum(map(len, bins.values()))
    expected["ECE"] = sum(
        len(pairs) / total * abs(np.mean([hit for hit, _ in pairs]) - np.mean([score for _, score in pairs]))
        for pairs in bins.values()
    )
    return expected


@pytest.mark.parametrize(("seed", "pictures", "classes"), [(0, 200, 3), (1, 300, 12), (2, 40, 30), (3, 1, 2)])
def test_headline_figures_equal_scikit_learn_and_plain_loops(seed: int, pictures: int, classes: int) -> None:
    truth, found = random_case(seed, pictures, classes)
    found[0] = FoundClasses(truth[:1], np.array([0.5]))
    assert figures(evaluated(truth, found, classes)) == pytest.approx(plain(truth, found, classes))


@pytest.mark.parametrize("classes", [4, 9])
def test_weighted_figures_equal_those_of_repeated_pictures(classes: int) -> None:
    truth, found = random_case(5, 40, classes)
    scorer = evaluated(truth, found, classes).scorer
    for weights in np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 10).astype(float):
        picked = np.repeat(np.arange(40), weights.astype(int))
        repeated = plain(truth[picked], [found[i] for i in picked], classes)
        assert scorer(weights[None])[0] == pytest.approx(list(repeated.values()))


def test_headline_figures_have_intervals() -> None:
    evaluation = evaluated(*random_case(0, 200, 8), 8, draws=200)
    assert all(each.low is not None and each.high is not None for each in evaluation.figures)


def test_top_five_is_told_of_more_than_five_classes_only() -> None:
    names = [figures(evaluated(*random_case(0, 20, classes), classes)).keys() for classes in (5, 6)]
    assert ["top-5 accuracy" in each for each in names] == [False, True]


def test_figures_per_class_equal_scikit_learn() -> None:
    truth, found = random_case(4, 300, 7)
    truth = np.where(truth == 6, 0, truth)
    table = section(evaluated(truth, found, 7), "Per class")
    assert isinstance(table, Table)
    best = answers(found)
    expected = metrics.precision_recall_fscore_support(truth, best, labels=range(7), zero_division=np.nan)
    for row, precision, recall, f1, pictures in zip(table.rows, *expected, strict=True):
        # scikit-learn takes the F1 of a class that is found but never there for 0, and so do we.
        assert row[1:] == pytest.approx((pictures, precision, recall, f1), nan_ok=True)


def test_the_confusion_matrix_equals_scikit_learns() -> None:
    truth, found = random_case(6, 300, 5)
    matrix = section(evaluated(truth, found, 5), "Confusion")
    assert isinstance(matrix, Matrix)
    expected = metrics.confusion_matrix(truth, answers(found), labels=[0, 1, 2, 3, 4, -1])
    assert (matrix.values == expected[:5]).all()
    assert matrix.columns[-1] == "(other or none)"


def test_without_foreign_answers_the_confusion_matrix_is_square() -> None:
    found: Found = [FoundClasses(np.array([1]), np.array([1.0]))]
    matrix = section(evaluated([0], found, 2), "Confusion")
    assert (matrix.rows, matrix.columns) == (("class 0", "class 1"),) * 2
    assert matrix.values.tolist() == [[0, 1], [0, 0]]


def test_of_many_classes_the_matrix_shows_those_with_the_most_mistakes() -> None:
    truth = np.arange(200).repeat(2)
    wrong = {70: 71, 3: 99}
    found: Found = [FoundClasses(np.array([wrong.get(label, label)]), np.array([0.5])) for label in truth.tolist()]
    evaluation = evaluated(truth, found, 200)
    matrix = section(evaluation, "Confusion")
    assert len(matrix.rows) == 100
    assert {"class 3", "class 70", "class 71", "class 99"} <= set(matrix.rows)
    assert matrix.values.sum() == 200
    assert section(evaluation, "Most frequent confusions").rows == (
        ("class 3", "class 99", 2),
        ("class 70", "class 71", 2),
    )


def test_reliability_tells_accuracy_by_confidence() -> None:
    scores = np.array([0.05, 0.95, 0.95, 0.97, 1.0])
    found: Found = [FoundClasses(np.array([0]), scores[i : i + 1]) for i in range(5)]
    evaluation = evaluated([1, 0, 0, 1, 0], [*found], 2)
    curves, bars = section(evaluation, "Reliability"), section(evaluation, "Confidence")
    assert isinstance(curves, Curves)
    assert isinstance(bars, Bars)
    assert curves.diagonal
    ((x, y),) = curves.lines.values()
    assert x == pytest.approx([0.05, 0.9675])
    assert y == pytest.approx([0, 0.75])
    assert list(bars.values.values()) == [1, *[0] * 13, 4]
    assert list(bars.values)[-1] == "0.93 to 1.00"


def test_a_calibrated_model_has_little_calibration_error_and_an_overconfident_one_much() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(0.5, 1, 20_000)
    truth = (random.random(20_000) > scores).astype(np.int64)

    def ece(confidence: npt.NDArray[np.float64]) -> float:
        return float(ClassScorer(truth, np.zeros((20_000, 1), np.int64), confidence, 2)(np.ones((1, 20_000)))[0, -1])

    assert ece(scores) < 0.02
    assert ece(np.ones(20_000)) == pytest.approx(0.25, abs=0.02)


def test_the_gallery_shows_the_most_confident_mistakes() -> None:
    found: Found = [
        FoundClasses(np.array([label]), np.array([score])) for label, score in ((1, 0.6), (0, 0.9), (-1, 0.8))
    ]
    gallery = section(evaluated([0, 0, 0, 0], [*found, None], 2, examples=5), "Most confident mistakes")
    assert isinstance(gallery, Gallery)
    assert [(each.sample.name, each.caption) for each in gallery.thumbnails] == [
        ("2.jpg", "class 0, found as (other or none) (0.80)"),
        ("0.jpg", "class 0, found as class 1 (0.60)"),
    ]


def test_without_examples_there_is_no_gallery() -> None:
    titles = [each.title for each in evaluated(*random_case(0, 50, 3), 3, examples=0).sections]
    assert "Most confident mistakes" not in titles


def test_no_answers_at_all_are_all_wrong() -> None:
    found = figures(evaluated([0, 1], [None, None], 2))
    assert found == pytest.approx(
        {"top-1 accuracy": 0, "macro F1": 0, "balanced accuracy": 0, "ECE": math.nan}, nan_ok=True
    )


def test_without_pictures_there_is_nothing_to_measure() -> None:
    assert all(math.isnan(value) for value in figures(evaluated([], [], 7)).values())


def test_ten_thousand_classes_and_twenty_thousand_pictures_fit() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 10_000, 20_000)
    best = np.column_stack([np.where(random.random(20_000) < 0.6, truth, 0), random.integers(0, 10_000, (20_000, 4))])
    scorer = ClassScorer(truth, best, random.random(20_000), 10_000)
    # A dense matrix of pictures and classes would take 1.6 GB for each.
    drawn = np.concatenate([scorer(weights) for weights in draw_weights(20_000, 30, seed=0)])
    assert drawn[:, 0] == pytest.approx(np.full(30, 0.6), abs=0.02)
