"""Intervals over pictures and paired comparison, against brute force, Student and simulation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from cvtl.data import load_data
from cvtl.errors import UsageError
from cvtl.evaluation.bootstrap import (
    FEWEST_PICTURES,
    RatioScorer,
    compare,
    divide,
    draw_weights,
    with_intervals,
)
from cvtl.evaluation.evaluate import evaluate
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.predictions import read_predictions
from cvtl.evaluation.settings import EvalSettings
from cvtl.reporting.sections import Table

Floats = npt.NDArray[np.float64]


def mean_scorer(values: Any, name: str = "mean", higher_is_better: bool = True) -> RatioScorer:
    numbers = np.asarray(values, np.float64)[:, None]
    judged = ~np.isnan(numbers)
    return RatioScorer((name,), (higher_is_better,), np.where(judged, numbers, 0), judged.astype(np.float64))


def evaluation(values: Any, name: str = "a", figure: str = "mean", higher_is_better: bool = True) -> Evaluation:
    scorer = mean_scorer(values, figure, higher_is_better)
    return Evaluation(name=name, task="classify", pictures=len(values), figures=[], scorer=scorer, sections=[])


def cells(table: Table) -> dict[str, Any]:
    (row,) = table.rows
    return dict(zip(("figure", "a", "b", "difference", "low", "high", "verdict", "better"), row, strict=True))


# Draws


@pytest.mark.parametrize(("pictures", "draws"), [(1, 3), (7, 1), (300, 40), (3000, 200)])
def test_every_draw_takes_half_of_the_pictures_once(pictures: int, draws: int) -> None:
    weights = np.concatenate(list(draw_weights(pictures, draws, seed=0)))
    assert weights.shape == (draws, pictures)
    assert (weights.sum(axis=1) == pictures // 2).all()
    assert ((weights == 0) | (weights == 1)).all()


def test_draws_are_the_same_with_the_same_seed_and_others_with_another() -> None:
    first, again, other = (np.concatenate(list(draw_weights(50, 20, seed))) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_more_draws_begin_with_the_fewer() -> None:
    few, many = (np.concatenate(list(draw_weights(5000, draws, seed=1))) for draws in (60, 130))
    assert (many[:60] == few).all()


def test_draws_come_in_chunks_of_a_few_megabytes() -> None:
    sizes = [weights.nbytes for weights in draw_weights(100_000, 7, seed=0)]
    assert len(sizes) > 1
    assert max(sizes) <= 2**22


def test_pictures_are_drawn_equally_often_and_almost_independently() -> None:
    weights = np.concatenate(list(draw_weights(100, 5000, seed=0)))
    assert weights.mean(axis=0) == pytest.approx(np.full(100, 0.5), abs=0.05)
    # Where one picture is drawn, another is the less likely, by 1 in 99.
    apart = ~np.eye(100, dtype=bool)
    assert np.corrcoef(weights.T)[apart] == pytest.approx(np.full(9900, -1 / 99), abs=0.08)


# Intervals


@pytest.mark.parametrize("pictures", [40, 41])
def test_an_interval_equals_that_of_brute_force(pictures: int) -> None:
    values = np.random.default_rng(0).gamma(2, size=pictures)
    (figure,) = with_intervals(mean_scorer(values), pictures, draws=500, seed=9)
    mean, squares = sum(values) / pictures, 0.0
    for weights in np.concatenate(list(draw_weights(pictures, 500, seed=9))):
        drawn = [value for value, weight in zip(values, weights, strict=True) if weight]
        squares += (sum(drawn) / len(drawn) - mean) ** 2
    fewer, rest = pictures // 2, pictures - pictures // 2
    reach = stats.t.ppf(0.975, pictures - 1) * math.sqrt(fewer / rest * squares / 500)
    assert (figure.value, figure.low, figure.high) == pytest.approx((mean, mean - reach, mean + reach))


@pytest.mark.parametrize("pictures", [21, 150])
def test_the_interval_of_a_mean_is_students(pictures: int) -> None:
    values = np.random.default_rng(1).normal(5, 2, pictures)
    (figure,) = with_intervals(mean_scorer(values), pictures, draws=20_000, seed=0)
    other = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (figure.low, figure.high) == pytest.approx((other.low, other.high), abs=0.02)


@pytest.mark.parametrize("accuracy", [0.5, 0.7, 0.9])
def test_intervals_cover_the_true_accuracy_about_as_often_as_they_say(accuracy: float) -> None:
    random = np.random.default_rng(7)
    held = 0
    for seed in range(300):
        (figure,) = with_intervals(mean_scorer(random.random(100) < accuracy), 100, draws=300, seed=seed)
        assert figure.low is not None
        assert figure.high is not None
        held += figure.low <= accuracy <= figure.high
    assert 0.90 <= held / 300 <= 0.98


class MeanOverGroups:
    """The mean of the groups' means, of those groups that were drawn: as of classes."""

    names = ("mean over groups",)
    higher_is_better = (True,)

    def __init__(self, values: Floats, groups: npt.NDArray[np.int64]) -> None:
        self._one_hot = np.eye(groups.max() + 1)[groups]
        self._values = values

    def __call__(self, weights: Floats) -> Floats:
        counts = weights @ self._one_hot
        means = divide((weights * self._values) @ self._one_hot, counts)
        return np.asarray(np.nanmean(means, axis=1, keepdims=True))


