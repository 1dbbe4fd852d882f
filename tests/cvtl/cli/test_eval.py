"""`cvtl eval`: what it takes, what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import Command

from cvtl import weights
from cvtl.cli import eval as eval_verb

COUNT = 24
SIZE_WH = (32, 24)


def write_coco(folder: Path, split: str, numbers: Sequence[int]) -> Path:
    """Pictures of lamps: every other one has a box round the whole picture, and is bright."""
    width, height = SIZE_WH
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images = [{"id": n, "file_name": f"{n:03}.png", "width": width, "height": height} for n in numbers]
    boxes = [
        {"id": n + 1, "image_id": n, "category_id": 7, "bbox": [0, 0, width, height], "area": 768, "iscrowd": 0}
        for n in numbers
        if n % 2
    ]
    for n in numbers:
        shade = 180 + n if n % 2 else 40 + n
        cv2.imwrite(str(folder / "images" / f"{n:03}.png"), np.full((height, width, 3), shade, np.uint8))
    said = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "lamp"}]}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def lamps(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "lamps", "test", range(COUNT))


def write_results(path: Path, numbers: Sequence[int], **changes: Any) -> Path:
    """COCO results: the right box in each picture."""
    entry = {"category_id": 7, "bbox": [0, 0, *SIZE_WH], "score": 0.9} | changes
    path.write_text(json.dumps([{"image_id": n} | entry for n in numbers]))
    return path


@pytest.fixture
def right(tmp_path: Path) -> Path:
    return write_results(tmp_path / "right.json", range(1, COUNT, 2))


@pytest.fixture
def half_right(tmp_path: Path) -> Path:
    return write_results(tmp_path / "half.json", range(1, COUNT, 4))


def evaluation_of(out: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((out / "evaluation.json").read_text())
    return found


# Predictions from a file


def test_predictions_are_measured_printed_and_written(command: Command, lamps: Path, right: Path) -> None:
    said = command("eval", "--predictions", right, lamps, "--out", "out")
    assert said.code == 0
    assert said.err == ""
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert f"detect on '{lamps}' (coco), pictures: {COUNT} (split test)" in lines
    assert "AP50 1.0000" in lines
    assert "report: out/report.html" in lines
    found = evaluation_of(Path("out"))
    assert found["figures"]["AP"]["value"] == pytest.approx(1)
    assert found["task"] == "detect"
    assert found["data"]["pictures"] == COUNT
    assert found["predictions"]["path"] == str(right)
    assert found["settings"]["draws"] == 1000
    assert "<h1>Evaluation of right.json on lamps</h1>" in Path("out/report.html").read_text()
    assert {path.name for path in Path("out").iterdir()} == {"evaluation.json", "report.html"}


def test_figures_have_intervals(command: Command, lamps: Path, half_right: Path) -> None:
    command("eval", "--predictions", half_right, lamps, "--out", "out", "--draws", "50")
    figure = evaluation_of(Path("out"))["figures"]["AP50"]
    assert figure["low"] < figure["value"] < figure["high"]


def test_json_is_all_that_is_printed_and_what_is_in_the_file(command: Command, lamps: Path, right: Path) -> None:
    said = command("eval", "--predictions", right, lamps, "--out", "out", "--json")
    assert json.loads(said.out) == evaluation_of(Path("out"))
    assert said.err == ""


def test_quiet_prints_nothing(command: Command, lamps: Path, right: Path) -> None:
    said = command("eval", "--predictions", right, lamps, "--quiet")
    assert (said.out, said.err) == ("", "")


def test_the_second_evaluation_goes_into_another_folder(command: Command, lamps: Path, right: Path) -> None:
    for _ in range(2):
        command("eval", "--predictions", right, lamps, "--draws", "0")
    assert {path.name for path in Path("cvtl-runs").iterdir()} == {"eval", "eval-2"}


def test_the_same_command_writes_the_same_bytes(command: Command, lamps: Path, half_right: Path) -> None:
    for out in ("a", "b"):
        command("eval", "--predictions", half_right, lamps, "--out", out, "--draws", "20")
    for name in ("evaluation.json", "report.html"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_an_evaluation_is_not_overwritten(command: Command, lamps: Path, right: Path) -> None:
    command("eval", "--predictions", right, lamps, "--out", "out")
    said = command("eval", "--predictions", right, lamps, "--out", "out")
    assert said.code == 1
    assert "'out/evaluation.json' is there already" in said.err


@pytest.mark.parametrize("name", ["report.html", "predictions.jsonl"])
def test_files_of_others_are_not_overwritten_and_no_model_runs_for_nothing(
    command: Command, glow: Path, lamps: Path, name: str
) -> None:
    Path("out").mkdir()
    Path("out", name).write_text("of others")
    said = command("eval", glow, lamps, "--out", "out")
    assert said.code == 1
    assert f"'out/{name}' is there already" in said.err
    assert [path.read_text() for path in Path("out").iterdir()] == ["of others"]


def test_a_folder_that_cannot_be_made_is_found_before_the_work(
    command: Command, lamps: Path, right: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eval_verb, "_predictions", lambda *_: pytest.fail("the work began"))
    said = command("eval", "--predictions", right, lamps, "--out", right / "out")
    assert said.code == 1
    assert "cannot write" in said.err


def test_an_interrupted_evaluation_leaves_nothing_half_written_and_may_be_repeated(
    command: Command, lamps: Path, half_right: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cvtl.reporting.page.thumbnail", interrupt)
        assert command("eval", "--predictions", half_right, lamps, "--out", "out").code == 130
    assert list(Path("out").iterdir()) == []
    assert command("eval", "--predictions", half_right, lamps, "--out", "out").code == 0


def test_a_log_sees_the_draws_and_the_thumbnails_go_by(
    command: Command, lamps: Path, right: Path, half_right: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvtl.terminal_progress._SECONDS_BETWEEN_LINES", 0.0)
    said = command("eval", "--predictions", half_right, lamps, "--against", right, "--draws", "50")
    lines = said.err.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("204/")] == ["204/204 draws"]
    assert [line.split(",")[0] for line in lines if "thumbnails" in line][-1] == "6/6 thumbnails"


def test_two_prediction_files_are_compared(command: Command, lamps: Path, right: Path, half_right: Path) -> None:
    said = command("eval", "--predictions", right, lamps, "--against", half_right, "--out", "out", "--draws", "200")
    assert said.code == 0
    found = evaluation_of(Path("out"))
    assert found["against"]["path"] == str(half_right)
    comparison = found["sections"][0]
    row = dict(zip(comparison["columns"], next(row for row in comparison["rows"] if row[0] == "AP50"), strict=True))
    assert row["A - B"] > 0.3
    assert row["verdict"] == "more than noise"
    assert "more than" in said.out


def test_what_a_reader_has_to_know_is_said_and_written(command: Command, lamps: Path, tmp_path: Path) -> None:
    results = write_results(tmp_path / "more.json", [1, 3, 5, 999])
    said = command("eval", "--predictions", results, lamps, "--out", "out")
    notes = evaluation_of(Path("out"))["notes"]
    assert any("999" in note for note in notes)
    assert "note: " in said.out
    assert "999" in Path("out/report.html").read_text()


# Which pictures


@pytest.mark.parametrize(
    ("there", "named", "used"),
    [
        (("train", "val", "test"), None, "test"),
        (("train", "val"), None, "val"),
        (("train",), None, "all"),
        (("train", "val", "test"), "train", "train"),
        (("train", "val", "test"), "all", "all"),
    ],
)
def test_the_split_is_test_or_else_val_or_else_all(
    command: Command, tmp_path: Path, there: tuple[str, ...], named: str | None, used: str
) -> None:
    for number, split in enumerate(there):
        write_coco(tmp_path / "data", split, range(number * 10, number * 10 + 4 + number))
    results = write_results(tmp_path / "r.json", range(1, 30, 2))
    words = ["--split", named] if named else []
    said = command("eval", "--predictions", results, tmp_path / "data", "--out", "out", "--draws", "0", *words)
    sizes = {split: 4 + number for number, split in enumerate(there)}
    data = evaluation_of(Path("out"))["data"]
    assert (data["split"], data["pictures"]) == (used, sizes.get(used, sum(sizes.values())))
    assert ("all of them" if used == "all" else f"split {used}") in said.out


def test_a_split_that_is_not_there_is_refused(command: Command, lamps: Path, right: Path) -> None:
    said = command("eval", "--predictions", right, lamps, "--split", "train")
    assert said.code == 2
    assert "no pictures in the split 'train'. Its splits are test." in said.err
    assert not Path("cvtl-runs").exists()


# Weights


def test_weights_are_run_and_their_predictions_kept(command: Command, glow: Path, lamps: Path) -> None:
    said = command("eval", glow, lamps, "--out", "out", "--draws", "0")
    assert said.code == 0
    found = evaluation_of(Path("out"))
    assert found["predictions"] == {"path": str(glow), "sha256": weights.digest(glow)}
    assert weights.digest(glow)[:16] in Path("out/report.html").read_text()
    again = command("eval", "--predictions", "out/predictions.jsonl", lamps, "--out", "again", "--draws", "0")
    assert again.code == 0
    assert evaluation_of(Path("again"))["figures"] == found["figures"]


def test_weights_are_compared_with_weights_and_with_a_file(
    command: Command, glow: Path, lamps: Path, right: Path, tmp_path: Path
) -> None:
    other = shutil.copy(glow, tmp_path / "other.safetensors")
    command("eval", glow, lamps, "--against", other, "--out", "a", "--draws", "20")
    rows = evaluation_of(Path("a"))["sections"][0]["rows"]
    assert all(row[3] in (0, None) for row in rows)
    assert Path("a/predictions-against.jsonl").read_bytes() == Path("a/predictions.jsonl").read_bytes()
    assert command("eval", glow, lamps, "--against", right, "--out", "b", "--draws", "0").code == 0
    assert not Path("b/predictions-against.jsonl").exists()


def test_pictures_that_cannot_be_read_make_exit_code_3(command: Command, glow: Path, lamps: Path) -> None:
    (lamps / "images" / "003.png").write_bytes(b"no picture")
    said = command("eval", glow, lamps, "--out", "out", "--draws", "0")
    assert said.code == 3
    assert "003.png" in said.out
    found = evaluation_of(Path("out"))
    assert found["data"]["pictures"] == COUNT
    assert found["figures"]["AR100"]["value"] < 1


def test_rows_without_an_answer_make_exit_code_3(command: Command, glow: Path, lamps: Path) -> None:
    (lamps / "images" / "003.png").write_bytes(b"no picture")
    assert command("run", "detect", lamps / "images", "--weights", glow, "--out", "found").code == 3
    said = command("eval", "--predictions", "found/rows.jsonl", lamps, "--out", "out", "--draws", "0")
    assert said.code == 3
    assert "003.png" in said.out


def test_a_run_folder_is_a_file_of_predictions(command: Command, glow: Path, lamps: Path) -> None:
    command("run", "detect", lamps / "images", "--weights", glow, "--out", "found")
    said = command("eval", "--predictions", "found", lamps, "--out", "out", "--draws", "0", "--json")
    assert said.code == 0
    assert json.loads(said.out)["predictions"]["sha256"] == weights.digest("found/rows.jsonl")


# Wrong usage


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no data were named"),
        (["data"], "only 'data' was named, but it takes weights and a data set"),
        (["w.safetensors", "data", "more"], "'more' is one word too many"),
        (["--predictions", "r.json"], "no data were named"),
        (["--predictions", "r.json", "w.safetensors", "data"], "'data' is one word too many"),
        (["rows.jsonl", "data"], "'rows.jsonl' is not a .safetensors weights file"),
        (["w.safetensors", "data", "--split", "half"], "--split must be 'test', 'val', 'train' or 'all'"),
        (["w.safetensors", "data", "--task", "style"], "--task must be"),
        (["w.safetensors", "data", "--iou", "2"], "--iou must be less than 1"),
        (["w.safetensors", "data", "--batch-size", "0"], "--batch-size must be greater than or equal to 1"),
    ],
)
def test_words_that_do_not_fit_are_explained(command: Command, words: list[str], message: str) -> None:
    said = command("eval", *words)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


def test_rows_in_the_place_of_weights_get_the_command_that_fits(command: Command) -> None:
    assert "cvtl eval --predictions rows.jsonl data." in command("eval", "rows.jsonl", "data").err


def test_missing_files_are_named(command: Command, lamps: Path, right: Path) -> None:
    assert "there is no weights file 'w.safetensors'" in command("eval", "w.safetensors", lamps).err
    assert "there is no data set at 'nowhere'" in command("eval", "--predictions", right, "nowhere").err
    assert "cannot read predictions from 'r.json'" in command("eval", "--predictions", "r.json", lamps).err


def test_weights_that_paint_are_refused(
    command: Command, glow: Path, lamps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = weights.read_header(glow).model_copy(update={"task": "style"})
    monkeypatch.setattr(eval_verb, "read_header", lambda path, reading: header)
    said = command("eval", glow, lamps)
    assert said.code == 2
    assert "paints pictures in a style, of which none is right or wrong" in said.err


def test_weights_of_another_task_than_named_are_refused(command: Command, glow: Path, lamps: Path) -> None:
    said = command("eval", glow, lamps, "--task", "classify")
    assert said.code == 2
    assert "holds weights for the task 'detect', not 'classify'" in said.err


def test_a_configuration_file_may_say_everything(command: Command, lamps: Path, right: Path) -> None:
    Path("eval.yaml").write_text(f"paths: [{lamps}]\npredictions: {right}\nout: out\ndraws: 0\n")
    assert command("eval", "--config", "eval.yaml").code == 0
    assert evaluation_of(Path("out"))["settings"]["draws"] == 0


# Real data


@pytest.mark.shared
def test_the_figures_of_cocos_own_example_are_the_published_ones(command: Command, shared_data: Path) -> None:
    folder = shared_data / "metrics_coco_val2014_100"
    results = folder / "instances_val2014_fakebbox100_results.json"
    said = command("eval", "--predictions", results, folder / "instances_val2014_100.json", "--json", "--draws", "0")
    assert said.code == 0
    figures = [figure["value"] for figure in json.loads(said.out)["figures"].values()]
    expected = json.loads((folder / "expected_bbox.json").read_text())
    assert figures == pytest.approx(list(expected.values()), abs=1e-6)
