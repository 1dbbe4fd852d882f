"""What every detector that can be trained promises, whichever plugin it is of: one suite over the registry."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import cvtl
from cvtl import weights
from cvtl.data import ClassTarget, Dataset
from cvtl.errors import DataError
from cvtl.evaluation.settings import EvalSettings
from cvtl.model import Model
from cvtl.registry import plugins
from cvtl.results import Detections
from cvtl.run_settings import RunSettings, TilingSettings
from cvtl.tiling import Tiled
from cvtl.training import TrainReport, TrainSettings
from cvtl_datasets.scenes import digit_scenes

SIDE = 64

# What makes each plugin small enough to train in a moment, and have it say something.
SMALL: dict[str, dict[str, Any]] = {
    "regions": {"backbone": "lenet5", "weights": "none", "size": SIDE, "channels": 16, "levels": 2},
    "ultralytics": {"model": "yolov5n.yaml", "size": SIDE, "ema": 0.5},
    "windows": {"window": 32, "windows_per_object": 1, "negatives_per_picture": 1},
    "yolo": {"backbone": "lenet5", "weights": "none", "size": SIDE, "channels": 8, "loss": "squared"},
}
ANSWERS: dict[str, dict[str, Any]] = {"windows": {"threshold": 0.0, "scales_per_octave": 1}}
# A plugin that stands on an extra is tested where that is installed.
NEEDS = {"ultralytics": "ultralytics"}

DETECTORS = [spec.name for spec in plugins().usable() if spec.task == "detect" and spec.trains]


@dataclass(frozen=True)
class Trained:
    """A training of two steps, and what came of it."""

    plugin: str
    report: TrainReport
    model: Model


def scenes(count: int, seed: int) -> Dataset:
    return digit_scenes(count, seed=seed, size_hw=(SIDE, SIDE + 32), sides=(24, 48))


def train(plugin: str, folder: Path, *, epochs: int, resume: bool = False) -> TrainReport:
    samples = [*scenes(8, 0), *(replace(each, split="val") for each in scenes(4, 1))]
    data = Dataset(samples, scenes(1, 0).classes, "scenes")
    settings = TrainSettings(
        epochs=epochs, batch_size=4, schedule="constant", workers=0, device="cpu", near_duplicates=False
    )
    options = SMALL.get(plugin, {})
    return cvtl.train(plugin, data, folder, options=options, settings=settings, resume=resume, quiet=True)


@pytest.fixture(scope="module", params=DETECTORS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    plugin = request.param
    if plugin in NEEDS and importlib.util.find_spec(NEEDS[plugin]) is None:
        pytest.skip(f"{NEEDS[plugin]} is not installed")
    report = train(plugin, tmp_path_factory.mktemp(plugin) / "run", epochs=1)
    model = weights.load(report.weights).with_predict_options(**ANSWERS.get(plugin, {"threshold": 0.0})).eval()
    return Trained(plugin, report, model)


def predict(model: Model, images: Sequence[Tensor]) -> list[Detections]:
    with torch.inference_mode():
        found = model.predict(images)
    assert all(isinstance(each, Detections) for each in found)
    return found  # type: ignore[return-value]


def pictures(*sizes_hw: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes_hw]


def test_it_is_among_the_plugins_that_this_suite_knows(trained: Trained) -> None:
    assert trained.plugin in SMALL, "give it options that make it small"


def test_its_weights_say_what_they_are(trained: Trained) -> None:
    header = weights.read_header(trained.report.weights)
    assert (header.plugin, header.task) == (trained.plugin, "detect")
    assert header.classes == scenes(1, 0).classes
    assert header.metrics


def test_it_answers_alike_after_being_saved_again(trained: Trained, tmp_path: Path) -> None:
    # Not the fixture's: its memory format, on which the last digits depend, may have been changed by other tests.
    first = weights.load(trained.report.weights).eval()
    again = weights.load(weights.save(first, tmp_path / "again.safetensors")).eval()
    images = pictures((SIDE, 96), (50, 40))
    changes = ANSWERS.get(trained.plugin, {"threshold": 0.0})
    answers = [predict(model.with_predict_options(**changes), images) for model in (first, again)]
    for one, other in zip(*answers, strict=True):
        assert len(one)
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)


def test_its_boxes_lie_in_the_picture_best_first(trained: Trained) -> None:
    sizes = [(SIDE, 96), (200, 33), (1, 1), (40, 400)]
    for found, (height, width) in zip(predict(trained.model, pictures(*sizes)), sizes, strict=True):
        left, top, right, bottom = found.boxes.unbind(dim=1)
        assert bool(((left >= 0) & (top >= 0) & (right <= width) & (bottom <= height)).all())
        assert bool(((right > left) & (bottom > top)).all())
        assert bool(((found.scores >= 0) & (found.scores <= 1)).all())
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert set(found.labels.tolist()) <= set(range(len(found.classes)))


def test_a_picture_has_the_same_answer_alone_and_among_others(trained: Trained) -> None:
    images = pictures((SIDE, 96), (80, 80), (40, 120))
    together = predict(trained.model, images)
    for found, image in zip(together, images, strict=True):
        (alone,) = predict(trained.model, [image])
        count = min(len(found), len(alone), 5)
        assert torch.allclose(found.scores[:count], alone.scores[:count], atol=1e-4)
        assert count
        assert abs(len(found) - len(alone)) <= 2


def test_threshold_and_number_of_boxes_can_be_changed_without_training_anew(trained: Trained) -> None:
    model = weights.load(trained.report.weights).eval()
    images = pictures((SIDE, 96))
    (all_,) = predict(trained.model, images)
    middle = float(all_.scores.median())
    for changes in ({"threshold": middle}, {"max_detections": 1}):
        model.with_predict_options(**ANSWERS.get(trained.plugin, {"threshold": 0.0}) | changes)
        (some,) = predict(model, images)
        assert len(some) <= len(all_)
        assert len(some) <= changes.get("max_detections", len(some))
        assert bool((some.scores >= changes.get("threshold", 0)).all())


def test_it_is_evaluated_as_all_detectors_are(trained: Trained) -> None:
    data = scenes(3, 2)
    predictions = cvtl.predict(trained.model, data, device="cpu", batch_size=2)
    assert all(each is not None for each in predictions.found)
    figures = {each.name: each for each in cvtl.evaluate(predictions, data, EvalSettings(draws=5)).figures}
    for name in ("AP", "AP50"):
        assert figures[name].value is not None
        assert 0 <= figures[name].value <= 1


def test_a_resumed_training_equals_an_uninterrupted_one(trained: Trained, tmp_path: Path) -> None:
    whole = train(trained.plugin, tmp_path / "whole", epochs=2)
    train(trained.plugin, tmp_path / "parts", epochs=1)
    parts = train(trained.plugin, tmp_path / "parts", epochs=2, resume=True)
    assert whole.weights.read_bytes() == parts.weights.read_bytes()
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (tmp_path / "parts" / "metrics.csv").read_text()


def test_run_writes_a_row_for_each_input_bad_ones_too(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, image in zip("ac", pictures((SIDE, 96), (40, 50)), strict=True):
        assert cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    (folder / "b.png").write_bytes(b"no picture")
    report = cvtl.run([folder], trained.report.weights, tmp_path / "out", settings=RunSettings(device="cpu"))
    assert report.counts["ok"] == 2
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [(row["source"], row["status"]) for row in rows] == [
        ("a.png", "ok"),
        ("b.png", "unreadable"),
        ("c.png", "ok"),
    ]


def test_it_looks_at_large_pictures_tile_by_tile(trained: Trained) -> None:
    (found,) = predict(Tiled(trained.model, TilingSettings(tile=SIDE)).eval(), pictures((100, 150)))
    assert len(found)
    assert float(found.boxes[:, 2].max()) > SIDE


def test_data_that_it_cannot_learn_from_are_refused_in_a_sentence(trained: Trained, tmp_path: Path) -> None:
    labelled = [replace(each, target=ClassTarget(0)) for each in scenes(4, 0)]
    classes_of_pictures = Dataset(labelled, scenes(1, 0).classes, "scenes")
    with pytest.raises(DataError):
        cvtl.train(
            trained.plugin,
            classes_of_pictures,
            tmp_path / "run",
            options=SMALL.get(trained.plugin, {}),
            settings=TrainSettings(epochs=1, workers=0, device="cpu", near_duplicates=False),
            quiet=True,
        )
