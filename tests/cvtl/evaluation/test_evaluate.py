"""Any task's predictions against a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Problem, Sample, Target, load_data
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.bootstrap import compare
from cvtl.evaluation.evaluate import check_targets, evaluate
from cvtl.evaluation.found import Found, FoundBoxes, FoundClasses, FoundObject, FoundPoints, Predictions
from cvtl.evaluation.predictions import read_predictions, write_rows
from cvtl.evaluation.settings import EvalSettings

BOXES = BoxesTarget(np.array([[0, 0, 10, 10]]), np.array([0]))
POINTS = PointsTarget(np.zeros((2, 2)), np.ones(2, bool))
FOUND: dict[str, Found] = {
    "classify": FoundClasses(np.array([0]), np.array([1.0])),
    "localize": FoundObject(1, 0, 1, np.array([0.0, 0, 10, 10])),
    "detect": FoundBoxes(np.array([[0.0, 0, 10, 10]]), np.array([1.0]), np.array([0])),
    "landmarks": FoundPoints(np.zeros((1, 2, 2)), np.ones((1, 2))),
}
TARGETS: dict[str, Target] = {"classify": ClassTarget(0), "localize": BOXES, "detect": BOXES, "landmarks": POINTS}


def dataset(*targets: Target | None, **keywords: Any) -> Dataset:
    samples = [
        Sample.of_file(f"{i}.jpg", f"nowhere/{i}.jpg", each, annotated_wh=(20, 20)) for i, each in enumerate(targets)
    ]
    return Dataset(samples, ("a", "b"), "memory", "data", **keywords)


def predictions(task: Any, *found: Found | None, notes: tuple[str, ...] = ()) -> Predictions:
    return Predictions(name="model", task=task, found=found, notes=notes)


@pytest.mark.parametrize("task", list(TARGETS))
def test_right_answers_of_each_task_have_the_best_figure(task: str) -> None:
    evaluation = evaluate(predictions(task, FOUND[task]), dataset(TARGETS[task]), EvalSettings(draws=0))
    assert (evaluation.task, evaluation.name, evaluation.pictures) == (task, "model", 1)
    assert evaluation.figures[0].value == pytest.approx(1 if task != "landmarks" else 0)
    assert tuple(each.name for each in evaluation.figures)[: len(evaluation.scorer.names)] == evaluation.scorer.names


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        ("classify", BOXES, "needs pictures with one class each, but '0.jpg' of 'data' has boxes"),
        ("localize", ClassTarget(0), "needs pictures with boxes, but '0.jpg' of 'data' has one class each"),
        ("detect", ClassTarget(0), "needs pictures with boxes, but '0.jpg' of 'data' has one class each"),
        ("detect", POINTS, "needs pictures with boxes, but '0.jpg' of 'data' has points"),
        ("landmarks", BOXES, "needs pictures with points, but '0.jpg' of 'data' has boxes"),
        ("landmarks", None, "nothing is known about the pictures of 'data'"),
    ],
)
def test_targets_of_another_task_are_refused(task: str, target: Target | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(predictions(task, FOUND[task]), dataset(target))


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="nothing is known"):
        check_targets(dataset(), "detect")


def test_style_has_no_figures() -> None:
    with pytest.raises(UsageError, match=r"'style' has no figures\. Tasks that have are classify, localize, detect"):
        evaluate(predictions("style", None), dataset(BOXES))


def test_as_many_answers_as_samples_are_needed() -> None:
    with pytest.raises(UsageError, match="1 answers for 2 pictures"):
        evaluate(predictions("detect", FOUND["detect"]), dataset(BOXES, BOXES))


def test_samples_that_nothing_is_known_about_are_left_out_with_a_note() -> None:
    right, wrong = FOUND["classify"], FoundClasses(np.array([1]), np.array([1.0]))
    evaluation = evaluate(
        predictions("classify", wrong, right, wrong), dataset(None, ClassTarget(0), None), EvalSettings(draws=0)
    )
    assert evaluation.pictures == 1
    assert evaluation.figures[0].value == 1
    assert evaluation.notes == ("2 pictures without annotations are left out.",)


def test_notes_tell_of_the_predictions_and_of_mistakes_in_the_data_each_once() -> None:
    problem = Problem(kind="zero-area box", where="a.xml:3", what="the box 1 1 1 1 has no area")
    evaluation = evaluate(
        predictions("classify", FOUND["classify"], notes=("One.", "Two.", "One.")),
        dataset(ClassTarget(0), problems=(problem,)),
        EvalSettings(draws=0),
    )
    assert evaluation.notes == (
        "One.",
        "Two.",
        "Passed over in 'data': 1 x zero-area box; `cvtl data check` lists them.",
    )


@pytest.mark.shared
def test_flowers_answered_by_chance_are_within_noise_of_each_other_and_not_of_good_answers(
    shared_data: Path, tmp_path: Path
) -> None:
    data = load_data(shared_data / "classify_flowers", "classify").split("val")
    random = np.random.default_rng(0)

    def answers(accuracy: float) -> Predictions:
        labels = [sample.target.label for sample in data if isinstance(sample.target, ClassTarget)]
        said = np.where(random.random(len(labels)) < accuracy, labels, random.integers(0, 5, len(labels)))
        return predictions("classify", *(FoundClasses(np.array([label]), np.array([0.5])) for label in said))

    path = write_rows(answers(0), data, tmp_path / "rows.jsonl")
    first, second, good = (evaluate(each, data) for each in (read_predictions(path, data), answers(0), answers(0.8)))
    verdicts = [compare(first, other, 500, 0).rows[0][-2] for other in (second, good)]
    assert verdicts == ["within noise", "more than noise"]


@pytest.mark.shared
def test_faces_moved_by_a_tenth_of_the_distance_of_the_eyes_have_that_error(shared_data: Path) -> None:
    data = load_data(shared_data / "landmarks_faces_160", "landmarks")
    found = []
    for sample in data:
        assert isinstance(sample.target, PointsTarget)
        points = sample.target.points
        eyes = np.linalg.norm(points[0, 36] - points[0, 45])
        found.append(FoundPoints(points + np.array([eyes / 10, 0]), np.ones(points.shape[:2])))
    evaluation = evaluate(predictions("landmarks", *found), data, EvalSettings(draws=0))
    assert (evaluation.figures[0].name, len(data)) == ("NME (inter-ocular)", 2323)
    assert evaluation.figures[0].value == pytest.approx(0.1)
