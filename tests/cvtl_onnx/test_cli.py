"""ONNX files at the command line, like any weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import Command
from made_onnx import constant_net, mean_net

from cvtl_onnx.layouts import LAYOUTS, cells
from cvtl_onnx.options import ClassifyPredictOptions, DetectPredictOptions, ReadingOptions

SIDE = 32
OBJECT = (4.0, 8.0, 20.0, 24.0)
UNITY = ("--mean", "0,0,0", "--std", "1,1,1")


@pytest.fixture
def finder(tmp_path: Path) -> Path:
    """A detector that finds one dog at `OBJECT` of its input, and perhaps a cat at the same place."""
    output = np.zeros((4 + 2, cells((SIDE, SIDE))), np.float32)
    output[:, 3] = 12, 16, 16, 16, 0.2, 0.9
    output[:, 5] = 12, 16, 16, 16, 0.1, 0.05
    return constant_net(tmp_path / "finder.onnx", output, metadata={"names": "['cat', 'dog']"})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with a picture each, twice the detectors' input, and the boxes as COCO JSON."""
    folder = tmp_path / "photos"
    for name, bgr in {"blue": (255, 0, 0), "green": (0, 255, 0), "red": (0, 0, 255)}.items():
        (folder / name).mkdir(parents=True)
        assert cv2.imwrite(str(folder / name / "a.png"), np.full((2 * SIDE, 2 * SIDE, 3), bgr, np.uint8))
    return folder


