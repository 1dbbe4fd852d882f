"""`cvtl run --track`, `--zones` and `--smooth`, from a video to rows, pictures and sums."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import cvtl
from cvtl import weights
from cvtl.cli.main import main
from cvtl.data import UInt8Image
from cvtl.errors import ExitCode, UsageError
from cvtl.registry import plugins
from cvtl.run_settings import RunSettings
from cvtl.tracking import FollowSettings
from cvtl_datasets.scenes import sample_scene

Command = Callable[..., int]

SIZE_WH, RATE = (240, 160), 10
FRAMES = 14
GATE = "lines: {gate: {points: [[120, 160], [120, 0]], per_class: true}}\n"
YARD = "zones: {yard: {points: [[121, 0], [239, 0], [239, 159], [121, 159]]}}\n"


def write_video(path: Path, frames: list[UInt8Image]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, frames[0].shape[1::-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def digits_that_pass() -> list[UInt8Image]:
    """A three that goes right, and a nought that goes left; frame 5 is without both."""
    scene = sample_scene()
    three = cv2.resize(scene[49:115, 555:621], (48, 48), interpolation=cv2.INTER_AREA)
    nought = cv2.resize(scene[218:298, 60:140], (48, 48), interpolation=cv2.INTER_AREA)
    frames = []
    for number in range(FRAMES):
        frame = np.full((*SIZE_WH[::-1], 3), 110, np.uint8)
        if number != 5:
            frame[15:63, 10 + 12 * number :][:, :48] = three
            frame[90:138, 180 - 12 * number :][:, :48] = nought
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", digits_that_pass())


@pytest.fixture
def lamps(tmp_path: Path) -> Path:
    """Two videos of 11 frames, and a picture, for the plugin `glow`, which finds one object in each."""
    folder = tmp_path / "lamps"
    folder.mkdir()
    bright = np.full((24, 32, 3), 250, np.uint8)
    for name in ("a.mp4", "c.mp4"):
        write_video(folder / name, [bright] * 11)
    assert cv2.imwrite(str(folder / "b.png"), bright)
    (folder / "list.txt").write_text("a.mp4\nb.png\nc.mp4\n")
    return folder / "list.txt"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `cvtl` in this process, in an empty working folder; gives its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([str(word) for word in words])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def description_of(folder: Path) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return described


def test_digits_are_numbered_counted_drawn_and_summed_up(
    command: Command, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "z.yaml").write_text(GATE + YARD)
    words = ("run", "detect", clip, "--weights", "builtin", "--zones", "z.yaml", "--save-images", "--batch-size", "5")
    assert command(*words, "--out", "o") == ExitCode.OK
    results = [row["result"] for row in rows_of(tmp_path / "o")]
    # Sure from the second frame on; what is not there in frame 5 goes on in frame 6.
    numbers = {name: {r["ids"][r["labels"].index(name)] for r in results[1:5] + results[6:]} for name in ("3", "0")}
    assert sorted(map(tuple, numbers.values())) == [(1,), (2,)]
    assert results[0]["ids"] == [None] * len(results[0]["boxes"])
    assert results[5]["boxes"] == []
    classes = {"0": {"in": 1, "out": 0}, "3": {"in": 0, "out": 1}}
    assert results[0]["counts"]["gate"] == {"in": 0, "out": 0, "classes": {}}
    assert results[-1]["counts"] == {
        "gate": {"in": 1, "out": 1, "classes": classes},
        "yard": {"inside": 1, "entered": 2},
    }
    totals = description_of(tmp_path / "o")["followed"]
    assert (totals["sources"], totals["objects"]) == (1, 2)
    assert totals["counts"] == {"gate": {"in": 1, "out": 1, "classes": classes}, "yard": {"entered": 2}}
    assert "followed: 2 objects in 1 video; gate: 1 in, 1 out; yard: 2 entered" in capsys.readouterr().out
    first, last = (cv2.imread(str(tmp_path / "o/pictures/clip.mp4" / f"{n:06d}.jpg")) for n in (0, FRAMES - 1))
    assert first is not None
    assert last is not None
    # The gate is drawn in white.
    assert min(first[5, 120].tolist()) > 200


def test_rows_do_not_depend_on_how_frames_fall_into_batches(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text(GATE)
    follow = FollowSettings(zones=str(tmp_path / "z.yaml"))
    said = []
    for size in (3, 8):
        cvtl.run([clip], _digits(), tmp_path / f"o{size}", settings=RunSettings(batch_size=size), follow=follow)
        said.append([(r["result"]["ids"], r["result"]["counts"]) for r in rows_of(tmp_path / f"o{size}")])
    assert said[0] == said[1]


def test_the_summary_for_programs_has_the_sums_also_of_a_run_that_was_finished_before(
    glow: Path, command: Command, lamps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "detect", lamps, "--weights", glow, "--track", "--out", "o", "--json")
    assert command(*words) == ExitCode.OK
    first = json.loads(capsys.readouterr().out)
    assert first["followed"] == {"sources": 2, "objects": 2, "counts": {}}
    assert command(*words, "--resume") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["followed"] == first["followed"]


def test_pictures_beside_videos_are_not_followed(glow: Path, lamps: Path, tmp_path: Path) -> None:
    cvtl.run([lamps], glow, tmp_path / "o", follow=FollowSettings(track=True))
    numbers = {row["source"]: row["result"].get("ids", "none") for row in rows_of(tmp_path / "o")}
    assert numbers == {"a.mp4": [1], "b.png": "none", "c.mp4": [1]}


def test_where_there_are_no_videos_a_note_says_so_and_rows_are_as_always(
    glow: Path, command: Command, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = lamps.parent / "b.png"
    assert command("run", "detect", picture, "--weights", glow, "--out", "plain") == ExitCode.OK
    capsys.readouterr()
    assert command("run", "detect", picture, "--weights", glow, "--out", "o", "--track") == ExitCode.OK
    assert "Nothing was followed" in capsys.readouterr().err
    assert rows_of(tmp_path / "o") == rows_of(tmp_path / "plain")


def test_a_video_that_ends_early_is_followed_as_far_as_it_goes(glow: Path, lamps: Path, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "cut.avi"), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (32, 24))
    for _ in range(30):
        writer.write(np.full((24, 32, 3), 250, np.uint8))
    writer.release()
    whole = (tmp_path / "cut.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    report = cvtl.run([tmp_path / "cut.avi"], glow, tmp_path / "o", follow=FollowSettings(track=True))
    assert report.counts["truncated"] == 1
    assert report.followed == {"sources": 1, "objects": 1, "counts": {}}


def test_a_stream_for_programs_is_followed_alike(glow: Path, lamps: Path) -> None:
    videos = [lamps.parent / name for name in ("a.mp4", "c.mp4")]
    followed = cvtl.stream(glow, videos, follow=FollowSettings(track=True))
    ids = [(frame.source, frame.number, result.to_dict()["ids"]) for frame, result in followed]
    assert ids == [(name, n, [None if n == 0 else 1]) for name in ("a.mp4", "c.mp4") for n in range(11)]


# Going on with a run that was killed


@pytest.mark.parametrize("batch_size", [1, 4, 30])
def test_a_run_cut_off_anywhere_in_a_video_goes_on_to_the_same_bytes(
    glow: Path, lamps: Path, tmp_path: Path, batch_size: int
) -> None:
    """Who went on within a video would have no number in the first frame."""
    call = {"settings": RunSettings(batch_size=batch_size), "follow": FollowSettings(track=True)}
    cvtl.run([lamps], glow, tmp_path / "whole", **call)  # type: ignore[arg-type]
    whole = (tmp_path / "whole" / "rows.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 23
    kept = set()
    for cut in (0, 3, 9, 11, 12, 15, 22, 23):
        out = tmp_path / f"cut{cut}"
        out.mkdir()
        (out / "run.json").write_text(json.dumps(description_of(tmp_path / "whole") | {"state": "running"}))
        (out / "rows.jsonl").write_bytes(b"".join(lines[:cut]) + b'{"half a')
        report = cvtl.run([lamps], glow, out, resume=True, **call)  # type: ignore[arg-type]
        assert (out / "rows.jsonl").read_bytes() == whole
        kept.add(report.resumed)
    # Behind the first video and the picture.
    assert kept == ({0} if batch_size == 30 else {0, 12})


def test_a_process_killed_within_a_video_is_completed_to_the_same_bytes(glow: Path, tmp_path: Path) -> None:
    bright = np.full((24, 32, 3), 250, np.uint8)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, [bright] * 400)
    words = ["run", "detect", "a.mp4", "b.mp4", "--weights", str(glow), "--track", "--batch-size", "1", "--out"]
    process = [sys.executable, "-m", "cvtl.cli.main", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*process, "whole"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    whole = (tmp_path / "whole" / "rows.jsonl").read_bytes()
    rows = tmp_path / "killed" / "rows.jsonl"
    # Within the second video.
    enough = len(whole) * 5 // 8
    with subprocess.Popen([*process, "killed"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not (rows.exists() and rows.stat().st_size >= enough):
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
    assert enough <= rows.stat().st_size < len(whole)
    subprocess.run([*process, "killed", "--resume"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert rows.read_bytes() == whole


def test_a_run_goes_on_only_with_the_same_wishes(glow: Path, lamps: Path, tmp_path: Path) -> None:
    cvtl.run([lamps], glow, tmp_path / "o", follow=FollowSettings(track=True))
    with pytest.raises(UsageError, match="follow was"):
        cvtl.run([lamps], glow, tmp_path / "o", follow=FollowSettings(track=True, track_threshold=0.4), resume=True)
    with pytest.raises(UsageError, match="follow was"):
        cvtl.run([lamps], glow, tmp_path / "o", resume=True)


# Points


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Weights of a network that has learnt nothing; where it sees its points depends on the picture all the same."""
    import torch

    torch.manual_seed(0)
    spec = plugins().get("landmarks")
    options = spec.options_type()(backbone="lenet5", weights="none", size=32)
    model = spec.model_type().initialize(options, ["nose", "ear", "tail"])
    weights.save(model, tmp_path / "points.safetensors", seed=0)
    return tmp_path / "points.safetensors"


