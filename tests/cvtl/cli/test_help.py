"""`--help` of every verb, and what it must not import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command

from cvtl.cli.main import VERBS

HEAVY = ("torch", "torchvision", "cv2", "lightning", "timm", "matplotlib", "supervision", "sklearn")
HELPS = [[], ["--help"], ["-h"], *([verb, "--help"] for verb in VERBS), ["run", "detect", "-h"]]
HELPS += [["train", "windows", "--help"], ["run", "classify", "--help"], ["train", "glow", "--help"]]
LIGHT = [*HELPS, ["--version"], ["plugins"], ["plugins", "--json"]]


def name_of(words: list[str]) -> str:
    return " ".join(["cvtl", *words])


@pytest.fixture(scope="module")
def imported(glow_site: Path) -> dict[str, list[str]]:
    """What heavy modules have been imported after each of the light commands, run one after the other."""
    code = """
import json, sys
from cvtl.cli.main import main
commands, heavy = json.loads(sys.argv[1])
found = {}
for words in commands:
    assert main(words) == 0
    found[" ".join(["cvtl", *words])] = [name for name in heavy if name in sys.modules]
print("\\n" + json.dumps(found))
"""
    environment = os.environ | {"PYTHONPATH": str(glow_site)}
    command = [sys.executable, "-c", code, json.dumps([LIGHT, HEAVY])]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    found: dict[str, list[str]] = json.loads(said.splitlines()[-1])
    return found


@pytest.mark.parametrize("words", LIGHT, ids=name_of)
def test_help_and_listings_import_neither_torch_nor_opencv(imported: dict[str, list[str]], words: list[str]) -> None:
    assert imported[name_of(words)] == []


@pytest.mark.parametrize("words", HELPS, ids=name_of)
def test_every_help_shows_usage_and_examples_in_80_columns(command: Command, glow: Path, words: list[str]) -> None:
    said = command(*words)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("usage: cvtl")
    assert "\nexamples:\n" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize("words", HELPS, ids=name_of)
def test_options_are_shown_with_dashes(command: Command, glow: Path, words: list[str]) -> None:
    assert not re.search(r"--\w+_", command(*words).out)


def test_every_verb_is_listed(command: Command) -> None:
    said = command("--help")
    assert all(f"\n  {verb} " in said.out for verb in VERBS)


def test_every_task_is_listed(command: Command) -> None:
    said = command("run", "--help")
    assert all(f"\n  {task} " in said.out for task in ("classify", "localize", "detect", "landmarks", "style"))


def test_a_third_partys_plugin_is_listed_and_helped_like_a_built_in_one(command: Command, glow: Path) -> None:
    listed = command("train", "--help").out
    assert re.search(r"glow +detect: says how much a picture glows", listed)
    assert re.search(r"windows +detect: ", listed)
    helped = command("train", "glow", "--help").out
    assert "--gain X              how steep the answer is (default: 1.0)" in helped
    assert "--epochs N            passes over the training data (default: 20)" in helped


def test_the_prediction_options_of_the_weights_are_shown_with_the_weights_own_values(
    command: Command, glow: Path, tmp_path: Path
) -> None:
    from cvtl import weights

    model = weights.load(glow).with_predict_options(seconds=0.25, capacity=7)
    weights.save(model, tmp_path / "slow.safetensors")
    said = command("run", "detect", "--weights", tmp_path / "slow.safetensors", "--help").out
    assert "prediction options of the plugin 'glow':" in said
    assert "--predict.capacity N  pictures that fit the memory at a time (default: 7)" in said
    assert "--predict.seconds X   slept for each batch (default: 0.25)" in said


def test_prediction_options_are_not_shown_without_weights(command: Command) -> None:
    said = command("run", "detect", "--help").out
    assert "--predict" not in said
    assert "'builtin'; with it, --help also shows" in said


def test_the_version_is_that_of_the_package(command: Command) -> None:
    from cvtl import __version__

    assert command("--version").out == f"cvtl {__version__}\n"


def test_the_help_of_a_training_shows_what_the_plugin_proposes(command: Command) -> None:
    said = " ".join(command("train", "yolo", "--help").out.split())
    assert "passes over the training data (default: 60)" in said
    said = " ".join(command("train", "yolo", "--epochs", "7", "--help").out.split())
    assert "passes over the training data (default: 60)" not in said
    assert command("train", "yolo", "--size", "33", "--help").code == 0
