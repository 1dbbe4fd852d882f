"""The window: a real one on a virtual display, with real keys; and what happens without a display."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cvtl.data import UInt8Image
from cvtl.results import Detections
from cvtl.screen import Screen, display_problem

Cvtl = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

needs_display = pytest.mark.skipif(
    not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs Xvfb and xdotool to press keys in a window"
)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A virtual display."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as stream:
        name = f":{stream.readline().strip()}"
    monkeypatch.setenv("DISPLAY", name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    yield name
    server.terminate()
    server.wait()


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for number in range(200):
        writer.write(np.full((64, 96, 3), number, np.uint8))
    writer.release()
    return path


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command; what still runs in the end is ended."""
    processes = []

    def begin(*words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cvtl.cli.main", *map(str, words)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def press(process: subprocess.Popen[str], window: str, *keys: str) -> None:
    """Press keys in a window of a process, which may have yet to open."""
    number = ""
    end = time.monotonic() + 60
    while not number:
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < end, f"no window {window} has opened"
        found = subprocess.run(["xdotool", "search", "--name", window], capture_output=True, text=True, timeout=60)
        number = found.stdout.partition("\n")[0]
        time.sleep(0.1)
    for key in keys:
        # The window may be gone when the key is let go.
        subprocess.run(["xdotool", "windowfocus", number, "key", "--window", number, key], timeout=60)
        time.sleep(0.3)


def rows_in(folder: Path) -> int:
    return (folder / "rows.jsonl").read_text().count("\n")


@needs_display
def test_a_display_that_is_there_is_no_problem(display: str) -> None:
    assert display_problem() is None


def test_without_a_display_there_is_no_window(no_display: None) -> None:
    assert display_problem() == "there is no display"


def test_a_display_that_cannot_be_opened_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":987")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert display_problem() == "the display ':987' cannot be opened"


def test_an_opencv_without_windows_says_what_is_the_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtl.screen.cv2.currentUIFramework", lambda: "")
    assert "opencv-python-headless" in str(display_problem())


def test_without_a_display_an_annotated_video_is_written_and_said_so(
    glow: Path, clip: Path, cvtl: Cvtl, tmp_path: Path, no_display: None
) -> None:
    done = cvtl("run", "detect", clip, "--weights", glow, "--show", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "no window: there is no display" in done.stderr
    assert (tmp_path / "out" / "videos" / "clip.avi.mp4").exists()


@needs_display
def test_a_run_in_a_window_writes_the_rows_it_writes_without(
    glow: Path, clip: Path, cvtl: Cvtl, tmp_path: Path, display: str
) -> None:
    for name, option in (("shown", ["--show"]), ("plain", [])):
        done = cvtl("run", "detect", clip, "--weights", glow, "--out", tmp_path / name, *option)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "shown" / "rows.jsonl").read_bytes() == (tmp_path / "plain" / "rows.jsonl").read_bytes()
    assert not (tmp_path / "shown" / "videos").exists()


@needs_display
def test_keys_pause_save_and_quit_and_the_run_goes_on_later(
    glow: Path, clip: Path, cvtl: Cvtl, start: Start, tmp_path: Path, display: str
) -> None:
    out = tmp_path / "out"
    words = ["run", "detect", clip, "--weights", glow, "--batch-size", 1, "--predict.seconds", 0.05, "--out", out]
    process = start(*words, "--show")
    press(process, "clip.avi", "space")
    time.sleep(1.0)  # what was under way is written
    paused = rows_in(out)
    time.sleep(0.5)
    assert rows_in(out) == paused < 200
    press(process, "clip.avi", "s", "space", "q")
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert paused < rows_in(out) < 200
    (saved,) = (out / "saved").rglob("*.png")
    assert cv2.imread(str(saved)).shape == (64, 96, 3)
    assert f"saved {saved}" in said
    assert cvtl(*words, "--resume").returncode == 0
    assert rows_in(out) == 200


@needs_display
def test_a_live_source_is_ended_by_q(
    tmp_path: Path, display: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "live"))
    from cameras import WebCamera

    camera = WebCamera()
    camera.start("96,96,0")
    out = tmp_path / "out"
    process = start("run", "detect", camera.url(), "--show", "--predict.threshold", 0.5, "--out", out)
    press(process, "127.0.0.1", "plus", "plus", "minus", "q")
    said = process.communicate(timeout=30)
    camera.kill()
    assert process.returncode == 0, said[1]
    assert json.loads((out / "run.json").read_text())["state"] == "done"
    assert "keys in the window" in said[1]


