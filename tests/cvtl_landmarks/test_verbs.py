"""The verbs, from pictures in a folder to points in rows."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from kites import COLOURS, corners, flock, make_model, write_data

from cvtl import weights
from cvtl.errors import ExitCode

Cvtl = Callable[..., subprocess.CompletedProcess[str]]
TINY = ("--backbone", "lenet5", "--weights", "none", "--size", "32", "--batch-size", "16", "--workers", "0")


@pytest.fixture(scope="module")
def kites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("kites") / "data", 30)


@pytest.fixture(scope="module")
def trained(kites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of two epochs, by the verb."""
    out = tmp_path_factory.mktemp("trained") / "run"
    words = [sys.executable, "-m", "cvtl.cli.main", "train", "landmarks", str(kites), *TINY]
    done = subprocess.run([*words, "--epochs", "2", "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == ExitCode.OK, done.stderr
    return out


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_training_finds_pairs_and_edges_beside_the_data(trained: Path) -> None:
    header = weights.read_header(trained / "best.safetensors")
    assert header.task == "landmarks"
    assert header.classes == ("left", "right", "tip")
    assert header.options["flip_pairs"] == [[0, 1]]
    assert header.options["edges"] == [[0, 2], [2, 1]]
    assert (trained / "curves.png").stat().st_size > 0


def test_every_picture_has_a_row_with_points_and_how_sure_they_are(
    cvtl: Cvtl, trained: Path, kites: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "in" / name).write_bytes((kites / name).read_bytes())
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    words = ("run", "landmarks", tmp_path / "in", "--weights", trained / "best.safetensors", "--out", tmp_path / "out")
    done = cvtl(*words, "--save-images", "--predict.tta", "flip", "--predict.threshold", "0")
    assert done.returncode == ExitCode.SOME_BAD_INPUTS, done.stderr
    good, other, bad = rows(tmp_path / "out")
    assert [row["status"] for row in (good, other, bad)] == ["ok", "ok", "unreadable"]
    result = good["result"]
    assert isinstance(result, dict)
    assert np.array(result["points"]).shape == (3, 2)
    assert all(0 <= score <= 1 for score in result["scores"])
    assert "tip" in done.stdout
    drawn = cv2.imread(str(tmp_path / "out/pictures/0.png"))
    assert (drawn != cv2.imread(str(kites / "0.png"))).any()


def test_evaluation_measures_against_the_picture_and_reports_each_point(
    cvtl: Cvtl, trained: Path, kites: Path, tmp_path: Path
) -> None:
    done = cvtl("eval", trained / "best.safetensors", kites, "--out", tmp_path / "out", "--draws", "50")
    assert done.returncode == ExitCode.OK, done.stderr
    figures = json.loads((tmp_path / "out/evaluation.json").read_text())["figures"]
    assert "NME (picture)" in figures
    assert "tip" in done.stdout


def test_help_explains_heads_and_pairs(cvtl: Cvtl) -> None:
    done = cvtl("train", "landmarks", "--help")
    for word in ("--head {heatmap,regression}", "--pairs {ask,guess,none}", "--points", "points.yaml", "--flip-pairs"):
        assert word in done.stdout


def test_where_nobody_can_be_asked_the_guess_is_told_and_not_taken(cvtl: Cvtl, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 12, points_yaml=False)
    out = tmp_path / "run"
    done = cvtl("train", "landmarks", data, *TINY, "--epochs", "1", "--out", out, stdin=subprocess.DEVNULL)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "left - right" in done.stderr
    assert "--pairs guess" in done.stderr
    assert weights.read_header(out / "best.safetensors").options["flip_pairs"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal is made by Linux's pty")
def test_on_a_terminal_the_guess_is_asked_about(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data", 12, points_yaml=False), tmp_path / "run"
    words = [sys.executable, "-m", "cvtl.cli.main", "train", "landmarks", str(data), *TINY]
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*words, "--epochs", "1", "--out", str(out)], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    shown, answered, deadline = b"", False, time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        if b"Is that right?" in shown and not answered:
            os.write(ours, b"y\n")
            answered = True
    child.wait(timeout=60)
    os.close(ours)
    assert answered, shown.decode()
    assert child.returncode == ExitCode.OK, shown.decode()
    assert weights.read_header(out / "best.safetensors").options["flip_pairs"] == [[0, 1]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--flip-pairs", "[[0, 9]]"), "are no two of the points 0 to 2"),
        (("--flip-pairs", "left"), "--flip-pairs must be [[N,...],...], not 'left'"),
        (("--points", "nowhere.yaml"), "nowhere.yaml"),
        (("--crop", "box"), "without a box"),
    ],
)
def test_what_cannot_be_is_told_in_one_paragraph(
    cvtl: Cvtl, kites: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = cvtl("train", "landmarks", kites, *TINY, "--out", tmp_path / "run", *words)
    assert done.returncode in (ExitCode.FAILED, ExitCode.USAGE)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_boxes_are_no_points(cvtl: Cvtl, tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    assert cv2.imwrite(str(tmp_path / "red/a.png"), np.zeros((8, 8, 3), np.uint8))
    done = cvtl("train", "landmarks", tmp_path, *TINY)
    assert done.returncode == ExitCode.FAILED
    assert "in no known format" in done.stderr


def test_an_untrained_model_draws_nothing_it_is_not_sure_of() -> None:
    model = make_model(edges=((0, 2), (2, 1)))
    image = flock(0)[0]
    with torch.inference_mode():
        (result,) = model.predict([torch.from_numpy(image).permute(2, 0, 1)])
    model.with_predict_options(threshold=1.0)
    with torch.inference_mode():
        (unsure,) = model.predict([torch.from_numpy(image).permute(2, 0, 1)])
    assert (unsure.draw(image) == image).all()
    assert (result.draw(image) != image).any()
    assert len(COLOURS) == len(corners(0))
