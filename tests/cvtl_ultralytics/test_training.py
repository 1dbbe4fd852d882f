"""Networks of Ultralytics' trained by the core's loop."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from made_checkpoints import (
    TINIES,
    TINY,
    TINY_26,
    TINY_DETR,
    make_data,
    make_model,
    make_network,
    train_tiny,
)

import cvtl
from cvtl import weights
from cvtl.errors import DataError, UsageError, WeightsError
from cvtl.evaluation.settings import EvalSettings
from cvtl.preprocessing import normalize
from cvtl.training import TrainSettings, train
from cvtl.training.objects import Seen
from cvtl_ultralytics import losses, networks
from cvtl_ultralytics.architecture import checked
from cvtl_ultralytics.model import UltralyticsModel
from cvtl_ultralytics.options import UltralyticsOptions

EQUAL_FILES = ("best.safetensors", "metrics.csv")


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def batch(count: int = 4, side: int = 64) -> tuple[torch.Tensor, list[Seen]]:
    """Pictures with up to three objects each, the last with none."""
    generator = torch.Generator().manual_seed(0)
    targets = []
    for index in range(count):
        found = (index + 1) % count
        corners = torch.rand(found, 2, generator=generator) * side / 2
        sizes = 10 + torch.rand(found, 2, generator=generator) * 15
        labels = torch.randint(0, 3, (found,), generator=generator)
        targets.append(Seen(torch.cat([corners, corners + sizes], dim=1), labels))
    return torch.rand(count, 3, side, side, generator=generator), targets


@pytest.mark.parametrize("name", ["v8", "26", "rtdetr"])
def test_a_killed_training_goes_on_as_it_would_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    train_tiny(tmp_path / "whole", TINIES[name])
    with monkeypatch.context() as patch:
        patch.setattr(UltralyticsModel, "after_step", _dies_in_the_second_epoch())
        with pytest.raises(RuntimeError, match="killed"):
            train_tiny(tmp_path / "parts", TINIES[name])
    train_tiny(tmp_path / "parts", TINIES[name], resume=True)
    for file in EQUAL_FILES:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes(), file


def _dies_in_the_second_epoch() -> Any:
    steps, usual = [], UltralyticsModel.after_step

    def after_step(model: UltralyticsModel) -> None:
        usual(model)
        steps.append(1)
        if len(steps) == 3:
            raise RuntimeError("killed")

    return after_step


def test_what_is_saved_is_what_was_validated_and_says_its_licence(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", epochs=1)
    header = weights.read_header(report.weights)
    assert (header.plugin, header.licence) == ("ultralytics", "AGPL-3.0")
    assert header.versions["ultralytics"]
    model = weights.load(report.weights)
    assert isinstance(model, UltralyticsModel)
    samples = model.validation_samples(make_data(8, first=1000), seed=0)
    images = normalize(torch.stack([image for image, _ in samples]), model.input)
    with torch.no_grad():
        terms, _ = model.assess(images, [seen for _, seen in samples], training=False)
    assert float(sum(terms.values())) == pytest.approx(report.metrics["val_loss"], rel=1e-3)


def test_a_licence_that_a_user_names_is_kept(tmp_path: Path) -> None:
    path = weights.save(make_model(TINY), tmp_path / "w.safetensors", licence="bought")
    assert weights.read_header(path).licence == "bought"


def test_figures_of_every_epoch_are_kept(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run")
    kept = rows(tmp_path / "run")
    for part in ("train", "val"):
        assert {f"{part}_{name}" for name in ("loss", "box_loss", "class_loss", "dfl_loss")} <= kept[0].keys()
    assert report.metrics["val_ap"] == max(float(row["val_ap"]) for row in kept)


@pytest.mark.parametrize("name", ["v8", "v10", "26"])
def test_the_loss_is_ultralytics_own_per_picture(name: str) -> None:
    network = make_network(TINIES[name]).train()
    images, targets = batch()
    terms = losses.terms(network, network(images), targets, images, progress=0.0)
    expected, _ = network.loss(  # type: ignore[operator]
        {
            "img": images,
            "batch_idx": torch.cat([torch.full((len(seen.labels),), float(i)) for i, seen in enumerate(targets)]),
            "cls": torch.cat([seen.labels for seen in targets]).float()[:, None],
            "bboxes": torch.cat([_centred(seen.boxes) for seen in targets]),
        }
    )
    assert torch.stack(list(terms.values())).tolist() == pytest.approx((expected / len(images)).tolist(), rel=1e-4)


def _centred(boxes: torch.Tensor) -> torch.Tensor:
    rows = [[(a + c) / 2, (b + d) / 2, c - a, d - b] for a, b, c, d in boxes.tolist()]
    return torch.tensor(rows).reshape(-1, 4) / 64


def test_the_head_with_one_box_for_an_object_counts_for_more_and_more() -> None:
    network = make_network(TINY_26).train()
    images, targets = batch()
    with torch.no_grad():
        answers = network(images)
        first, middle, last = (
            float(sum(losses.terms(network, answers, targets, images, each).values())) for each in (0.0, 0.5, 1.0)
        )
    assert middle == pytest.approx((first + last) / 2, rel=1e-4)
    assert first != pytest.approx(last)


@pytest.mark.parametrize("name", list(TINIES))
def test_pictures_without_objects_have_a_finite_loss(name: str) -> None:
    network = make_network(TINIES[name])
    images = torch.rand(2, 3, 64, 64)
    empty = [Seen(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))] * 2
    model = make_model(TINIES[name]).train()
    model.network = network.train()
    terms = model.loss(images, empty)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert bool(total.isfinite())


def test_after_a_training_nothing_of_it_is_left_on_the_model(tmp_path: Path) -> None:
    model = make_model(TINY_DETR)
    names = set(model.state_dict())
    settings = TrainSettings(epochs=1, batch_size=8, workers=0, device="cpu")
    train(model, make_data(8), make_data(4, first=50), settings, tmp_path / "run", quiet=True)
    assert model.learner is None
    assert set(model.state_dict()) == set(model.saved_state()) == names


def test_frozen_layers_stay_as_they_are(tmp_path: Path) -> None:
    before = make_model(TINY, freeze=3).network.state_dict()
    report = train_tiny(tmp_path / "run", options={"freeze": 3, "ema": 0.5}, epochs=1)
    after = weights.load(report.weights).network.state_dict()  # type: ignore[union-attr,operator]
    frozen = [name for name in before if name.startswith(("model.0.", "model.1.", "model.2."))]
    assert len(frozen) > 10
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["model.3.cv1.conv.weight"], after["model.3.cv1.conv.weight"])


# Starting from weights.


def test_training_starts_from_a_checkpoint_whose_classes_are_others(checkpoint: Path) -> None:
    options = UltralyticsOptions(weights=str(checkpoint), size=64)
    model = UltralyticsModel.initialize(options, ["cat", "dog", "cow"])
    start = make_network(TINY).half().float().state_dict()
    found = model.network.state_dict()
    assert model.options.model == checked(TINY)
    differing = {name for name in start if not torch.equal(start[name], found[name])}
    assert {name.split(".")[2] for name in differing} == {"cv3"}
    assert all(name.split(".")[4] == "2" for name in differing)


def test_training_starts_from_own_weights_with_all_layers_if_the_classes_are_the_same(tmp_path: Path) -> None:
    first = make_model(TINY, seed=5)
    path = weights.save(first, tmp_path / "first.safetensors")
    again = UltralyticsModel.initialize(UltralyticsOptions(weights=str(path), size=64), first.classes)
    one, other = first.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_number_of_classes_that_differs_takes_over_what_fits(tmp_path: Path) -> None:
    path = weights.save(make_model(TINY, seed=5), tmp_path / "first.safetensors")
    model = UltralyticsModel.initialize(UltralyticsOptions(weights=str(path), size=64), [str(i) for i in range(7)])
    assert len(model.classes) == networks.head(model.network).nc == 7


def test_weights_of_another_network_or_plugin_are_refused(tmp_path: Path, glow: Path) -> None:
    path = weights.save(make_model(TINY), tmp_path / "first.safetensors")
    with pytest.raises(WeightsError, match=r"only \d+ of the \d+ tensors"):
        UltralyticsModel.initialize(UltralyticsOptions(weights=str(path), model="yolov8n"), ["a"])
    with pytest.raises(UsageError, match="are of the plugin 'glow'"):
        UltralyticsModel.initialize(UltralyticsOptions(weights=str(glow)), ["a"])


def test_classes_and_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="no classes"):
        UltralyticsModel.initialize(UltralyticsOptions(), [])
    with pytest.raises(UsageError, match="--size 100 is no multiple of 32"):
        UltralyticsModel.initialize(UltralyticsOptions(size=100), ["a"])


def test_a_checkpoint_keeps_its_figures_when_it_is_written_anew(checkpoint: Path, tmp_path: Path) -> None:
    path = weights.convert(checkpoint, tmp_path / "w.safetensors")
    header = weights.read_header(path)
    assert header.metrics == {"metrics/mAP50(B)": 0.5, "fitness": 0.25}
    assert header.licence == "AGPL-3.0 (https://ultralytics.com/license)"


@pytest.mark.slow
def test_a_little_training_finds_most_objects(tmp_path: Path) -> None:
    unseen = make_data(24, first=5000)
    settings = TrainSettings(epochs=8, batch_size=8, learning_rate=5e-3, workers=0, device="cpu")
    model = make_model(TINY, ema=0.9, scale=1.25, mosaic=0.0)
    report = train(model, make_data(100), unseen, settings, tmp_path / "run", quiet=True)
    evaluation = cvtl.evaluate(cvtl.predict(weights.load(report.weights), unseen), unseen, EvalSettings(draws=0))
    figures = {figure.name: figure.value for figure in evaluation.figures}
    assert figures["AP50"] > 0.5
