"""`cvtl advise`: its files, its words, and what it refuses."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cvtl.cli.main import main


def advise(folder: Path, weights: Path | str, *words: str) -> int:
    return main(["advise", str(folder), "--backbone", "lenet5", "--weights", str(weights), "--folds", "2", *words])


def test_it_measures_and_writes_a_page_a_picture_and_json(
    folders: Path, lenet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert advise(folders, lenet_file, "--out", str(out)) == 0
    shown = capsys.readouterr().out
    assert "Heads on what each stage sees" in shown
    assert "recommended:\n  cvtl train classify" in shown
    assert sorted(path.name for path in out.iterdir()) == ["advice.json", "advice.png", "report.html"]
    assert "Accuracy against stage" in (out / "report.html").read_text()
    found = json.loads((out / "advice.json").read_text())
    assert found["data"]["pictures"] == 36
    assert f"  {found['command']}\n" in shown


def test_what_it_recommends_can_be_run(
    folders: Path, lenet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advise(folders, lenet_file, "--out", str(tmp_path / "out"), "--json", "--size", "32") == 0
    words = shlex.split(json.loads(capsys.readouterr().out)["command"])
    assert main([*words[1:], "--out", str(tmp_path / "run"), "--epochs", "1", "--workers", "0", "--quiet"]) == 0
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_quiet_says_nothing(
    folders: Path, lenet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advise(folders, lenet_file, "--out", str(tmp_path / "out"), "--quiet", "--finetune=false") == 0
    assert capsys.readouterr() == ("", "")


def test_unreadable_pictures_are_left_out_and_told_of(
    folders: Path, lenet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "red" / "0.png").write_bytes(b"no picture")
    assert advise(folders, lenet_file, "--out", str(tmp_path / "out"), "--finetune=false") == 3
    assert "pictures that cannot be read and are left out: 1, such as:" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "advice.json").read_text())["data"]["pictures"] == 35


def test_a_second_time_features_come_from_the_cache_and_give_the_same(
    folders: Path, lenet_file: Path, tmp_path: Path
) -> None:
    found = []
    for name in ("a", "b"):
        assert advise(folders, lenet_file, "--out", str(tmp_path / name), "--quiet", "--finetune=false") == 0
        found.append(json.loads((tmp_path / name / "advice.json").read_text()))
    assert found[0]["figures"] == found[1]["figures"]
    assert found[0]["command"] == found[1]["command"]
    costs = found[1]["sections"][2]["rows"]
    assert costs[0][1] is None


def test_folders_are_numbered(folders: Path, lenet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("advise", "advise-2"):
        assert advise(folders, lenet_file, "--quiet", "--finetune=false") == 0
        assert (tmp_path / "cvtl-runs" / name / "advice.json").exists()


def test_one_class_is_refused(
    folders: Path, lenet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("green", "blue"):
        shutil.rmtree(folders / name)
    assert advise(folders, lenet_file, "--out", str(tmp_path / "out")) == 1
    assert "has only the class folder 'red'" in capsys.readouterr().err


def test_two_pictures_are_refused(
    folders: Path, lenet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("red", "green", "blue")):
        for picture in sorted((folders / name).iterdir())[number < 2 :]:
            picture.unlink()
    (folders / "blue").rmdir()
    assert advise(folders, lenet_file, "--out", str(tmp_path / "out")) == 1
    assert "nothing can be held out to measure with" in capsys.readouterr().err


def test_weights_that_are_not_there_are_named(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CVTL_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert main(["advise", str(folders), "--weights", "imagenet", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "squeezenet1_1" in said
    assert advise(folders, tmp_path / "none.pth", "--out", str(tmp_path / "out")) == 1
    assert "none.pth" in capsys.readouterr().err


def test_a_folder_with_advice_is_not_overwritten(
    folders: Path, lenet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "advice.json").write_text("mine")
    assert advise(folders, lenet_file, "--out", str(tmp_path)) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "advice.json").read_text() == "mine"


@pytest.mark.shared
def test_detection_data_are_refused(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", str(shared_data / "detection_bccd"), "--out", str(tmp_path / "out")]) != 0
    assert "detection_bccd" in capsys.readouterr().err


def test_no_data_are_a_mistake_in_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise"]) == 2
    assert "cvtl advise photos/" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = "import sys; from cvtl.cli.main import main; main(['advise', '--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cvtl advise DATA [options]" in done.stdout
