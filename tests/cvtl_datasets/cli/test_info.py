"""`cvtl data info`: what is in a data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cvtl.data import load_data
from cvtl.errors import DataError, OutputError, UsageError
from cvtl.images import read_image
from cvtl.split_file import write_split_file
from cvtl_datasets.cli.info import main

Capture = pytest.CaptureFixture[str]
Info = Callable[..., str]
BOX = "<object><name>{name}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{x2}</xmax><ymax>8</ymax></bndbox></object>"


@pytest.fixture
def data(tmp_path: Path, write_picture: Callable[..., Path]) -> Path:
    """Pascal VOC: a and b for training, c for validation, with a cat each, b also with a dog."""
    objects = {"a": ["cat"], "b": ["cat", "dog"], "c": ["cat"]}
    for stem, names in objects.items():
        write_picture(tmp_path / "data" / "JPEGImages" / f"{stem}.jpg")
        file = tmp_path / "data" / "Annotations" / f"{stem}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"<annotation>{''.join(BOX.format(name=name, x2=9) for name in names)}</annotation>")
    lists = tmp_path / "data" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\n")
    return tmp_path / "data"


@pytest.fixture
def info(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Info:
    """Run the action in a folder of its own, on a wide terminal; gives what it printed."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return run


def lines(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def facts(info: Info, *words: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(info(*words, "--json"))
    return found


def test_splits_pictures_classes_and_boxes_are_shown(info: Info, data: Path) -> None:
    out = lines(info(data))
    assert ["format", "voc"] in out
    assert ["pictures", "3"] in out
    assert ["splits", "train:", "2,", "val:", "1"] in out
    assert ["sizes", "32", "x", "24:", "3"] in out
    assert ["class", "pictures", "train", "val", "boxes", "small", "medium", "large"] in out
    assert ["cat", "3", "2", "1", "3", "3", "0", "0"] in out
    assert ["dog", "1", "1", "0", "1", "1", "0", "0"] in out


def test_json_holds_the_same_and_nothing_else_is_printed(info: Info, data: Path) -> None:
    found = facts(info, data)
    assert (found["format"], found["pictures"], found["splits"]) == ("voc", 3, {"train": 2, "val": 1})
    assert [(each["name"], each["boxes"]) for each in found["classes"]] == [("cat", 3), ("dog", 1)]
    assert found["per_picture"] == {"1": 2, "2": 1}
    assert found["data"] == str(data)


def test_one_split_can_be_looked_at_alone(info: Info, data: Path) -> None:
    assert facts(info, data, "--split", "val")["splits"] == {"val": 1}
    with pytest.raises(UsageError, match=r"no pictures in the split 'test'. It has train, val\."):
        info(data, "--split", "test")


def test_the_contact_sheet_goes_into_a_new_folder_each_time(info: Info, data: Path, tmp_path: Path) -> None:
    assert "Contact sheet: cvtl-runs/data-info/sheet.png" in info(data)
    assert facts(info, data)["sheet"] == "cvtl-runs/data-info-2/sheet.png"
    assert (tmp_path / "cvtl-runs" / "data-info-2" / "sheet.png").exists()


def test_the_contact_sheet_goes_where_it_is_sent(info: Info, data: Path, tmp_path: Path) -> None:
    info(data, "--sheet", tmp_path / "new" / "here.png", "--columns", "2", "--rows", "1")
    assert read_image(tmp_path / "new" / "here.png").shape[1] == 2 * 324 + 4
    assert not (tmp_path / "cvtl-runs").exists()


def test_no_contact_sheet_is_made_where_none_is_wanted(info: Info, data: Path, tmp_path: Path) -> None:
    assert facts(info, data, "--sheet", "none")["sheet"] is None
    assert not (tmp_path / "cvtl-runs").exists()


def test_the_numbers_are_printed_even_where_no_sheet_can_be_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        main([str(data), "--sheet", str(tmp_path / "file" / "sheet.png")])
    assert ["pictures", "3"] in lines(capsys.readouterr().out)


def test_a_split_file_divides(info: Info, data: Path, tmp_path: Path) -> None:
    write_split_file(tmp_path / "s.csv", {"test": load_data(data)})
    assert facts(info, data, "--splits", tmp_path / "s.csv")["splits"] == {"test": 3}


def test_quiet_prints_nothing(info: Info, data: Path) -> None:
    assert info(data, "--quiet") == ""


def test_of_many_classes_the_most_frequent_are_shown(info: Info, data: Path) -> None:
    names = [f"class{i}" for i in range(40)] + ["class39"]
    objects = "".join(BOX.format(name=name, x2=9) for name in names)
    (data / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    out = lines(info(data))
    shown = [line[0] for line in out if line and (line[0].startswith("class") and line[0] != "classes")]
    assert shown[:3] == ["class", "class39", "class0"]
    assert ["...", "and", "12", "more", "rows"] in out
    assert len(facts(info, data)["classes"]) == 42


def test_mistakes_and_fields_without_a_place_are_named(info: Info, data: Path) -> None:
    empty, hard = BOX.format(name="cat", x2=1), BOX.format(name="cat", x2=9).replace("<bnd", "<pose>Left</pose><bnd")
    (data / "Annotations" / "a.xml").write_text(f"<annotation>{empty}{hard}</annotation>")
    (data / "Annotations" / "c.xml").write_text("<annotation>")
    (data / "JPEGImages" / "b.jpg").write_text("no picture")
    out = info(data)
    assert "1 x malformed annotation, 1 x zero-area box" in out
    assert ["not", "held", "pose:", "1"] in lines(out)
    assert ["pictures", "2", "(unreadable:", "1)"] in lines(out)


def test_class_folders_have_no_boxes(info: Info, tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
        write_picture(tmp_path / "folders" / name)
    out = lines(info(tmp_path / "folders"))
    assert ["class", "pictures"] in out
    assert ["cat", "2"] in out


def test_odd_names_do_not_reach_the_terminal(info: Info, tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    for name in ("[red]cat\x1b[31m/1.jpg", "dog/1.jpg"):
        write_picture(tmp_path / "folders" / name)
    assert "[red]cat\\x1b[31m" in info(tmp_path / "folders")


@pytest.mark.parametrize("words", [[], ["--sheet", "sheet.jpg"], ["--columns", "0"], ["--split", "dev"]], ids=str)
def test_wrong_use_is_told(info: Info, data: Path, words: list[str]) -> None:
    with pytest.raises(UsageError):
        info(*([data] if words else []), *words)


def test_what_is_no_data_set_is_told(info: Info, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no data set at"):
        info(tmp_path / "nowhere")


@pytest.mark.shared
def test_missing_points_are_counted(info: Info, shared_data: Path) -> None:
    found = facts(info, shared_data / "landmarks_faces", "--sheet", "none")
    assert (found["kind"], found["objects"], len(found["points"])) == ("points", 260, 68)
