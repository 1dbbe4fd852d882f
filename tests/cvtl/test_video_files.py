"""Videos that are written, and how a run that films goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import cvtl
from cvtl.data import UInt8Image
from cvtl.errors import OutputError
from cvtl.run_folder import RunFolder
from cvtl.run_settings import RunSettings
from cvtl.video_files import VideoFile
from cvtl.writers import video_name

SIZE_WH = (64, 48)


def shade(value: int, size_wh: tuple[int, int] = SIZE_WH) -> UInt8Image:
    return np.full((size_wh[1], size_wh[0], 3), value, np.uint8)


def shades_in(path: Path) -> list[int]:
    """Brightness of each frame."""
    reader = cv2.VideoCapture(str(path))
    found = []
    while (read := reader.read())[0]:
        found.append(round(float(np.mean(read[1]))))
    return found


def write_clip(path: Path, count: int, *, rate: float = 10) -> Path:
    video = VideoFile(path, rate)
    for number in range(count):
        video.write(shade(20 + 5 * number))
    video.finish()
    return path


def test_frames_come_back_in_order_and_at_the_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 20, rate=12.5)
    assert shades_in(path) == pytest.approx([20 + 5 * number for number in range(20)], abs=6)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)


def test_red_stays_red(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "a.mp4")
    image = shade(0)
    image[..., 0] = 200
    video.write(image)
    video.finish()
    read = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()[1]
    assert read[..., 2].mean() > 150 > 50 > read[..., 0].mean()


@pytest.mark.parametrize("size_wh", [(65, 49), (17, 2), (1920, 1080)])
def test_frames_of_any_size_can_be_written(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    video = VideoFile(tmp_path / "a.mp4")
    for _ in range(3):
        video.write(shade(100, size_wh))
    (path,) = video.finish()
    assert len(shades_in(path)) == 3


def test_a_new_size_goes_into_a_file_of_its_own(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "a.mp4")
    for size_wh in (SIZE_WH, SIZE_WH, (32, 32), SIZE_WH):
        video.write(shade(100, size_wh))
    assert [path.name for path in video.finish()] == ["a.mp4", "a-2.mp4", "a-3.mp4"]
    assert [len(shades_in(path)) for path in video.finished] == [2, 1, 1]


def test_irregular_frames_keep_their_time(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "a.mp4", rate=10)
    for time, value in ((5.0, 50), (5.5, 100), (5.52, 250), (6.0, 150)):
        video.write(shade(value), time)
    video.finish()
    assert shades_in(tmp_path / "a.mp4") == pytest.approx([50] * 5 + [100] + [250] * 4 + [150], abs=12)


def test_a_gap_of_hours_is_left_out(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "a.mp4", rate=10)
    for time in (0.0, 0.1, 9000.0, 9000.1):
        video.write(shade(100), time)
    video.finish()
    assert len(shades_in(tmp_path / "a.mp4")) == 4


def test_an_unfinished_video_does_not_lie_under_its_name(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "a.mp4")
    video.write(shade(100))
    video.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["a.unfinished.mp4"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        VideoFile(tmp_path / "file" / "a.mp4").write(shade(100))


def test_a_video_that_lost_frames_on_the_way_to_the_disk_is_an_error(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "a.mp4")
    for _ in range(50):
        video.write(shade(100))
    # What a full disk leaves.
    (tmp_path / "a.unfinished.mp4").unlink()
    with pytest.raises(OutputError, match="not whole"):
        video.finish()


def test_names_of_videos_lie_in_the_folder_and_never_meet() -> None:
    sources = ["a.mp4", "a.avi", "a.avi.mp4", "a.avi.mp4.mp4", "../a.mp4", "/etc/a.mp4", "camera/0", "A.MP4"]
    names = [video_name(source) for source in sources]
    assert len(set(names)) == len(names)
    assert not any(name.startswith(("/", "..")) for name in names)
    assert all(name.lower().endswith(".mp4") for name in names)


def test_a_run_films_every_video_and_draws_every_picture(
    glow: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    clips = [write_clip(tmp_path / name, count) for name, count in (("a.mp4", 7), ("b.mp4", 5))]
    picture = write_picture(tmp_path / "c.png")
    settings = RunSettings(batch_size=4, save_video=True)
    cvtl.run([clips[0], picture, clips[1]], glow, tmp_path / "out", settings=settings)
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["pictures/c.png", "rows.jsonl", "run.json", "videos/a.mp4", "videos/b.mp4"]
    assert [len(shades_in(tmp_path / "out" / "videos" / name)) for name in ("a.mp4", "b.mp4")] == [7, 5]
    assert cv2.VideoCapture(str(tmp_path / "out" / "videos" / "a.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_a_frame_that_fails_is_in_the_video_as_it_was(glow: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 6)
    settings = RunSettings(save_video=True)
    report = cvtl.run([clip], glow, tmp_path / "out", settings=settings, predict={"fails_at_width": 64})
    assert report.counts == {"failed": 6}
    assert len(shades_in(tmp_path / "out" / "videos" / "a.mp4")) == 6


def rows(*names: tuple[str, int | None]) -> bytes:
    return b"".join(
        json.dumps({"source": source, "frame": frame, "status": "ok"}).encode() + b"\n" for source, frame in names
    )


A, B = ([(name, frame) for frame in range(5)] for name in ("a", "b"))
PICTURES: list[tuple[str, int | None]] = [("c", None), ("d", None), ("e", None)]


@pytest.mark.parametrize(
    ("there", "block", "kept"),
    [
        ([*A, *B], 2, 0),  # the boundary at 5 is none, and b goes on
        ([*A, *B], 5, 5),  # b may go on
        ([*A, *B, *PICTURES], 5, 10),
        ([*A, *B[:1]], 5, 5),
        ([*A], 5, 0),
        ([*PICTURES], 2, 2),
        ([*PICTURES, *A], 1, 3),
        ([*PICTURES, *A], 3, 3),
        ([*PICTURES, *A], 2, 2),
        ([], 2, 0),
    ],
)
def test_rows_are_kept_up_to_a_block_that_ends_where_a_video_begins(
    tmp_path: Path, there: list[tuple[str, int | None]], block: int, kept: int
) -> None:
    RunFolder.create(tmp_path / "out", {"task": "detect"})
    (tmp_path / "out" / "rows.jsonl").write_bytes(rows(*there))
    folder = RunFolder.resume(tmp_path / "out", {"task": "detect"}, block=block, whole_videos=True)
    assert folder is not None
    assert folder.kept == kept == sum(folder.counts.values())
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == rows(*there[:kept])


def test_a_filming_run_cut_off_after_any_row_ends_with_the_same_files(glow: Path, tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4", count) for name, count in (("a", 8), ("b", 5), ("c", 3))]
    settings = RunSettings(batch_size=4, save_video=True)
    cvtl.run(clips, glow, tmp_path / "whole", settings=settings)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*.*") if path.name != "run.json"}
    lines = whole["rows.jsonl"].splitlines(keepends=True)
    said = json.loads((tmp_path / "whole" / "run.json").read_text())
    for cut in range(len(lines) + 1):
        out = tmp_path / f"out{cut}"
        out.mkdir()
        (out / "run.json").write_text(json.dumps(said | {"state": "running", "counts": {}}))
        (out / "rows.jsonl").write_bytes(b"".join(lines[:cut]))
        if cut >= 8:
            (out / "videos").mkdir()
            (out / "videos" / "a.mp4").write_bytes(whole["a.mp4"])
        cvtl.run(clips, glow, out, settings=settings, resume=True)
        assert {path.name: path.read_bytes() for path in out.rglob("*.*") if path.name != "run.json"} == whole
