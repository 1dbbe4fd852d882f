"""Intervals over the choice of groups of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.errors import UsageError
from cvtl.evaluation.bootstrap import GroupedScorer, RatioScorer, compare, with_intervals
from cvtl.evaluation.evaluate import evaluate
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.found import FoundClasses, Predictions
from cvtl.evaluation.settings import EvalSettings

BY_PERSON = r"(.+)_\d+"


def faces(persons: int, each: int) -> Dataset:
    samples = [
        Sample.of_file(f"person{person}_{number}.jpg", "none.jpg", ClassTarget(0))
        for person in range(persons)
        for number in range(each)
    ]
    return Dataset(samples, ("known", "unknown"), "made")


def measured(data: Dataset, right: np.ndarray, name: str = "model", **settings: object) -> Evaluation:
    found = [FoundClasses(np.array([0 if hit else 1]), np.array([0.9])) for hit in right]
    return evaluate(Predictions(name=name, task="classify", found=found), data, EvalSettings(**settings))  # type: ignore[arg-type]


def reach(evaluation: Evaluation) -> float:
    figure = evaluation.figures[0]
    assert figure.low is not None
    assert figure.high is not None
    return (figure.high - figure.low) / 2


def test_a_grouped_scorer_weighs_all_pictures_of_a_group_alike() -> None:
    random = np.random.default_rng(0)
    right, groups = random.random((30, 1)).round(), random.integers(0, 7, 30)
    scorer = RatioScorer(("accuracy",), (True,), right, np.ones((30, 1)))
    weights = random.integers(0, 3, (5, 7)).astype(float)
    found = GroupedScorer(scorer, groups)(weights)
    for draw in range(5):
        numerator = sum(weights[draw, groups[i]] * right[i, 0] for i in range(30))
        denominator = sum(weights[draw, groups[i]] for i in range(30))
        assert found[draw, 0] == pytest.approx(numerator / denominator)


def test_pictures_that_go_together_make_the_interval_as_wide_as_so_many_single_ones() -> None:
    """Of 40 persons 9 pictures each, all right or all wrong, tell as much as 40 pictures."""
    data = faces(40, 9)
    person_right = np.arange(40) % 4 > 0
    right = np.repeat(person_right, 9)
    alone, grouped = measured(data, right), measured(data, right, group_by=BY_PERSON)
    one_each = measured(faces(40, 1), person_right)
    assert grouped.figures[0].value == alone.figures[0].value == 0.75
    assert reach(grouped) == pytest.approx(reach(one_each), rel=0.1)
    assert reach(grouped) > 2.5 * reach(alone)


def test_the_note_says_over_how_many_groups() -> None:
    evaluation = measured(faces(25, 2), np.arange(50) % 3 > 0, group_by=BY_PERSON)
    assert any("25 groups" in note for note in evaluation.notes)
    assert evaluation.units == 25


def test_fewer_than_twenty_groups_give_no_interval_however_many_pictures() -> None:
    evaluation = measured(faces(19, 30), np.arange(570) % 3 > 0, group_by=BY_PERSON)
    assert evaluation.figures[0].low is None


def test_pictures_that_the_pattern_does_not_match_are_groups_of_their_own() -> None:
    data = faces(20, 2)
    data = Dataset([*data.samples, Sample.of_file("somebody.jpg", "none.jpg", ClassTarget(0))], data.classes, "made")
    assert measured(data, np.ones(41), group_by=BY_PERSON).units == 21


def test_a_comparison_is_over_the_choice_of_groups_too() -> None:
    """A is better on the pictures of every tenth person only: sure of 400 pictures, not of 40 persons."""
    data, person = faces(40, 10), np.repeat(np.arange(40), 10)
    better, worse = np.ones(400), (person % 10 > 0).astype(float)
    pairs = [
        (measured(data, better, "A", **settings), measured(data, worse, "B", **settings))
        for settings in ({}, {"group_by": BY_PERSON})
    ]
    widths = []
    for a, b in pairs:
        row = compare(a, b, draws=500, seed=0).rows[0]
        widths.append(row[5] - row[4])  # type: ignore[operator]
    assert widths[1] > 2.5 * widths[0]
    with pytest.raises(UsageError):
        compare(pairs[0][0], pairs[1][1], draws=10, seed=0)


@pytest.mark.parametrize(("pattern", "message"), [("(", "group-by"), ("nobody", "matches no name")])
def test_a_pattern_that_cannot_serve_is_told(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measured(faces(3, 2), np.ones(6), group_by=pattern)


def test_one_group_for_each_picture_is_the_usual_interval() -> None:
    data, right = faces(60, 1), np.arange(60) % 3 > 0
    usual, grouped = measured(data, right), measured(data, right, group_by=r"person(\d+)")
    assert reach(grouped) == pytest.approx(reach(usual), rel=0.15)
    scorer = RatioScorer(("a",), (True,), right[:, None].astype(float), np.ones((60, 1)))
    (figure,) = with_intervals(GroupedScorer(scorer, np.arange(60)), 60, 200, 0)
    assert figure == with_intervals(scorer, 60, 200, 0)[0]
