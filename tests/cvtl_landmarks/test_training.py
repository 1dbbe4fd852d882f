"""Training, as users and the core do it."""

from __future__ import annotations

import csv
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kites import NAMES, corners, make_data, make_flocks, make_model, picture, train_in_child, train_tiny

from cvtl import weights
from cvtl.evaluation.evaluate import evaluate
from cvtl.evaluation.predictions import predict
from cvtl_landmarks.samples import PlacedPoints

HEADS = ["heatmap", "regression"]


def errors(path: Path) -> np.ndarray:
    """Distances of found points from true ones on unseen kites, in pixels: (pictures, points)."""
    model = weights.load(path)
    with torch.inference_mode():
        images = [torch.from_numpy(picture(index)).permute(2, 0, 1) for index in range(2000, 2030)]
        found = np.stack([result.points[0].numpy() for result in model.predict(images)])  # type: ignore[union-attr]
    true = np.stack([corners(index) for index in range(2000, 2030)])
    return np.linalg.norm(found - true, axis=2)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("loss", ["wing", "smooth-l1"])
def test_every_head_and_loss_gives_its_terms(head: str, loss: str) -> None:
    model = make_model(head=head, loss=loss)
    targets = [PlacedPoints(torch.rand(3, 2), torch.tensor([True, True, index > 0])) for index in range(4)]
    terms, figures = model.assess(torch.randn(4, 3, 32, 32), targets, training=True)
    assert set(terms) == {"points", "confidence"} | ({"spread"} if head == "heatmap" else set())
    assert set(figures) == {"error", "right"}
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())


def test_the_spread_term_can_be_left_out() -> None:
    targets = [PlacedPoints(torch.rand(3, 2), torch.ones(3, dtype=torch.bool))]
    assert "spread" not in make_model(spread=0).loss(torch.randn(1, 3, 32, 32), targets)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "settings"),
    [("heatmap", {"epochs": 40}), ("regression", {"epochs": 60, "batch_size": 4, "learning_rate": 1e-3})],
)
def test_kites_are_found_twice_as_well_as_by_whoever_looks_at_no_picture(
    tmp_path: Path, head: str, settings: dict[str, Any]
) -> None:
    mean = np.stack([corners(index) for index in range(200)]).mean(axis=0)
    blind = np.linalg.norm(np.stack([corners(index) for index in range(2000, 2030)]) - mean, axis=2).mean()
    report = train_tiny(tmp_path / "run", {"head": head}, **settings)
    assert errors(report.weights).mean() < blind / 2


def test_missing_points_do_not_spoil_a_training(tmp_path: Path) -> None:
    model = make_model()
    data = make_data(16, missing=range(16))
    samples = model.training_samples(data, epoch=0, seed=0)
    images = torch.stack([samples[index][0] for index in range(16)]).float()
    terms = model.loss(images, [samples[index][1] for index in range(16)])
    assert all(term.isfinite() for term in terms.values())


def test_metrics_have_the_error_and_the_best_epoch_is_the_one_with_the_least(tmp_path: Path) -> None:
    report = train_tiny(tmp_path, epochs=3)
    with (tmp_path / "metrics.csv").open() as file:
        errors = [float(row["val_error"]) for row in csv.DictReader(file)]
    assert len(errors) == 3
    assert report.best_epoch == 1 + int(np.argmin(errors))


def test_the_same_seed_gives_the_same_weights_with_workers_or_without(tmp_path: Path) -> None:
    first, again = train_tiny(tmp_path / "a"), train_tiny(tmp_path / "b", workers=2)
    assert first.weights.read_bytes() == again.weights.read_bytes()
    assert first.weights.read_bytes() != train_tiny(tmp_path / "c", seed=1).weights.read_bytes()


def test_a_training_that_goes_on_ends_like_one_without_a_break(tmp_path: Path) -> None:
    whole = train_tiny(tmp_path / "whole", epochs=4, schedule="constant")
    train_tiny(tmp_path / "parts", epochs=2, schedule="constant")
    resumed = train_tiny(tmp_path / "parts", epochs=4, schedule="constant", resume=True)
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    assert (tmp_path / "parts/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 6}
    whole = train_tiny(tmp_path / "whole", **settings)
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=train_in_child, args=(str(tmp_path / "killed"), {}, settings))
    child.start()
    metrics = tmp_path / "killed/metrics.csv"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
        assert time.monotonic() < deadline, "the child has not got anywhere"
        time.sleep(0.01)
    child.kill()
    child.join()
    resumed = train_tiny(tmp_path / "killed", resume=True, **settings)
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()


def test_objects_in_boxes_are_learnt_and_judged_in_them(tmp_path: Path) -> None:
    report = train_tiny(tmp_path, {"resize": "letterbox"}, data=make_flocks(16), epochs=2)
    assert weights.load(report.weights).options.crop == "box"  # type: ignore[attr-defined]
    data = make_flocks(6)
    with pytest.warns(UserWarning, match="own boxes"):
        evaluation = evaluate(predict(report.weights, data, device="cpu"), data)
    assert evaluation.figures[0].name == "NME (box)"
    assert np.isfinite(evaluation.figures[0].value)
    assert len(NAMES) == 3
