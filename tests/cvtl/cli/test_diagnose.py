"""`cvtl diagnose`: one training, several, and folders that are none."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import Command

from cvtl.cli.diagnose import sparkline
from cvtl.errors import ExitCode

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import made_curves
from made_curves import make_history, write_run


@pytest.fixture
def overfitted(tmp_path: Path) -> Path:
    history = make_history(made_curves.rise, 30, 0, accuracies=("train", "val"))
    return write_run(tmp_path / "runs" / "over", history, options={"strategy": "features"})


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "slow", make_history(made_curves.slow, 10, 0), finished=False, epochs=20)


def test_one_training_is_shown_with_figures_and_what_to_try(command: Command, overfitted: Path) -> None:
    (overfitted / "curves.png").write_bytes(b"")
    said = command("diagnose", overfitted)
    assert (said.code, said.err) == (ExitCode.OK, "")
    assert f"{overfitted}: overfitting" in said.out.replace("\n", "")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert any(line.startswith("30 of 30 epochs; epoch ") for line in lines)
    assert any(line.startswith("val_loss ") and "█" in line for line in lines)
    assert "--strategy augmented other views of the same pictures in every epoch" in lines
    assert any(line.startswith("gap of accuracies 0.") for line in lines)
    assert f"curves: {overfitted / 'curves.png'}" in lines


def test_a_training_that_is_not_finished_can_go_on(command: Command, slow: Path) -> None:
    said = command("diagnose", slow)
    assert said.code == ExitCode.OK
    assert "10 of 20 epochs, not finished" in said.out
    assert "--resume" in said.out
    assert "curves:" not in said.out


def test_several_trainings_are_a_table(command: Command, overfitted: Path, slow: Path) -> None:
    said = command("diagnose", overfitted, slow)
    assert said.code == ExitCode.OK
    text = " ".join(said.out.split())
    assert all(word in text for word in ("overfitting", "rate too small", "30 of 30", "10 of 20"))


def test_a_folder_that_is_none_costs_the_others_nothing(command: Command, overfitted: Path, tmp_path: Path) -> None:
    said = command("diagnose", overfitted, tmp_path / "gone")
    assert said.code == ExitCode.SOME_BAD_INPUTS
    assert "overfitting" in said.out
    assert "there is no folder" in said.out


def test_json_is_a_list_with_what_the_function_says(
    command: Command, overfitted: Path, slow: Path, tmp_path: Path
) -> None:
    said = command("diagnose", "--json", overfitted, slow, tmp_path / "gone")
    assert said.code == ExitCode.SOME_BAD_INPUTS
    first, second, third = json.loads(said.out)
    assert (first["run"], first["verdict"], first["epochs"]) == (str(overfitted), "overfitting", 30)
    assert first["findings"][0]["try"][0]["change"] == "--strategy augmented"
    assert first["figures"]["val_loss at the end"] > first["figures"]["val_loss at first"]
    assert (second["verdict"], second["finished"]) == ("rate_too_small", False)
    assert third["error"].startswith("there is no folder")


def test_what_json_has_no_number_for_is_null(command: Command, tmp_path: Path) -> None:
    history = make_history(made_curves.healthy, 6, 0)
    history[-1]["train_loss"] = math.inf
    said = command("diagnose", "--json", write_run(tmp_path / "run", history))
    (found,) = json.loads(said.out, parse_constant=lambda word: pytest.fail(word))
    assert found["verdict"] == "diverged"


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ((), ExitCode.USAGE, "no run folder was named"),
        (("gone",), ExitCode.USAGE, "there is no folder 'gone'"),
        (("--json", "gone"), ExitCode.USAGE, ""),
        (("gone", "lost"), ExitCode.USAGE, ""),
        (("gone", "--speed"), ExitCode.USAGE, "there is no option --speed"),
    ],
)
def test_wrong_usage_is_named(command: Command, words: tuple[str, ...], code: ExitCode, reason: str) -> None:
    said = command("diagnose", *words)
    assert said.code == code
    assert reason in said.err


def test_damaged_metrics_are_named(command: Command, slow: Path) -> None:
    (slow / "metrics.csv").write_text("epoch,val_loss\n1,x\n")
    said = command("diagnose", slow)
    assert said.code == ExitCode.FAILED
    assert "line 2: 'x' is not a number" in said.err


def test_the_training_of_any_plugin_is_diagnosed(command: Command, crops: Path, tmp_path: Path) -> None:
    (crops / "dark").rename(crops / "background")
    assert command("train", "windows", crops, "--out", "run", "--epochs", 4, "--workers", 0, "--quiet").code == 0
    said = command("diagnose", "run")
    assert said.code == ExitCode.OK
    assert "4 of 4 epochs; epoch " in said.out
    assert "curves: run/curves.png" in said.out


def test_a_line_of_blocks_is_no_longer_than_the_terminal() -> None:
    assert sparkline(np.linspace(1, 0, 500))[::39] == "█▁"
    assert len(sparkline(np.linspace(1, 0, 500))) == 40
    assert sparkline(np.array([2.0, 2.0])) == "▁▁"
    assert sparkline(np.array([math.nan])) == " "
    assert sparkline(np.array([0.0, 1.0]), "_#") == "_#"
