"""What the options leave open and the data decide."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kites import NAMES, PAIRS, make_data, make_flocks, make_options
from rich.console import Console

from cvtl.data import Dataset, PointsTarget
from cvtl.errors import DataError, OutputError, UsageError
from cvtl_landmarks.options import LandmarksOptions
from cvtl_landmarks.settling import SETTLED_NAME, settle


class Answering(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        return True


def settled(
    folder: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch | None = None, typed: str | None = None, **options: Any
) -> tuple[LandmarksOptions, str]:
    """The options, and what was said."""
    said = io.StringIO()
    console = Console(file=said, force_terminal=typed is not None, width=1000)
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO() if typed is None else Answering(typed))
    run: Any = SimpleNamespace(folder=folder, console=console)
    return settle(make_options(**options), data, run), said.getvalue()


def unsaid() -> Dataset:
    return make_data(4, flip_pairs=None)


def test_pairs_and_edges_come_from_the_data(tmp_path: Path) -> None:
    options, said = settled(tmp_path, replace(make_data(4), edges=((0, 2),)))
    assert (options.flip_pairs, options.edges, options.crop) == (PAIRS, ((0, 2),), "picture")
    assert said == ""


def test_what_the_user_says_goes_before_what_the_data_say(tmp_path: Path) -> None:
    options, _ = settled(tmp_path, make_data(4), flip_pairs=((1, 2),), edges=((0, 1),))
    assert (options.flip_pairs, options.edges) == (((1, 2),), ((0, 1),))


def test_a_file_elsewhere_says_it_for_data_that_do_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("flip_pairs: [[left, right]]\nedges: [[left, tip]]\n")
    options, _ = settled(tmp_path, unsaid(), points=str(file))
    assert (options.flip_pairs, options.edges) == (PAIRS, ((0, 2),))


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("flip_pairs: [[left, wing]]\n")
    with pytest.raises(DataError, match=r"mine\.yaml.*wing"):
        settled(tmp_path, unsaid(), points=str(file))


def test_no_pairs_is_something_else_than_nothing_known(tmp_path: Path) -> None:
    options, said = settled(tmp_path, make_data(4, flip_pairs=()))
    assert options.flip_pairs == ()
    assert said == ""


@pytest.mark.parametrize(("typed", "expected"), [("y\n", PAIRS), ("\n", PAIRS), ("n\n", None)])
def test_guessed_pairs_are_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, expected: object
) -> None:
    options, said = settled(tmp_path, unsaid(), monkeypatch, typed)
    assert options.flip_pairs == expected
    assert "left - right" in said
    assert "Is that right?" in said


def test_where_nobody_can_be_asked_nothing_is_mirrored_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, said = settled(tmp_path, unsaid(), monkeypatch)
    assert options.flip_pairs is None
    assert "left - right" in said
    assert "--pairs guess" in said


def test_a_guess_can_be_taken_without_asking(tmp_path: Path) -> None:
    options, said = settled(tmp_path, unsaid(), pairs="guess")
    assert options.flip_pairs == PAIRS
    assert "left - right" in said


@pytest.mark.parametrize("options", [{"pairs": "none"}, {"flip": False}])
def test_who_wants_no_mirror_is_asked_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    found, said = settled(tmp_path, unsaid(), **options)
    assert found.flip_pairs is None
    assert said == ""


def test_where_no_guess_is_possible_nothing_is_mirrored_and_that_is_said(tmp_path: Path) -> None:
    lopsided = PointsTarget(np.array([[0.0, 0], [10, 1], [13, 40], [2, 9]]), np.ones(4, bool))
    samples = [replace(sample, target=lopsided) for sample in unsaid()]
    options, said = settled(tmp_path, replace(unsaid(), classes=tuple("abcd"), samples=samples), pairs="guess")
    assert options.flip_pairs is None
    assert "cannot be guessed" in said


def test_objects_with_boxes_are_cut_out_and_that_is_said(tmp_path: Path) -> None:
    options, said = settled(tmp_path, make_flocks(2))
    assert options.crop == "box"
    assert "--detector" in said
    options, said = settled(tmp_path / "other", make_flocks(2), crop="picture")
    assert options.crop == "picture"
    assert said == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip_pairs": ((0, 3),)}, r"--flip-pairs: \[0, 3\] are no two of the points 0 to 2"),
        ({"flip_pairs": ((1, 1),)}, r"\[1, 1\]"),
        ({"flip_pairs": ((0, 1), (1, 2))}, "point 1 is in two pairs"),
        ({"edges": ((-1, 0),)}, r"--edges: \[-1, 0\]"),
    ],
)
def test_pairs_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settled(tmp_path, make_data(2), **options)


def test_a_training_that_goes_on_keeps_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = settled(tmp_path, unsaid(), monkeypatch, "y\n")
    again, said = settled(tmp_path, unsaid(), monkeypatch)
    assert again == first
    assert said == ""


@pytest.mark.parametrize("content", ["", "[", "flip_pairs: 3", "- a"])
def test_a_damaged_answer_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / SETTLED_NAME).write_text(content)
    with pytest.raises(OutputError, match=SETTLED_NAME):
        settled(tmp_path, make_data(2))
    assert NAMES[0] == "left"
