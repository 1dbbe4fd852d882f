"""COCO's figures against pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cvtl.boxes import xywh_to_xyxy
from cvtl.data import BoxesTarget
from cvtl.errors import UsageError
from cvtl.evaluation.detection import DetectionMetrics, evaluate_detections
from cvtl.results import Detections

CLASSES = ("cat", "dog", "bird")


def target_of(boxes: Any, labels: Any, crowd: Any = ()) -> BoxesTarget:
    return BoxesTarget(np.asarray(boxes, np.float32), np.asarray(labels, np.int64), np.asarray(crowd, bool))


def oracle(results: list[Detections], targets: list[BoxesTarget], classes: tuple[str, ...]) -> list[float]:
    """The twelve figures and the AP50 of each class from pycocotools, -1 where there is nothing to measure."""
    images = [{"id": i + 1} for i in range(len(targets))]
    dataset = {"images": images, "categories": [{"id": k + 1, "name": name} for k, name in enumerate(classes)]}
    true: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for i, (result, target) in enumerate(zip(results, targets, strict=True), start=1):
        for (x1, y1, x2, y2), label, crowd in zip(target.boxes, target.labels, target.crowd, strict=True):
            width, height = float(x2) - float(x1), float(y2) - float(y1)
            row = {"bbox": [float(x1), float(y1), width, height], "area": width * height, "iscrowd": int(crowd)}
            true.append(row | {"id": len(true) + 1, "image_id": i, "category_id": int(label) + 1})
        for box, score, label in zip(result.boxes, result.scores, result.labels, strict=True):
            x1, y1, x2, y2 = box.tolist()
            row = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "score": float(score)}
            found.append(row | {"id": len(found) + 1, "image_id": i, "category_id": int(label) + 1})
    return _pycocotools(dataset | {"annotations": true}, dataset | {"annotations": found})


def _pycocotools(truth: dict[str, Any], found: dict[str, Any]) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        sides = COCO(), COCO()
        for side, dataset in zip(sides, (truth, found), strict=True):
            side.dataset = dataset
            side.createIndex()
        evaluator = COCOeval(*sides, iouType="bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [*evaluator.stats.tolist(), *evaluator.eval["precision"][0, :, :, 0, -1].mean(axis=0).tolist()]


def figures(metrics: DetectionMetrics) -> list[float]:
    *summary, by_class = astuple(metrics)
    return [*summary, *by_class.values()]


def assert_equals_oracle(results: list[Detections], targets: list[BoxesTarget], classes: tuple[str, ...]) -> None:
    expected = [value if value >= 0 else math.nan for value in oracle(results, targets, classes)]
    assert figures(evaluate_detections(results, targets, classes)) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def no_detections(classes: tuple[str, ...] = CLASSES) -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), classes)


def no_boxes() -> BoxesTarget:
    return target_of([], [])


def random_pictures(seed: int, pictures: int = 30) -> tuple[list[Detections], list[BoxesTarget]]:
    """Boxes of all sizes, near misses, wrong classes, crowds, ties, and pictures without either."""
    rng = np.random.default_rng(seed)
    results, targets = [], []
    for _ in range(pictures):
        count = rng.integers(0, 8)
        corners = rng.uniform(0, 300, (count, 2))
        boxes = np.hstack(
            [corners, corners + rng.choice([12, 60, 200], (count, 1)) * rng.uniform(0.6, 1.4, (count, 2))]
        )
        labels = rng.integers(0, len(CLASSES), count)
        targets.append(target_of(boxes, labels, rng.random(count) < 0.2))
        copies = rng.integers(0, 3, count)
        shifted = np.repeat(boxes, copies, axis=0)
        shifted += rng.normal(0, 0.06, shifted.shape) * (shifted[:, 2:] - shifted[:, :2]).repeat(2, axis=1)
        said = np.where(rng.random(len(shifted)) < 0.8, np.repeat(labels, copies), rng.integers(0, len(CLASSES)))
        scores = rng.integers(1, 10, len(shifted)) / 10
        results.append(Detections(torch.tensor(shifted), torch.tensor(scores), torch.tensor(said), CLASSES))
    return results, targets


@pytest.mark.parametrize("seed", range(8))
def test_all_figures_equal_pycocotools_on_random_pictures(seed: int) -> None:
    results, targets = random_pictures(seed)
    assert any(target.crowd.any() for target in targets)
    assert any(not len(target.boxes) for target in targets)
    assert_equals_oracle(results, targets, CLASSES)


def test_more_than_a_hundred_detections_of_a_class_are_cut_as_by_pycocotools() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 500, (120, 2))
    boxes = np.hstack([corners, corners + 40])
    target = target_of(boxes, np.zeros(120))
    result = Detections(torch.from_numpy(boxes), torch.full((120,), 0.5), torch.zeros(120), CLASSES)
    assert_equals_oracle([result], [target], CLASSES)
    assert evaluate_detections([result], [target], CLASSES).ar100 == pytest.approx(100 / 120)


def test_ties_across_pictures_are_broken_as_by_pycocotools() -> None:
    box = torch.tensor([[10.0, 10, 50, 50]])
    right, wrong = box, box + 300
    target = target_of(box, [0])
    results = [Detections(each, torch.tensor([0.5]), torch.zeros(1), CLASSES) for each in (wrong, right, wrong, right)]
    assert_equals_oracle(results, [target] * 4, CLASSES)


def test_detections_on_a_crowd_are_neither_right_nor_wrong() -> None:
    box = torch.tensor([[0.0, 0, 100, 100]])
    inside = Detections(torch.cat([box, box / 2]), torch.tensor([0.5, 0.9]), torch.zeros(2), CLASSES)
    crowd = target_of(np.vstack([box, box * 3]), [0, 0], [False, True])
    assert evaluate_detections([inside], [crowd], CLASSES).ap == pytest.approx(1)
    assert_equals_oracle([inside], [crowd], CLASSES)


def test_no_detections_at_all_is_zero() -> None:
    _, targets = random_pictures(0)
    results = [no_detections()] * len(targets)
    metrics = evaluate_detections(results, targets, CLASSES)
    assert metrics.ap == metrics.ar100 == 0
    assert metrics.ap50_by_class == {"cat": 0, "dog": 0, "bird": 0}
    assert_equals_oracle(results, targets, CLASSES)


@pytest.mark.parametrize("found", [True, False])
def test_without_true_boxes_there_is_nothing_to_measure(found: bool) -> None:
    results = random_pictures(0)[0] if found else [no_detections()] * 30
    metrics = evaluate_detections(results, [no_boxes()] * 30, CLASSES)
    assert all(math.isnan(value) for value in figures(metrics))


def test_without_pictures_there_is_nothing_to_measure() -> None:
    assert math.isnan(evaluate_detections([], [], CLASSES).ap)


def test_a_class_without_true_boxes_does_not_count() -> None:
    box = torch.tensor([[0.0, 0, 50, 50]])
    result = Detections(box.repeat(2, 1), torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), CLASSES)
    metrics = evaluate_detections([result], [target_of(box, [0])], CLASSES)
    assert metrics.ap == pytest.approx(1)
    assert metrics.ap50_by_class == pytest.approx({"cat": 1, "dog": math.nan, "bird": math.nan}, nan_ok=True)


def test_results_of_a_model_with_other_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="of the classes dog, cat, the data of cat, dog"):
        evaluate_detections([no_detections(("dog", "cat"))], [no_boxes()], ("cat", "dog"))


def test_as_many_results_as_targets_are_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        evaluate_detections([no_detections()], [no_boxes()] * 2, CLASSES)


def test_the_engine_says_nothing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        evaluate_detections(*random_pictures(1), CLASSES)
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def coco_sample(folder: Path) -> tuple[list[Detections], list[BoxesTarget], tuple[str, ...]]:
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    classes = tuple(category["name"] for category in truth["categories"])
    labels = {category["id"]: label for label, category in enumerate(truth["categories"])}
    results, targets = [], []
    for image_id in sorted(image["id"] for image in truth["images"]):
        here = [row for row in truth["annotations"] if row["image_id"] == image_id]
        said = [row for row in found if row["image_id"] == image_id]
        boxes, ids = _boxes_and_labels(here, labels)
        targets.append(target_of(boxes, ids, [row["iscrowd"] for row in here]))
        boxes, ids = _boxes_and_labels(said, labels)
        results.append(Detections(boxes, torch.tensor([row["score"] for row in said]), ids, classes))
    return results, targets, classes


def _boxes_and_labels(rows: list[dict[str, Any]], labels: dict[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    return xywh_to_xyxy(boxes), torch.tensor([labels[row["category_id"]] for row in rows], dtype=torch.int64)


@pytest.mark.shared
def test_the_published_figures_of_the_coco_sample_are_reached(shared_data: Path) -> None:
    results, targets, classes = coco_sample(shared_data / "metrics_coco_val2014_100")
    metrics = evaluate_detections(results, targets, classes)
    assert (metrics.ap, metrics.ap50, metrics.ap75) == pytest.approx((0.5046, 0.6970, 0.5730), abs=5e-5)
    assert asdict(metrics)["ap50_by_class"].keys() == set(classes)


@pytest.mark.shared
def test_all_figures_of_the_coco_sample_equal_pycocotools(shared_data: Path) -> None:
    assert_equals_oracle(*coco_sample(shared_data / "metrics_coco_val2014_100"))