@pytest.fixture
def boxes(photos: Path, tmp_path: Path) -> Path:
    """The photos with a dog in each, where the detector finds it."""
    left, top, right, bottom = (2 * edge for edge in OBJECT)
    box = [left, top, right - left, bottom - top]
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    images = [{"id": i, "file_name": name, "width": 64, "height": 64} for i, name in enumerate(names)]
    annotations = [
        {"id": i + 1, "image_id": i, "category_id": 2, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i in range(len(names))
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    path = photos / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def test_objects_are_found(command: Command, finder: Path, photos: Path, tmp_path: Path) -> None:
    said = command("run", "detect", "--weights", finder, "--predict.threshold", "0.3", photos, "--out", "found")
    assert said.code == 0, said.err
    found = rows(tmp_path / "found")
    assert [each["source"] for each in found] == ["blue/a.png", "green/a.png", "red/a.png"]
    assert found[0]["result"] == {"boxes": [[8, 16, 40, 48]], "scores": [0.9], "labels": ["dog"]}


def test_pictures_are_classified_by_what_was_said_of_the_file(command: Command, photos: Path, tmp_path: Path) -> None:
    net = mean_net(tmp_path / "net.onnx")
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    said = command(
        "run",
        "classify",
        "--weights",
        net,
        "--classes",
        "names.txt",
        *UNITY,
        photos,
        "--out",
        "o",
        "--predict.top-k",
        1,
    )
    assert said.code == 0, said.err
    assert [each["result"]["labels"] for each in rows(tmp_path / "o")] == [["blue"], ["green"], ["red"]]


def test_a_configuration_file_may_say_it(command: Command, photos: Path, tmp_path: Path) -> None:
    net = mean_net(tmp_path / "net.onnx")
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "r.yaml").write_text(f"weights: {net}\nclasses: names.txt\nmean: [0, 0, 0]\nstd: [1, 1, 1]\n")
    said = command("run", "classify", "--config", "r.yaml", photos, "--out", "o")
    assert said.code == 0, said.err
    assert [each["result"]["labels"][0] for each in rows(tmp_path / "o")] == ["blue", "green", "red"]


def test_a_run_goes_on_only_if_the_same_is_said_of_the_file(command: Command, photos: Path, tmp_path: Path) -> None:
    net = mean_net(tmp_path / "net.onnx")
    words = ("run", "classify", "--weights", net, photos, "--out", "o")
    assert command(*words).code == 0
    assert json.loads((tmp_path / "o" / "run.json").read_text())["versions"]["onnxruntime"]
    assert command(*words, "--resume").code == 0
    said = command(*words, "--resume", *UNITY)
    assert said.code != 0
    assert "read_as" in said.err


def test_detectors_are_evaluated(command: Command, finder: Path, boxes: Path) -> None:
    said = command("eval", finder, boxes, "--json", "--draws", "0")
    assert said.code == 0, said.err
    assert json.loads(said.out)["figures"]["AP"]["value"] == pytest.approx(1)


def test_classifiers_are_evaluated_as_they_are_said_to_be(command: Command, photos: Path, tmp_path: Path) -> None:
    net = mean_net(tmp_path / "net.onnx")
    (tmp_path / "names.txt").write_text("blue\ngreen\nred\n")
    for channels, expected in (("bgr", 1), ("rgb", 1 / 3)):
        said = command(
            *("eval", net, photos, "--classes", "names.txt", *UNITY, "--channels", channels),
            *("--json", "--draws", "0", "--out", channels, "--corruptions", "--corruption-kinds", "brightness"),
        )
        assert said.code == 0, said.err
        assert json.loads(said.out)["figures"]["top-1 accuracy"]["value"] == pytest.approx(expected)


def test_info_shows_what_a_file_is(command: Command, finder: Path) -> None:
    said = command("info", finder, "--json", "--channels", "bgr")
    facts = json.loads(said.out)
    assert (facts["plugin"], facts["classes"]) == ("onnx_detect", ["cat", "dog"])
    assert facts["input"]["channels"] == "bgr"
    assert facts["options"]["layout"] == "ultralytics"
    assert len(facts["sha256"]) == 64


def test_help_shows_what_can_be_said_of_the_file_and_of_what_it_finds(command: Command, finder: Path) -> None:
    shown = command("run", "detect", "--weights", finder, "--help").out
    assert "--layout {yolox,ultralytics,fastestdet,classifier}" in shown
    assert "--predict.threshold" in shown
    assert "(default: 0.7)" in shown
    assert "--layout" in command("eval", finder, "data", "--help").out
    assert "--layout" in command("info", finder, "--help").out
    assert "--layout" not in command("info", "--help").out


def test_a_wrong_task_is_told_with_the_command_that_fits(command: Command, finder: Path, photos: Path) -> None:
    said = command("run", "classify", "--weights", finder, photos)
    assert said.code == 2
    assert "holds weights for the task 'detect', not 'classify'" in said.err
    assert "cvtl run detect --weights" in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--layout", "yolov9"), "--layout must be"),
        (("--layout", "yolox"), "not of the layout 'yolox'"),
        (("--mean", "1,2"), "--mean"),
        (("--classes", "nowhere.txt"), "cannot read the class names in 'nowhere.txt'"),
        (("--size", "64"), "takes pictures of 32 x 32 only"),
    ],
)
def test_what_cannot_be_said_of_a_file_is_explained(
    command: Command, finder: Path, photos: Path, words: tuple[str, ...], expected: str
) -> None:
    said = command("run", "detect", "--weights", finder, photos, *words)
    assert said.code == 2
    assert expected in said.err
    assert "Traceback" not in said.err


def test_several_classifiers_are_averaged(command: Command, photos: Path, tmp_path: Path) -> None:
    first, second = (constant_net(tmp_path / f"{n}.onnx", np.array([n, 1.0])) for n in (1, 3))
    said = command("run", "classify", "--weights", first, second, photos, "--out", "o")
    assert said.code == 0, said.err
    assert rows(tmp_path / "o")[0]["result"]["labels"] == ["0", "1"]


def test_it_is_not_offered_for_training(command: Command, photos: Path) -> None:
    assert "onnx" not in command("train", "--help").out
    said = command("train", "onnx_detect", photos)
    assert said.code == 2
    assert "only runs what others have trained" in said.err


def test_without_onnxruntime_the_command_says_how_to_install_it(
    command: Command, finder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    said = command("run", "detect", "--weights", finder, photos)
    assert said.code == 1
    assert "pip install 'cvtl[export]'" in said.err
    assert "onnx_detect" in command("plugins").out


def test_the_documentation_names_every_layout_and_option() -> None:
    text = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text()
    for name in LAYOUTS:
        assert f"| `{name}` |" in text
    for name in ReadingOptions.model_fields:
        assert f"--{name}" in text
    for options in (DetectPredictOptions, ClassifyPredictOptions):
        for name in options.model_fields:
            assert f"--predict.{name.replace('_', '-')}" in text
