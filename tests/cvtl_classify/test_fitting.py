"""The strategies: what learns, what stays, and what an interrupted training comes to."""

from __future__ import annotations

import csv
import json
import multiprocessing
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
import torch
from tiny_classify import make_data, make_model, picture, train_in_child, train_tiny
from torch import nn

from cvtl import load_data, weights
from cvtl.backbones.classic import LeNet5
from cvtl.data import BoxesTarget, Dataset, Sample
from cvtl.errors import DataError, OutputError, UsageError
from cvtl.evaluation.predictions import predict
from cvtl.training import TrainSettings, train
from cvtl_classify.options import ClassifyOptions

NET = {"backbone": "timm:test_resnet", "size": 32}
"""A small network with batch normalisation in every stage."""
FIGURES = ["epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]


def rows(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return weights.load(folder / "best.safetensors").state_dict()


def backbone_of(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: each for name, each in state.items() if name.startswith("classifier.backbone.")}


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_head_learns_from_features_while_the_backbone_stays(tmp_path: Path, head: str) -> None:
    before = {name: each.clone() for name, each in make_model(**NET).state_dict().items()}
    report = train_tiny(tmp_path, NET | {"head": head}, epochs=20, learning_rate=1e-2)
    assert rows(tmp_path)[0].split(",") == FIGURES
    assert len(rows(tmp_path)) == 21
    assert report.metrics["val_accuracy"] > 0.8
    after = backbone_of(tensors(tmp_path))
    assert len(after) > 20
    assert all(torch.equal(each, before[name]) for name, each in after.items())


def test_an_svm_is_booked_as_one_epoch(tmp_path: Path) -> None:
    report = train_tiny(tmp_path, NET | {"head": "svm"}, epochs=1)
    assert (report.epochs, report.best_epoch) == (1, 1)
    assert report.metrics["val_accuracy"] > 0.8


def test_the_accuracy_that_is_booked_is_that_of_the_saved_weights(tmp_path: Path) -> None:
    report = train_tiny(tmp_path, NET, epochs=5)
    data = make_data(18, first=1000)
    found = predict(report.weights, data, device="cpu")
    right = [answer.labels[0] == sample.target.label for answer, sample in zip(found.found, data, strict=True)]
    assert report.metrics["val_accuracy"] == pytest.approx(sum(right) / 18)


def test_patience_ends_the_training_of_a_head(tmp_path: Path) -> None:
    report = train_tiny(tmp_path, epochs=30, patience=2, learning_rate=1e-30)
    assert report.stopped_early
    assert report.epochs == 3


# Data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders with 24 pictures."""
    for index in range(24):
        path = tmp_path / "data" / "rgb"[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture(index, 3)[..., ::-1])
    return tmp_path / "data"


def train_files(data: Dataset, out: Path, **options: Any) -> None:
    model = make_model(classes=data.classes, **options)
    train(model, data.subset(range(0, 24, 2)), data.subset(range(1, 24, 2)), TrainSettings(epochs=2, workers=0), out,
          quiet=True)  # fmt: skip


def test_a_second_head_costs_no_pass_through_the_backbone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data(folder, "classify")
    train_files(data, tmp_path / "one")

    def refuse(*arguments: object) -> None:
        raise AssertionError("the backbone ran")

    monkeypatch.setattr("cvtl.backbones.Backbone.forward", refuse)
    monkeypatch.setattr("cvtl.backbones.Backbone.features", refuse)
    train_files(data, tmp_path / "two", head="mlp")
    with pytest.raises(AssertionError, match="the backbone ran"):
        train_files(data, tmp_path / "three", cache=False)


@pytest.mark.parametrize("strategy", ["features", "augmented", "finetune", "full", "scratch"])
def test_a_picture_that_cannot_be_read_is_named(folder: Path, tmp_path: Path, strategy: str) -> None:
    (folder / "r" / "6.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"6\.png"):
        train_files(load_data(folder, "classify"), tmp_path / "run", strategy=strategy)


@pytest.mark.parametrize("part", ["train", "val"])
def test_with_auto_a_picture_that_cannot_be_read_is_named_before_heads_are_tried(
    folder: Path, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("a head was tried")

    data = load_data(folder, "classify")
    torch.save(LeNet5().state_dict(), tmp_path / "lenet.pth")
    bad = [(index % 3 == 0) == (part == "val") for index in range(len(data))].index(True, 3)
    Path(str(data[bad].file)).write_bytes(b"no picture")
    monkeypatch.setattr("cvtl_classify.advice.measuring.probe", refuse)
    options = {"strategy": "auto", "weights": str(tmp_path / "lenet.pth")}
    val = [index for index in range(len(data)) if index % 3 == 0]
    with pytest.raises(DataError, match="cannot read the picture"):
        train(
            make_model(**options),
            data.subset(index for index in range(len(data)) if index % 3),
            data.subset(val),
            TrainSettings(epochs=1, device="cpu", workers=0),
            tmp_path / "run",
            quiet=True,
        )


@pytest.mark.parametrize("strategy", ["augmented", "finetune", "full", "scratch"])
def test_an_optimizer_that_cannot_do_it_is_refused_before_anything_is_trained(tmp_path: Path, strategy: str) -> None:
    with pytest.raises(UsageError, match="L-BFGS needs all samples at once"):
        train_tiny(tmp_path, {"strategy": strategy}, optimizer="lbfgs")
    assert not (tmp_path / "best.safetensors").exists()


def test_pictures_with_boxes_are_refused(tmp_path: Path) -> None:
    data = make_data(8)
    boxes = Dataset([Sample("x.png", data[0].read, BoxesTarget([], []))], data.classes, "made")
    with pytest.raises(DataError, match=r"one class each, which 'x\.png' is not"):
        train(make_model(), boxes, boxes, TrainSettings(epochs=1), tmp_path / "run", quiet=True)


# Joint training


@pytest.mark.parametrize("strategy", ["augmented", "finetune"])
def test_training_goes_on_from_a_head_that_counts_as_the_first_epoch(tmp_path: Path, strategy: str) -> None:
    alone = make_model(strategy="features").options.train_defaults()
    train_tiny(tmp_path / "features", batch_size=64, **alone)
    train_tiny(tmp_path / "run", {"strategy": strategy}, epochs=2, learning_rate=1e-5)
    expected = list(csv.DictReader(rows(tmp_path / "features")))[-1]
    first, second = csv.DictReader(rows(tmp_path / "run"))
    assert list(first) == list(second) == FIGURES
    for name in FIGURES[2:]:
        assert first[name] == expected[name]


@pytest.mark.parametrize(
    ("options", "learning"),
    [
        ({"strategy": "augmented"}, ()),
        ({"strategy": "finetune"}, ("layer4",)),
        ({"strategy": "finetune", "unfreeze": "layer3"}, ("layer3", "layer4")),
        ({"strategy": "full"}, ("stem", "layer1", "layer2", "layer3", "layer4")),
        ({"strategy": "scratch"}, ("stem", "layer1", "layer2", "layer3", "layer4")),
    ],
)
def test_frozen_stages_stay_as_they_are_with_their_statistics(
    tmp_path: Path, options: dict[str, Any], learning: tuple[str, ...]
) -> None:
    model = make_model(**NET | options)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    settings = TrainSettings(epochs=2, batch_size=12, workers=0, learning_rate=1e-3, device="cpu")
    train(model, make_data(12), make_data(6, first=1000), settings, tmp_path / "run", quiet=True)
    state = backbone_of(model.state_dict())
    changed = {name.split(".")[3] for name in state if not torch.equal(state[name], before[name])}
    assert changed == set(learning)
    statistics = [name for name in state if name.endswith("running_mean")]
    assert {name.split(".")[3] for name in statistics if not torch.equal(state[name], before[name])} == set(learning)


def test_all_layers_start_from_features_of_one_size_and_new_ones_as_they_are(tmp_path: Path) -> None:
    for strategy, standardized in (("full", True), ("scratch", False)):
        train_tiny(tmp_path / strategy, {"strategy": strategy}, epochs=1)
        mean = tensors(tmp_path / strategy)["classifier.head.standardization.mean"]
        assert bool(mean.any()) == standardized


# Going on


@pytest.mark.parametrize("options", [{}, {"strategy": "finetune", **NET}], ids=["features", "finetune"])
def test_a_training_killed_and_resumed_equals_an_uninterrupted_one(tmp_path: Path, options: dict[str, Any]) -> None:
    settings = {"epochs": 60 if not options else 4, "learning_rate": 1e-3}
    killed, context = tmp_path / "killed", multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_classify", "cvtl.training.loop", "matplotlib.figure"])
    process = context.Process(target=train_in_child, args=(str(killed), options, settings))
    process.start()
    while not (killed / "metrics.csv").exists() or len(rows(killed)) < 3:
        assert process.is_alive()
        time.sleep(0.002)
    process.kill()
    process.join()
    assert not (killed / "report.md").exists()
    train_tiny(killed, options, resume=True, **settings)
    train_tiny(tmp_path / "whole", options, **settings)
    for name in ("best.safetensors", "metrics.csv"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_training_killed_behind_its_head_does_the_head_again(tmp_path: Path) -> None:
    options = {"strategy": "finetune"}
    train_tiny(tmp_path / "killed", options, epochs=3)
    for name in ("last.ckpt", "report.md"):
        (tmp_path / "killed" / name).unlink()
    train_tiny(tmp_path / "killed", options, resume=True, epochs=3)
    train_tiny(tmp_path / "whole", options, epochs=3)
    for name in ("best.safetensors", "metrics.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


# Strategy auto


@dataclass(frozen=True)
class StubChoice:
    options: ClassifyOptions
    settings: TrainSettings
    measured: Any


@pytest.fixture
def chooser(monkeypatch: pytest.MonkeyPatch) -> list[ClassifyOptions]:
    """In place of measuring: what is appended is chosen, and taken out."""
    choices: list[ClassifyOptions] = []

    def choose(data: Dataset, options: ClassifyOptions, settings: TrainSettings, backbone: nn.Module, *, progress: Any) -> StubChoice:  # fmt: skip  # noqa: E501
        options = choices.pop(0)
        changes = {"epochs": 3} if "epochs" not in settings.model_fields_set else {}
        return StubChoice(options, settings.model_copy(update=changes), {"table": [1, 2]})

    module = ModuleType("cvtl_classify.advice.choosing")
    module.choose = choose  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cvtl_classify.advice", ModuleType("cvtl_classify.advice"))
    monkeypatch.setitem(sys.modules, "cvtl_classify.advice.choosing", module)
    return choices


AUTO = {"strategy": "auto", "backbone": "lenet5", "size": 32}


def train_auto(folder: Path, *, resume: bool = False, **said: Any) -> Any:
    source = folder.parent / "backbone.pth"
    if not source.exists():
        torch.save(LeNet5().state_dict(), source)
    model = make_model(**AUTO, weights=str(source))
    settings = TrainSettings(workers=0, device="cpu", **said)
    return train(model, make_data(48), make_data(18, first=1000), settings, folder, resume=resume, quiet=True)


@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "features", "stages": "all", "pooling": "grid"},
        {"strategy": "features", "head": "svm", "cut": "conv1"},
        {"strategy": "finetune"},
        {"strategy": "scratch", "size": 48},
    ],
)
def test_auto_becomes_what_was_chosen_and_saves_it(
    tmp_path: Path, chooser: list[ClassifyOptions], chosen: dict[str, Any]
) -> None:
    options = ClassifyOptions(**AUTO | {"weights": "none"} | chosen)
    chooser.append(options)
    report = train_auto(tmp_path / "run")
    assert report.epochs == (1 if options.head == "svm" else 3)
    loaded = weights.load(report.weights)
    assert loaded.options == options
    assert loaded.input.size_hw == (options.size, options.size)
    content = json.loads((tmp_path / "run" / "choice.json").read_text())
    assert content["measured"] == {"table": [1, 2]}


def test_auto_measures_once_however_often_it_is_resumed(tmp_path: Path, chooser: list[ClassifyOptions]) -> None:
    chooser.append(ClassifyOptions(**AUTO | {"strategy": "features"}))
    train_auto(tmp_path / "run")
    (tmp_path / "run" / "report.md").unlink()
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    train_auto(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before


def test_what_a_user_sets_goes_before_what_was_chosen(tmp_path: Path, chooser: list[ClassifyOptions]) -> None:
    chooser.append(ClassifyOptions(**AUTO | {"strategy": "features"}))
    assert train_auto(tmp_path / "run", epochs=2).epochs == 2
    assert train_auto(tmp_path / "run", resume=True, epochs=4).epochs == 4


def test_a_choice_that_cannot_be_read_is_an_error(tmp_path: Path, chooser: list[ClassifyOptions]) -> None:
    chooser.append(ClassifyOptions(**AUTO | {"strategy": "features"}))
    train_auto(tmp_path / "run")
    (tmp_path / "run" / "report.md").unlink()
    (tmp_path / "run" / "choice.json").write_text('{"options": {"backbone": 3}}')
    with pytest.raises(OutputError, match=r"cannot read 'choice\.json'"):
        train_auto(tmp_path / "run", resume=True)


def test_auto_with_random_weights_has_nothing_to_measure(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", {"strategy": "auto"}, epochs=1)
    assert weights.load(report.weights).options.strategy == "scratch"


def test_an_unknown_stage_to_unfreeze_is_named() -> None:
    with pytest.raises(UsageError, match="no stage 'conv7'"):
        make_model(strategy="finetune", unfreeze="conv7")
