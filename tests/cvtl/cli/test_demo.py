"""`cvtl run TASK` without weights: what ships with a plugin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from commands import Command

from cvtl.registry import Demo


@pytest.fixture
def demo(glow: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The task `detect` has built-in weights and a built-in picture; gives the picture."""
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    monkeypatch.setitem(sys.modules, "shipped", SimpleNamespace(weights=lambda: glow, picture=lambda: picture))
    shipped = Demo(weights="shipped:weights", picture="shipped:picture")
    for module in ("run", "named_weights"):
        monkeypatch.setattr(f"cvtl.cli.{module}.demo_of", lambda task: shipped if task == "detect" else None)
    return picture


def test_without_weights_and_pictures_the_built_in_ones_are_used(
    command: Command, demo: np.ndarray, tmp_path: Path
) -> None:
    said = command("run", "detect", "--save-images")
    assert said.code == 0
    assert said.err.startswith("Using the built-in weights of the plugin 'glow', which know lamp\n")
    assert "detect-demo.png (32 x 24)   lamp " in said.out
    out = tmp_path / "cvtl-runs" / "detect"
    assert (cv2.imread(str(out / "detect-demo.png"))[..., ::-1] == demo).all()
    assert (out / "pictures" / "detect-demo.png").exists()
    assert json.loads((out / "rows.jsonl").read_text())["status"] == "ok"


@pytest.mark.parametrize("words", [["--weights", "builtin"], []])
def test_built_in_weights_run_on_any_picture(
    command: Command, demo: np.ndarray, good: Path, tmp_path: Path, words: list[str]
) -> None:
    said = command("run", "detect", good, *words, "--out", "out")
    assert (said.code, "built-in weights" in said.err) == (0, not words)
    assert json.loads((tmp_path / "out" / "rows.jsonl").read_text())["source"] == "good.png"
    assert not (tmp_path / "out" / "detect-demo.png").exists()


def test_options_of_the_built_in_weights_are_taken_and_shown(command: Command, demo: np.ndarray) -> None:
    assert command("run", "detect", "--predict.seconds", "0.01", "--quiet").code == 0
    assert "--predict.seconds X" in command("run", "detect", "--weights", "builtin", "--help").out


def test_a_demo_can_be_resumed(command: Command, demo: np.ndarray) -> None:
    words = ["run", "detect", "--out", "out"]
    assert command(*words).code == 0
    assert "1 input (1 of them from before): 1 ok" in command(*words, "--resume").out


@pytest.mark.parametrize("flag", ["--quiet", "--json"])
def test_the_note_is_not_for_programs(command: Command, demo: np.ndarray, flag: str) -> None:
    assert command("run", "detect", flag).err == ""


def test_the_windows_plugin_finds_digits_in_its_picture(command: Command, tmp_path: Path) -> None:
    from cvtl_windows.builtin import digit_weights

    if not digit_weights().exists():
        pytest.skip("the built-in weights have not been trained: tools/train_builtin.py")
    said = command("run", "detect", "--save-images")
    assert said.code == 0
    assert "1 input: 1 ok" in said.out
    row = json.loads((tmp_path / "cvtl-runs" / "detect" / "rows.jsonl").read_text())
    assert len(row["result"]["boxes"]) > 0
    assert set(row["result"]["labels"]) <= set("0123456789")
