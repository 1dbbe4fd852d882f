"""Detectors trained by the core's loop."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_objects import make_data
from tiny_regions import HEADS, make_model, train_tiny

import cvtl
from cvtl import weights
from cvtl.data import BoxesTarget, ClassTarget
from cvtl.errors import DataError
from cvtl.evaluation.settings import EvalSettings
from cvtl.training import TrainSettings, train
from cvtl_regions import RegionsModel

EQUAL_FILES = ("best.safetensors", "metrics.csv")
VARIED = {"scale": 1.3, "jitter": 0.3, "mosaic": 0.3}


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("head", [*HEADS, "rcnn"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, head: str) -> None:
    options: dict[str, Any] = {"head": head, "levels": 1, "regions": 16, "patch": 16, **VARIED}
    train_tiny(tmp_path / "whole", options, count=5, epochs=2, schedule="constant")
    for epochs in (1, 2):
        train_tiny(tmp_path / "parts", options, count=5, epochs=epochs, schedule="constant", resume=True)
    for name in EQUAL_FILES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    kept = rows(tmp_path / "whole")
    assert all(float(row["train_loss"]) > 0 and 0 <= float(row["val_ap"]) <= 1 for row in kept)


def test_worker_processes_make_the_same_weights(tmp_path: Path) -> None:
    alone, beside = (
        train_tiny(tmp_path / str(count), {"levels": 1, **VARIED}, count=8, epochs=1, workers=count) for count in (0, 2)
    )
    one, other = weights.load(alone.weights).state_dict(), weights.load(beside.weights).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_few_pictures_are_enough_to_find_bright_squares(tmp_path: Path) -> None:
    options = {"levels": 1, "regions": 32, "anchor_sizes": (10.0, 20.0), "aspects": (1.0,), "backbone_rate": 1.0}
    report = train_tiny(tmp_path / "run", options, count=48, epochs=8, learning_rate=2e-3)
    unseen = make_data(24, first=5000)
    evaluation = cvtl.evaluate(cvtl.predict(weights.load(report.weights), unseen), unseen, EvalSettings(draws=0))
    figures = {figure.name: figure.value for figure in evaluation.figures}
    assert figures["AP50"] > 0.8


def test_data_without_boxes_are_refused(tmp_path: Path) -> None:
    data = make_data(4)
    classes = replace(data, samples=[replace(each, target=ClassTarget(0)) for each in data])
    settings = TrainSettings(epochs=1, batch_size=4, workers=0, device="cpu")
    with pytest.raises(DataError, match="regions plugin learns from pictures with boxes"):
        train(make_model(), classes, data, settings, tmp_path / "run", quiet=True)


def test_crowds_are_not_learnt(tmp_path: Path) -> None:
    crowded = BoxesTarget(np.array([[5.0, 5, 30, 30], [40, 5, 80, 50]]), np.array([0, 1]), np.array([False, True]))
    data = replace(make_data(2), samples=[replace(each, target=crowded) for each in make_data(2)])
    model = make_model()
    for samples in (model.training_samples(data, epoch=0, seed=0), model.validation_samples(data, seed=0)):
        for _, seen in samples:
            assert 1 not in seen.labels.tolist()


def test_what_is_saved_is_what_was_validated(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", {"head": "retinanet", "levels": 1}, count=8, epochs=1)
    model = weights.load(report.weights)
    assert isinstance(model, RegionsModel)
    assert report.metrics["val_ap"] == float(rows(tmp_path / "run")[0]["val_ap"])
