"""Detection from predictions to sections."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cvtl.data import BoxesTarget, Dataset, Sample
from cvtl.evaluation.detection.boxes import evaluate_boxes
from cvtl.evaluation.detection.coco import COCO_FIGURES
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.found import FoundBoxes, Predictions
from cvtl.evaluation.settings import EvalSettings
from cvtl.reporting.sections import Bars, Curves, Gallery, Matrix, Table

SETTINGS = EvalSettings(draws=40, examples=5)


def dataset_of(scene: Any) -> Dataset:
    def read() -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.zeros((300, 300, 3), np.uint8)

    samples = [Sample(f"{i}.png", read, target) for i, target in enumerate(scene.targets)]
    return Dataset(samples, scene.classes, "memory")


def evaluate(scene: Any, settings: EvalSettings = SETTINGS) -> Evaluation:
    predictions = Predictions(name="model", task="detect", found=scene.found)
    return evaluate_boxes(predictions, dataset_of(scene), settings)


def section(evaluation: Evaluation, title: str) -> Any:
    (found,) = (each for each in evaluation.sections if each.title == title)
    return found


@pytest.mark.parametrize("engine", ["faster-coco-eval", "pycocotools"])
def test_the_figures_are_cocos_with_intervals(make_scene: Any, pycocotools_figures: Any, engine: Any) -> None:
    scene = make_scene(0)
    evaluation = evaluate(scene, SETTINGS.model_copy(update={"engine": engine}))
    assert [each.name for each in evaluation.figures] == list(COCO_FIGURES) == list(evaluation.scorer.names)
    assert [each.value for each in evaluation.figures] == pytest.approx(pycocotools_figures(scene), abs=1e-9)
    assert evaluation.scorer(np.ones((1, 30)))[0] == pytest.approx(pycocotools_figures(scene), abs=1e-9)
    for figure in evaluation.figures:
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high


def test_the_sections_are_there(make_scene: Any) -> None:
    assert [(type(each), each.title) for each in evaluate(make_scene(0)).sections] == [
        (Table, "By class"),
        (Table, "Pascal VOC AP at IoU 0.5"),
        (Bars, "What mistakes cost"),
        (Table, "Kinds of mistakes"),
        (Curves, "Precision and recall"),
        (Curves, "F1 and score threshold"),
        (Matrix, "Confusion"),
        (Gallery, "Worst false positives"),
        (Gallery, "Largest misses"),
    ]


def test_without_examples_there_are_no_galleries(make_scene: Any) -> None:
    evaluation = evaluate(make_scene(0), SETTINGS.model_copy(update={"examples": 0}))
    assert not any(isinstance(each, Gallery) for each in evaluation.sections)


def test_the_iou_is_that_of_the_settings(make_scene: Any) -> None:
    strict, lax = (evaluate(make_scene(0), SETTINGS.model_copy(update={"iou": iou})) for iou in (0.9, 0.5))
    assert "IoU 0.9" in section(strict, "Confusion").note
    assert np.trace(section(strict, "Confusion").values) < np.trace(section(lax, "Confusion").values)
    assert [each.value for each in strict.figures] == [each.value for each in lax.figures]


def test_the_worst_false_positives_have_the_highest_scores_and_show_their_picture(make_scene: Any) -> None:
    scene = make_scene(0)
    gallery = section(evaluate(scene), "Worst false positives")
    assert len(gallery.thumbnails) == 5
    scores = [float(each.caption.split(":")[0].split()[-1]) for each in gallery.thumbnails]
    assert scores == sorted(scores, reverse=True)
    for each in gallery.thumbnails:
        true, found, wrong = each.marks
        i = int(each.sample.name.removesuffix(".png"))
        assert np.array_equal(true.boxes, scene.targets[i].boxes)
        assert true.captions == tuple(scene.classes[k] for k in scene.targets[i].labels)
        assert wrong.boxes[0].tolist() in scene.found[i].boxes.tolist()
        assert wrong.boxes[0].tolist() not in found.boxes.tolist()
        assert [mark.role for mark in each.marks] == ["true", "found", "wrong"]
        assert (np.array(each.focus[:2]) <= wrong.boxes[0, :2]).all()
        assert (np.array(each.focus[2:]) >= wrong.boxes[0, 2:]).all()


def test_the_largest_misses_come_first_without_their_box_among_the_true_ones(make_scene: Any) -> None:
    scene = make_scene(0)
    gallery = section(evaluate(scene), "Largest misses")
    areas = []
    for each in gallery.thumbnails:
        true, _, wrong = each.marks
        target = scene.targets[int(each.sample.name.removesuffix(".png"))]
        (j,) = (j for j, box in enumerate(target.boxes) if box.tolist() == wrong.boxes[0].tolist())
        assert len(true.boxes) == len(target.boxes) - 1
        assert not target.crowd[j]
        areas.append(target.areas[j])
    assert len(areas) == 5
    assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("nothing there", "There is no object to find"),
        ("nothing found", "Nothing was found in any picture"),
        ("class without objects", "do not count: class 2."),
        ("too many", "5 detections beyond the best 100 of a picture and class count for VOC's AP only"),
        ("crowd", "boxes are round crowds"),
        ("difficult", "are marked as difficult"),
    ],
)
def test_notes_tell_what_a_reader_has_to_know(make_scene: Any, change: str, note: str) -> None:
    scene = make_scene(0)
    if change == "nothing there":
        scene.targets[:] = [BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))] * 30
    elif change == "nothing found":
        scene.found[:] = [None] * 30
    elif change == "class without objects":
        scene.targets[:] = [replace(each, labels=each.labels % 2) for each in scene.targets]
    elif change == "too many":
        scene.found[0] = FoundBoxes(np.tile([[0.0, 0, 9, 9]], (105, 1)), np.full(105, 0.5), np.zeros(105, np.int64))
    assert any(note in each for each in evaluate(scene).notes)


def test_a_clean_set_needs_no_notes() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    scene = type("Scene", (), {"found": [FoundBoxes(box, np.ones(1), np.zeros(1, int))], "classes": ("cat",)})()
    scene.targets = [BoxesTarget(box, np.array([0]))]
    evaluation = evaluate(scene)
    assert evaluation.notes == ()
    assert evaluation.figures[0].value == pytest.approx(1)
    assert section(evaluation, "Largest misses").thumbnails == ()


def test_no_pictures_at_all_are_no_error() -> None:
    empty = type("Scene", (), {"found": [], "targets": [], "classes": ("cat", "dog")})()
    evaluation = evaluate(empty)
    assert all(np.isnan(each.value) for each in evaluation.figures)
    assert evaluation.pictures == 0


def test_no_classes_are_no_error() -> None:
    nowhere = BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))
    empty = type("Scene", (), {"found": [None], "targets": [nowhere], "classes": ()})()
    assert all(np.isnan(each.value) for each in evaluate(empty).figures)


def test_boxes_of_negative_size_overlap_nothing_and_are_said() -> None:
    target = BoxesTarget(np.array([[10.0, 10, 50, 50]]), np.array([0]))
    dataset = Dataset([Sample.of_file("a", "a", target)], ("cat",), "memory")
    found = FoundBoxes(np.array([[50.0, 50, 10, 10], [50, 10, 10, 50]]), np.array([0.9, 0.8]), np.array([0, 0]))
    predictions = Predictions(name="model", task="detect", found=[found])
    evaluation = evaluate_boxes(predictions, dataset, EvalSettings(draws=0, examples=0))
    assert evaluation.figures[0].value == 0
    assert "2 detections have a negative width or height, and overlap nothing." in evaluation.notes


def test_ties_are_broken_by_cocos_numbers_of_the_pictures_whatever_their_order(make_scene: Any) -> None:
    scene = make_scene(1, pictures=30)
    for answer in scene.found:
        answer.scores[:] = answer.scores.round(1)
    samples = [Sample.of_file(str(i), str(i), each, image_id=i) for i, each in enumerate(scene.targets)]
    dataset = Dataset(samples, tuple(scene.classes), "memory")

    def figures(order: list[int]) -> list[float]:
        predictions = Predictions(name="model", task="detect", found=[scene.found[i] for i in order])
        evaluation = evaluate_boxes(predictions, dataset.subset(order), EvalSettings(draws=0, examples=0))
        return [each.value for each in evaluation.figures]

    assert figures(list(range(30))[::-1]) == pytest.approx(figures(list(range(30))), abs=1e-12, nan_ok=True)
