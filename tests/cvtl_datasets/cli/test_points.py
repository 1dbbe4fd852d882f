"""`cvtl data points`: which points change places in a mirror."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvtl.data import load_data
from cvtl.errors import DataError, OutputError, UsageError
from cvtl.images import read_image
from cvtl_datasets.cli.points import main
from cvtl_datasets.points_file import FILE_NAME

Capture = pytest.CaptureFixture[str]
Points = Callable[..., str]

NAMED = "image,left_x,left_y,right_x,right_y,tip_x,tip_y"
NAMELESS = "image,x0,y0,x1,y1,x2,y2"
FACE = "1.jpg,0,0,10,0,5,8\n2.jpg,0,0,20,0,,\n"
CROOKED = "1.jpg,0,0,10,9,5,8\n"


@pytest.fixture
def points(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Points:
    """Run the action in a folder of its own, on a wide terminal; gives what it printed."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return table(tmp_path / "data", NAMED, FACE)


def table(folder: Path, headings: str, rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "points.csv").write_text(f"{headings}\n{rows}")
    return folder


def facts(points: Points, *words: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(points(*words, "--picture", "none", "--json"))
    return found


def test_each_point_is_shown_with_its_partner_and_how_often_it_is_there(points: Points, data: Path) -> None:
    lines = [line.split() for line in points(data).splitlines()]
    assert ["0", "left", "1.0000", "right"] in lines
    assert ["1", "right", "1.0000", "left"] in lines
    assert ["2", "tip", "0.5000", "-"] in lines


@pytest.mark.parametrize(
    ("headings", "rows", "source", "sentence"),
    [
        (NAMED, FACE, "names", "Pairs: 1; guessed from the points' names."),
        (NAMELESS, FACE, "shape", "Pairs: 1; guessed from the mean shape, which looks symmetric."),
        (NAMELESS, CROOKED, None, "Pairs: unknown; neither names nor the mean shape tell them."),
    ],
)
def test_it_says_where_pairs_come_from(
    points: Points, tmp_path: Path, headings: str, rows: str, source: str | None, sentence: str
) -> None:
    data = table(tmp_path / "data", headings, rows)
    assert sentence in points(data)
    found = facts(points, data)
    assert found["pairs_from"] == source
    assert (found["flip_pairs"] is None) == (source is None)


def test_what_the_file_says_is_not_guessed(points: Points, data: Path) -> None:
    (data / FILE_NAME).write_text("flip_pairs: []\nedges: [[left, tip]]\neyes: [left, right]")
    assert f"Pairs: none; they are those of '{data / FILE_NAME}'." in points(data)
    found = facts(points, data)
    assert (found["pairs_from"], found["flip_pairs"]) == ("file", [])
    assert (found["edges"], found["eyes"]) == ([["left", "tip"]], ["left", "right"])


def test_programs_get_everything(points: Points, data: Path) -> None:
    assert facts(points, data) == {
        "data": str(data),
        "format": "landmarks",
        "points": [
            {"number": 0, "name": "left", "visible": 1.0, "partner": "right"},
            {"number": 1, "name": "right", "visible": 1.0, "partner": "left"},
            {"number": 2, "name": "tip", "visible": 0.5, "partner": None},
        ],
        "pairs_from": "names",
        "flip_pairs": [["left", "right"]],
        "edges": [],
        "eyes": None,
        "file": None,
        "picture": None,
    }


def test_what_is_written_beside_the_data_holds_from_then_on(points: Points, data: Path) -> None:
    assert load_data(data, "landmarks").flip_pairs is None
    assert f"Written: {data / FILE_NAME}" in points(data, "--write")
    dataset = load_data(data, "landmarks")
    assert (dataset.classes, dataset.flip_pairs) == (("left", "right", "tip"), ((0, 1),))
    assert facts(points, data)["pairs_from"] == "file"


def test_where_nothing_tells_the_file_leaves_the_pairs_open(points: Points, tmp_path: Path) -> None:
    data = table(tmp_path / "data", NAMELESS, CROOKED)
    points(data, "--write")
    assert load_data(data, "landmarks").flip_pairs is None


def test_it_can_be_written_elsewhere(points: Points, data: Path, tmp_path: Path) -> None:
    points(data, "--out", "deep/my.yaml")
    assert "- [left, right]" in (tmp_path / "deep/my.yaml").read_text()
    assert not (data / FILE_NAME).exists()


def test_a_file_that_is_there_is_overwritten_on_request_only(points: Points, data: Path) -> None:
    (data / FILE_NAME).write_text("edges: [[left, tip]]")
    with pytest.raises(OutputError, match=r"points\.yaml' is there already.*--replace"):
        points(data, "--write")
    points(data, "--write", "--replace")
    dataset = load_data(data, "landmarks")
    assert (dataset.edges, dataset.flip_pairs) == (((0, 2),), ((0, 1),))


def test_the_mean_shape_is_drawn_with_lines_between_pairs(points: Points, data: Path, tmp_path: Path) -> None:
    points(data, "--picture", "mine.png")
    with_pairs = read_image(tmp_path / "mine.png")
    (data / FILE_NAME).write_text("flip_pairs: []")
    points(data, "--picture", "none.png")
    without = read_image(tmp_path / "none.png")
    assert with_pairs.shape == without.shape == (960, 960, 3)
    is_coloured = [(np.ptp(image.astype(int), axis=2) > 60).sum() for image in (with_pairs, without)]
    assert is_coloured[0] > 500
    assert is_coloured[1] == 0


def test_pictures_go_to_new_folders(points: Points, data: Path, tmp_path: Path) -> None:
    assert "Picture: cvtl-runs/data-points/points.png" in points(data)
    points(data)
    assert (tmp_path / "cvtl-runs/data-points-2/points.png").is_file()


def test_quiet_prints_nothing(points: Points, data: Path) -> None:
    assert points(data, "--quiet", "--write") == ""


@pytest.mark.parametrize("name", ["$x^2", "[bold]", "a\x1bb", "", "_"])
def test_names_are_never_markup(points: Points, tmp_path: Path, name: str) -> None:
    data = table(tmp_path / "data", NAMELESS, FACE)
    (data / FILE_NAME).write_text(json.dumps({"points": [name or "0", "b", "c"]}))
    assert "\x1b" not in points(data)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no data set was named"),
        (["{data}", "--write", "--out", "a.yaml"], "--write and --out name two places"),
        (["{data}", "--picture", "a.jpg"], "'a.jpg' is no name of a PNG file"),
    ],
)
def test_what_cannot_be_meant_is_refused(points: Points, data: Path, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        points(*(word.format(data=data) for word in words))


def test_data_without_points_are_refused(points: Points, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    with pytest.raises(DataError):
        points(tmp_path / "a.txt")


@pytest.mark.shared
def test_real_faces_have_the_pairs_of_the_convention(points: Points, shared_data: Path) -> None:
    found = facts(points, shared_data / "landmarks_faces_160")
    assert found["pairs_from"] == "convention"
    assert len(found["flip_pairs"]) == 29
