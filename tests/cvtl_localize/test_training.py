"""Localizers trained by the core's loop."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_localize import CLASSES, make_data, make_model, train_tiny

import cvtl
from cvtl import weights
from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample
from cvtl.errors import DataError
from cvtl.evaluation.found import FoundObject
from cvtl.evaluation.settings import EvalSettings
from cvtl.training import TrainSettings, train
from cvtl.training.start import with_defaults
from cvtl_localize import LocalizeModel, LocalizeOptions

EQUAL_FILES = ("best.safetensors", "metrics.csv")


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("loss", ["modern", "squared"])
def test_figures_of_every_epoch_are_kept_and_the_best_is_chosen_by_the_score(tmp_path: Path, loss: str) -> None:
    report = train_tiny(tmp_path / "run", {"loss": loss})
    kept = rows(tmp_path / "run")
    assert len(kept) == 2
    for part in ("train", "val"):
        assert {f"{part}_{name}" for name in ("loss", "score", "iou", "accuracy", "presence")} <= kept[0].keys()
    assert report.metrics["val_score"] == max(float(row["val_score"]) for row in kept)
    assert isinstance(weights.load(report.weights), LocalizeModel)


def test_the_logged_iou_is_the_mean_over_pictures_with_an_object(tmp_path: Path) -> None:
    # Seven to a batch: some batches have more objects than others.
    report = train_tiny(tmp_path / "run", epochs=1, batch_size=7)
    data = make_data(16, first=1000)
    model = weights.load(report.weights)
    answers = cvtl.predict(model, data)
    shown = [replace(each, present=1.0) for each in answers.found if isinstance(each, FoundObject)]
    evaluation = cvtl.evaluate(replace(answers, found=shown), data, EvalSettings(draws=0))
    figures = {figure.name: figure.value for figure in evaluation.figures}
    assert report.metrics["val_iou"] == pytest.approx(figures["mean IoU"], abs=1e-3)
    assert report.metrics["val_accuracy"] == pytest.approx(figures["class accuracy"])


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    train_tiny(tmp_path / "whole", epochs=3, schedule="constant")
    for epochs in (1, 3):
        train_tiny(tmp_path / "parts", epochs=epochs, schedule="constant", resume=True)
    for name in EQUAL_FILES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_make_the_same_weights(tmp_path: Path, workers: int) -> None:
    alone, beside = (train_tiny(tmp_path / str(count), epochs=1, workers=count) for count in (0, workers))
    one, other = weights.load(alone.weights).state_dict(), weights.load(beside.weights).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_pictures_are_decoded_once_however_many_epochs(tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(sample: Sample) -> Sample:
        def read() -> np.ndarray:
            asked.append(sample.name)
            return sample.read()

        return Sample(sample.name, read, sample.target)

    data = make_data(8)
    data = Dataset([counted(each) for each in data], CLASSES, "made")
    train(make_model(), data, data, TrainSettings(epochs=3, workers=0, device="cpu"), tmp_path / "run", quiet=True)
    assert len(asked) == 2 * 8


def test_a_frozen_backbone_stays_as_it_is(tmp_path: Path) -> None:
    before = make_model(freeze="all").network.backbone.state_dict()
    after = weights.load(train_tiny(tmp_path / "run", {"freeze": "all"}).weights)
    assert isinstance(after, LocalizeModel)
    assert all(torch.equal(value, before[name]) for name, value in after.network.backbone.state_dict().items())


@pytest.mark.parametrize(("empty", "said"), [(0.0, True), (0.5, False)])
def test_data_in_which_nothing_is_ever_absent_train_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], empty: float, said: bool
) -> None:
    data = make_data(16, empty=empty)
    settings = TrainSettings(epochs=1, workers=0, device="cpu")
    train(make_model(), data, make_data(8, first=50, empty=empty), settings, tmp_path / "run")
    assert ("Every training picture has an object" in capsys.readouterr().err) == said


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (ClassTarget(0), "learns from pictures with boxes"),
        (BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64)), "has an object to learn from"),
    ],
)
def test_data_without_boxes_are_refused_before_anything_is_trained(
    tmp_path: Path, target: ClassTarget | BoxesTarget, message: str
) -> None:
    bad = Dataset([Sample("a.png", make_data(1)[0].read, target)], CLASSES, "made", "here")
    for one, other in ((bad, make_data(4)), (make_data(4), bad)):
        with pytest.raises(DataError, match=message):
            train(make_model(), one, other, TrainSettings(epochs=1, device="cpu"), tmp_path / "run", quiet=True)


def test_what_nobody_sets_is_as_the_plugin_proposes() -> None:
    options = LocalizeOptions(weights="none")
    settings = with_defaults(TrainSettings(epochs=3), options)
    assert settings.epochs == 3
    assert settings.batch_size == options.train_defaults()["batch_size"]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["modern", "squared"])
def test_a_little_training_beats_the_best_guess_by_far(tmp_path: Path, loss: str) -> None:
    data, unseen = make_data(400), make_data(100, first=5000)
    settings = TrainSettings(epochs=25, batch_size=16, learning_rate=3e-3, workers=0, device="cpu")
    report = train(make_model(loss=loss, jitter=0, dropout=0), data, unseen, settings, tmp_path / "run", quiet=True)
    evaluation = cvtl.evaluate(cvtl.predict(weights.load(report.weights), unseen), unseen, EvalSettings(draws=0))
    figures = {figure.name: figure.value for figure in evaluation.figures}
    guess = middle_guess(data, unseen)
    print(figures, guess)
    assert guess < 0.35
    assert figures["mean IoU"] > guess + 0.25
    assert figures["class accuracy"] > 0.8
    assert figures["presence AP"] > 0.9


def middle_guess(data: Dataset, unseen: Dataset) -> float:
    """Mean IoU of the one box that is the mean of all training boxes."""
    from cvtl.evaluation.objects import iou

    seen, wanted = (
        np.concatenate([each.target.boxes for each in part if isinstance(each.target, BoxesTarget)])
        for part in (data, unseen)
    )
    return float(iou(seen.mean(axis=0), wanted).mean())