def test_intervals_cover_a_mean_over_classes_of_which_some_are_rare() -> None:
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, 21)
    held, held_by_bootstrap = 0, 0
    for seed in range(200):
        groups = random.choice(20, 60, p=shares / shares.sum())
        scorer = MeanOverGroups(random.normal(0, 1, 60), groups)
        (figure,) = with_intervals(scorer, 60, draws=200, seed=seed)
        assert figure.low is not None
        assert figure.high is not None
        held += figure.low <= 0 <= figure.high
        low, high = np.percentile(scorer(random.multinomial(60, np.full(60, 1 / 60), 200).astype(float)), [2.5, 97.5])
        held_by_bootstrap += low <= 0 <= high
    assert 0.90 <= held / 200 <= 0.99
    assert held_by_bootstrap < held


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        (np.arange(40) > 0, (None, 1)),
        (np.arange(40) == 0, (0, None)),
        (np.where(np.arange(40) == 0, 3.0, 0.01), (0, None)),
        (np.where(np.arange(40) == 0, -3.0, 0.01), (None, None)),
        (np.where(np.arange(40) == 0, 5.0, 1.01), (None, None)),
    ],
)
def test_an_interval_ends_where_the_figure_does(values: Any, ends: tuple[float | None, float | None]) -> None:
    (figure,) = with_intervals(mean_scorer(values), 40, draws=200, seed=0)
    assert figure.low is not None
    assert figure.high is not None
    assert (figure.low == 0, figure.high == 1) == (ends[0] == 0, ends[1] == 1)
    if ends == (None, None):
        assert (figure.low + figure.high) / 2 == pytest.approx(figure.value)


@pytest.mark.shared
def test_the_ap_of_the_coco_sample_lies_in_the_middle_of_its_interval(shared_data: Path) -> None:
    folder = shared_data / "metrics_coco_val2014_100"
    dataset = load_data(folder / "instances_val2014_100.json", "detect")
    predictions = read_predictions(folder / "instances_val2014_fakebbox100_results.json", dataset)
    for figure in evaluate(predictions, dataset, EvalSettings(draws=200, examples=0)).figures:
        assert figure.low is not None, figure.name
        assert figure.high is not None, figure.name
        assert figure.high - figure.value == pytest.approx(figure.value - figure.low), figure.name
        assert 0.02 < figure.high - figure.value < 0.2, figure.name


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(30)
    first, again, other = (with_intervals(mean_scorer(values), 30, 200, seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_no_interval_is_given_for_no_draws() -> None:
    (figure,) = with_intervals(mean_scorer(np.arange(40)), 40, draws=0, seed=0)
    assert (figure.value, figure.low, figure.high) == (19.5, None, None)


@pytest.mark.parametrize(("pictures", "given"), [(1, False), (FEWEST_PICTURES - 1, False), (FEWEST_PICTURES, True)])
def test_no_interval_is_given_for_few_pictures(pictures: int, given: bool) -> None:
    (figure,) = with_intervals(mean_scorer(np.arange(pictures)), pictures, draws=100, seed=0)
    assert (figure.low is not None) == given


def test_no_interval_is_given_where_all_pictures_are_right() -> None:
    (figure,) = with_intervals(mean_scorer(np.ones(50)), 50, draws=100, seed=0)
    assert (figure.value, figure.low, figure.high) == (1, None, None)


@pytest.mark.parametrize(("judged", "given"), [(1, False), (2, False), (3, False), (4, True), (30, True)])
def test_no_interval_is_given_where_a_figure_rests_on_less_than_four_pictures(judged: int, given: bool) -> None:
    values = np.full(30, np.nan)
    values[:judged] = np.arange(judged)
    (figure,) = with_intervals(mean_scorer(values), 30, draws=1000, seed=0)
    assert (figure.low is not None) == given


class PicturesDrawn:
    """The share of pictures that count: all of them in a test set, and fewer in every draw."""

    names = ("pictures",)
    higher_is_better = (True,)

    def __call__(self, weights: Floats) -> Floats:
        return np.asarray((weights > 0).mean(axis=1, keepdims=True))


def test_what_fewer_pictures_always_lower_counts_as_uncertain() -> None:
    (figure,) = with_intervals(PicturesDrawn(), 50, draws=100, seed=0)
    assert figure.low == pytest.approx(max(0, 1 - stats.t.ppf(0.975, 49) / 2))
    assert (figure.value, figure.high) == (1, 1)


def test_without_anything_to_measure_a_figure_is_nan() -> None:
    (figure,) = with_intervals(mean_scorer(np.full(30, np.nan)), 30, draws=50, seed=0)
    assert math.isnan(figure.value)
    assert figure.low is None


def test_without_pictures_a_figure_is_nan() -> None:
    (figure,) = with_intervals(mean_scorer([]), 0, draws=50, seed=0)
    assert math.isnan(figure.value)
    assert figure.low is None


def test_dividing_by_nothing_gives_nan() -> None:
    assert divide(np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 0.0])) == pytest.approx(
        [0.5, math.nan, math.nan], nan_ok=True
    )


