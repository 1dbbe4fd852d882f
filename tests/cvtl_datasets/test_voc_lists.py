"""The lists of a Pascal VOC data set that say which split a picture is in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cvtl.data import load_data

Picture = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path, write_picture: Picture) -> Path:
    """Three annotated pictures: a, b and c."""
    for name in "abc":
        write_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        write(tmp_path / "Annotations" / f"{name}.xml", "<annotation></annotation>")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("folder", ["ImageSets/Main", "ImageSets", "."])
def test_splits_come_from_the_lists_of_all_pictures(data: Path, folder: str) -> None:
    write(data / folder / "train.txt", "a\n\n")
    write(data / folder / "test.txt", "b.jpg\r\n")
    write(data / folder / "trainval.txt", "c\n")
    write(data / folder / "cat_val.txt", "c 1\n")
    dataset = load_data(data)
    assert [sample.split for sample in dataset] == ["train", "test", None]
    assert dataset.problems == ()


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_has_several_names(data: Path, name: str) -> None:
    write(data / "ImageSets" / "Main" / f"{name}.txt", "b")
    assert [sample.split for sample in load_data(data)] == [None, "val", None]


@pytest.mark.parametrize(
    "line",
    [
        "b",
        "b -1",
        "b\t 1",
        "b.jpg",
        "b.xml",
        "./b",
        "JPEGImages/b.jpg Annotations/b.xml",
        r"C:\data\b.png",
        "/data/b.jpg",
    ],
)
def test_a_line_may_say_more_than_a_name(data: Path, line: str) -> None:
    write(data / "ImageSets" / "Main" / "val.txt", f"{line}\n")
    dataset = load_data(data)
    assert [sample.split for sample in dataset] == [None, "val", None]
    assert dataset.problems == ()


def test_a_name_with_spaces_is_one(data: Path) -> None:
    (data / "Annotations" / "b.xml").rename(data / "Annotations" / "a 1.xml")
    (data / "JPEGImages" / "b.jpg").rename(data / "JPEGImages" / "a 1.jpg")
    write(data / "ImageSets" / "Main" / "val.txt", "a 1\n")
    assert {sample.name: sample.split for sample in load_data(data)}["JPEGImages/a 1.jpg"] == "val"


def test_folders_in_a_line_tell_annotations_of_one_name_apart(tmp_path: Path, write_picture: Picture) -> None:
    for folder in ("x", "y"):
        write_picture(tmp_path / "JPEGImages" / folder / "1.jpg")
        write(tmp_path / "Annotations" / folder / "1.xml", "<annotation></annotation>")
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "x/1\n")
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "y/1\n")
    assert [sample.split for sample in load_data(tmp_path)] == ["train", "val"]


def test_what_is_wrong_with_lists_is_reported(data: Path) -> None:
    write(data / "ImageSets" / "Main" / "train.txt", "a\nb\n")
    write(data / "ImageSets" / "Main" / "test.txt", "ghost\nb\n")
    dataset = load_data(data)
    assert [sample.split for sample in dataset] == ["train", "train", None]
    assert sorted((problem.kind, problem.where) for problem in dataset.problems) == [
        ("picture in two splits", "ImageSets/Main/test.txt:2"),
        ("picture without label", "ImageSets/Main/test.txt:1"),
    ]
