"""`cvtl run` over cameras and streams: a real server that is killed and started again, real files beside it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from cameras import RtspCamera, Wait, WebCamera

import cvtl
from cvtl.errors import UsageError
from cvtl.live import LiveSettings
from cvtl.progress import Progress
from cvtl.run_settings import RunSettings

Cvtl = Callable[..., subprocess.CompletedProcess[str]]


class Notes(Progress):
    """Keeps what is told, and does something when it is."""

    def __init__(self, then: Callable[[str], None] = lambda text: None) -> None:
        self.lines: list[str] = []
        self.then = then

    def note(self, text: str) -> None:
        self.lines.append(text)
        self.then(text)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def frames_in(video: Path) -> int:
    reader = cv2.VideoCapture(str(video))
    count = 0
    while reader.read()[0]:
        count += 1
    return count


def test_rows_of_a_stream_have_name_number_and_time(glow: Path, web_camera: WebCamera, tmp_path: Path) -> None:
    web_camera.start()
    report = cvtl.run([web_camera.url()], glow, tmp_path / "out", live=LiveSettings(max_frames=5))
    rows = rows_of(tmp_path / "out")
    assert len(rows) == report.inputs == 5
    assert {row["source"] for row in rows} == {web_camera.url()}
    assert [row["frame"] for row in rows] == sorted({row["frame"] for row in rows})
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert all((row["status"], row["width"], row["height"]) == ("ok", 64, 48) for row in rows)
    # The server makes frame n as bright as n, and this network scores brightness.
    scores = [row["result"]["scores"][0] for row in rows]
    assert scores == sorted(scores)


def test_frames_that_are_dropped_are_counted_in_the_summary(glow: Path, web_camera: WebCamera, tmp_path: Path) -> None:
    web_camera.start()
    slow = {"seconds": 0.2}
    report = cvtl.run([web_camera.url()], glow, tmp_path / "out", predict=slow, live=LiveSettings(max_frames=4))
    feed = report.live[web_camera.url()]
    assert feed.taken == 4
    assert feed.dropped >= 10
    said = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (said["live"][web_camera.url()]["taken"], said["live"][web_camera.url()]["drop"]) == (4, "stale")
    assert said["state"] == "done"


@pytest.mark.parametrize("kind", ["web_camera", "rtsp_camera"])
def test_a_killed_server_is_found_again_and_its_new_size_is_taken(
    glow: Path, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    camera: WebCamera = request.getfixturevalue(kind)
    camera.start("64,48,0")

    def restart() -> None:
        time.sleep(0.4)
        camera.kill()
        camera.start("80,64,0")

    def stop_when_again(text: str) -> None:
        if text.endswith("connected"):
            threading.Thread(target=restart).start()

    notes = Notes(stop_when_again)
    settings = LiveSettings(max_seconds=4, lost_after=1)
    report = cvtl.run(
        [camera.url()],
        glow,
        tmp_path / "out",
        settings=RunSettings(save_video=True),
        live=settings,
        progress=notes,
    )
    sizes = [(row["width"], row["height"]) for row in rows_of(tmp_path / "out")]
    assert set(sizes) == {(64, 48), (80, 64)}
    assert sizes == sorted(sizes)
    assert report.live[camera.url()].connections >= 2
    assert any("trying again" in line for line in notes.lines)
    assert notes.lines[-1].endswith("connected again")
    videos = sorted(path.name for path in (tmp_path / "out" / "videos").rglob("*.mp4"))
    assert videos == ["video-2.mp4", "video.mp4"]


def test_a_change_of_size_within_a_stream_is_followed(glow: Path, web_camera: WebCamera, tmp_path: Path) -> None:
    web_camera.start("64,48,10", "80,60,10")
    settings = LiveSettings(drop="never", give_up_after=0)
    cvtl.run([web_camera.url()], glow, tmp_path / "out", live=settings)
    sizes = [(row["width"], row["height"]) for row in rows_of(tmp_path / "out")]
    assert sizes == [(64, 48)] * 10 + [(80, 60)] * 10


def test_a_stream_of_another_kind_is_read_by_opencv(
    glow: Path, web_camera: WebCamera, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILM", str(clip))
    web_camera.start()
    settings = LiveSettings(drop="never", give_up_after=0)
    report = cvtl.run([web_camera.url("film")], glow, tmp_path / "out", live=settings)
    assert [row["frame"] for row in rows_of(tmp_path / "out")] == list(range(50))
    assert report.live[web_camera.url("film")].error == "no frames come any more"


def test_an_rtsp_camera_gives_every_frame_in_order(glow: Path, rtsp_camera: RtspCamera, tmp_path: Path) -> None:
    rtsp_camera.start("64,48,60")
    settings = LiveSettings(drop="never", give_up_after=0)
    cvtl.run([rtsp_camera.url("door")], glow, tmp_path / "out", live=settings)
    rows = rows_of(tmp_path / "out")
    assert [row["frame"] for row in rows] == list(range(60))
    assert {(row["source"], row["width"], row["height"]) for row in rows} == {(rtsp_camera.url("door"), 64, 48)}
    scores = [row["result"]["scores"][0] for row in rows]
    assert scores == sorted(scores)


def test_a_page_that_is_no_stream_has_a_row_that_says_so(glow: Path, web_camera: WebCamera, tmp_path: Path) -> None:
    web_camera.start()
    cvtl.run([web_camera.url("page")], glow, tmp_path / "out", live=LiveSettings(give_up_after=0))
    (row,) = rows_of(tmp_path / "out")
    assert (row["status"], row["error"]) == ("unreadable", "the stream cannot be opened")


def test_a_stream_that_never_comes_has_a_row_and_stops_no_other(
    glow: Path, web_camera: WebCamera, clip: Path, tmp_path: Path
) -> None:
    web_camera.start("64,48,0")
    absent = "http://127.0.0.1:9/door"
    live = LiveSettings(max_frames=10, give_up_after=30)
    report = cvtl.run([absent, web_camera.url(), clip], glow, tmp_path / "out", live=live)
    rows = rows_of(tmp_path / "out")
    assert rows[-1]["source"] == absent
    assert rows[-1]["status"] == "unreadable"
    assert "does not answer" in rows[-1]["error"]
    assert report.counts == {"ok": 60, "unreadable": 1}


def test_files_beside_a_camera_are_read_completely_and_in_order(
    glow: Path, web_camera: WebCamera, clip: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    web_camera.start()
    picture = write_picture(tmp_path / "a.png")
    live = LiveSettings(max_frames=3)
    cvtl.run([picture, clip, web_camera.url()], glow, tmp_path / "out", live=live)
    rows = rows_of(tmp_path / "out")
    stored = [row["frame"] for row in rows if not row["source"].startswith("http")]
    assert stored == [None, *range(50)]
    assert sum(row["source"].startswith("http") for row in rows) == 3


def test_a_camera_of_this_machine_is_opened_by_its_number(
    glow: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvtl.live.captures.cv2.VideoCapture", FileBackedDevice)
    monkeypatch.setattr("cvtl.live.captures._device", lambda address: str(clip))
    FileBackedDevice.clip = clip
    cvtl.run([0], glow, tmp_path / "out", live=LiveSettings(drop="never", give_up_after=0))
    rows = rows_of(tmp_path / "out")
    assert [row["frame"] for row in rows] == list(range(50))
    assert {row["source"] for row in rows} == {"camera/0"}


class FileBackedDevice:
    """What OpenCV gives for a camera, with a file behind it; unplugged at the file's end."""

    clip: Path

    def __init__(self) -> None:
        self.capture = _REAL_CAPTURE()

    def open(self, address: int) -> bool:
        assert address == 0
        return bool(self.capture.open(str(self.clip)))

    def set(self, what: int, value: float) -> bool:
        return False

    def read(self) -> Any:
        return self.capture.read()

    def release(self) -> None:
        self.capture.release()


