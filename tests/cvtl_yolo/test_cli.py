"""From pictures with boxes to rows and figures, by the command line, and what the page on yolo shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import Command
from made_objects import CLASSES, make_data, write_yolo
from tiny_yolo import NETWORK, make_model

from cvtl import weights

PAGE = Path(__file__).parents[2] / "docs" / "yolo.md"


@pytest.fixture
def road(tmp_path: Path) -> Path:
    """A data set in YOLO's own format."""
    return write_yolo(tmp_path / "road", make_data(16))


def small(*more: str) -> list[str]:
    """The words for a network that trains in a moment."""
    words = [word for name, value in NETWORK.items() for word in (f"--{name}", str(value))]
    return [*words, "--workers", "0", "--device", "cpu", "--near-duplicates=false", *more]


def test_train_run_and_eval_work_together(command: Command, road: Path, tmp_path: Path) -> None:
    said = command("train", "yolo", road, *small("--epochs", "2", "--batch-size", "8", "--out", "trained"))
    assert (said.code, "best of 2 epochs" in said.out) == (0, True), said.err
    assert "Anchors in pixels of the input" in said.err

    words = ("--weights", "trained/best.safetensors", "--out", "found", "--save-images", "--predict.threshold", "0")
    said = command("run", "detect", road / "images", *words)
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in (tmp_path / "found" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    for row in rows:
        assert row["result"].keys() == {"boxes", "scores", "labels"}
        assert set(row["result"]["labels"]) <= set(CLASSES)
        assert 0 < len(row["result"]["boxes"]) <= 300

    said = command("eval", "trained/best.safetensors", road, "--json")
    assert said.code == 0, said.err
    assert "AP50" in json.loads(said.out)["figures"]


def test_help_says_what_the_options_mean_without_loading_anything(command: Command) -> None:
    said = command("train", "yolo", "--help")
    assert said.code == 0
    for word in ("--anchors", "--levels", "--mosaic", "--ema", "lectures' squared error", "--multi-scale"):
        assert word in " ".join(said.out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "66"), "no multiple of 4"),
        (("--levels", "4"), "levels"),
        (("--anchor-sizes", "[[4, 5]]"), "has 1 sizes"),
        (("--weights", "missing.pth"), r"missing\.pth"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_a_sentence(
    command: Command, road: Path, words: tuple[str, ...], message: str
) -> None:
    said = command("train", "yolo", road, *small("--epochs", "1", *words))
    assert said.code in (1, 2)
    assert re.search(message, " ".join(said.err.split()))
    assert "Traceback" not in said.err


def test_the_examples_of_the_page_run(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cells").mkdir()
    weights.save(make_model(predict={"threshold": 0.001}), tmp_path / "cells" / "best.safetensors")
    assert cv2.imwrite(str(tmp_path / "blood.jpg"), np.zeros((48, 64, 3), np.uint8))
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), {})
    assert "[1.0, 0.375, 0.75, 1.0, 0.25, 0.0, 1.0]" in capsys.readouterr().out
