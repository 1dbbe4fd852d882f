"""The command as a whole: verbs, signals, and what else may end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Command

from cvtl.cli.main import main


def test_without_a_verb_it_shows_its_help(command: Command) -> None:
    assert command() == command("--help")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(
    glow: Path, pictures: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out"
    words = ["run", "detect", str(pictures), "--weights", str(glow), "--out", str(out), "--quiet"]
    words += ["--batch-size", "1", "--predict.seconds", "2"]
    command = [sys.executable, "-m", "cvtl.cli.main", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out / "run.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    said, problem = process.communicate()
    assert (process.returncode, said) == (code, "")
    expected = f"cvtl: the run in '{out}' was interrupted. Go on with the same command and --out {out} --resume.\n"
    assert problem == expected


@pytest.mark.parametrize(
    ("leaving", "code", "message"),
    [
        (SystemExit(), 0, ""),
        (SystemExit(5), 5, ""),
        (SystemExit("good bye"), 1, "cvtl: good bye\n"),
        (KeyboardInterrupt(), 130, "cvtl: interrupted.\n"),
        (PermissionError(13, "Permission denied", "/a/b"), 1, "cvtl: cannot use '/a/b': Permission denied.\n"),
        (OSError("odd"), 1, "cvtl: odd.\n"),
    ],
)
def test_whatever_ends_a_verb_becomes_an_exit_code(
    command: Command, monkeypatch: pytest.MonkeyPatch, leaving: BaseException, code: int, message: str
) -> None:
    def leave(arguments: list[str]) -> int:
        raise leaving

    monkeypatch.setattr("cvtl.cli.plugins.main", leave)
    said = command("plugins")
    assert (said.code, said.err) == (code, message)


def test_a_program_that_calls_it_keeps_its_signal_handlers() -> None:
    def handle(number: int, frame: object) -> None:
        """The program's own."""

    before = signal.signal(signal.SIGTERM, handle)
    try:
        main(["--version"])
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_terminal_without_unicode_gets_escape_sequences(glow: Path, good: Path) -> None:
    odd = good.rename(good.with_name("ünï.png"))
    words = [sys.executable, "-m", "cvtl.cli.main", "run", "detect", str(odd), "--weights", str(glow)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    child = subprocess.run(words, capture_output=True, env=environment, cwd=good.parent)
    assert (child.returncode, child.stderr) == (0, b"")
    assert rb"\xfcn\xef.png (32 x 24)" in child.stdout


def test_offline_is_an_option_of_every_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvtl.download import OFFLINE_VARIABLE, is_offline

    monkeypatch.setenv(OFFLINE_VARIABLE, "")
    assert not is_offline()
    assert main(["plugins", "--offline"]) == 0
    assert is_offline()
