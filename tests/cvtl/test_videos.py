"""Videos as sources: real files, read completely and in order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvtl.cli.main import main
from cvtl.errors import ExitCode, SourceError
from cvtl.sources import Item, count_sources, open_sources
from cvtl.videos import read_frames

Command = Callable[..., int]

FRAMES, SIZE_WH, RATE = 30, (96, 64), 10


def write_video(path: Path, count: int = FRAMES, *, codec: str = "MJPG") -> Path:
    """Each frame is a little brighter than the one before, and red."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), RATE, SIZE_WH)
    assert writer.isOpened()
    for number in range(count):
        frame = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8)
        frame[..., 2] = 20 + 7 * number
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.avi")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `cvtl` in this process, in an empty working folder; gives its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([str(word) for word in words])


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def opened(*inputs: Path | str) -> list[Item]:
    return list(open_sources(inputs))


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_every_frame_comes_once_and_in_order(tmp_path: Path, name: str, codec: str) -> None:
    items = opened(write_video(tmp_path / name, codec=codec))
    assert [item.frame for item in items] == list(range(FRAMES))
    assert {item.source for item in items} == {name}
    reds = [float(image[..., 0].mean()) for item in items if (image := item.load().image) is not None]
    assert len(reds) == FRAMES
    assert reds == sorted(reds)
    assert np.abs(np.array(reds) - (20 + 7 * np.arange(FRAMES))).max() < 8


def test_frames_are_rgb_and_know_their_time(clip: Path) -> None:
    items = opened(clip)
    image = items[-1].load().image
    assert image is not None
    assert image.shape == (64, 96, 3)
    assert image[..., 0].mean() > 200 > 20 > image[..., 2].mean()
    assert [item.time for item in items[:3]] == [0.0, 0.1, 0.2]


def test_frames_are_read_as_they_are_asked_for(clip: Path) -> None:
    frames = read_frames(str(clip))
    assert next(frames).number == 0
    frames.close()  # type: ignore[attr-defined]


def test_a_video_that_is_cut_off_says_so_behind_its_last_frame(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    *good, last = opened(cut)
    assert 0 < len(good) < FRAMES
    assert all(item.load().status == "ok" for item in good)
    assert last.load().status == "truncated"
    assert last.load().error == f"the video ends early: {len(good)} of {FRAMES} frames can be read"


def test_what_is_no_video_is_one_unreadable_input(tmp_path: Path) -> None:
    for name, content in (("text.mp4", b"no video at all"), ("empty.mov", b"")):
        (tmp_path / name).write_bytes(content)
        (item,) = opened(tmp_path / name)
        assert (item.load().status, item.frame) == ("unreadable", 0)


def test_frames_that_are_too_large_are_not_decoded(clip: Path) -> None:
    (item,) = open_sources([clip], max_pixels=1000)
    assert item.load().status == "too_large"


def test_folders_pass_over_videos_and_patterns_for_them_find_them(clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "clip.avi")
    assert cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((8, 8, 3), np.uint8))
    assert [item.source for item in opened(tmp_path)] == ["photo.png"]
    assert len(opened(str(tmp_path / "*.avi"))) == FRAMES
    with pytest.raises(SourceError):
        opened(str(tmp_path / "*.mkv"))


def test_a_list_may_name_videos(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{clip}\nmissing.mp4\n")
    items = opened(tmp_path / "list.txt")
    assert len(items) == FRAMES + 1
    assert items[-1].load().error == "it is not there"


def test_how_many_frames_there_are_is_not_guessed(clip: Path) -> None:
    assert count_sources([clip]) is None


def test_run_writes_a_row_for_each_frame_with_number_and_time(command: Command, clip: Path, tmp_path: Path) -> None:
    words = ("run", "detect", clip, "--weights", "builtin", "--out", "o", "--save-images", "--batch-size", "7")
    assert command(*words) == ExitCode.OK
    rows = rows_of(tmp_path / "o")
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    assert rows[3]["time"] == 0.3
    assert {row["source"] for row in rows} == {"clip.avi"}
    assert (tmp_path / "o" / "pictures" / "clip.avi" / "000029.jpg").exists()


def test_a_killed_run_over_a_video_goes_on_to_the_same_bytes(command: Command, clip: Path, tmp_path: Path) -> None:
    words = ("run", "detect", clip, "--weights", "builtin", "--batch-size", "7")
    assert command(*words, "--out", "whole") == ExitCode.OK
    whole = (tmp_path / "whole" / "rows.jsonl").read_bytes()
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    (tmp_path / "killed" / "rows.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:17]))
    assert command(*words, "--out", "killed", "--resume") == ExitCode.OK
    assert (tmp_path / "killed" / "rows.jsonl").read_bytes() == whole
