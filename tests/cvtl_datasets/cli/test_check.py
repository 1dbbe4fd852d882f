from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvtl.errors import DataError, OutputError, UsageError
from cvtl_datasets.cli.check import main

Capture = pytest.CaptureFixture[str]
Check = Callable[..., tuple[int, str]]


def save(path: Path, number: int, *, suffix: str = ".png") -> Path:
    """A picture of coloured clouds, another one for each number."""
    clouds = np.random.default_rng(number).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(suffix, cv2.resize(clouds, (64, 48), interpolation=cv2.INTER_CUBIC))[1].tobytes())
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Class folders with nothing wrong."""
    for number in range(24):
        save(tmp_path / "data" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    return tmp_path / "data"


@pytest.fixture
def check(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Run the action on a wide terminal; gives the exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        return main([str(word) for word in words]), capsys.readouterr().out

    return run


def kinds(check: Check, *words: str | Path) -> dict[str, int]:
    counts: dict[str, int] = json.loads(check(*words, "--json")[1])["counts"]
    return counts


def test_nothing_is_found_in_good_data(check: Check, data: Path) -> None:
    code, out = check(data)
    assert code == 0
    assert " ".join(out.split()) == f"24 pictures in '{data}' (folders): nothing found"


def test_mistakes_are_listed_counted_and_change_the_exit_code(check: Check, data: Path) -> None:
    (data / "cat" / "0.png").write_bytes(b"no picture")
    save(data / "dog" / "again.png", 2)
    code, out = check(data)
    said = " ".join(out.split())
    assert code == 3
    assert "cat/0.png: it is not a picture" in said
    assert "error duplicates under different labels 1" in said
    assert said.endswith("(folders): 2 errors, 1 warning")


def test_notes_alone_leave_the_exit_code_zero(check: Check, data: Path) -> None:
    for number in range(4):
        (data / "dog" / f"{2 * number + 1}.png").unlink()
    code, out = check(data)
    assert code == 0
    assert "note: rare class" in out


def test_json_holds_every_finding_and_nothing_else_is_printed(check: Check, data: Path) -> None:
    for number in range(0, 20, 2):
        (data / "cat" / f"{number}.png").write_bytes(b"")
    code, out = check(data, "--json", "--max-listed", "1")
    said: dict[str, Any] = json.loads(out)
    assert code == 3
    assert {name: said[name] for name in ("data", "format", "pictures")} == {
        "data": str(data),
        "format": "folders",
        "pictures": 24,
    }
    assert said["counts"]["unreadable picture"] == 10
    assert [each["samples"] for each in said["findings"]][:2] == [["cat/0.png"], ["cat/10.png"]]
    assert set(said["findings"][0]) == {"kind", "severity", "where", "what", "advice", "samples", "boxes", "points"}


def test_as_many_as_asked_for_are_listed_of_each_kind(check: Check, data: Path) -> None:
    for number in range(0, 20, 2):
        (data / "cat" / f"{number}.png").write_bytes(b"")
    _, out = check(data, "--max-listed", "3")
    assert out.count(": it is empty") == 3
    assert "and 7 more" in out


@pytest.mark.parametrize("name", ["unreadable-picture", "unreadable picture", "Unreadable-Picture"])
def test_kinds_that_are_ignored_are_not_found(check: Check, data: Path, name: str) -> None:
    (data / "cat" / "0.png").write_bytes(b"")
    code, out = check(data, "--ignore", name)
    assert code == 0
    assert "0 errors" not in out
    assert "unreadable" not in out


def test_an_unknown_kind_to_ignore_is_a_usage_error_that_lists_them(check: Check, data: Path) -> None:
    with pytest.raises(UsageError, match=r"no kind 'bad'.*exact-duplicates"):
        check(data, "--ignore", "bad")


def test_quiet_prints_nothing_and_the_exit_code_tells(check: Check, data: Path) -> None:
    (data / "cat" / "0.png").write_bytes(b"")
    assert check(data, "--quiet") == (3, "")


def test_a_group_in_two_splits_is_found_by_its_pattern(check: Check, tmp_path: Path) -> None:
    for number in range(24):
        split, person = ("train", "val")[number % 8 == 0], "abcdef"[number // 4]
        save(tmp_path / "data" / split / ("cat", "dog")[number % 3 % 2] / f"{person}_{number}.png", number)
    assert "group in two splits" not in kinds(check, tmp_path / "data")
    assert kinds(check, tmp_path / "data", "--group-by", r"([^/]+)_\d+")["group in two splits"] == 3


def test_a_pattern_that_is_none_is_a_usage_error(check: Check, data: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("--group-by '(' is no regular expression")):
        check(data, "--group-by", "(")


@pytest.mark.parametrize("pattern", ["nobody", "", "()", "x*"])
def test_a_pattern_that_makes_no_group_is_a_usage_error(check: Check, data: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="matches no name, such as"):
        check(data, "--group-by", pattern)


def test_findings_are_printed_even_if_the_page_cannot_be_written(data: Path, tmp_path: Path, capsys: Capture) -> None:
    (data / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(OutputError, match="cannot write"):
        main([str(data), "--html", str(tmp_path)])
    assert "cat/0.png: it is not a picture" in capsys.readouterr().out


def test_data_that_cannot_be_read_at_all_are_an_error(check: Check, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set at"):
        check(tmp_path / "nothing")


def test_no_path_is_a_usage_error(check: Check) -> None:
    with pytest.raises(UsageError, match="no data set was named"):
        check()


def test_the_page_shows_duplicates_side_by_side_and_needs_no_network(check: Check, data: Path, tmp_path: Path) -> None:
    save(data / "dog" / "again.png", 2)
    check(data, "--html", tmp_path / "check.html")
    page = (tmp_path / "check.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 2
    assert "again.png: dog" in page
    assert "2.png: cat" in page
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_thumbnails_are_limited_and_the_page_says_so(check: Check, data: Path, tmp_path: Path) -> None:
    for path in sorted(data.rglob("*.png"))[:20]:
        path.rename(path.with_suffix(".jpg"))
    check(data, "--html", tmp_path / "check.html")
    page = (tmp_path / "check.html").read_text()
    assert "wrong suffix (20)" in page
    assert page.count("it is a PNG file") == 12
    assert "And 8 more" in page


def test_mistakes_in_annotations_are_listed_with_file_and_line(check: Check, tmp_path: Path) -> None:
    save(tmp_path / "data" / "images" / "a.jpg", 0, suffix=".jpg")
    (tmp_path / "data" / "annotations").mkdir()
    (tmp_path / "data" / "annotations" / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>64</width><height>48</height></size>\n"
        "<object><name>cat</name>\n<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>many</xmax><ymax>9</ymax></bndbox>\n"
        "</object></annotation>"
    )
    code, out = check(tmp_path / "data", "--json")
    (first, *_) = json.loads(out)["findings"]
    assert code == 3
    assert (first["kind"], first["severity"]) == ("malformed annotation", "error")
    assert re.fullmatch(r"annotations/a\.xml:[23]", first["where"])


@pytest.mark.shared
def test_bccd_has_its_two_zero_area_boxes(check: Check, shared_data: Path) -> None:
    found = json.loads(check(shared_data / "detection_bccd" / "BCCD", "--json")[1])["findings"]
    empty = [each["where"] for each in found if each["kind"] == "zero-area box"]
    assert [where.split(":")[0] for where in empty] == [
        "Annotations/BloodImage_00338.xml",
        "Annotations/BloodImage_00343.xml",
    ]


@pytest.mark.shared
def test_raccoon_has_its_four_exact_duplicates_and_three_greyscale_pictures(check: Check, shared_data: Path) -> None:
    found = kinds(check, shared_data / "detection_raccoon")
    assert found["exact duplicates"] == 4
    assert found["greyscale picture"] == 3
    assert not {"wrong annotated size", "unreadable picture", "box outside the picture"} & set(found)


@pytest.mark.shared
def test_faces_are_png_named_jpg_and_share_people_between_the_splits(check: Check, shared_data: Path) -> None:
    faces = shared_data / "landmarks_faces"
    found = kinds(check, faces)
    assert found["wrong suffix"] == found["alpha channel"] == 260
    assert found["possible group in two splits"] == 1
    in_both = {
        split: {path.name.rpartition("_")[0] for path in (faces / split).glob("*.jpg")}
        for split in ("training", "test")
    }
    expected = len(in_both["training"] & in_both["test"])
    found = kinds(check, faces, "--group-by", r"([^/]+)_\d+")
    assert found["group in two splits"] == expected > 0
    assert "possible group in two splits" not in found


@pytest.mark.shared
def test_the_folders_of_vehicles_that_are_videos_are_told_from_the_others(check: Check, shared_data: Path) -> None:
    found = json.loads(check(shared_data / "sliding_vehicles", "--json")[1])["findings"]
    sequences = {each["where"] for each in found if each["kind"] == "sequence"}
    assert {f"vehicles/GTI_{part}/" for part in ("Far", "Left", "MiddleClose", "Right")} < sequences
    assert "non-vehicles/GTI/" in sequences
    assert "vehicles/KITTI_extracted/" not in sequences


@pytest.mark.shared
@pytest.mark.parametrize("name", ["classify_flowers", "detection_raccoon", "classify_mnist/test"])
def test_collected_photographs_are_no_sequences(check: Check, shared_data: Path, name: str) -> None:
    assert "sequence" not in kinds(check, shared_data / name)