_REAL_CAPTURE = cv2.VideoCapture


def test_no_password_is_written_anywhere(glow: Path, web_camera: WebCamera, cvtl: Cvtl, tmp_path: Path) -> None:
    web_camera.start()
    address = web_camera.url("secret?key=hidden").replace("//", "//me:hidden@")
    words = ["run", "detect", address, "--weights", glow, "--out", tmp_path / "out", "--max-frames", 2, "--save-video"]
    done = cvtl(*words, "--save-images")
    assert done.returncode == 0, done.stderr
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    names = " ".join(str(path) for path in (tmp_path / "out").rglob("*"))
    assert not any(b"hidden" in content for content in written)
    assert "hidden" not in done.stdout + done.stderr + names


def test_a_live_run_cannot_be_resumed(glow: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot go on"):
        cvtl.run([0], glow, tmp_path / "out", resume=True)


def test_ctrl_c_ends_a_live_run_with_its_summary_and_a_whole_video(
    glow: Path, web_camera: WebCamera, tmp_path: Path, wait_until: Wait
) -> None:
    web_camera.start()
    out = tmp_path / "out"
    words = ["run", "detect", web_camera.url(), "--weights", str(glow), "--out", str(out), "--save-video"]
    # A shell that runs this in the background has its children ignore Ctrl-C.
    command = [sys.executable, "-c", _OBEYING, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rows = out / "rows.jsonl"
    wait_until(lambda: rows.exists() and rows.read_text().count("\n") >= 10)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "looked at" in said
    assert "dropped (--drop stale)" in said
    assert json.loads((out / "run.json").read_text())["state"] == "interrupted"
    (video,) = (out / "videos").rglob("*.mp4")
    assert frames_in(video) > 0


_OBEYING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from cvtl.cli.main import main
sys.exit(main())
"""


def test_the_help_of_live_sources_is_there(cvtl: Cvtl) -> None:
    said = cvtl("run", "detect", "--help").stdout
    for option in ("--show", "--save-video", "--drop", "--give-up-after", "--max-frames"):
        assert option in said


def test_the_summary_for_programs_holds_the_sources(
    glow: Path, web_camera: WebCamera, cvtl: Cvtl, tmp_path: Path
) -> None:
    web_camera.start()
    done = cvtl("run", "detect", web_camera.url(), "--weights", glow, "--max-frames", 3, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["live"][web_camera.url()]["taken"] == 3


def test_a_stream_for_programs_gives_frames_and_results(glow: Path, web_camera: WebCamera) -> None:
    web_camera.start()
    seen = list(cvtl.stream(glow, web_camera.url(), live=LiveSettings(max_frames=4), tell=lambda text: None))
    assert len(seen) == 4
    for frame, result in seen:
        assert frame.image.shape == (48, 64, 3)
        assert result.to_dict()["labels"] == ["lamp"]
    numbers = [frame.number for frame, _ in seen]
    assert numbers == sorted(numbers)


def test_a_stream_of_a_video_is_complete_and_equal_to_a_run(glow: Path, clip: Path, tmp_path: Path) -> None:
    settings = RunSettings(batch_size=1)
    cvtl.run([clip], glow, tmp_path / "out", settings=settings)
    ran = [(row["frame"], row["time"], row["result"]) for row in rows_of(tmp_path / "out")]
    streamed = [(frame.number, frame.time, result.to_dict()) for frame, result in cvtl.stream(glow, clip)]
    assert streamed == ran


def test_a_stream_can_be_left_at_any_frame(glow: Path, web_camera: WebCamera) -> None:
    web_camera.start()
    before = threading.active_count()
    for _, _ in cvtl.stream(glow, web_camera.url(), tell=lambda text: None):
        break
    end = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_stream_takes_a_loaded_model_and_several_sources(
    glow: Path, clip: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    picture = write_picture(tmp_path / "a.png")
    model = cvtl.load_model(glow)
    sources = [frame.source for frame, _ in cvtl.stream(model, [picture, clip])]
    assert len(sources) == 51
