"""Files of lines and zones: what they may say, and what a user is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvtl.errors import UsageError
from cvtl.tracking.settings import FollowSettings
from cvtl.tracking.zone_file import read_places

GOOD = """
units: fractions
lines:
  gate:
    points: [[0, 0.5], [1, 0.5]]
    classes: [car]
    frames: 2
zones:
  yard:
    points: [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]
    anchor: center
    per_class: true
    source: cam1*
"""


def written(folder: Path, text: str) -> str:
    (folder / "z.yaml").write_text(text)
    return str(folder / "z.yaml")


def test_a_file_says_lines_and_zones_by_name(tmp_path: Path) -> None:
    places = read_places(written(tmp_path, GOOD))
    assert list(places.all()) == ["gate", "yard"]
    assert places.lines["gate"].points == ((0, 0.5), (1, 0.5))
    assert places.lines["gate"].anchor == "bottom_center"
    assert places.zones["yard"].anchor == "center"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds neither lines nor zones"),
        ("lines: {}", "it has neither lines nor zones"),
        ("lines: [", "is not YAML: line 1, column 9"),
        ("line: {a: {points: [[0, 5], [9, 5]]}}", "line: there is no such key"),
        ("lines: {a: {points: [[0, 5]]}}", r"lines\.a\.points\.1: field required"),
        ("lines: {a: {points: [[0, 5], [9, x]]}}", r"lines\.a\.points\.1\.1: input should be a valid number"),
        ("lines: {a: {points: [[0, 5], [0, 5]]}}", r"lines\.a\.points: the two points are one"),
        ("lines: {a: {points: [[0, -5], [9, 5]]}}", r"lines\.a\.points\.0\.1: input should be greater than or equal"),
        ("lines: {a: {points: [[0, .nan], [9, 5]]}}", r"lines\.a\.points\.0\.1: input should be"),
        ("zones: {a: {points: [[0, 0], [1e9, 5], [9, 9]]}}", r"zones\.a\.points\.1\.0: input should be less than"),
        ("lines: {a: {points: [[0, 5], [9, 5]], anchor: feet}}", r"lines\.a\.anchor: input should be 'top_left'"),
        ("lines: {a: {points: [[0, 5], [9, 5]], colour: red}}", r"lines\.a\.colour: there is no such key"),
        ("zones: {a: {points: [[0, 5], [9, 5]]}}", r"zones\.a\.points: tuple should have at least 3 items"),
        ("zones: {a: {points: [[0, 0], [1, 0], [1, 1]]}}", "for fractions of the frame write 'units: fractions'"),
        ("{units: fractions, lines: {a: {points: [[0, 5], [1, 1]]}}}", "'a' has the coordinate 5, and fractions lie"),
        (
            "{lines: {a: {points: [[0, 5], [9, 5]]}}, zones: {a: {points: [[0, 5], [9, 5], [0, 9]]}}}",
            "'a' is the name of a line and of a zone",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        read_places(written(tmp_path, text))
    assert str(tmp_path / "z.yaml") in error.value.what


def test_a_file_that_is_not_there_or_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the zones '.*': No such file"):
        read_places(str(tmp_path / "none.yaml"))
    (tmp_path / "z.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not YAML"):
        read_places(str(tmp_path / "z.yaml"))


def test_a_class_that_the_model_does_not_know_is_told_with_those_it_knows(tmp_path: Path) -> None:
    places = read_places(written(tmp_path, GOOD))
    places.require_classes(("car", "bus"), "z.yaml")
    with pytest.raises(UsageError, match=r"zones 'z\.yaml': gate\.classes: there is no class 'car'") as error:
        places.require_classes(("cart", "bus"), "z.yaml")
    assert error.value.hint == "Known are cart"


def test_a_run_goes_on_only_with_zones_of_the_same_content(tmp_path: Path) -> None:
    settings = FollowSettings(zones=written(tmp_path, GOOD))
    before = settings.identity()
    (tmp_path / "other.yaml").write_text(GOOD)
    assert FollowSettings(zones=str(tmp_path / "other.yaml")).identity() == before
    written(tmp_path, GOOD + "#")
    assert settings.identity() != before
    assert FollowSettings().identity() == {}