def test_smoothed_points_stand_beside_those_of_a_plain_run(
    command: Command, clip: Path, points: Path, tmp_path: Path
) -> None:
    words = ("run", "landmarks", clip, "--weights", points)
    assert command(*words, "--out", "plain") == ExitCode.OK
    assert command(*words, "--smooth", "0.2", "--out", "smooth") == ExitCode.OK
    plain, smooth = ([row["result"] for row in rows_of(tmp_path / name)] for name in ("plain", "smooth"))
    assert [each["measured"] for each in smooth] == [each["points"] for each in plain]
    assert [each["scores"] for each in smooth] == [each["scores"] for each in plain]
    assert smooth[0]["points"] == plain[0]["points"]
    assert _way(smooth) < _way(plain)


def test_points_of_several_objects_are_followed_by_the_detectors_boxes(
    command: Command, clip: Path, points: Path, tmp_path: Path
) -> None:
    words = ("run", "landmarks", clip, "--weights", points, "--detector", _digits(), "--smooth", "0.2", "--save-images")
    assert command(*words, "--out", "o") == ExitCode.OK
    results = [row["result"]["instances"] for row in rows_of(tmp_path / "o")]
    # The spurious digit at the end of the clip has no number yet.
    assert {each["id"] for found in results[1:] for each in found} - {None} == {1, 2}
    assert all("measured" in each for found in results for each in found)


