from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cvtl.data import load_data
from cvtl.errors import DataError, UsageError
from cvtl_datasets.cli.convert import main

SavePicture = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def crops(tmp_path: Path, write_picture: SavePicture) -> Path:
    for label, name in enumerate(("cat", "dog")):
        for number in range(3):
            write_picture(tmp_path / "crops" / name / f"{number}.png", grey=50 + 60 * label + 10 * number)
    return tmp_path / "crops"


VOC_ENTRY = """<annotation><filename>{name}</filename><size><width>32</width><height>24</height><depth>3</depth></size>
<object><name>cat</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>21</ymax></bndbox></object>
{more}</annotation>
"""


@pytest.fixture
def voc(tmp_path: Path, write_picture: SavePicture) -> Path:
    root = tmp_path / "voc"
    (root / "Annotations").mkdir(parents=True)
    for stem in ("1", "2"):
        write_picture(root / "JPEGImages" / f"{stem}.jpg")
        (root / "Annotations" / f"{stem}.xml").write_text(VOC_ENTRY.format(name=f"{stem}.jpg", more=""))
    return root


def test_a_data_set_is_written_and_the_user_told_how_to_go_on(crops: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert main([str(crops), str(out), "--to", "folders"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "6 of 6 pictures of" in said
    assert "Nothing was lost." in said
    assert "cvtl data check" in said
    assert load_data(out).digest() == load_data(crops).digest()


def test_pictures_that_could_not_be_converted_are_named_and_change_the_exit_code(
    crops: Path, tmp_path: Path, capsys: Capture
) -> None:
    (crops / "cat" / "1.png").write_bytes(b"no picture")
    assert main([str(crops), str(tmp_path / "out"), "--to", "folders"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "5 of 6 pictures of" in said
    assert "left out: cannot read the picture" in said
    assert len(load_data(tmp_path / "out")) == 5


def test_the_account_comes_as_json_and_nothing_else(voc: Path, tmp_path: Path, capsys: Capture) -> None:
    (voc / "JPEGImages" / "2.jpg").unlink()
    assert main([str(voc), str(tmp_path / "out"), "--to", "folders", "--json"]) == 3
    captured = capsys.readouterr()
    account = json.loads(captured.out)
    assert captured.err == ""
    assert account["source_format"] == "voc"
    assert account["pictures"] == 2
    assert account["unreadable"] == 1
    assert account["unheld"] == {"box position": 1}
    assert not account["complete"]
    assert "only the class folder 'cat'" in account["fault"]


def test_a_result_that_cannot_be_used_says_what_is_missing(voc: Path, tmp_path: Path, capsys: Capture) -> None:
    main([str(voc), str(tmp_path / "out"), "--to", "folders"])
    said = " ".join(capsys.readouterr().out.split())
    assert "It cannot be used as it is: " in said
    assert "Two classes or more are needed" in said
    assert "Go on with" not in said


def test_quiet_says_nothing(crops: Path, tmp_path: Path, capsys: Capture) -> None:
    main([str(crops), str(tmp_path / "out"), "--to", "folders", "--quiet"])
    assert capsys.readouterr() == ("", "")


def test_broken_annotations_are_refused_unless_one_is_lenient(voc: Path, tmp_path: Path, capsys: Capture) -> None:
    broken = "<object><name>cat</name><bndbox><xmin>x</xmin></bndbox></object>"
    (voc / "Annotations" / "2.xml").write_text(VOC_ENTRY.format(name="2.jpg", more=broken))
    words = [str(voc), str(tmp_path / "out"), "--to", "voc"]
    with pytest.raises(DataError, match=r"2\.xml"):
        main(words)
    assert not (tmp_path / "out").exists()
    assert main([*words, "--lenient"]) == 3
    assert "malformed annotation" in capsys.readouterr().out
    assert len(load_data(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no format to convert to"),
        (["a", "b"], "no format to convert to"),
        (["--to", "folders"], "PATH and OUT are needed"),
        (["a", "--to", "folders"], "PATH and OUT are needed"),
        (["a", "b", "c", "--to", "folders"], "PATH and OUT are needed"),
    ],
)
def test_what_is_missing_is_named_with_an_example(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=f"{message}.*For example: cvtl data convert"):
        main(words)


def test_help_lists_the_formats_that_can_be_written(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "folders  " in said
    assert "cvtl data convert photos/ coco/ --to coco" in said


def test_many_notes_are_cut_short(crops: Path, tmp_path: Path, capsys: Capture) -> None:
    for number in range(30):
        (crops / "cat" / f"bad{number}.png").write_bytes(b"no picture")
    main([str(crops), str(tmp_path / "out"), "--to", "folders"])
    said = capsys.readouterr().out
    assert said.count("left out") == 20
    assert "and 10 more, which --json lists" in said


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_conversion_leaves_nothing(crops: Path, tmp_path: Path, stop: int, code: int) -> None:
    out = tmp_path / "out"
    # A picture that never comes keeps the conversion waiting.
    os.mkfifo(crops / "dog" / "x.png")
    command = [sys.executable, "-m", "cvtl.cli.main", "data", "convert", str(crops), str(out), "--to", "folders"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (out / ".partial" / "dog" / "2.png").exists():
            break
        time.sleep(0.05)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "the conversion was interrupted; nothing of it is in" in said
    assert not out.exists()
