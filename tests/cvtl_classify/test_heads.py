"""Heads: what they learn, odd data, figures, and the solver."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cvtl.errors import DataError, TrainingError, UsageError
from cvtl.training import TrainSettings
from cvtl_classify.heads import Known, Standardization, fit_head, make_head
from cvtl_classify.options import ClassifyOptions
from cvtl_classify.recipes import RECIPES
from cvtl_classify.svm import fit_svm

HEADS = ("linear", "mlp", "svm")


def blobs(count: int, classes: int, *, width: int = 8, spread: float = 1.0, seed: int = 0) -> Known:
    """Normal clouds round random centres, which overlap the more the wider they spread."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = np.arange(count) % classes
    features = centres[labels] + spread * random.normal(size=(count, width))
    return Known((10 * features + 3).astype(np.float32), labels)


def fit(kind: str, data: Known, classes: int, **settings: Any) -> torch.nn.Sequential:
    recipe = ClassifyOptions(head=kind).used_recipe()
    made = TrainSettings(**{"epochs": 30, "learning_rate": 1e-2} | settings)
    return fit_head(kind, data.features, data.labels, classes, settings=made, recipe=recipe)


def probabilities(head: torch.nn.Module, features: np.ndarray) -> Tensor:
    with torch.no_grad():
        return head(torch.from_numpy(features)).softmax(dim=1)


def accuracy(head: torch.nn.Module, data: Known) -> float:
    return float((probabilities(head, data.features).argmax(1).numpy() == data.labels).mean())


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("classes", [2, 5])
def test_every_head_learns_clouds_about_as_well_as_their_centres_tell_them(kind: str, classes: int) -> None:
    train, test = blobs(300, classes), blobs(2000, classes, seed=1)
    centres = np.stack([train.features[train.labels == label].mean(0) for label in range(classes)])
    nearest = ((test.features[:, None] - centres) ** 2).sum(-1).argmin(1)
    assert accuracy(fit(kind, train, classes), test) > (nearest == test.labels).mean() - 0.05


def test_a_linear_head_follows_gradient_descent_written_plainly() -> None:
    data, rate, decay = blobs(60, 3), 0.1, 1e-2
    options: dict[str, Any] = {
        "optimizer": "sgd",
        "schedule": "constant",
        "batch_size": 60,
        "weight_decay": decay,
    }
    recipe = ClassifyOptions(recipe="alexnet", dropout=0.0).used_recipe()
    start = fit_head(
        "linear", data.features, data.labels, 3, settings=TrainSettings(epochs=1, learning_rate=1e-30, **options),
        recipe=recipe,
    )  # fmt: skip
    weight, bias = start[-1].weight.detach().double().numpy(), start[-1].bias.detach().double().numpy()
    x = data.features.astype(np.float64)
    x = (x - x.mean(0)) / x.std(0)
    velocities = [np.zeros_like(weight), np.zeros_like(bias)]
    for _ in range(12):
        scores = np.exp(x @ weight.T + bias)
        error = scores / scores.sum(1, keepdims=True) - np.eye(3)[data.labels]
        gradients = [error.T @ x / 60 + decay * weight, error.mean(0) + decay * bias]
        velocities = [0.9 * v + g for v, g in zip(velocities, gradients, strict=True)]
        weight, bias = weight - rate * velocities[0], bias - rate * velocities[1]
    head = fit_head(
        "linear", data.features, data.labels, 3, settings=TrainSettings(epochs=12, learning_rate=rate, **options),
        recipe=recipe,
    )  # fmt: skip
    np.testing.assert_allclose(head[-1].weight.detach().numpy(), weight, atol=1e-5)
    np.testing.assert_allclose(head[-1].bias.detach().numpy(), bias, atol=1e-5)


@pytest.mark.parametrize("kind", HEADS)
def test_the_seed_decides_and_nothing_else(kind: str) -> None:
    data = blobs(40, 3)
    one, two = fit(kind, data, 3).state_dict(), fit(kind, data, 3).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = fit(kind, data, 3, seed=1).state_dict()
    assert not torch.equal(one["logits.weight"], other["logits.weight"])