# Comparison


def test_a_paired_difference_is_tighter_than_two_intervals() -> None:
    random = np.random.default_rng(0)
    hard = random.normal(0, 1, 200)
    a, b = hard + random.normal(0, 0.1, 200), hard + random.normal(0, 0.1, 200)
    found = cells(compare(evaluation(a), evaluation(b, "b"), draws=500, seed=0))
    (alone,) = with_intervals(mean_scorer(a), 200, draws=500, seed=0)
    assert alone.low is not None
    assert alone.high is not None
    assert found["high"] - found["low"] < (alone.high - alone.low) / 4


def test_a_difference_equals_that_of_brute_force_resampling() -> None:
    random = np.random.default_rng(3)
    a, b = random.random(30), random.random(30)
    found = cells(compare(evaluation(a), evaluation(b, "b"), draws=300, seed=4))
    halves = [np.flatnonzero(weights) for weights in np.concatenate([*draw_weights(30, 300, 4)])]
    moves = [a[half].mean() - b[half].mean() - (a.mean() - b.mean()) for half in halves]
    reach = stats.t.ppf(0.975, 29) * math.sqrt(np.mean(np.square(moves)))
    difference = a.mean() - b.mean()
    assert (found["a"], found["b"]) == pytest.approx((a.mean(), b.mean()))
    assert (found["difference"], found["low"], found["high"]) == pytest.approx(
        (difference, difference - reach, difference + reach)
    )


@pytest.mark.parametrize(
    ("a", "b", "higher_is_better", "better", "verdict"),
    [
        (np.arange(100) % 10 > 0, np.arange(100) % 2 > 0, True, "A", "more than noise"),
        (np.arange(100) % 2 > 0, np.arange(100) % 10 > 0, True, "B", "more than noise"),
        (np.arange(100) % 2 > 0, np.arange(100) % 10 > 0, False, "A", "more than noise"),
        (np.arange(100) % 2 > 0, np.arange(100) % 2 == 0, True, None, "within noise"),
        (np.arange(100) < 51, np.arange(100) < 50, True, "A", "within noise"),
        (np.ones(100), np.ones(100), True, None, "within noise"),
        (np.ones(100), np.zeros(100), True, "A", "more than noise"),
        (np.ones(10), np.zeros(10), True, "A", None),
        (np.full(100, np.nan), np.ones(100), True, None, None),
    ],
)
def test_the_verdict_says_which_is_better_and_whether_that_is_noise(
    a: Any, b: Any, higher_is_better: bool, better: str | None, verdict: str | None
) -> None:
    sides = [
        evaluation(np.asarray(values, float), name, higher_is_better=higher_is_better)
        for name, values in (("a", a), ("b", b))
    ]
    found = cells(compare(sides[0], sides[1], draws=500, seed=0))
    assert (found["better"], found["verdict"]) == (better, verdict)


def test_equal_models_are_seldom_called_different() -> None:
    random = np.random.default_rng(5)
    alarms = 0
    for seed in range(200):
        a, b = random.random((2, 100)) < 0.7
        found = cells(compare(evaluation(a), evaluation(b, "b"), draws=200, seed=seed))
        alarms += found["verdict"] == "more than noise"
    assert alarms / 200 <= 0.10


def test_rounding_is_no_difference() -> None:
    values = np.random.default_rng(0).random(50)
    found = cells(compare(evaluation(values), evaluation(values * (1 + 1e-15), "b"), draws=100, seed=0))
    assert (found["difference"], found["better"], found["verdict"]) == (0, None, "within noise")


def test_without_draws_there_is_no_verdict() -> None:
    found = cells(compare(evaluation(np.ones(50)), evaluation(np.zeros(50), "b"), draws=0, seed=0))
    assert (found["difference"], found["low"], found["verdict"]) == (1, None, None)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (evaluation(np.ones(31), "b"), "'a' is of 30 pictures, 'b' of 31"),
        (evaluation(np.ones(30), "b", "recall"), "'a' has the figures mean, 'b' has recall"),
        (
            Evaluation(name="b", task="detect", pictures=30, figures=[], scorer=mean_scorer(np.ones(30)), sections=[]),
            "'a' is of the task 'classify', 'b' of 'detect'",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(other: Evaluation, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare(evaluation(np.ones(30)), other, draws=10, seed=0)
