"""The webcam demo, on a video instead of a camera."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / "tools" / "demo_webcam.py"


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that find two points, somewhere."""
    from cvtl import weights
    from cvtl_landmarks import LandmarksModel, LandmarksOptions

    options = LandmarksOptions(backbone="lenet5", weights="none", size=32, edges=((0, 1),), predict={"threshold": 0})  # type: ignore[arg-type]
    return weights.save(LandmarksModel.initialize(options, ("a", "b")), tmp_path_factory.mktemp("w") / "w.safetensors")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames of 64 x 48."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(7):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


def run(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    hidden = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, str(TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=hidden, cwd=folder)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_without_a_display_every_frame_is_drawn_into_a_video(points: Path, clip: Path, tmp_path: Path) -> None:
    done = run("--weights", points, clip, "--out", tmp_path / "out.avi", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "7 frames" in done.stdout
    assert "no display" in done.stdout
    drawn = cv2.VideoCapture(str(tmp_path / "out.avi"))
    frames = []
    while (read := drawn.read())[0]:
        frames.append(read[1])
    assert len(frames) == 7
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].std() > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--weights", "nowhere.safetensors"), "nowhere.safetensors"), (("nowhere.mp4",), "no camera or video")],
)
def test_what_is_not_there_is_named(points: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = run("--weights", points, *words, folder=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
