"""Class folders with a boxes.csv beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cvtl.data import BoxesTarget, load_data
from cvtl.errors import DataError
from cvtl_datasets.folder_boxes import load, recognizes

HEADINGS = "name,x1,y1,x2,y2\n"

MakeData = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> MakeData:
    """Makes empty pictures, and the file with this text."""

    def make(text: str, *names: str) -> Path:
        for name in names or ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "nothing/1.jpg"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "boxes.csv").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def listing(path: Path) -> dict[str, list[tuple[str, list[float]]]]:
    """Class and box of every object of every picture."""
    found = {}
    dataset = load(path)
    for sample in dataset:
        assert isinstance(sample.target, BoxesTarget)
        pairs = zip(sample.target.labels, sample.target.boxes.tolist(), strict=True)
        found[sample.name] = [(dataset.classes[label], box) for label, box in pairs]
    return found


def test_the_class_is_the_folder_and_pictures_without_a_row_show_nothing(data: MakeData) -> None:
    path = data(HEADINGS + "cat/1.jpg,1,2,30,40\ndog/1.jpg,0,0,5.5,6\ndog/1.jpg,7,7,9,9\n")
    assert listing(path) == {
        "cat/1.jpg": [("cat", [1, 2, 30, 40])],
        "cat/2.jpg": [],
        "dog/1.jpg": [("dog", [0, 0, 5.5, 6]), ("dog", [7, 7, 9, 9])],
        "nothing/1.jpg": [],
    }
    assert load(path).classes == ("cat", "dog")


def test_a_single_class_will_do(data: MakeData) -> None:
    path = data(HEADINGS + "cat/1.jpg,1,2,30,40\n", "cat/1.jpg")
    assert load_data(path, "localize").classes == ("cat",)


def test_splits_are_those_of_the_folders(data: MakeData) -> None:
    path = data(HEADINGS + "train/cat/1.jpg,1,2,3,4\n", "train/cat/1.jpg", "val/cat/2.jpg", "val/none/3.jpg")
    assert [(sample.name, sample.split) for sample in load(path)] == [
        ("train/cat/1.jpg", "train"),
        ("val/cat/2.jpg", "val"),
        ("val/none/3.jpg", "val"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffName, X1 ,y1,x2,y2\r\ncat/1.jpg,1,2,30,40\r\n",
        "y2,x2,y1,x1,who,name\n40,30,2,1,me,cat/1.jpg\n",
        HEADINGS + '"./cat/1.jpg"," 1",2,30,40\n',
        HEADINGS + "cat\\1.jpg,1,2,30,40\n\n",
    ],
)
def test_what_programs_write_otherwise_is_understood(data: MakeData, text: str) -> None:
    assert listing(data(text))["cat/1.jpg"] == [("cat", [1, 2, 30, 40])]


@pytest.mark.parametrize(
    ("row", "kind", "what", "fatal"),
    [
        ("cat/1.jpg,1,2,x,40", "malformed annotation", "x2 is 'x', not a number", True),
        ("cat/1.jpg,1,2,30", "malformed annotation", "y2 is '', not a number", True),
        ("cat/1.jpg,1,2,nan,40", "malformed annotation", "x2 is 'nan', not a number", True),
        ("cat/1.jpg,1,2,1,40", "zero-area box", "the box 1 2 1 40 has no area", False),
        ("cat/1.jpg,9,2,1,40", "inverted box", "the box 9 2 1 40 has a negative width or height", False),
        ("cat/9.jpg,1,2,30,40", "label without picture", "there is no picture 'cat/9.jpg'", False),
    ],
)
def test_a_mistake_costs_its_own_row_and_names_its_line(
    data: MakeData, row: str, kind: str, what: str, fatal: bool
) -> None:
    path = data(f"{HEADINGS}{row}\ncat/2.jpg,1,1,2,2\n")
    (problem,) = load(path).problems
    assert (problem.kind, problem.where, problem.what, problem.fatal) == (kind, "boxes.csv:2", what, fatal)
    assert listing(path)["cat/2.jpg"] == [("cat", [1, 1, 2, 2])]


def test_names_that_fit_no_picture_are_refused_with_advice(data: MakeData) -> None:
    with pytest.raises(DataError, match=r"no row of .* is there\. Names are paths below"):
        load(data(HEADINGS + "1.jpg,1,2,3,4\n"))


def test_missing_headings_are_named(data: MakeData) -> None:
    path = data("name,x1,y1,width\ncat/1.jpg,1,2,3\n")
    assert not recognizes(path)
    with pytest.raises(DataError, match="no column x2 and no y2"):
        load(path)


@pytest.mark.parametrize(
    ("task", "format"),
    [("localize", "folder-boxes"), ("detect", "folder-boxes"), ("classify", "folders"), (None, "folder-boxes")],
)
def test_the_file_makes_boxes_of_class_folders_where_boxes_are_wanted(
    data: MakeData, task: str | None, format: str
) -> None:
    path = data(HEADINGS + "cat/1.jpg,1,2,30,40\n")
    assert load_data(path, task).format == format  # type: ignore[arg-type]
