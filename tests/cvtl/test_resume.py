"""A killed run, resumed, ends with the bytes of an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forking import ForkedCommands

import cvtl
from cvtl.errors import UsageError
from cvtl.run_settings import RunSettings

MakeFolder = Callable[[Path, int], Path]
SETTINGS = RunSettings(batch_size=4)


@pytest.fixture
def messy(tmp_path: Path, make_messy_folder: MakeFolder) -> Path:
    return make_messy_folder(tmp_path / "pictures", 23)


@pytest.fixture
def whole(glow: Path, messy: Path, tmp_path: Path) -> bytes:
    """The rows of an uninterrupted run."""
    cvtl.run([messy], glow, tmp_path / "whole", settings=SETTINGS)
    return (tmp_path / "whole" / "rows.jsonl").read_bytes()


def leave_behind(out: Path, whole: Path, rows: bytes) -> None:
    """What a kill leaves: some bytes of the rows, and a description that says the run is on."""
    out.mkdir()
    said = json.loads((whole / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(said | {"state": "running", "counts": {}}))
    (out / "rows.jsonl").write_bytes(rows)


def test_a_run_cut_off_after_any_byte_is_completed_to_the_same_bytes(
    glow: Path, messy: Path, whole: bytes, tmp_path: Path
) -> None:
    line_ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    cuts = {0, 1, len(whole) - 1, len(whole), *line_ends[::5], *random.Random(0).sample(range(len(whole)), 12)}
    for cut in sorted(cuts):
        out = tmp_path / f"out{cut}"
        leave_behind(out, tmp_path / "whole", whole[:cut])
        report = cvtl.run([messy], glow, out, settings=SETTINGS, resume=True)
        assert (out / "rows.jsonl").read_bytes() == whole
        assert report.counts == {"ok": 19, "truncated": 2, "unreadable": 2}


def test_whole_blocks_are_kept_and_not_computed_again(glow: Path, messy: Path, whole: bytes, tmp_path: Path) -> None:
    lines = whole.splitlines(keepends=True)
    leave_behind(tmp_path / "out", tmp_path / "whole", b"".join(lines[:11]))
    assert cvtl.run([messy], glow, tmp_path / "out", settings=SETTINGS, resume=True).resumed == 8


def test_resuming_a_finished_run_changes_nothing(glow: Path, messy: Path, whole: bytes, tmp_path: Path) -> None:
    before = (tmp_path / "whole" / "rows.jsonl").stat().st_mtime_ns
    report = cvtl.run([messy], glow, tmp_path / "whole", settings=SETTINGS, resume=True)
    assert (report.inputs, report.resumed) == (23, 23)
    assert (tmp_path / "whole" / "rows.jsonl").stat().st_mtime_ns == before


def test_a_finished_run_that_has_lost_rows_is_completed(glow: Path, messy: Path, whole: bytes, tmp_path: Path) -> None:
    rows = tmp_path / "whole" / "rows.jsonl"
    rows.write_bytes(whole[:1500])
    assert cvtl.run([messy], glow, tmp_path / "whole", settings=SETTINGS, resume=True).inputs == 23
    assert rows.read_bytes() == whole


def test_a_run_over_an_open_pipe_ends_when_it_is_told_to(glow: Path, tmp_path: Path) -> None:
    words = ["run", "detect", "-", "--weights", str(glow), "--out", str(tmp_path / "out"), "--batch_size", "1"]
    command = [sys.executable, "-m", "cvtl.cli.main", *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    # Two blocks are drawn ahead of the one that is written.
    process.stdin.write(b"nowhere.jpg\n" * 6)
    process.stdin.flush()
    wait_for_rows(tmp_path / "out", process, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    process.stdin.close()


def test_resuming_where_nothing_is_starts_a_run(glow: Path, messy: Path, whole: bytes, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "new", settings=SETTINGS, resume=True)
    assert (tmp_path / "new" / "rows.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"settings": RunSettings(batch_size=5)}, "batch_size was 4 and is now 5"),
        ({"predict": {"capacity": 9}}, "options was"),
        ({"inputs": ["."]}, "inputs was"),
    ],
)
def test_another_command_does_not_go_on_with_a_run(
    glow: Path, messy: Path, whole: bytes, tmp_path: Path, changes: dict[str, object], difference: str
) -> None:
    leave_behind(tmp_path / "out", tmp_path / "whole", whole[:1000])
    call = {"inputs": [messy], "settings": SETTINGS} | changes
    with pytest.raises(UsageError, match=difference):
        cvtl.run(weights=glow, out=tmp_path / "out", resume=True, **call)  # type: ignore[arg-type]


def test_inputs_that_changed_under_a_run_are_noticed(glow: Path, messy: Path, whole: bytes, tmp_path: Path) -> None:
    leave_behind(tmp_path / "out", tmp_path / "whole", whole)
    (messy / "day0" / "img00000.png").unlink()
    with pytest.raises(UsageError, match=r"where 'day0/img00000.png' was, now is 'day0/img00001.png'"):
        cvtl.run([messy], glow, tmp_path / "out", settings=SETTINGS, resume=True)


def test_standard_input_cannot_be_resumed(glow: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="standard input or arrays cannot go on"):
        cvtl.run(["-"], glow, tmp_path / "out", resume=True)


def start(glow: Path, inputs: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    words = ["run", "detect", str(inputs), "--weights", str(glow), "--out", str(out), "--batch_size", "4"]
    command = [sys.executable, "-m", "cvtl.cli.main", *words, "--predict.seconds", "0.01", "--resume", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_rows(out: Path, process: subprocess.Popen[bytes], least_bytes: int) -> None:
    rows = out / "rows.jsonl"
    while process.poll() is None and not (rows.exists() and rows.stat().st_size >= least_bytes):
        time.sleep(0.002)


def test_a_run_killed_ten_times_at_random_points_ends_with_the_same_bytes(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder
) -> None:
    messy = make_messy_folder(tmp_path / "pictures", 300)
    out, chance, killed = tmp_path / "out", random.Random(1), 0
    words = ["run", "detect", messy, "--weights", glow, "--batch-size", 4, "--predict.seconds", 0.01, "--save-images"]
    with ForkedCommands() as commands:
        commands.start(*words, "--out", tmp_path / "whole")
        assert commands.wait() == 3
        whole = (tmp_path / "whole" / "rows.jsonl").read_bytes()
        for step in range(10):
            least_bytes = int((step + chance.random()) / 10.5 * len(whole))
            process = commands.start(*words, "--out", out, "--resume")
            rows = out / "rows.jsonl"
            while not (rows.exists() and rows.stat().st_size >= least_bytes):
                os.kill(process, 0)  # fails if it has ended
                time.sleep(0.002)
            os.kill(process, signal.SIGKILL)
            killed += commands.wait() == -signal.SIGKILL
        assert killed == 10
        commands.start(*words, "--out", out, "--resume")
        assert commands.wait() == 3
    assert (out / "rows.jsonl").read_bytes() == whole
    assert tree_of(out / "pictures") == tree_of(tmp_path / "whole" / "pictures")


def tree_of(folder: Path) -> dict[str, bytes]:
    """Every finished file; a kill may leave one that is hidden and called partial."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_and_can_be_resumed(
    glow: Path, messy: Path, whole: bytes, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out"
    process = start(glow, messy, out, "--predict.seconds", "0.3")
    wait_for_rows(out, process, 1)
    process.send_signal(number)
    assert process.wait() == code
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    said = json.loads((out / "run.json").read_text())
    assert said["state"] == "interrupted"
    assert 0 < sum(said["counts"].values()) < 23
    assert start(glow, messy, out, "--predict.seconds", "0.3").wait() == 3
    assert (out / "rows.jsonl").read_bytes() == whole
    assert os.listdir(out) == [name for name in os.listdir(out) if not name.startswith(".")]
