"""COCO's figures of a detector's results; what the figures are is tested with the engines."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cvtl.data import BoxesTarget, Dataset, Sample
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.detection.detector import DetectionMetrics, evaluate_detections, evaluate_detector
from cvtl.model import ComposedModel
from cvtl.options import Options
from cvtl.preprocessing import InputSpec
from cvtl.results import Detections, Result

CLASSES = ("cat", "dog", "bird")
BOX = torch.tensor([[0.0, 0, 50, 50]])


def results_of(scene: Any) -> list[Detections]:
    """As a model gives them: in single precision. The scene is rounded likewise."""
    for found in scene.found:
        found.boxes[:], found.scores[:] = found.boxes.astype(np.float32), found.scores.astype(np.float32)
    return [
        Detections(torch.tensor(f.boxes), torch.tensor(f.scores), torch.tensor(f.labels), scene.classes)
        for f in scene.found
    ]


def figures(metrics: DetectionMetrics) -> list[float]:
    *summary, by_class = astuple(metrics)
    return [*summary, *by_class.values()]


def no_detections(classes: tuple[str, ...] = CLASSES) -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), classes)


def target_of(boxes: Tensor, labels: list[int], crowd: list[bool] | None = None) -> BoxesTarget:
    return BoxesTarget(boxes.double().numpy(), np.array(labels, np.int64), np.array(crowd or [], bool))


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_of_pycocotools(make_scene: Any, pycocotools: Any, seed: int) -> None:
    scene = make_scene(seed)
    metrics = evaluate_detections(results_of(scene), scene.targets, scene.classes)
    oracle = pycocotools(scene)
    expected = [*oracle.stats, *oracle.eval["precision"][0, :, :, 0, -1].mean(axis=0)]
    assert figures(metrics) == pytest.approx([v if v >= 0 else math.nan for v in expected], abs=1e-9, nan_ok=True)
    assert tuple(metrics.ap50_by_class) == scene.classes


def test_more_than_a_hundred_detections_of_a_class_are_cut() -> None:
    corners = torch.rand(120, 2, generator=torch.Generator().manual_seed(0)) * 500
    boxes = torch.cat([corners, corners + 40], dim=1)
    result = Detections(boxes, torch.full((120,), 0.5), torch.zeros(120), CLASSES)
    assert evaluate_detections([result], [target_of(boxes, [0] * 120)], CLASSES).ar100 == pytest.approx(100 / 120)


def test_detections_on_a_crowd_are_neither_right_nor_wrong() -> None:
    inside = Detections(torch.cat([BOX, BOX / 2]), torch.tensor([0.5, 0.9]), torch.zeros(2), CLASSES)
    crowd = target_of(torch.cat([BOX, BOX * 3]), [0, 0], [False, True])
    assert evaluate_detections([inside], [crowd], CLASSES).ap == pytest.approx(1)


def test_no_detections_at_all_is_zero() -> None:
    metrics = evaluate_detections([no_detections()], [target_of(BOX.repeat(3, 1), [0, 1, 2])], CLASSES)
    assert metrics.ap == metrics.ar100 == 0
    assert metrics.ap50_by_class == {"cat": 0, "dog": 0, "bird": 0}


@pytest.mark.parametrize("pictures", [0, 1])
def test_without_true_boxes_there_is_nothing_to_measure(pictures: int) -> None:
    found = Detections(BOX, torch.ones(1), torch.zeros(1), CLASSES)
    metrics = evaluate_detections([found] * pictures, [target_of(BOX[:0], [])] * pictures, CLASSES)
    assert all(math.isnan(value) for value in figures(metrics))


def test_a_class_without_true_boxes_does_not_count() -> None:
    result = Detections(BOX.repeat(2, 1), torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), CLASSES)
    metrics = evaluate_detections([result], [target_of(BOX, [0])], CLASSES)
    assert metrics.ap == pytest.approx(1)
    assert metrics.ap50_by_class == pytest.approx({"cat": 1, "dog": math.nan, "bird": math.nan}, nan_ok=True)


def test_results_of_a_model_with_other_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="of the classes dog, cat, the data of cat, dog"):
        evaluate_detections([no_detections(("dog", "cat"))], [target_of(BOX[:0], [])], ("cat", "dog"))


def test_as_many_results_as_targets_are_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        evaluate_detections([no_detections()], [target_of(BOX[:0], [])] * 2, CLASSES)


def test_the_engine_says_nothing(
    make_scene: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    scene = make_scene(1)
    with caplog.at_level(logging.DEBUG):
        evaluate_detections(results_of(scene), scene.targets, scene.classes)
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


class Corner(ComposedModel):
    """Finds a cat of as many pixels as the picture's shade says, in the upper left corner."""

    def __init__(self) -> None:
        super().__init__(Options(), ("cat",), InputSpec(size_hw=(60, 60)))
        self.weight = nn.Parameter(torch.zeros(1))

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        sides = [float(image[0, 0, 0]) for image in images]
        return [
            Detections(torch.tensor([[0, 0, s, s]]), torch.ones(1), torch.zeros(1), ("cat",)) for s in sides
        ]  # fmt: skip


def shades(targets: list[BoxesTarget | None]) -> Dataset:
    def sample(i: int) -> Sample:
        return Sample(f"{i}.png", lambda: np.full((60, 60, 3), 20 + i, np.uint8), targets[i])

    return Dataset([sample(i) for i in range(len(targets))], ("cat",), "shades")


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_detector_is_run_over_all_pictures_in_their_order(batch_size: int) -> None:
    side = torch.tensor([[0.0, 0, 1, 1]])
    data = shades([target_of(side * (20 + i), [0]) for i in range(5)])
    assert evaluate_detector(Corner(), data, batch_size=batch_size).ap == pytest.approx(1)


def test_a_data_set_without_boxes_is_refused() -> None:
    with pytest.raises(DataError, match="'shades' and the model are not both of boxes"):
        evaluate_detector(Corner(), shades([None]))