ODD = {
    "one picture a class": (np.arange(6.0)[:, None] * np.ones(4), np.arange(6)),
    "one class with one picture": (np.arange(9.0)[:, None] * np.ones(4), np.array([0, 1, 1, 1, 1, 2, 2, 2, 2])),
    "a class without pictures": (np.arange(8.0)[:, None] * np.ones(4), np.array([0, 0, 0, 0, 5, 5, 5, 5])),
    "constant features": (np.full((8, 4), 1e6), np.arange(8) % 6),
    "some constant features": (np.stack([np.arange(8.0), np.full(8, 1e4)], 1), np.arange(8) % 6),
    "more features than pictures": (np.random.default_rng(0).normal(size=(8, 50)), np.arange(8) % 6),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("case", ODD)
def test_odd_data_give_probabilities_all_the_same(kind: str, case: str) -> None:
    features, labels = ODD[case]
    head = fit(kind, Known(features.astype(np.float32), labels), 6, batch_size=256, epochs=3)
    found = probabilities(head, features.astype(np.float32))
    assert found.shape == (len(labels), 6)
    torch.testing.assert_close(found.sum(1), torch.ones(len(labels)))


@pytest.mark.parametrize("kind", HEADS)
def test_a_class_without_pictures_is_never_the_answer(kind: str) -> None:
    features, labels = ODD["a class without pictures"]
    head = fit(kind, Known(features.astype(np.float32), labels), 6, epochs=60)
    assert set(probabilities(head, features.astype(np.float32)).argmax(1).tolist()) == {0, 5}


@pytest.mark.parametrize("kind", HEADS)
def test_pictures_of_one_class_alone_are_an_error(kind: str) -> None:
    with pytest.raises(DataError, match="all of one class"):
        fit(kind, Known(np.ones((3, 2), np.float32), np.array([1, 1, 1])), 2)


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    with pytest.raises(TrainingError, match="--learning-rate"):
        fit("linear", blobs(20, 2), 2, optimizer="sgd", learning_rate=1e38)


def test_ten_thousand_classes_fit_a_linear_head() -> None:
    random = np.random.default_rng(0)
    data = Known(random.normal(size=(500, 16)).astype(np.float32), random.integers(0, 10_000, 500))
    head = fit("linear", data, 10_000, epochs=1)
    assert probabilities(head, data.features).shape == (500, 10_000)


@pytest.mark.parametrize("kind", HEADS)
def test_figures_are_those_of_the_head_that_comes_with_them(kind: str) -> None:
    train, val = blobs(50, 3, spread=2), blobs(30, 3, spread=2, seed=1)
    seen = []

    def look(head: torch.nn.Module, figures: dict[str, float]) -> bool:
        with torch.no_grad():
            logits = head.eval()(torch.from_numpy(val.features))
        labels = torch.from_numpy(val.labels)
        smoothing = 0.0 if kind == "svm" else 0.1
        loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        assert figures["val_loss"] == pytest.approx(float(loss), rel=1e-5)
        assert figures["val_accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
        assert {"train_loss", "train_accuracy"} <= figures.keys()
        seen.append(figures)
        return len(seen) == 3

    recipe = ClassifyOptions(head=kind).used_recipe()
    fit_head(
        kind, train.features, train.labels, 3,
        settings=TrainSettings(epochs=5), recipe=recipe, validation=val, on_epoch=look,
    )  # fmt: skip
    assert len(seen) == (1 if kind == "svm" else 3)


def test_the_learning_rate_falls_on_a_plateau_of_the_validation_loss() -> None:
    train, val = blobs(40, 2), blobs(40, 2, seed=1)
    rates: list[float] = []

    def note(head: torch.nn.Module, figures: dict[str, float]) -> bool:
        rates.append(figures["learning_rate"])
        return False

    fit_head(
        "linear", train.features, train.labels, 2,
        settings=TrainSettings(epochs=12, learning_rate=1e-12, schedule="plateau", optimizer="sgd"),
        recipe=RECIPES["modern"], validation=val, on_epoch=note,
    )  # fmt: skip
    assert rates[0] == pytest.approx(1e-12)
    assert rates[-1] == pytest.approx(1e-15)


def test_standardised_features_have_mean_0_and_deviation_1_and_constants_become_0() -> None:
    features = torch.from_numpy(blobs(100, 3).features)
    features[:, 2] = 1234.5
    standardization = Standardization(8)
    torch.testing.assert_close(standardization(features), features)
    standardization.adapt(features)
    found = standardization(features)
    torch.testing.assert_close(found.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    deviations = torch.ones(8)
    deviations[2] = 0
    torch.testing.assert_close(found.std(0, correction=0), deviations, atol=1e-5, rtol=0)


def test_new_layers_start_as_he_proposes_if_the_recipe_says_so() -> None:
    torch.manual_seed(0)
    head = make_head("mlp", 400, 50, RECIPES["resnet"])
    dense, logits = head.get_submodule("dense"), head.get_submodule("logits")
    assert float(dense.weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert float(logits.weight.detach().std()) == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert not logits.bias.any()


# The SVM


@pytest.mark.parametrize("classes", [2, 4])
def test_an_svm_decides_as_scikit_learn_does(classes: int) -> None:
    from sklearn.svm import LinearSVC

    data = blobs(120, classes, spread=1.5)
    x = ((data.features - data.features.mean(0)) / data.features.std(0)).astype(np.float32)
    weight, bias = fit_svm(x, data.labels, classes, seed=0)
    decisions = (x @ weight.T + bias).argmax(1)
    expected = [
        LinearSVC(C=strength / 120, dual="auto", random_state=0, max_iter=20_000).fit(x, data.labels).predict(x)
        for strength in (0.03, 0.3, 3.0, 30.0, 300.0)
    ]
    assert max((decisions == each).mean() for each in expected) > 0.99


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("spread", [0.6, 2.0])
def test_probabilities_of_an_svm_are_calibrated(classes: int, spread: float) -> None:
    head = fit("svm", blobs(400, classes, spread=spread), classes)
    test = blobs(4000, classes, spread=spread, seed=1)
    best, answers = probabilities(head, test.features).max(1)
    right = answers.numpy() == test.labels
    assert float(best.mean()) == pytest.approx(right.mean(), abs=0.05)
    for low, high in ((0.0, 0.7), (0.7, 0.9), (0.9, 1.0)):
        chosen = ((best > low) & (best <= high)).numpy()
        if chosen.sum() > 200:
            assert float(best.numpy()[chosen].mean()) == pytest.approx(right[chosen].mean(), abs=0.1)


def test_an_svm_without_an_error_is_sure_but_not_endlessly() -> None:
    data = blobs(60, 3, spread=0.01)
    found = probabilities(fit("svm", data, 3), data.features).max(1).values
    assert 0.9 < float(found.min()) < 1


def test_an_svm_that_would_take_hours_is_refused() -> None:
    labels = np.arange(40_000) % 1000
    with pytest.raises(UsageError, match=r"40000 pictures .* 1000 classes would take hours") as caught:
        fit_svm(np.broadcast_to(np.float32(0), (40_000, 512)), labels, 1000, seed=0)
    assert "--head linear" in str(caught.value)
