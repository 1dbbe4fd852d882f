"""What is wrong is said in one paragraph: what, where, and what to do; with the right code and nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import Command


@pytest.fixture
def world(tmp_path: Path, glow: Path, pictures: Path, crops: Path) -> Path:
    """A folder with everything that can be wrong."""
    from safetensors.numpy import save_file

    content = glow.read_bytes()
    for folder in ("empty", "notes", "one/only", "holds-run", "weights.safetensors"):
        (tmp_path / folder).mkdir(parents=True)
    files: dict[str, bytes | str] = {
        "file": "in the way",
        "notes/a.txt": "no picture",
        "notes.txt": "# nothing but a comment\n",
        "empty.safetensors": b"",
        "truncated.safetensors": content[: len(content) // 2],
        "no-tensors.safetensors": content[:-1],
        "garbage.safetensors": b"\xff" * 100,
        "pickle.pth": b"PK\x03\x04" + bytes(100),
        "holds-run/run.json": "{}",
        "damaged.zip": b"PK\x03\x04" + bytes(100),
        "list.yaml": "- a\n- b\n",
        "broken.yaml": "weights: [\n",
        "unknown.yaml": "batchsize: 3\n",
        "wrong.yaml": "batch_size: many\n",
        "weightless.yaml": "weights: nowhere.safetensors\n",
        "unknown-train.yaml": "gian: 3\n",
    }
    for name, each in files.items():
        (tmp_path / name).write_bytes(each.encode() if isinstance(each, str) else each)
    cv2.imwrite(str(tmp_path / "one" / "only" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    zeros = {"linear.weight": np.zeros((1, 3), np.float32), "linear.bias": np.zeros(1, np.float32)}
    save_file(zeros, tmp_path / "foreign.safetensors")
    header = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["cvtl"])
    changes: dict[str, dict[str, Any]] = {
        "stranger": {"plugin": "shine"},
        "newer": {"format": 2},
        "other-options": {"options": {"gain": 1.0, "shine": 2}},
        "headless": {"classes": None},
    }
    for name, change in changes.items():
        save_file(zeros, tmp_path / f"{name}.safetensors", {"cvtl": json.dumps(header | change)})
    save_file(zeros | {"more": zeros["linear.bias"]}, tmp_path / "misfit.safetensors", {"cvtl": json.dumps(header)})
    return tmp_path


RUN = "run detect pictures --weights GLOW "
CASES: list[tuple[str, int, list[str]]] = [
    # The command itself.
    ("fly", 2, ["there is no verb 'fly'", "The verbs are run, merge, train, eval, diagnose"]),
    ("--frobnicate", 2, ["there is no verb '--frobnicate'"]),
    ("run", 2, ["no task was named", "classify, localize, detect"]),
    ("run --weights GLOW", 2, ["no task was named"]),
    ("run segment pictures", 2, ["there is no task 'segment'", "classify, localize, detect, landmarks, style"]),
    ("train", 2, ["no plugin was named", "glow, "]),
    ("train shine crops", 2, ["there is no plugin 'shine'", "Installed are: classify, glow, "]),
    ("train glow", 2, ["no data set was named", "cvtl train glow data/"]),
    ("info", 2, ["no weights file was named", "cvtl info w.safetensors"]),
    ("info GLOW pictures", 2, ["'pictures' is one word too many"]),
    ("plugins windows", 2, ["'windows' is one word too many", "`cvtl plugins --help`"]),
    ("doctor --cure", 2, ["there is no option --cure", "`cvtl doctor --help`"]),
    ("backbones resnt18", 2, ["there is no backbone 'resnt18'", "resnet18"]),
    ("backbones resnt*", 2, ["there is no backbone 'resnt*'", "resnet"]),
    ("backbones qqqq*", 2, ["there is no backbone 'qqqq*'", "`cvtl backbones` lists them all"]),
    # Options.
    (RUN + "--batchsize 3", 2, ["there is no option --batchsize", "--batch-size", "`cvtl run detect --help`"]),
    (RUN + "--predict.second 1", 2, ["there is no option --predict.second", "--predict.seconds"]),
    (RUN + "--batch-size 0", 2, ["--batch-size must be greater than or equal to 1, not '0'"]),
    (RUN + "--max-failures -1", 2, ["--max-failures must be greater than or equal to 0, not '-1'"]),
    (RUN + "--precision half", 2, ["--precision must be 'float32', 'bfloat16' or 'float16', not 'half'"]),
    (RUN + "--predict.seconds soon", 2, ["--predict.seconds must be a valid number, not 'soon'"]),
    (RUN + "--out", 2, ["--out needs a value"]),
    (RUN + "--device abacus", 2, ["device 'abacus' cannot be used", "`cvtl doctor` lists the devices"]),
    (RUN + "--save-heatmaps", 2, ["--save-heatmaps", "plugin 'glow' give no heat maps"]),
    (RUN + "--resume", 2, ["--resume needs --out"]),
    ("train glow crops --epochs 0", 2, ["--epochs must be greater than or equal to 1, not '0'"]),
    ("train glow crops --gain big", 2, ["--gain must be a valid number, not 'big'"]),
    ("train glow crops --gian 2", 2, ["there is no option --gian", "--gain", "`cvtl train glow --help`"]),
    ("train glow crops --resume", 2, ["--resume needs --out"]),
    ("train glow crops --device abacus --out o", 2, ["device 'abacus' cannot be used"]),
    ("train windows crops --background dark --backbone resnt18", 2, ["there is no backbone 'resnt18'", "resnet18"]),
    # Configuration files.
    (RUN + "--config nowhere.yaml", 2, ["the configuration file 'nowhere.yaml'", "No such file", "--config"]),
    (RUN + "--config empty", 2, ["the configuration file 'empty'", "Is a directory"]),
    (RUN + "--config broken.yaml", 2, ["'broken.yaml' is not YAML: line 2, column 1", "--print-config"]),
    (RUN + "--config list.yaml", 2, ["'list.yaml' does not hold options", "batch_size: 4"]),
    (RUN + "--config unknown.yaml", 2, ["'unknown.yaml': there is no option --batchsize", "--batch-size"]),
    (RUN + "--config wrong.yaml", 2, ["'wrong.yaml': --batch-size must be a valid integer, not 'many'"]),
    ("run detect pictures --config weightless.yaml", 1, ["no weights file 'nowhere.safetensors'"]),
    ("train glow crops --config unknown-train.yaml", 2, ["'unknown-train.yaml': there is no option --gian", "--gain"]),
    # Inputs.
    ("run detect --weights GLOW", 2, ["no pictures were given", "cvtl run detect --weights"]),
    ("run detect nowhere --weights GLOW", 2, ["there is no file or folder 'nowhere'"]),
    ("run detect pictures nowhere --weights GLOW", 2, ["there is no file or folder 'nowhere'"]),
    ("run detect empty --weights GLOW", 2, ["there are no pictures in 'empty'"]),
    ("run detect notes --weights GLOW", 2, ["there are no pictures in 'notes'", ".jpg"]),
    ("run detect notes/*.gif --weights GLOW", 2, ["there are no pictures in 'notes/*.gif'"]),
    ("run detect notes.txt --weights GLOW", 2, ["there are no pictures in 'notes.txt'"]),
    ("run detect damaged.zip --weights GLOW", 2, ["cannot read the archive 'damaged.zip'", "again"]),
    (RUN + "--include *.gif", 2, ["there are no pictures in 'pictures'", "--include and --exclude"]),
    ("train glow nowhere", 1, ["there is no data set at 'nowhere'"]),
    ("train glow empty", 1, ["'empty' is in no known format", "--format"]),
    ("train glow one", 1, ["'one'", "has only the class folder", "Two classes or more are needed"]),
    ("train glow notes", 1, ["'notes' is in no known format"]),
    ("train glow crops --format cards", 1, ["there is no data set format 'cards'", "folders"]),
    ("info GLOW --verify nowhere.png", 1, ["nowhere.png"]),
    ("info GLOW --verify file", 1, ["file"]),
    ("info GLOW --verify pictures/a.png", 2, ["the plugin 'glow' has nothing to verify", "Leave --verify out"]),
    # Weights.
    ("run detect pictures --weights nowhere.safetensors", 1, ["no weights file 'nowhere.safetensors'", "path"]),
    ("run detect pictures --weights weights.safetensors", 1, ["'weights.safetensors' is a folder"]),
    ("run detect pictures --weights empty.safetensors", 1, ["'empty.safetensors' is empty"]),
    ("run detect pictures --weights truncated.safetensors", 1, ["'truncated.safetensors'", "truncated", "SHA-256"]),
    ("run detect pictures --weights no-tensors.safetensors", 1, ["'no-tensors.safetensors'", "truncated", "again"]),
    ("run detect pictures --weights garbage.safetensors", 1, ["'garbage.safetensors'", "no safetensors file"]),
    ("run detect pictures --weights pickle.pth", 1, ["'pickle.pth'", "PyTorch pickle", "never executes"]),
    ("run detect pictures --weights foreign.safetensors", 1, ["'foreign.safetensors'", "not one of cvtl's"]),
    ("run detect pictures --weights newer.safetensors", 1, ["'newer.safetensors'", "format", "upgrade cvtl"]),
    ("run detect pictures --weights headless.safetensors", 1, ["'headless.safetensors'", "classes"]),
    ("run detect pictures --weights stranger.safetensors", 1, ["'stranger.safetensors'", "no plugin 'shine'", "glow"]),
    ("run detect pictures --weights other-options.safetensors", 1, ["'other-options.safetensors'", "'shine'", "2.0"]),
    ("run detect pictures --weights misfit.safetensors", 1, ["'misfit.safetensors'", "unexpected more"]),
    ("run classify pictures --weights GLOW", 2, ["for the task 'detect', not 'classify'", "cvtl run detect --weights"]),
    ("run classify pictures", 2, ["no installed plugin has built-in weights for the task 'classify'", "--weights"]),
    ("run classify --weights builtin", 2, ["no installed plugin has built-in weights for the task 'classify'"]),
    ("info nowhere.safetensors", 1, ["no weights file 'nowhere.safetensors'"]),
    ("info empty.safetensors", 1, ["'empty.safetensors' is empty"]),
    ("info truncated.safetensors", 1, ["'truncated.safetensors'", "truncated"]),
    ("info pickle.pth", 1, ["'pickle.pth'", "PyTorch pickle"]),
    ("info foreign.safetensors", 1, ["'foreign.safetensors'", "not one of cvtl's"]),
    ("info pictures", 1, ["'pictures' is a folder"]),
    # Output folders.
    (RUN + "--out file", 1, ["cannot write 'file/run.json'", "--out"]),
    (RUN + "--out file/deeper", 1, ["cannot write 'file/deeper/run.json'", "Not a directory", "--out"]),
    (RUN + "--out holds-run", 1, ["'holds-run' already holds a run", "--resume"]),
    (RUN + "--out holds-run --resume", 1, ["run.json' was not written by `cvtl run`", "--out"]),
    ("train glow crops --out file", 1, ["cannot write 'file/config.yaml'", "--out"]),
]


@pytest.mark.parametrize(("words", "code", "fragments"), CASES, ids=[words for words, _, _ in CASES])
def test_what_is_wrong_is_said_in_one_paragraph(
    command: Command, world: Path, glow: Path, words: str, code: int, fragments: list[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    said = command(*(str(glow) if word == "GLOW" else word for word in words.split()))
    assert said.code == code
    assert said.out == ""
    *notes, paragraph = said.err.splitlines()
    assert paragraph.startswith("cvtl: ")
    assert paragraph.endswith((".", "?"))
    assert all(note.startswith(("Looking for near-duplicates", "No validation split: ")) for note in notes)
    assert [fragment for fragment in fragments if fragment not in paragraph] == []
    # What a training is to be may be written down before it fails; that is no result.
    left = {path for path in world.rglob("*") if path.parts[-1] not in ("o", "config.yaml")}
    assert left == before.keys()
    assert all(path.stat().st_mtime_ns == before[path] for path in left if path.is_file())


def test_too_many_bad_inputs_fail_the_run(command: Command, glow: Path, pictures: Path) -> None:
    said = command("run", "detect", pictures, "--weights", glow, "--out", "out", "--max-failures", "0")
    assert said.code == 1
    assert said.err.startswith("cvtl: stopped: 1 inputs are bad, and --max-failures is 0. 'out/rows.jsonl' says")


def test_a_training_is_not_written_over(command: Command, glow: Path, crops: Path, tmp_path: Path) -> None:
    words = ["train", "glow", crops, "--epochs", "1", "--workers", "0", "--out", "t", "--quiet"]
    assert command(*words).code == 0
    before = (tmp_path / "t" / "best.safetensors").read_bytes()
    said = command(*words)
    assert said.code == 1
    assert said.err.startswith("cvtl: 't' already holds a training. Choose another folder with --out")
    assert (tmp_path / "t" / "best.safetensors").read_bytes() == before


def test_debug_shows_where_an_error_came_from(command: Command, glow: Path) -> None:
    said = command("run", "detect", "nowhere", "--weights", glow, "--debug")
    assert said.code == 2
    assert said.err.startswith("Traceback (most recent call last):")
    assert said.err.splitlines()[-1].startswith("cvtl: there is no file or folder 'nowhere'")


def test_an_error_of_our_own_is_said_to_be_one(
    command: Command, glow: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("cvtl.pipeline.run", fail)
    said = command("run", "detect", good, "--weights", glow)
    assert said.code == 1
    expected = "cvtl: this should not have happened: RuntimeError: two lines. Please report it with --debug.\n"
    assert said.err == expected


def test_names_in_messages_stay_on_one_line(command: Command, glow: Path) -> None:
    said = command("run", "detect", "two\nlines", "--weights", glow)
    assert said.err == "cvtl: there is no file or folder 'two\\nlines'. Check the path.\n"


# No space, no permission


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system with room for 64 kB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def many(tmp_path: Path, good: Path) -> Path:
    """A folder with 500 pictures; their rows take 100 kB."""
    (tmp_path / "many").mkdir()
    for number in range(500):
        os.link(good, tmp_path / "many" / f"{number:03d}.png")
    return tmp_path / "many"


def assert_out_of_space(err: str, out: Path, reason: str) -> None:
    assert err.startswith(f"cvtl: cannot write '{out}")
    assert reason in err
    assert err.count("\n") == 1
    assert "--out" in err


def whole_rows(out: Path) -> int:
    lines = (out / "rows.jsonl").read_bytes().splitlines(keepends=True)
    assert all(json.loads(line)["status"] == "ok" and line.endswith(b"\n") for line in lines)
    return len(lines)


def test_no_space_ends_the_run_and_leaves_whole_rows(command: Command, glow: Path, tiny_disk: Path, many: Path) -> None:
    out = tiny_disk / "out"
    said = command("run", "detect", many, "--weights", glow, "--out", out, "--quiet")
    assert (said.code, said.out) == (1, "")
    assert_out_of_space(said.err, out, "No space left on device")
    assert 0 < whole_rows(out) < 500


def test_no_space_leaves_no_picture_half_written(command: Command, glow: Path, tiny_disk: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), random.integers(0, 256, (80, 80, 3), np.uint8))
    out = tiny_disk / "out"
    inputs = sorted(tmp_path.glob("?.png"))
    said = command("run", "detect", *inputs, "--weights", glow, "--out", out, "--quiet", "--save-images")
    assert said.code == 1
    assert_out_of_space(said.err, out, "No space left on device")
    finished = [path for path in (out / "pictures").iterdir() if path.suffix == ".png"]
    assert 0 < len(finished) < 8
    assert all(cv2.imread(str(path)) is not None for path in finished)


def test_a_training_without_space_says_so(command: Command, glow: Path, crops: Path, tiny_disk: Path) -> None:
    (tiny_disk / "filler").write_bytes(bytes(60_000))
    out = tiny_disk / "out"
    said = command("train", "glow", crops, "--epochs", "1", "--workers", "0", "--out", out, "--quiet")
    assert (said.code, said.out) == (1, "")
    assert_out_of_space(said.err, out, "No space left on device")
    assert not (out / "report.md").exists()


def test_a_file_that_may_not_grow_ends_the_run_and_leaves_whole_rows(glow: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["run", "detect", str(many), "--weights", str(glow), "--out", str(out), "--quiet"]
    child = subprocess.run(
        [sys.executable, "-m", "cvtl.cli.main", *words],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert (child.returncode, child.stdout) == (1, "")
    assert_out_of_space(child.stderr, out, "File too large")
    assert 0 < whole_rows(out) < 500


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written; for root, too, who may write whatever its permissions say."""
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    if os.geteuid() != 0:
        yield folder
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("root may write anywhere, and mounting a read-only file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("words", ["run detect pictures --weights GLOW", "train glow crops --workers 0 --quiet"])
@pytest.mark.parametrize("out", ["", "new"])
def test_a_read_only_folder_is_named(
    command: Command, world: Path, glow: Path, read_only: Path, words: str, out: str
) -> None:
    said = command(*words.replace("GLOW", str(glow)).split(), "--out", read_only / out)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"cvtl: cannot write '{read_only / out}")
    assert "--out" in said.err
    assert said.err.count("\n") == 1
    assert list(read_only.iterdir()) == []
