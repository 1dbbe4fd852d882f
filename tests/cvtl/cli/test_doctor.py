"""`cvtl doctor`."""

from __future__ import annotations

import builtins
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from commands import Command

from cvtl.cli.doctor import opencv


@pytest.fixture(scope="module")
def healthy() -> list[str]:
    return ["numpy", "opencv-python", "torch"]


def test_a_sound_installation_has_exit_code_0(command: Command) -> None:
    said = command("doctor", "--json")
    found = {each["subject"]: each for each in json.loads(said.out)}
    problems = [each for each in found.values() if each["state"] == "problem"]
    assert (said.code, problems) == (0, [])
    assert found["torch"]["text"] == version("torch")
    assert found["device cpu"]["state"] == "ok"
    assert {"Python", "cvtl", "cv2", "display", "plugin windows", "data set format folders"} <= found.keys()


def test_the_table_says_the_same_in_80_columns(command: Command) -> None:
    said = command("doctor")
    assert (said.code, said.err) == (0, "")
    assert max(map(len, said.out.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert f"torch ok {version('torch')}" in lines


def test_a_display_is_noted_only_where_there_is_one(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def display() -> str:
        return next(str(x["state"]) for x in json.loads(command("doctor", "--json").out) if x["subject"] == "display")

    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert display() == "note"
    monkeypatch.setenv("DISPLAY", ":0")
    assert display() == "ok"


def test_one_opencv_is_sound(healthy: list[str]) -> None:
    (finding,) = opencv(healthy)
    assert (finding.subject, finding.state) == ("cv2", "ok")


@pytest.mark.parametrize("other", ["opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"])
def test_two_distributions_of_opencv_are_a_problem_with_a_cure(healthy: list[str], other: str) -> None:
    problem = opencv([*healthy, other])[0]
    assert problem.state == "problem"
    assert "opencv-python" in problem.text
    assert f"pip uninstall --yes {other} && pip install --force-reinstall --no-deps opencv-python" in problem.text


def test_other_distributions_with_opencv_in_their_name_do_not_count(healthy: list[str]) -> None:
    assert len(opencv([*healthy, "types-opencv-python", "opencv-python-extras"])) == 1


def test_one_distribution_that_is_on_the_path_twice_counts_once(healthy: list[str]) -> None:
    assert len(opencv([*healthy, *healthy])) == 1


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (ImportError("libGL.so.1: cannot open shared object file"), "install libgl1 and libglib2.0-0"),
        (ImportError("No module named 'cv2'"), "pip install --force-reinstall --no-deps opencv-python"),
    ],
)
def test_an_opencv_that_cannot_be_imported_is_a_problem_with_a_cure(
    healthy: list[str], monkeypatch: pytest.MonkeyPatch, error: ImportError, cure: str
) -> None:
    real = builtins.__import__

    def fail(name: str, *rest: Any, **keywords: Any) -> Any:
        if name == "cv2":
            raise error
        return real(name, *rest, **keywords)

    monkeypatch.setattr(builtins, "__import__", fail)
    (problem,) = opencv(healthy)
    assert problem.state == "problem"
    assert problem.text == f"{error}; cure: {cure}"


def test_an_emptied_opencv_is_a_problem_with_a_cure(healthy: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.delattr(cv2, "__version__")
    (problem,) = opencv(healthy)
    assert problem.state == "problem"
    assert "cure: pip install --force-reinstall --no-deps opencv-python" in problem.text


def test_a_distribution_uninstalled_halfway_does_no_harm(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert command("doctor", "--json").code == 0
