"""`cvtl run TASK`: what it prints, what it takes, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from commands import Command

from cvtl import terminal_progress as progress
from cvtl.terminal_progress import BarProgress, LineProgress, choose_progress

Cvtl = Callable[..., subprocess.CompletedProcess[str]]


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def sources_of(out: Path) -> list[str]:
    return [row["source"] for row in rows_of(out)]


# What is printed


def test_a_small_run_shows_its_results_and_a_summary(command: Command, glow: Path, good: Path, tmp_path: Path) -> None:
    said = command("run", "detect", good, "--weights", glow, "--out", "out", "--save-images")
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "picture label score box (x1 y1 x2 y2)" in lines
    score = rows_of(tmp_path / "out")[0]["result"]["scores"][0]
    assert f"good.png (32 x 24) lamp {score:.3f} 0.0 0.0 32.0 24.0" in lines
    assert "rows: out/rows.jsonl" in lines
    assert "pictures: out/pictures" in lines
    assert any(line.startswith("1 input: 1 ok; ") and line.endswith(" img/s") for line in lines)


def test_bad_inputs_are_counted_and_named_and_make_exit_code_3(command: Command, glow: Path, pictures: Path) -> None:
    said = command("run", "detect", pictures, "--weights", glow, "--out", "out")
    assert said.code == 3
    assert "4 inputs: 3 ok, 1 unreadable; " in said.out
    assert "unreadable: bad.png: it is not a picture" in said.out


def test_a_large_run_shows_no_single_results(command: Command, glow: Path, good: Path) -> None:
    many = [good] * 11
    assert "lamp" not in command("run", "detect", *many, "--weights", glow).out


def test_only_the_first_bad_inputs_are_named(command: Command, glow: Path, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    said = command("run", "detect", *sorted(tmp_path.glob("*.png")), "--weights", glow)
    assert said.out.count("unreadable: ") == 5
    assert "... and 3 more bad inputs: see the rows" in said.out


def test_json_is_one_object_on_standard_output_and_nothing_else(command: Command, glow: Path, pictures: Path) -> None:
    said = command("run", "detect", pictures, "--weights", glow, "--out", "out", "--json")
    summary = json.loads(said.out)
    assert summary.pop("seconds") > 0
    counts = {"ok": 3, "unreadable": 1}
    assert summary == {"task": "detect", "out": "out", "inputs": 4, "counts": counts, "resumed": 0}
    assert (said.code, said.err) == (3, "")


def test_quiet_prints_nothing(command: Command, glow: Path, pictures: Path) -> None:
    said = command("run", "detect", pictures, "--weights", glow, "--quiet", "--profile")
    assert (said.code, said.out, said.err) == (3, "", "")


def test_profile_says_where_the_time_went_and_what_bounds_the_run(command: Command, glow: Path, pictures: Path) -> None:
    words = ["run", "detect", pictures, "--weights", glow, "--profile", "--predict.seconds", "0.05"]
    said = command(*words)
    assert all(f"\n {stage} " in said.out for stage in ("read", "decode", "copy", "predict", "write"))
    assert "bound by the network: " in said.out
    profile = json.loads(command(*words, "--json").out)["profile"]
    assert set(profile["seconds"]) == {"read", "decode", "copy", "predict", "write"}
    assert profile["bound"].startswith("the network: ")


def test_tables_fit_the_terminal_and_lose_nothing(command: Command, glow: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / ("long" * 30 + ".png")).write_bytes((pictures / "a.png").read_bytes())
    said = command("run", "detect", pictures, "--weights", glow, "--profile", "--out", "out")
    table = said.out.partition("unreadable: ")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert table.replace("\n", "").replace(" ", "").count("long") == 30


NAMES = ["with [bold]brackets[red] [.png", "ünï cödé 日本.png", ":smile:.png", "two\nlines.png", "esc\x1b[31m.png"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_are_shown_as_they_are_and_never_as_markup(
    command: Command, glow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = name.replace("\n", r"\n").replace("\x1b", r"\x1b")
    cv2.imwrite(str(tmp_path / "a.png"), np.full((24, 32, 3), 150, np.uint8))
    (tmp_path / "a.png").rename(tmp_path / name)
    (tmp_path / f"bad {name}").write_bytes(b"no picture")
    said = command("run", "detect", tmp_path, "--weights", glow, "--out", f"out of {name}")
    assert f" {shown} (32 x 24) " in said.out
    assert f"unreadable: bad {shown}: it is not a picture" in said.out
    assert f"rows: out of {shown}/rows.jsonl" in said.out
    assert sources_of(tmp_path / f"out of {name}") == sorted([name, f"bad {name}"])


def test_names_that_are_not_unicode_are_shown_in_hexadecimal(command: Command, glow: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((24, 32, 3), 150, np.uint8))
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/a\xff.png")
    words = ["run", "detect", os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.png"), "--weights", glow, "--out", "out"]
    said = command(*words)
    assert said.code == 0
    assert r"a\xff.png (32 x 24)" in said.out
    assert command(*words, "--resume").code == 0


def test_a_label_is_never_markup(command: Command, glow: Path, good: Path, tmp_path: Path) -> None:
    from cvtl import weights
    from cvtl.registry import plugins

    spec = plugins().get("glow")
    model = spec.model_type().initialize(spec.options_type()(), ["[red]lamp[/red]"])
    weights.save(model, tmp_path / "w.safetensors")
    assert " [red]lamp[/red] " in command("run", "detect", good, "--weights", "w.safetensors").out


# Progress


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: now[0])
    lines = LineProgress(100)
    lines.start(20)
    for _ in range(5):
        now[0] += 4
        lines.advance(8)
    lines.finish()
    assert capsys.readouterr().err == "44/100 pictures, 2.0 img/s\n"


def test_a_log_of_unknown_length_has_no_total(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: now[0])
    lines = LineProgress(None)
    lines.start(0)
    now[0] = 20
    lines.advance(10)
    assert capsys.readouterr().err == "10 pictures, 0.5 img/s\n"


@pytest.mark.parametrize(("terminal", "kind"), [(True, BarProgress), (False, LineProgress)])
def test_the_bar_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: type) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert isinstance(choose_progress(3, quiet=False), kind)
    assert not isinstance(choose_progress(3, quiet=True), kind)


def test_a_terminal_shows_a_bar_and_a_pipe_does_not(glow: Path, pictures: Path, tmp_path: Path) -> None:
    code = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    words = ["run", "detect", str(pictures), "--weights", str(glow), "--out", str(tmp_path / "out")]
    words = [sys.executable, "-c", code, sys.executable, "-m", "cvtl.cli.main", *words]
    child = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, env=os.environ | {"TERM": "xterm"})
    assert child.returncode == 3
    assert b"4/4" in child.stdout
    assert b"img/s" in child.stdout
    assert b"\x1b[" in child.stdout


# What it takes


@pytest.mark.parametrize("flag", ["--save-images", "--save_images", "--save-images=true", "--save_images=true"])
def test_flags_are_taken_with_dashes_and_underscores(
    command: Command, glow: Path, good: Path, tmp_path: Path, flag: str
) -> None:
    assert command("run", "detect", flag, good, "--weights", glow, "--out", "out").code == 0
    assert (tmp_path / "out" / "pictures" / "good.png").exists()


def test_a_flag_can_be_taken_back(command: Command, glow: Path, good: Path, tmp_path: Path) -> None:
    words = ["run", "detect", "--save-images", "--save-images=false", good, "--weights", glow, "--out", "out"]
    assert command(*words).code == 0
    assert not (tmp_path / "out" / "pictures").exists()


def test_prediction_options_reach_the_plugin(command: Command, glow: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["run", "detect", pictures, "--weights", glow, "--out", "out", "--predict.fails-at-width", "32"]
    assert "1 unreadable" in command(*words).out
    assert {row["status"] for row in rows_of(tmp_path / "out")} == {"failed", "unreadable"}


def test_include_and_exclude_choose_among_the_inputs(
    command: Command, glow: Path, pictures: Path, tmp_path: Path
) -> None:
    command("run", "detect", pictures, "--weights", glow, "--out", "a", "--include", "a.png,bad.png")
    assert sources_of(tmp_path / "a") == ["a.png", "bad.png", "sub/a.png"]
    words = ["--include", "a.png", "--include", "b.png", "--exclude", "sub/*"]
    command("run", "detect", pictures, "--weights", glow, "--out", "b", *words)
    assert sources_of(tmp_path / "b") == ["a.png", "b.png"]


def test_several_inputs_of_several_kinds_are_one_run(
    command: Command, glow: Path, pictures: Path, good: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(good, "in/zip.png")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(good, "in/tar.png")
    (tmp_path / "list.txt").write_text("good.png\npictures/b.png\n")
    inputs = [pictures / "sub", "pictures/?.png", "z.zip", "t.tar", "list.txt", good]
    assert command("run", "detect", *inputs, "--weights", glow, "--out", "out").code == 0
    found = ["pictures/sub/a.png", "pictures/a.png", "pictures/b.png", "z.zip/in/zip.png", "t.tar/in/tar.png"]
    assert sources_of(tmp_path / "out") == [*found, "good.png", "pictures/b.png", "good.png"]


def test_a_list_comes_on_standard_input(cvtl: Callable[..., Any], glow: Path, pictures: Path, tmp_path: Path) -> None:
    words = ("run", "detect", "--weights", glow, "-", "--out", "out")
    assert cvtl(*words, input="pictures/b.png\npictures/a.png\n", cwd=tmp_path).returncode == 0
    assert sources_of(tmp_path / "out") == ["pictures/b.png", "pictures/a.png"]


# Where it writes


def test_runs_without_out_are_numbered(command: Command, glow: Path, good: Path, tmp_path: Path) -> None:
    for _ in range(3):
        command("run", "detect", good, "--weights", glow)
    assert sorted(path.name for path in (tmp_path / "cvtl-runs").iterdir()) == ["detect", "detect-2", "detect-3"]


def test_resume_goes_on_and_reports_what_was_there(command: Command, glow: Path, pictures: Path) -> None:
    words = ["run", "detect", pictures, "--weights", glow, "--out", "out"]
    command(*words)
    said = command(*words, "--resume")
    assert said.code == 3
    assert "4 inputs (4 of them from before): 3 ok, 1 unreadable" in said.out


# Configuration


def test_a_printed_configuration_gives_the_same_run(
    command: Command, glow: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ["run", "detect", pictures, "--weights", glow, "--batch-size", "2", "--include", "a.png"]
    words += ["--predict.fails-at-width", "7", "--save-images"]
    printed = command(*words, "--print-config")
    assert (printed.code, printed.err) == (0, "")
    assert not (tmp_path / "cvtl-runs").exists()
    (tmp_path / "c.yaml").write_text(printed.out)
    assert command(*words, "--out", "one").code == 0
    assert command("run", "detect", "--config", "c.yaml", "--out", "two").code == 0
    one, two = ((tmp_path / name / "rows.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two
    identity = [json.loads((tmp_path / name / "run.json").read_text())["identity"] for name in ("one", "two")]
    assert identity[0] == identity[1]


def test_the_command_line_overrides_the_configuration(
    command: Command, glow: Path, pictures: Path, tmp_path: Path
) -> None:
    config = {"weights": str(glow), "batch_size": 2, "inputs": [str(pictures / "a.png")], "predict": {"seconds": 0.01}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    words = ["run", "detect", "--config", "c.yaml", "--batch-size", "3", pictures / "b.png", "--print-config"]
    printed = yaml.safe_load(command(*words).out)
    assert (printed["batch_size"], printed["inputs"]) == (3, [str(pictures / "b.png")])
    assert (printed["weights"], printed["predict"]["seconds"]) == (str(glow), 0.01)


# Other ends


def test_whoever_reads_the_output_may_leave(cvtl: Cvtl, glow: Path, pictures: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "cvtl.cli.main", "run", "detect", pictures, "--weights", glow, "--profile"]
    child = subprocess.run([*words, "--out", tmp_path / "out"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (child.returncode, child.stderr) == (1, "")
    assert len(rows_of(tmp_path / "out")) == 4


def test_output_that_cannot_be_written_is_an_error(glow: Path, pictures: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cvtl.cli.main", "run", "detect", pictures, "--weights", glow, "--json"]
    with open("/dev/full", "w") as full:
        child = subprocess.run([*words, "--out", tmp_path / "out"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert child.returncode == 1
    assert child.stderr.startswith("cvtl: cannot write to standard output: No space left on device. ")
    assert child.stderr.count("\n") == 1