def test_points_without_a_detector_are_not_tracked(
    command: Command, clip: Path, points: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("run", "landmarks", clip, "--weights", points, "--track", "--out", "o") == ExitCode.USAGE
    assert "Name weights that find them with --detector" in capsys.readouterr().err


def _way(results: list[dict[str, Any]]) -> float:
    """How far the points went, all in all."""
    points = np.array([each["points"] for each in results])
    return float(np.abs(np.diff(points, axis=0)).sum())


# What a user is told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--zones", "none.yaml"), "cannot read the zones 'none.yaml'"),
        (("--zones", "bad.yaml"), "zones 'bad.yaml': lines.gate.points.1: field required"),
        (("--zones", "cars.yaml"), "zones 'cars.yaml': gate.classes: there is no class 'car'"),
        (("--track-patience", "0"), "--track-patience must be greater than 0"),
        (("--smooth", "0.1"), "there is no option --smooth"),
        (("--track", "--shard", "1/2"), "--shard cannot be had with --track"),
    ],
)
def test_mistakes_are_told_before_a_folder_is_made(
    command: Command, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "bad.yaml").write_text("lines: {gate: {points: [[0, 5]]}}")
    (tmp_path / "cars.yaml").write_text("lines: {gate: {points: [[0, 5], [9, 5]], classes: [car]}}")
    assert command("run", "detect", clip, "--weights", "builtin", "--out", "o", *words) == ExitCode.USAGE
    assert told in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_each_task_has_the_options_that_make_sense_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    offered = {}
    for task in ("detect", "landmarks", "localize", "classify"):
        main(["run", task, "--help"])
        text = capsys.readouterr().out
        offered[task] = {name for name in ("--track ", "--zones ", "--smooth ") if name in text}
    assert offered == {
        "detect": {"--track ", "--zones "},
        "landmarks": {"--track ", "--zones ", "--smooth "},
        "localize": {"--smooth "},
        "classify": set(),
    }


def _digits() -> Path:
    from cvtl_windows.builtin import digit_weights

    return digit_weights()
