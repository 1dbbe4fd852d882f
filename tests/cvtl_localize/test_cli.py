"""From class folders and a table of boxes to rows and figures, by the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import Command
from tiny_localize import CLASSES, NETWORK, make_data

from cvtl.data import BoxesTarget

DOCS = Path(__file__).parents[2] / "docs" / "localization.md"


@pytest.fixture
def boxed(tmp_path: Path) -> Path:
    """Class folders with a boxes.csv beside them, and a folder of pictures without an object."""
    folder, lines = tmp_path / "boxed", ["name,x1,y1,x2,y2"]
    for number, sample in enumerate(make_data(40)):
        target = sample.target
        assert isinstance(target, BoxesTarget)
        place = CLASSES[int(target.labels[0])] if len(target.labels) else "nothing"
        name = f"{place}/{number}.png"
        (folder / place).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), np.ascontiguousarray(sample.read()[..., ::-1]))
        lines += [f"{name},{','.join(f'{edge:g}' for edge in box)}" for box in target.boxes.tolist()]
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


def small(*more: str) -> list[str]:
    """The words for a network that trains in a moment."""
    words = [word for name, value in NETWORK.items() for word in (f"--{name}", str(value))]
    return [*words, "--workers", "0", "--device", "cpu", "--near-duplicates=false", *more]


def test_train_run_and_eval_work_together(command: Command, boxed: Path, tmp_path: Path) -> None:
    said = command("train", "localize", boxed, *small("--epochs", "2", "--out", "trained"))
    assert (said.code, "best of 2 epochs" in said.out) == (0, True), said.err
    assert "Every training picture has an object" not in said.err

    said = command("run", "localize", boxed, "--weights", "trained/best.safetensors", "--out", "found", "--save-images")
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in (tmp_path / "found" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    for row in rows:
        assert row["result"].keys() == {"present", "label", "score", "box"}
        assert row["result"]["label"] in CLASSES

    said = command("eval", "trained/best.safetensors", boxed, "--json")
    assert said.code == 0, said.err
    assert list(json.loads(said.out)["figures"]) == [
        "class accuracy",
        "mean IoU",
        "class right and IoU >= 0.5",
        "presence accuracy",
        "presence AP",
    ]
    by_rows = command("eval", "--predictions", "found/rows.jsonl", boxed, "--json")
    assert by_rows.code == 0, by_rows.err


def test_help_says_what_the_options_mean_without_loading_anything(command: Command) -> None:
    said = command("train", "localize", "--help")
    assert said.code == 0
    for word in ("--loss", "--grid", "--backbone-rate", "squared error", "--rotation"):
        assert word in said.out


@pytest.mark.parametrize(
    ("prepare", "words", "message"),
    [
        (lambda path: (path / "boxes.csv").unlink(), (), r"is in no known format.*folder-boxes"),
        (lambda path: (path / "boxes.csv").write_text("name,x1,y1,x2,y2\n"), (), "no row of .* is about a picture"),
        (lambda path: None, ("--size", "8"), "size"),
        (lambda path: None, ("--weights", "missing.pth"), r"missing\.pth"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_a_sentence(
    command: Command, boxed: Path, prepare: Callable[[Path], object], words: tuple[str, ...], message: str
) -> None:
    prepare(boxed)
    said = command("train", "localize", boxed, *small("--epochs", "1", *words))
    assert said.code in (1, 2)
    assert re.search(message, " ".join(said.err.split()))
    assert "Traceback" not in said.err


def test_landmarks_are_no_boxes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "points").mkdir()
    assert cv2.imwrite(str(tmp_path / "points" / "a.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "points" / "points.csv").write_text("image,x0,y0,x1,y1,x2,y2\na.png,1,2,3,4,5,6\n")
    said = command("train", "localize", "points", *small())
    assert said.code == 1
    assert "is in no known format" in " ".join(said.err.split())


def test_the_example_of_the_documentation_runs(
    command: Command, boxed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("train", "localize", boxed, *small("--epochs", "1", "--out", "cats", "--quiet")).code == 0
    picture = next((boxed / "red").iterdir())
    (tmp_path / "photo.jpg").write_bytes(picture.read_bytes())
    (example,) = re.findall(r"## From Python\n\n((?:    .*\n|\n)+)", DOCS.read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    exec(re.sub("^    ", "", example, flags=re.MULTILINE), names)
    found = names["found"]
    assert type(found).__name__ == "Localization"
