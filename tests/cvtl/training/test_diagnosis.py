"""Curves made to show each fault, told from one another at any scale, length and monitor."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import made_curves
import numpy as np
import pytest
import yaml
from made_curves import History, Shape, make_config, make_history, write_run

from cvtl.errors import DataError, SourceError
from cvtl.training.diagnosis import Curves, Diagnosis, RunConfig, Verdict, diagnose, diagnose_curves
from cvtl.training.diagnosis.measures import fit_line

SCALES = (0.01, 1.0, 5.0)
LENGTHS = (10, 20, 60, 300)
ACCURACIES: tuple[tuple[str, ...], ...] = ((), ("val",), ("train", "val"))
SHAPES: list[tuple[Shape, Verdict]] = [
    (made_curves.healthy, Verdict.HEALTHY),
    (made_curves.slight_rise, Verdict.HEALTHY),
    (made_curves.rise, Verdict.OVERFITTING),
    (made_curves.gap, Verdict.OVERFITTING),
    (made_curves.unfinished, Verdict.TOO_FEW_EPOCHS),
    (made_curves.slow, Verdict.RATE_TOO_SMALL),
    (made_curves.weak, Verdict.NETWORK_TOO_SMALL),
    (made_curves.restless, Verdict.OSCILLATION),
    (made_curves.exploding, Verdict.DIVERGED),
    (made_curves.dead, Verdict.DIVERGED),
]


def diagnosed(
    history: History, *, monitor: str = "val_loss", mode: Any = "min", finished: bool = True, **changes: Any
) -> Diagnosis:
    config = RunConfig.model_validate(make_config(**{"epochs": len(history)} | changes))
    return diagnose_curves(Curves.of(config, history, (monitor, mode), finished=finished))


def verdicts(shape: Shape, noise: float, seeds: int) -> list[Verdict]:
    found = []
    for epochs, scale, seed in product(LENGTHS, SCALES, range(seeds)):
        accuracies = ACCURACIES[seed % len(ACCURACIES)]
        history = make_history(shape, epochs, seed, scale=scale, noise=noise, accuracies=accuracies)
        found.append(diagnosed(history, plugin="classify").verdict)
    return found


@pytest.mark.parametrize(("shape", "expected"), SHAPES, ids=lambda each: getattr(each, "__name__", ""))
def test_each_fault_is_told_at_every_scale_and_length(shape: Shape, expected: Verdict) -> None:
    assert set(verdicts(shape, 0.0, 3) + verdicts(shape, 0.01, 9)) == {expected}


@pytest.mark.parametrize(("shape", "expected"), SHAPES, ids=lambda each: getattr(each, "__name__", ""))
def test_with_much_noise_it_is_mostly_told(shape: Shape, expected: Verdict) -> None:
    found = verdicts(shape, 0.03, 12)
    assert found.count(expected) >= 0.95 * len(found)


# An accuracy has no room for the others.
@pytest.mark.parametrize(
    ("shape", "expected"),
    [each for each in SHAPES if each[1] not in (Verdict.OVERFITTING, Verdict.DIVERGED)],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_figure_of_which_more_is_better_says_the_same_as_its_loss(shape: Shape, expected: Verdict) -> None:
    for epochs, seed in product(LENGTHS, range(3)):
        history = [
            {"learning_rate": 1e-3, "train_loss": row["train_loss"], "val_score": -row["val_loss"]}
            for row in make_history(shape, epochs, seed)
        ]
        assert diagnosed(history, monitor="val_score", mode="max").verdict == expected


def test_a_falling_score_is_overfitting() -> None:
    history = [
        {"train_loss": row["train_loss"], "val_score": 1 - row["val_loss"]}
        for row in make_history(made_curves.rise, 40, 0)
    ]
    found = diagnosed(history, monitor="val_score", mode="max")
    assert found.verdict == Verdict.OVERFITTING
    assert "1 - val_score is lowest" in found.findings[0].text


@pytest.mark.parametrize("rise", [0.0, 0.02, 0.05, 0.2, 0.4, 1.0])
def test_a_rise_counts_from_a_tenth_of_the_fall_on(rise: float) -> None:
    def shape(epochs: int, random: np.random.Generator) -> tuple[made_curves.Floats, made_curves.Floats]:
        train, val = made_curves.settling(epochs, 8, 0.35), made_curves.settling(epochs, 20, 0.4)
        return train, val + 0.6 * rise * np.clip(np.linspace(-0.5, 1, epochs), 0, 1)

    found = [diagnosed(make_history(shape, 60, seed, accuracies=())).verdict for seed in range(10)]
    assert (found[0] == Verdict.OVERFITTING) == (rise > 0.1)
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("train", "val", "samples", "expected"),
    [
        (0.99, 0.95, 10000, Verdict.HEALTHY),
        (0.99, 0.80, 10000, Verdict.OVERFITTING),
        (1.00, 0.84, 75, Verdict.OVERFITTING),
        (1.00, 0.84, 15, Verdict.HEALTHY),
        (0.85, 0.95, 75, Verdict.HEALTHY),
    ],
)
def test_a_gap_of_accuracies_counts_if_the_validation_data_are_large_enough_to_show_it(
    train: float, val: float, samples: int, expected: Verdict
) -> None:
    history = [row | {"train_accuracy": train, "val_accuracy": val} for row in make_history(made_curves.healthy, 30, 0)]
    assert diagnosed(history, val_samples=samples).verdict == expected


def test_a_floor_under_the_loss_is_no_fault() -> None:
    """As label smoothing leaves it: the losses end at half of where they began, the accuracies are good."""
    history = make_history(made_curves.healthy, 40, 0, accuracies=("train", "val"))
    smoothed = [row | {"train_loss": 0.9 + row["train_loss"], "val_loss": 0.9 + row["val_loss"]} for row in history]
    assert diagnosed(smoothed).verdict == Verdict.HEALTHY


def test_a_training_loss_above_that_of_validation_is_no_fault() -> None:
    history = [row | {"train_loss": 3 * row["train_loss"]} for row in make_history(made_curves.healthy, 40, 0)]
    assert diagnosed(history).verdict == Verdict.HEALTHY


def test_the_end_of_a_cosine_does_not_hide_that_it_was_too_short() -> None:
    rates = 0.5e-3 * (1 + np.cos(np.pi * np.arange(20) / 20))
    done = np.cumsum(rates) / rates.sum()
    for constants, expected in ((1, Verdict.TOO_FEW_EPOCHS), (6, Verdict.HEALTHY)):
        history = [
            {"learning_rate": rate, "train_loss": 0.1 + left, "val_loss": 0.12 + left}
            for rate, left in zip(rates, np.exp(-constants * done), strict=True)
        ]
        assert diagnosed(history).verdict == expected


def test_a_first_epoch_far_beyond_guessing_does_not_hide_that_the_loss_still_falls() -> None:
    history = make_history(made_curves.unfinished, 20, 0)
    history[0] |= {"train_loss": 40.0, "val_loss": 30.0}
    assert diagnosed(history).verdict == Verdict.TOO_FEW_EPOCHS


def test_a_single_spike_is_no_oscillation() -> None:
    history = make_history(made_curves.healthy, 40, 0)
    history[20]["train_loss"] *= 10
    assert diagnosed(history).verdict == Verdict.HEALTHY


def test_few_training_samples_make_a_training_loss_tremble_without_a_fault() -> None:
    def shape(epochs: int, random: np.random.Generator) -> tuple[made_curves.Floats, made_curves.Floats]:
        train, val = made_curves.settling(epochs, 8, 0.4), made_curves.settling(epochs, 8, 0.4)
        return made_curves.noisy(train, random, 0.2), val

    history = make_history(shape, 60, 0, accuracies=())
    assert diagnosed(history, train_samples=100).verdict == Verdict.HEALTHY
    assert diagnosed(history, train_samples=100_000).verdict == Verdict.OSCILLATION


@pytest.mark.parametrize(
    ("rate", "optimizer", "expected"),
    [
        (1e-6, "adamw", Verdict.RATE_TOO_SMALL),
        (1e-3, "adamw", Verdict.NETWORK_TOO_SMALL),
        (1.0, "adamw", Verdict.DIVERGED),
        (1e-3, "sgd", Verdict.RATE_TOO_SMALL),
        (1e-2, "sgd", Verdict.NETWORK_TOO_SMALL),
    ],
)
def test_where_nothing_was_learnt_the_rate_tells_why(rate: float, optimizer: str, expected: Verdict) -> None:
    random = np.random.default_rng(0)
    history = [
        {"learning_rate": rate, "train_loss": 1.61 + 0.01 * random.normal(), "val_loss": 1.62, "val_accuracy": 0.2}
        for _ in range(20)
    ]
    assert diagnosed(history, optimizer=optimizer, learning_rate=rate, plugin="classify").verdict == expected


def test_a_loss_far_above_that_of_guessing_diverged_though_it_falls() -> None:
    history = [{"train_loss": 5000.0 - 300 * n, "val_loss": 4000.0 - 200 * n, "val_accuracy": 0.2} for n in range(10)]
    found = diagnosed(history, plugin="classify")
    assert found.verdict == Verdict.DIVERGED
    assert "guessing has a cross-entropy of 1.61" in found.findings[0].text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_diverged(value: float) -> None:
    history = make_history(made_curves.healthy, 6, 0)
    history[-1]["train_loss"] = value
    assert diagnosed(history).verdict == Verdict.DIVERGED


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_few_epochs_are_too_short_to_tell(epochs: int) -> None:
    found = diagnosed(make_history(made_curves.slow, epochs, 0))
    assert found.verdict == Verdict.TOO_SHORT
    assert found.advice[0][0].words == "--epochs 20"


def test_two_epochs_suffice_to_see_an_explosion() -> None:
    assert diagnosed([{"train_loss": 0.7, "val_loss": 0.7}, {"train_loss": 9.0, "val_loss": 8.0}]).verdict == "diverged"


def test_the_single_record_of_a_solver_shows_a_gap_but_no_trend() -> None:
    record = {"train_loss": 0.1, "train_accuracy": 1.0, "val_loss": 0.8, "val_accuracy": 0.8}
    found = diagnosed([record])
    assert [each.verdict for each in found.findings] == [Verdict.TOO_SHORT, Verdict.OVERFITTING]
    assert "as of a solver" in found.findings[0].text
    assert found.advice[0] == ()


def test_a_first_epoch_of_the_head_alone_is_left_out() -> None:
    """It is fast, sees no augmented pictures, and ends far better than the second begins."""
    rates = np.r_[1e-2, np.full(11, 1e-3)]
    history = make_history(made_curves.healthy, 12, 0, rates=rates)
    history[0] |= {"train_loss": 0.08, "val_loss": 0.2}
    found = diagnosed(history)
    assert found.verdict == Verdict.HEALTHY
    assert found.figures["train_loss at first"] == history[1]["train_loss"]
    assert (found.epochs, found.best_epoch) == (12, min(history, key=lambda row: row["val_loss"])["epoch"])
    short = diagnosed(history[:4])
    assert short.verdict == Verdict.TOO_SHORT
    assert short.findings[0].text.endswith("there are 3 behind that of the head alone")


def test_a_rate_that_the_plugin_chose_is_the_one_to_change() -> None:
    history = make_history(made_curves.slow, 20, 0, rates=np.full(20, 0.05))
    assert diagnosed(history, learning_rate=1e-3, optimizer="sgd").advice[0][0].words == "--learning-rate 0.5"


def test_a_pretrained_network_that_is_good_from_the_start_needs_no_larger_rate() -> None:
    history = [row | {"val_accuracy": 0.93} for row in make_history(made_curves.slow, 12, 0)]
    assert Verdict.RATE_TOO_SMALL not in {each.verdict for each in diagnosed(history).findings}


def test_several_findings_are_ordered_by_gravity() -> None:
    history = make_history(made_curves.unfinished, 20, 0)
    gapped = [row | {"train_accuracy": 0.99, "val_accuracy": 0.7} for row in history]
    assert [each.verdict for each in diagnosed(gapped).findings] == [Verdict.OVERFITTING, Verdict.TOO_FEW_EPOCHS]


@pytest.mark.parametrize(
    ("shape", "options", "settings", "words"),
    [
        (made_curves.slow, {}, {}, ["--learning-rate 0.01", "--epochs 40"]),
        (made_curves.unfinished, {}, {}, ["--epochs 40", "--learning-rate 0.003"]),
        (made_curves.unfinished, {}, {"epochs": 50, "patience": 4}, ["--patience 8", "--learning-rate 0.003"]),
        (made_curves.exploding, {}, {"precision": "float16"}, ["--learning-rate 0.0001", "--precision float32"]),
        (
            made_curves.restless,
            {},
            {"batch_size": 32},
            ["--learning-rate 0.0003", "--schedule cosine", "--batch-size 64"],
        ),
        (
            made_curves.rise,
            {"strategy": "features", "augment": "none", "dropout": None},
            {"weight_decay": 1e-3},
            ["--strategy augmented", "more pictures", "--dropout 0.5", "--weight-decay 0.01", "--patience 3"],
        ),
        (
            made_curves.rise,
            {"strategy": "full", "augment": "none"},
            {"weight_decay": 0.0, "patience": 5},
            ["--strategy finetune", "--augment device", "more pictures", "--weight-decay 0.0001"],
        ),
        (
            made_curves.weak,
            {"strategy": "augmented", "stages": "last", "head": "linear", "backbone": "squeezenet1_1"},
            {},
            ["--strategy finetune", "--stages all", "--head mlp", "--backbone NAME", "--learning-rate 0.003"],
        ),
        (made_curves.weak, {"freeze": "all", "hidden": []}, {}, ["--freeze null", "--hidden 256"]),
    ],
)
def test_the_advice_changes_options_that_the_training_had(
    shape: Shape, options: dict[str, Any], settings: dict[str, Any], words: list[str]
) -> None:
    history = make_history(shape, 20, 0, accuracies=())
    found = [change.words for change in diagnosed(history, options=options, **settings).advice[0]]
    assert found[: len(words)] == words
    named = {each.split()[0] for each in found if each.startswith("--")}
    known = {f"--{name.replace('_', '-')}" for name in (*options, *make_config()["settings"])}
    assert named <= known


def test_a_healthy_training_needs_no_advice() -> None:
    assert diagnosed(make_history(made_curves.healthy, 20, 0)).advice == ((),)


def test_figures_that_are_missing_or_no_numbers_do_no_harm() -> None:
    history = make_history(made_curves.healthy, 20, 0)
    for row in history[::3]:
        row["val_ap_small"] = math.nan
        row["val_accuracy"] = math.nan
    del history[0]["val_accuracy"]
    assert diagnosed(history).verdict == Verdict.HEALTHY


def test_a_plugin_that_is_not_installed_does_no_harm() -> None:
    assert diagnosed(make_history(made_curves.weak, 20, 0), plugin="gone").verdict == Verdict.NETWORK_TOO_SMALL


def test_a_line_is_the_one_of_numpy() -> None:
    values = np.random.default_rng(0).normal(size=30).cumsum()
    slope, offset = np.polyfit(np.arange(30), values, 1)
    line = fit_line(values)
    assert (line.slope, line.end) == pytest.approx((slope, offset + 29 * slope))
    assert line.change == pytest.approx(29 * slope)


def test_a_slope_of_noise_alone_is_sure_in_one_of_ten_cases() -> None:
    random = np.random.default_rng(0)
    for epochs in (3, 5, 30):
        share = np.mean([fit_line(random.normal(size=epochs)).sure for _ in range(2000)])
        assert share == pytest.approx(0.1, abs=0.02)


def test_a_run_folder_is_read_whether_finished_or_not(tmp_path: Path) -> None:
    history = make_history(made_curves.unfinished, 8, 0)
    found = diagnose(write_run(tmp_path / "run", history, finished=False, epochs=30))
    assert (found.epochs, found.planned, found.finished) == (8, 30, False)
    assert found.verdict == Verdict.TOO_FEW_EPOCHS
    assert found.advice[0][0].words == "--resume"
    assert found.figures["val_loss at first"] == pytest.approx(history[0]["val_loss"])


def test_the_configuration_names_the_figure_that_chose_the_best_epoch(tmp_path: Path) -> None:
    history = [row | {"val_accuracy": float(n == 3)} for n, row in enumerate(make_history(made_curves.healthy, 8, 0))]
    found = diagnose(write_run(tmp_path / "run", history, monitor=["val_accuracy", "max"]))
    assert (found.monitor, found.best_epoch, found.best) == ("val_accuracy", 4, 1.0)


@pytest.mark.parametrize(
    ("columns", "monitor"),
    [(("train_loss", "val_loss", "val_accuracy"), "val_loss"), (("train_loss", "val_accuracy"), "val_accuracy")],
)
def test_without_that_the_loss_is_taken_for_it_or_the_first_figure_of_validation(
    tmp_path: Path, columns: tuple[str, ...], monitor: str
) -> None:
    history = [{name: row[name] for name in columns} for row in make_history(made_curves.healthy, 8, 0)]
    assert diagnose(write_run(tmp_path / "run", history)).monitor == monitor


def test_no_such_folder_and_a_folder_of_something_else_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no folder '.*gone'"):
        diagnose(tmp_path / "gone")
    with pytest.raises(SourceError, match=r"holds no training: there is no config.yaml"):
        diagnose(tmp_path)


def test_a_training_without_an_epoch_is_said_to_have_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_history(made_curves.healthy, 3, 0))
    (folder / "metrics.csv").unlink()
    with pytest.raises(DataError, match=r"no epoch behind it.*smaller --learning-rate"):
        diagnose(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it has no epochs"),
        ("epoch,train_loss,val_loss\n", "it has no epochs"),
        ("epoch,train_loss,val_loss\n1,0.5,0.6\n2,0.4\n", "line 3 has not as many values"),
        ("epoch,train_loss,val_loss\n1,0.5,0.6\n2,0.4,0.5,9\n", "line 3 has not as many values"),
        ("epoch,train_loss,val_loss\n1,0.5,much\n", "line 2: 'much' is not a number"),
        ("epoch\n1\n", "no column 'val_loss'"),
        (b"\x00\xff\xfe", "metrics.csv"),
    ],
)
def test_damaged_metrics_are_named_with_the_line(tmp_path: Path, content: str | bytes, reason: str) -> None:
    folder = write_run(tmp_path / "run", make_history(made_curves.healthy, 3, 0))
    (folder / "metrics.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=reason):
        diagnose(folder)


@pytest.mark.parametrize("damage", [b"", b"\x00\x01", b"- a\n- b\n", b"{", "settings", "options", "data", "classes"])
def test_a_damaged_configuration_is_named(tmp_path: Path, damage: bytes | str) -> None:
    folder = write_run(tmp_path / "run", make_history(made_curves.healthy, 3, 0))
    path = folder / "config.yaml"
    if isinstance(damage, str):
        damage = yaml.safe_dump({k: v for k, v in yaml.safe_load(path.read_text()).items() if k != damage}).encode()
    path.write_bytes(damage)
    with pytest.raises(DataError, match=r"cannot read 'config.yaml'"):
        diagnose(folder)


@pytest.mark.parametrize("shape", [shape for shape, _ in SHAPES], ids=lambda each: each.__name__)
def test_lbfgs_which_has_no_rate_is_given_no_advice_about_one(shape: Shape) -> None:
    history = [
        {name: value for name, value in row.items() if name != "learning_rate"} for row in make_history(shape, 30, 0)
    ]
    found = diagnosed(history, plugin="classify", optimizer="lbfgs")
    assert all("--learning-rate" not in change.words for changes in found.advice for change in changes)
