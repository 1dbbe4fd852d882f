"""From checkpoints and pictures to rows, figures and weights, by the command line, and what the page says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import Command
from made_checkpoints import CLASSES, SIDE, TINY, make_data, make_model, make_network, save_checkpoint

import cvtl
from cvtl import weights
from cvtl.data import BoxesTarget
from cvtl_ultralytics.options import PredictOptions, UltralyticsOptions

PAGE = Path(__file__).parents[2] / "docs" / "ultralytics.md"
LOW = ("--predict.threshold", "0.0001")


@pytest.fixture
def road(tmp_path: Path) -> Path:
    """A data set as COCO JSON."""
    folder = tmp_path / "road"
    folder.mkdir()
    images, annotations = [], []
    for number, sample in enumerate(make_data(10)):
        image, target = sample.read(), sample.target
        assert isinstance(target, BoxesTarget)
        assert cv2.imwrite(str(folder / f"{number}.png"), np.ascontiguousarray(image[..., ::-1]))
        height, width = image.shape[:2]
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        for (left, top, right, bottom), label in zip(target.boxes.tolist(), target.labels.tolist(), strict=True):
            box = [left, top, right - left, bottom - top]
            about = {"image_id": number, "category_id": label + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **about})
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def test_a_checkpoint_runs_is_measured_and_is_written_anew_once(
    command: Command, checkpoint: Path, road: Path, tmp_path: Path
) -> None:
    said = command("run", "detect", "--weights", checkpoint, road, "--out", "found", *LOW)
    assert said.code == 0, said.err
    found = rows(tmp_path / "found")
    assert [each["source"] for each in found] == [f"{number}.png" for number in range(10)]
    assert all(set(each["result"]["labels"]) <= set(CLASSES) for each in found)
    assert sum(len(each["result"]["boxes"]) for each in found) > 10

    said = command("weights", "convert", checkpoint, "tiny.safetensors")
    assert said.code == 0, said.err
    assert "licence: AGPL-3.0" in said.out
    said = command("run", "detect", "--weights", "tiny.safetensors", road, "--out", "again", *LOW)
    assert said.code == 0, said.err
    assert (tmp_path / "again" / "rows.jsonl").read_bytes() == (tmp_path / "found" / "rows.jsonl").read_bytes()

    figures = []
    for each in (checkpoint, "tiny.safetensors"):
        said = command("eval", each, road, "--json", "--draws", "0", "--out", f"eval{len(figures)}")
        assert said.code == 0, said.err
        figures.append(json.loads(said.out)["figures"]["AP50"]["value"])
    assert figures[0] == figures[1]


def test_info_shows_what_a_checkpoint_is(command: Command, checkpoint: Path) -> None:
    facts = json.loads(command("info", checkpoint, "--json").out)
    assert (facts["plugin"], facts["task"], facts["classes"]) == ("ultralytics", "detect", list(CLASSES))
    assert facts["input"]["size_hw"] == [SIDE, SIDE]
    assert facts["versions"] == {"ultralytics": "8.4.190"}
    assert facts["licence"] == "AGPL-3.0 (https://ultralytics.com/license)"


def test_training_goes_from_any_format_to_rows(command: Command, road: Path, tmp_path: Path) -> None:
    import yaml

    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY))
    words = ("--model", "mine.yaml", "--size", "64", "--epochs", "1", "--batch-size", "4", "--workers", "0")
    said = command("train", "ultralytics", road, *words, "--near-duplicates=false", "--device", "cpu", "--out", "run")
    assert said.code == 0, said.err
    assert weights.read_header(tmp_path / "run" / "best.safetensors").licence == "AGPL-3.0"
    said = command("run", "detect", "--weights", "run/best.safetensors", road, "--out", "found", *LOW)
    assert said.code == 0, said.err
    assert len(rows(tmp_path / "found")) == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "yolo99n"), "there is no architecture 'yolo99n'"),
        (("--model", "yolo11n-seg"), "its head is 'Segment', made for the task 'segment'"),
        (("--size", "100"), "no multiple of 32"),
        (("--weights", "missing.pt"), "there is no weights file 'missing.pt'"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_a_sentence(
    command: Command, road: Path, words: tuple[str, ...], message: str
) -> None:
    said = command("train", "ultralytics", road, "--epochs", "1", "--near-duplicates=false", *words)
    assert said.code in (1, 2)
    assert message in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_a_malicious_checkpoint_is_refused_in_a_sentence(command: Command, road: Path, tmp_path: Path) -> None:
    class Call:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/touched",)

    path = save_checkpoint(make_network(TINY), tmp_path / "evil.pt", note=Call())
    said = command("run", "detect", "--weights", path, road)
    assert said.code == 1
    assert "evil.pt' is refused: it names posix.system" in said.err
    assert "Nothing of it was run" in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "touched").exists()


def test_without_the_package_the_command_says_how_to_install_it(
    command: Command, checkpoint: Path, road: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "copied.pt"
    copied.write_bytes(checkpoint.read_bytes())
    monkeypatch.setitem(__import__("sys").modules, "ultralytics", None)
    said = command("run", "detect", "--weights", copied, road)
    assert said.code == 1
    assert "pip install 'cvtl[ultralytics]'" in said.err
    assert "AGPL-3.0" in said.err
    said = command("train", "ultralytics", road, "--epochs", "1", "--near-duplicates=false")
    assert "pip install 'cvtl[ultralytics]'" in said.err
    assert "ultralytics" in command("plugins").out


def test_the_documentation_names_every_option() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in UltralyticsOptions.model_fields:
        assert f"--{name.replace('_', '-')}" in text or name == "predict"
    for name in PredictOptions.model_fields:
        assert f"--predict.{name.replace('_', '-')}" in text


def test_the_examples_of_the_page_run(command: Command, tmp_path: Path, assets: Path) -> None:
    weights.save(make_model(TINY, predict={"threshold": 0.0}), tmp_path / "cells.safetensors")
    (tmp_path / "bus.jpg").write_bytes((assets / "bus.jpg").read_bytes())
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    os.chdir(tmp_path)
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), {"cvtl": cvtl})
