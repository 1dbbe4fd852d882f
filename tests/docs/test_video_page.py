"""The few lines of Python in docs/video.md run as they stand, but for the clip in place of the webcam."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cvtl import weights
from cvtl.registry import plugins

PAGE = Path(__file__).parents[2] / "docs" / "video.md"
EXAMPLES = re.findall(r"^    import .*\n(?:(?:    .*)?\n)+?(?=\S|\Z)", PAGE.read_text(), re.MULTILINE)
# Two of them stand under one heading.
EXAMPLES = [part for each in EXAMPLES for part in re.split(r"\n\n(?=    import)", each.rstrip())]

MADE = {
    "cars": ("windows", ["background", "car"], {"window": 32}),
    "flowers": ("classify", ["daisy", "rose"], {}),
    "cup": ("localize", ["cup"], {}),
    "face": ("landmarks", ["nose", "chin"], {}),
    "road": ("yolo", ["car", "bus"], {}),
    "blood": ("regions", ["cell"], {}),
}
FRAMES = 3


def name_of(example: str) -> str:
    found = re.search(r'"([\w.]+)\.(safetensors|onnx|pt)"', example)
    assert found is not None
    return found[1]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for number in range(FRAMES):
        writer.write(np.full((120, 160, 3), 40 + 50 * number, np.uint8))
    writer.release()
    return path


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def make(name: str, folder: Path) -> None:
    torch.manual_seed(0)
    plugin, classes, options = MADE[name]
    spec = plugins().get(plugin)
    backbone = {"backbone": "squeezenet1_1", "weights": "none"} if plugin != "windows" else {}
    made = spec.options_type().model_validate(options | backbone)
    weights.save(spec.model_type().initialize(made, classes), folder / f"{name}.safetensors")


def test_there_is_an_example_for_each_kind_of_weights() -> None:
    assert [name_of(each) for each in EXAMPLES] == [*MADE, "starry", "yolox_nano", "yolo11n"]


@pytest.mark.parametrize("example", [each for each in EXAMPLES if name_of(each) in MADE], ids=name_of)
def test_an_example_of_the_page_runs(
    example: str, clip: Path, tmp_path: Path, no_display: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(name_of(example), tmp_path)
    seen = run(example, clip, tmp_path, monkeypatch)
    assert seen == FRAMES


def test_the_example_of_onnx_files_runs(
    clip: Path, tmp_path: Path, no_display: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "cvtl_onnx"))
    from made_onnx import constant_net

    (tmp_path / "coco_classes.txt").write_text("cat\ndog\n")
    constant_net(tmp_path / "yolox_nano.onnx", np.array([0.3, 0.7]))
    (example,) = (each for each in EXAMPLES if name_of(each) == "yolox_nano")
    assert run(example, clip, tmp_path, monkeypatch) == FRAMES


def run(example: str, clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run an example; gives the number of frames that it has seen."""
    monkeypatch.chdir(folder)
    code = re.sub(r"^    ", "", example, flags=re.MULTILINE)
    assert code.count(", 0, ") == 1
    names: dict[str, object] = {}
    exec(compile(code.replace(", 0, ", f", {str(clip)!r}, "), str(PAGE), "exec"), names)
    assert "cvtl" in sys.modules
    frame = names["frame"]
    return int(frame.number) + 1  # type: ignore[attr-defined]
