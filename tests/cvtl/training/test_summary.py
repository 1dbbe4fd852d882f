"""curves.png, and how curves are smoothed."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import made_curves
import numpy as np
import pytest
from made_curves import Floats, History, make_config, make_history
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cvtl.training.summary import smooth, smoothing, write_curves


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Draw a history, and give the plots that the picture was made of, by their title's first word."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))

    def draw(history: History, monitor: str = "val_loss", mode: str = "min") -> dict[str, Axes]:
        run = SimpleNamespace(
            config=make_config(epochs=len(history)), history=history, monitor=monitor, mode=mode, folder=tmp_path
        )
        write_curves(run)  # type: ignore[arg-type]
        return {axes.get_title().split()[0]: axes for axes in figures[-1].axes if axes.get_title()}

    return draw


def lines(axes: Axes) -> list[Floats]:
    """What was drawn of figures, not of marks."""
    return [np.asarray(line.get_ydata(), float) for line in axes.lines if len(line.get_ydata()) != 2]


def test_a_moving_average_is_the_weighted_mean_of_what_was() -> None:
    values = np.random.default_rng(0).normal(size=20)
    expected = [np.average(values[: n + 1], weights=[0.7 ** (n - m) for m in range(n + 1)]) for n in range(len(values))]
    assert smooth(values, 0.7) == pytest.approx(expected)


def test_what_is_missing_takes_the_average_so_far() -> None:
    assert smooth(np.array([math.nan, 2.0, math.nan, 2.0]), 0.5).tolist()[1:] == [2.0, 2.0, 2.0]
    assert math.isnan(smooth(np.array([math.nan]), 0.5)[0])


def test_a_beta_of_nothing_smooths_nothing() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert smooth(values, smoothing(1)).tolist() == values.tolist()


def test_training_and_validation_are_drawn_raw_and_smoothed_in_one_plot(drawn: Any) -> None:
    history = make_history(made_curves.healthy, 20, 0, noise=0.1, accuracies=("train", "val"))
    plots = drawn(history)
    assert set(plots) == {"loss", "accuracy"}
    for name, axes in plots.items():
        found = lines(axes)
        for part, raw, smoothed in zip(("train", "val"), found[::2], found[1::2], strict=True):
            values = np.array([row[f"{part}_{name}"] for row in history])
            assert raw.tolist() == values.tolist()
            assert smoothed == pytest.approx(smooth(values, smoothing(20)))
        assert f"beta {smoothing(20):.2f}" in axes.get_title()


@pytest.mark.parametrize(("monitor", "mode", "best"), [("val_loss", "min", 4), ("val_accuracy", "max", 7)])
def test_the_best_epoch_is_marked(drawn: Any, monitor: str, mode: str, best: int) -> None:
    history = make_history(made_curves.healthy, 9, 0)
    history[3]["val_loss"], history[6]["val_accuracy"] = 0.0, 1.0
    for axes in drawn(history, monitor, mode).values():
        assert f"best epoch: {best}" in {text.get_text() for text in axes.get_legend().get_texts()}


def test_steps_of_the_learning_rate_are_marked_with_the_new_one(drawn: Any) -> None:
    rates = np.repeat([1e-2, 1e-3, 1e-4], 10)
    axes = drawn(make_history(made_curves.healthy, 30, 0, rates=rates))["loss"]
    assert [(text.get_position()[0], text.get_text()) for text in axes.texts] == [(10.5, "0.001"), (20.5, "0.0001")]


def test_a_rate_that_goes_down_steadily_is_not(drawn: Any) -> None:
    axes = drawn(make_history(made_curves.healthy, 30, 0, rates=np.linspace(1, 0.1, 30)))["loss"]
    assert list(axes.texts) == []


def test_a_loss_over_orders_of_magnitude_is_drawn_on_a_logarithmic_axis(drawn: Any) -> None:
    history = make_history(made_curves.healthy, 30, 0)
    assert drawn(history)["loss"].get_yscale() == "linear"
    history[0] |= {"train_loss": 500.0}
    plots = drawn(history)
    assert (plots["loss"].get_yscale(), plots["accuracy"].get_yscale()) == ("log", "linear")


def test_losses_below_zero_are_drawn(drawn: Any) -> None:
    history = [row | {"train_loss": row["train_loss"] - 0.5} for row in make_history(made_curves.healthy, 30, 0)]
    assert drawn(history)["loss"].get_yscale() == "linear"


@pytest.mark.parametrize("epochs", [1, 3, 20, 500])
def test_the_picture_is_readable_for_any_number_of_epochs(tmp_path: Path, epochs: int) -> None:
    history = make_history(made_curves.rise, epochs, 0, noise=0.05, accuracies=("train", "val"))
    for row in history:
        row |= {"val_iou": math.nan, "val_ap50": 0.5}
    run = SimpleNamespace(
        config=make_config(epochs=epochs), history=history, monitor="val_loss", mode="min", folder=tmp_path
    )
    write_curves(run)  # type: ignore[arg-type]
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture.shape[:2] == (720, 1500)
    # In each plot with values something is drawn in colour.
    for row, column in ((0, 0), (0, 1), (1, 0)):
        plot = picture[360 * row : 360 * (row + 1), 500 * column : 500 * (column + 1)].astype(int)
        assert (plot.max(axis=2) - plot.min(axis=2) > 60).sum() > 20