class Windows:
    """OpenCV's windows without a display: scripted keys go in, what is shown comes out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
        self.keys = [ord(key) for key in keys]
        self.shown: list[UInt8Image] = []
        self.opened: list[str] = []
        self.titles: list[tuple[str, str]] = []
        self.visible = 1.0
        for name, function in {
            "namedWindow": lambda window, flags: self.opened.append(window),
            "moveWindow": lambda *arguments: None,
            "setWindowTitle": lambda window, title: self.titles.append((window, title)),
            "resizeWindow": lambda *arguments: None,
            "destroyAllWindows": lambda: None,
            "imshow": lambda name, image: self.shown.append(image),
            "waitKey": lambda milliseconds: self.keys.pop(0) if self.keys else -1,
            "getWindowProperty": lambda name, what: self.visible,
        }.items():
            monkeypatch.setattr(f"cvtl.screen.cv2.{name}", function)


IMAGE = np.zeros((60, 80, 3), np.uint8)


def found(*scores: float) -> Detections:
    boxes = torch.tensor([[10.0, 30, 30, 50]] * len(scores))
    return Detections(boxes, torch.tensor(scores), torch.zeros(len(scores), dtype=torch.int64), ("lamp",))


def screen(folder: Path, threshold: float | None = 0.5) -> tuple[Screen, list[str], list[float]]:
    told: list[str] = []
    moved: list[float] = []
    return Screen(folder, told.append, threshold=threshold, threshold_changed=moved.append), told, moved


def below_text(image: UInt8Image) -> UInt8Image:
    return image[25:]


def test_plus_and_minus_move_the_threshold_of_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows(monkeypatch, "+-+")
    shown, _, moved = screen(tmp_path)
    for number in range(3):
        shown.show("a", IMAGE, found(0.52), frame=number, arrived=None)
    assert moved == [0.55, 0.5, 0.55]
    # Drawn; left out behind the first key; drawn again behind the second.
    assert [bool(below_text(image).any()) for image in windows.shown] == [True, False, True]


def test_the_threshold_stays_a_probability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Windows(monkeypatch, "---")
    shown, _, moved = screen(tmp_path, threshold=0.1)
    for number in range(3):
        shown.show("a", IMAGE, found(), frame=number, arrived=None)
    assert moved == [0.05, 0.0, 0.0]


def test_weights_without_a_threshold_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Windows(monkeypatch, "+")
    shown, told, moved = screen(tmp_path, threshold=None)
    shown.show("a", IMAGE, found(0.9), frame=0, arrived=None)
    assert (told[-1], moved) == ("these weights have no threshold", [])


def test_rate_and_latency_are_drawn_at_the_top_and_the_frame_itself_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = Windows(monkeypatch, "")
    shown, _, _ = screen(tmp_path)
    for number in range(2):
        shown.show("a", IMAGE, None, frame=number, arrived=time.perf_counter())
    assert all(image[:25].any() and not below_text(image).any() for image in windows.shown)
    assert not IMAGE.any()


def test_a_paused_window_waits_for_space_or_q(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows(monkeypatch, "  ")
    shown, _, _ = screen(tmp_path)
    shown.show("a", IMAGE, None, frame=0, arrived=None)
    assert (windows.keys, shown.quit) == ([], False)
    windows.keys = [ord(" "), ord("q")]
    shown.show("a", IMAGE, None, frame=1, arrived=None)
    assert (windows.keys, shown.quit) == ([], True)


def test_closing_a_window_quits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows(monkeypatch, "")
    windows.visible = 0.0
    shown, _, _ = screen(tmp_path)
    shown.show("a", IMAGE, None, frame=0, arrived=None)
    assert shown.quit


def test_a_saved_frame_has_the_result_and_lies_inside_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Windows(monkeypatch, "s")
    shown, _, _ = screen(tmp_path)
    shown.show("rtsp://host:554/../door", IMAGE, found(0.9), frame=7, arrived=None)
    (saved,) = tmp_path.rglob("*.png")
    assert saved.name == "door-000007.png"
    assert np.array_equal(cv2.imread(str(saved))[..., ::-1], found(0.9).draw(IMAGE))


def test_all_files_share_a_window_and_each_live_source_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = Windows(monkeypatch, "")
    shown, _, _ = screen(tmp_path)
    for source, arrived in (("a.jpg", None), ("b.jpg", None), ("camera/0", 1.0), ("camera/1", 1.0), ("camera/0", 2.0)):
        shown.show(source, IMAGE, None, frame=None, arrived=arrived)
    assert windows.opened == ["pictures", "camera/0", "camera/1"]
    assert windows.titles == [("pictures", "a.jpg"), ("pictures", "b.jpg")]
