"""`cvtl train PLUGIN DATA`, with a third party's plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Command

from cvtl.weights import digest, read_header


@pytest.fixture
def train(command: Command, glow: Path, crops: Path) -> Command:
    """`cvtl train glow` on two classes, without worker processes."""

    def run(*words: str | Path) -> Any:
        return command("train", "glow", crops, "--workers", "0", *words)

    return run


def test_a_third_partys_plugin_is_trained_shown_and_run_like_a_built_in_one(
    train: Command, command: Command, good: Path, tmp_path: Path
) -> None:
    said = train("--epochs", "2", "--out", "t", "--gain", "2", "--licence", "MIT")
    assert said.code == 0
    assert said.out.startswith("best of 2 epochs: ")
    assert "\nweights: t/best.safetensors\n" in said.out
    assert "\nuse them: cvtl run detect --weights t/best.safetensors PICTURES\n" in said.out
    assert "epoch 2/2" in said.err
    header = read_header(tmp_path / "t" / "best.safetensors")
    assert (header.plugin, header.plugin_version, header.classes) == ("glow", "2.0", ("dark", "light"))
    assert (header.options["gain"], header.licence) == (2.0, "MIT")
    assert "plugin          glow" in command("info", "t/best.safetensors").out
    said = command("run", "detect", "--weights", "t/best.safetensors", good, "--out", "r")
    assert said.code == 0
    assert "1 input: 1 ok" in said.out


def test_json_is_one_object_on_standard_output_and_nothing_else(train: Command) -> None:
    said = train("--epochs", "2", "--out", "t", "--json")
    summary = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert (summary["weights"], summary["epochs"], summary["stopped_early"]) == ("t/best.safetensors", 2, False)
    assert summary["best_epoch"] in (1, 2)
    assert summary["metrics"].keys() == {"train_loss", "val_loss"}


def test_quiet_prints_nothing(train: Command) -> None:
    said = train("--epochs", "1", "--quiet")
    assert (said.code, said.out, said.err) == (0, "", "")


def test_trainings_without_out_are_numbered(train: Command, tmp_path: Path) -> None:
    for _ in range(2):
        train("--epochs", "1", "--quiet")
    assert sorted(path.name for path in (tmp_path / "cvtl-runs").iterdir()) == ["train-glow", "train-glow-2"]


def test_a_printed_configuration_gives_the_same_training(train: Command, command: Command, tmp_path: Path) -> None:
    words = ["--epochs", "2", "--gain", "3", "--seed", "5", "--predict.capacity", "4", "--batch-size", "4"]
    printed = train(*words, "--print-config")
    assert (printed.code, printed.err) == (0, "")
    said = yaml.safe_load(printed.out)
    assert (said["gain"], said["seed"], said["predict"]["capacity"]) == (3.0, 5, 4)
    (tmp_path / "c.yaml").write_text(printed.out)
    assert train(*words, "--out", "one", "--quiet").code == 0
    assert command("train", "glow", "--config", "c.yaml", "--out", "two", "--quiet").code == 0
    assert digest(tmp_path / "one" / "best.safetensors") == digest(tmp_path / "two" / "best.safetensors")


def test_the_command_line_overrides_the_configuration(train: Command, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("epochs: 7\ngain: 4\npredict:\n  seconds: 1\n")
    printed = yaml.safe_load(train("--epochs", "2", "--config", "c.yaml", "--print-config").out)
    assert (printed["epochs"], printed["gain"], printed["predict"]["seconds"]) == (2, 4.0, 1.0)


def test_options_printed_without_a_data_set_serve_any(train: Command, command: Command, tmp_path: Path) -> None:
    printed = command("train", "glow", "--print-config")
    assert printed.code == 0
    (tmp_path / "c.yaml").write_text(printed.out)
    assert train("--config", "c.yaml", "--epochs", "1", "--quiet").code == 0


def test_resume_goes_on_with_more_epochs(train: Command) -> None:
    train("--epochs", "1", "--out", "t", "--quiet")
    said = train("--epochs", "2", "--out", "t", "--resume", "--json")
    assert (said.code, json.loads(said.out)["epochs"]) == (0, 2)


def test_resume_with_other_options_says_what_differs(train: Command) -> None:
    train("--epochs", "1", "--out", "t", "--quiet")
    said = train("--epochs", "1", "--out", "t", "--resume", "--gain", "2", "--quiet")
    assert said.code == 2
    assert "the training in 't' cannot go on with this command: gain was 1.0 and is now 2.0" in said.err
