"""Detectors trained by the core's loop."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from made_objects import make_data
from tiny_yolo import make_model, train_tiny

import cvtl
from cvtl import weights
from cvtl.data import BoxesTarget, Dataset
from cvtl.errors import OutputError
from cvtl.evaluation.settings import EvalSettings
from cvtl.training import TrainSettings, train
from cvtl.training.objects import plain_objects
from cvtl_yolo import YoloModel
from cvtl_yolo.settling import SETTLED_NAME, count_lost

EQUAL_FILES = ("best.safetensors", "metrics.csv")
PLAIN = {"mosaic": 0.0, "multi_scale": 1.0, "ema": 0.0}
ALL_ON = {"mosaic": 0.5, "multi_scale": 1.5, "ema": 0.9}


def alike(count: int) -> Dataset:
    """Two pictures, each with so many objects in one place, and from two on another elsewhere."""
    boxes = [[10.0, 10, 30, 30]] * count + [[50.0, 10, 70, 30]] * (count > 1)
    target = BoxesTarget(np.array(boxes), np.zeros(len(boxes), np.int64))
    data = make_data(2)
    return replace(data, samples=[replace(each, target=target) for each in data])


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("loss", ["modern", "squared"])
def test_figures_of_every_epoch_are_kept_and_the_best_is_chosen_by_ap(tmp_path: Path, loss: str) -> None:
    report = train_tiny(tmp_path / "run", {"loss": loss})
    kept = rows(tmp_path / "run")
    assert len(kept) == 2
    for part in ("train", "val"):
        assert {f"{part}_{name}" for name in ("loss", "box_loss", "object_loss", "class_loss")} <= kept[0].keys()
    assert report.metrics["val_ap"] == max(float(row["val_ap"]) for row in kept)
    assert isinstance(weights.load(report.weights), YoloModel)


@pytest.mark.parametrize("options", [PLAIN, ALL_ON, {"loss": "squared", "levels": 1, "anchors": 1}])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, options: dict[str, Any]) -> None:
    train_tiny(tmp_path / "whole", options, epochs=3, schedule="constant")
    for epochs in (1, 3):
        train_tiny(tmp_path / "parts", options, epochs=epochs, schedule="constant", resume=True)
    for name in EQUAL_FILES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_make_the_same_weights(tmp_path: Path, workers: int) -> None:
    alone, beside = (train_tiny(tmp_path / str(count), ALL_ON, epochs=1, workers=count) for count in (0, workers))
    one, other = weights.load(alone.weights).state_dict(), weights.load(beside.weights).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_is_saved_is_what_was_validated(tmp_path: Path, ema: float) -> None:
    report = train_tiny(tmp_path / "run", {"ema": ema}, epochs=1)
    model = weights.load(report.weights)
    data = make_data(8, first=1000)
    samples = model.validation_samples(data, seed=0)
    from cvtl.preprocessing import normalize

    images = normalize(torch.stack([image for image, _ in samples]), model.input)
    with torch.no_grad():
        terms, _ = model.assess(images, [seen for _, seen in samples], training=False)
    assert float(sum(terms.values())) == pytest.approx(report.metrics["val_loss"], rel=1e-4)


def test_the_average_is_saved_and_the_learner_is_kept_for_going_on(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", {"ema": 0.9}, epochs=1)
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    average = weights.load(tmp_path / "run" / "best.safetensors").state_dict()
    assert not any(name.startswith("learner") for name in average)
    name = "network.output.0.weight"
    assert torch.equal(state[f"model.{name}"], average[name])
    assert not torch.equal(state[f"model.learner.{name}"], average[name])
    assert state["model.learner.steps"] == 3


def test_without_an_average_what_learns_is_saved(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", {"ema": 0.0}, epochs=1)
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any("learner" in name for name in state)


def test_after_a_training_nothing_of_it_is_left_on_the_model(tmp_path: Path) -> None:
    model = make_model(ema=0.9)
    settings = TrainSettings(epochs=1, batch_size=8, workers=0, device="cpu")
    train(model, make_data(8), make_data(4, first=50), settings, tmp_path / "run", quiet=True)
    assert model.learner is None
    assert model.saved_state().keys() == model.state_dict().keys()


def test_anchors_are_settled_by_the_data_and_saved_with_the_weights(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", epochs=1)
    settled = yaml.safe_load((tmp_path / "run" / SETTLED_NAME).read_text())["anchor_sizes"]
    model = weights.load(report.weights)
    assert isinstance(model, YoloModel)
    assert [list(each) for each in model.options.anchor_sizes or ()] == settled
    # Objects of 12 to 28 pixels in pictures of 90, seen in an input of 64.
    assert all(8 <= side <= 20 for size in settled for side in size)


def test_a_training_goes_on_with_the_anchors_that_it_began_with(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", epochs=1)
    path = tmp_path / "run" / SETTLED_NAME
    changed = path.read_text().replace(str(yaml.safe_load(path.read_text())["anchor_sizes"][0][0]), "9.25", 1)
    path.write_text(changed)
    model = weights.load(train_tiny(tmp_path / "run", epochs=2, resume=True).weights)
    assert "9.25" in path.read_text()
    assert isinstance(model, YoloModel)


@pytest.mark.parametrize("text", ["anchor_sizes: 3", "[1", "size: banana", "anchors: 3\nanchor_sizes: [[-1, two]]"])
def test_anchors_that_cannot_be_read_stop_a_resumption(tmp_path: Path, text: str) -> None:
    train_tiny(tmp_path / "run", epochs=1)
    (tmp_path / "run" / SETTLED_NAME).write_text(text)
    with pytest.raises(OutputError, match=r"cannot read 'settled\.yaml'"):
        train_tiny(tmp_path / "run", epochs=2, resume=True)


def test_given_anchors_are_not_looked_for(tmp_path: Path) -> None:
    sizes = [[float(10 + i), 12.0] for i in range(6)]
    model = weights.load(train_tiny(tmp_path / "run", {"anchor_sizes": sizes}, epochs=1).weights)
    assert isinstance(model, YoloModel)
    assert [list(each) for each in model.options.anchor_sizes or ()] == sizes


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "Each of the 2 objects has a place in the grid"), (3, "4 of 8 objects are lost: others have their cells")],
)
def test_it_is_said_at_the_start_what_the_grid_can_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, said: str
) -> None:
    model, data = make_model(loss="squared", levels=1, anchors=1), alike(count)
    settings = TrainSettings(epochs=1, batch_size=8, workers=0, device="cpu")
    train(model, data, make_data(4, first=50), settings, tmp_path / "run")
    shown = " ".join(capsys.readouterr().err.split())
    assert "Anchors in pixels of the input: " in shown
    assert said in shown


@pytest.mark.parametrize("loss", ["squared", "modern"])
def test_objects_without_a_place_are_counted(loss: str) -> None:
    model = make_model(loss=loss, levels=1, anchors=1)
    assert count_lost(plain_objects(alike(3), model.input), model.grid(), model.options) == 4


def test_a_frozen_backbone_stays_as_it_is(tmp_path: Path) -> None:
    before = make_model(freeze="all").network.backbone.state_dict()
    after = weights.load(train_tiny(tmp_path / "run", {"freeze": "all"}).weights)
    assert isinstance(after, YoloModel)
    assert all(torch.equal(value, before[name]) for name, value in after.network.backbone.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"loss": "modern", "levels": 2, "anchors": 3}, 8),
        ({"loss": "squared", "levels": 1, "anchors": 1, "lambda_coord": 1.0, "lambda_noobj": 1.0}, 25),
    ],
    ids=["modern", "the lectures'"],
)
def test_a_little_training_finds_most_objects(tmp_path: Path, options: dict[str, Any], epochs: int) -> None:
    data, unseen = make_data(200), make_data(40, first=5000)
    settings = TrainSettings(epochs=epochs, batch_size=8, learning_rate=5e-3, workers=0, device="cpu")
    report = train(make_model(**options, ema=0.95), data, unseen, settings, tmp_path / "run", quiet=True)
    evaluation = cvtl.evaluate(cvtl.predict(weights.load(report.weights), unseen), unseen, EvalSettings(draws=0))
    figures = {figure.name: figure.value for figure in evaluation.figures}
    assert figures["AP50"] > 0.5, figures
