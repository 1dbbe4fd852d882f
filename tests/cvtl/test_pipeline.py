"""`cvtl.run`: every input gets its row, in order, with its own answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import cvtl
from cvtl.errors import OptionsError, OutputError, SourceError, TooManyFailuresError, UsageError, WeightsError
from cvtl.images import read_image
from cvtl.progress import Progress
from cvtl.run_settings import RunSettings
from cvtl.weights import digest

MakeFolder = Callable[[Path, int], Path]


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def glow_of(image: np.ndarray) -> float:
    """What the plugin `glow` says of a picture, computed plainly."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    colour = ((image / 255 - mean) / std).mean(axis=(0, 1))
    return float(1 / (1 + np.exp(-colour @ [1.0, 0.5, 0.25])))


@pytest.fixture
def messy(tmp_path: Path, make_messy_folder: MakeFolder) -> Path:
    return make_messy_folder(tmp_path / "pictures", 43)


def test_every_input_has_one_row_in_input_order(glow: Path, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "out")
    found = [row["source"] for row in rows_of(tmp_path / "out")]
    assert found == sorted(path.relative_to(messy).as_posix() for path in messy.rglob("*.png"))


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_every_answer_belongs_to_its_own_picture(glow: Path, messy: Path, tmp_path: Path, batch_size: int) -> None:
    cvtl.run([messy], glow, tmp_path / "out", settings=RunSettings(batch_size=batch_size, readers=3))
    checked = 0
    for row in rows_of(tmp_path / "out"):
        if row["status"] == "ok":
            image = read_image(messy / row["source"])
            assert row["result"]["scores"][0] == pytest.approx(glow_of(image), abs=1e-5)
            assert (row["height"], row["width"]) == image.shape[:2]
            checked += 1
    assert checked > 30


def test_a_bad_picture_gets_a_status_and_no_result(glow: Path, messy: Path, tmp_path: Path) -> None:
    report = cvtl.run([messy], glow, tmp_path / "out")
    bad = [row for row in rows_of(tmp_path / "out") if row["status"] != "ok"]
    assert report.bad == len(bad) == 8
    assert {row["status"] for row in bad} == {"truncated", "unreadable"}
    assert all(row["result"] is None and row["error"] for row in bad)


def test_a_picture_that_the_model_fails_on_costs_its_neighbours_nothing(
    glow: Path, messy: Path, tmp_path: Path
) -> None:
    cvtl.run([messy], glow, tmp_path / "whole")
    cvtl.run([messy], glow, tmp_path / "out", predict={"fails_at_width": 26})
    for whole, row in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "out"), strict=True):
        if whole["status"] == "ok" and whole["width"] == 26:
            assert row["status"] == "failed"
            assert row["error"] == "ValueError: cannot look at 26 pixels"
        else:
            assert row == whole


def test_an_answer_that_is_no_number_is_a_failed_row(glow: Path, messy: Path, tmp_path: Path) -> None:
    report = cvtl.run([messy], glow, tmp_path / "out", predict={"nan_at_width": 26})
    failed = [row for row in rows_of(tmp_path / "out") if row["status"] == "failed"]
    assert report.counts["failed"] == len(failed) > 0
    assert {row["error"] for row in failed} == {"ValueError: Detections.scores has values that are not finite"}


@pytest.mark.parametrize("capacity", [1, 3])
def test_running_out_of_memory_makes_batches_smaller_and_loses_no_row(
    glow: Path, messy: Path, tmp_path: Path, capacity: int
) -> None:
    cvtl.run([messy], glow, tmp_path / "whole")
    cvtl.run([messy], glow, tmp_path / "out", predict={"capacity": capacity})
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")


def test_a_picture_too_large_for_the_memory_alone_is_a_failed_row(glow: Path, messy: Path, tmp_path: Path) -> None:
    report = cvtl.run([messy], glow, tmp_path / "out", predict={"capacity": 0})
    assert report.counts["failed"] == 35


def test_arrays_are_inputs(glow: Path, tmp_path: Path) -> None:
    images = [np.full((10, 20, 3), value, np.uint8) for value in (0, 100, 250)]
    cvtl.run(images, glow, tmp_path / "out")
    scores = [row["result"]["scores"][0] for row in rows_of(tmp_path / "out")]
    assert scores == pytest.approx([glow_of(image) for image in images], abs=1e-5)


def test_a_picture_above_the_limit_is_reported_and_not_decoded(glow: Path, messy: Path, tmp_path: Path) -> None:
    report = cvtl.run([messy], glow, tmp_path / "out", settings=RunSettings(max_pixels=24 * 16))
    assert report.counts["too_large"] > 20


def test_too_many_bad_inputs_stop_the_run_and_keep_the_rows(glow: Path, messy: Path, tmp_path: Path) -> None:
    settings = RunSettings(max_failures=2, batch_size=4)
    with pytest.raises(TooManyFailuresError, match="3 inputs are bad"):
        cvtl.run([messy], glow, tmp_path / "out", settings=settings)
    assert sum(row["status"] != "ok" for row in rows_of(tmp_path / "out")) >= 3
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "failed"


def test_as_many_bad_inputs_as_allowed_do_not_stop_the_run(glow: Path, messy: Path, tmp_path: Path) -> None:
    assert cvtl.run([messy], glow, tmp_path / "out", settings=RunSettings(max_failures=8)).inputs == 43


def test_run_json_says_how_the_rows_came_about(glow: Path, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "out")
    said = json.loads((tmp_path / "out" / "run.json").read_text())
    assert said["state"] == "done"
    assert said["counts"] == {"ok": 35, "truncated": 4, "unreadable": 4}
    assert said["identity"]["weights"] == digest(glow)
    assert said["identity"]["task"] == "detect"
    assert said["versions"]["torch"]


def test_saved_pictures_mirror_the_input_tree(glow: Path, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "out", settings=RunSettings(save_images=True))
    rows = rows_of(tmp_path / "out")
    pictures = tmp_path / "out" / "pictures"
    saved = {path.relative_to(pictures).as_posix() for path in pictures.rglob("*") if path.is_file()}
    assert saved == {row["source"] for row in rows if row["status"] == "ok"}


def test_a_saved_picture_is_the_upright_input_with_something_drawn_on_it(glow: Path, tmp_path: Path) -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cvtl.run([tmp_path / "a.png"], glow, tmp_path / "out", settings=RunSettings(save_images=True))
    drawn = read_image(tmp_path / "out" / "pictures" / "a.png")
    assert drawn.shape == image.shape
    assert 0 < (drawn != image).any(axis=2).mean() < 0.5


def test_progress_hears_of_every_input(glow: Path, messy: Path, tmp_path: Path) -> None:
    class Count(Progress):
        done, over = 0, False

        def advance(self, count: int) -> None:
            self.done += count

        def finish(self) -> None:
            self.over = True

    count = Count()
    cvtl.run([messy], glow, tmp_path / "out", progress=count)
    assert (count.done, count.over) == (43, True)


def test_the_profile_counts_every_stage(glow: Path, messy: Path, tmp_path: Path) -> None:
    profile = cvtl.run([messy], glow, tmp_path / "out", settings=RunSettings(save_images=True)).profile
    assert all(seconds > 0 for _, seconds in profile.table())
    assert profile.bound()


def test_a_slow_network_is_what_bounds_the_run(glow: Path, messy: Path, tmp_path: Path) -> None:
    profile = cvtl.run([messy], glow, tmp_path / "out", predict={"seconds": 0.1}).profile
    assert profile.bound().startswith("the network")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": []}, SourceError, "there are no inputs"),
        ({"settings": RunSettings(include=("*.bmp",))}, SourceError, "that --include and --exclude let through"),
        ({"inputs": ["nowhere"]}, SourceError, "there is no file or folder 'nowhere'"),
        ({"weights": "nowhere.safetensors"}, WeightsError, "there is no weights file 'nowhere.safetensors'"),
        ({"task": "classify"}, UsageError, "holds weights for the task 'detect', not 'classify'"),
        ({"predict": {"capacty": 3}}, OptionsError, "option 'capacty': there is no such option"),
        ({"settings": RunSettings(save_heatmaps=True)}, OptionsError, "plugin 'glow' give no heat maps"),
        ({"settings": RunSettings(device="cuda:99")}, UsageError, "device 'cuda:99' cannot be used"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_written(
    glow: Path, messy: Path, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    call = {"inputs": [messy], "weights": glow, "out": tmp_path / "out"} | arguments
    with pytest.raises(error, match=message):
        cvtl.run(**call)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_run_is_not_written_over(glow: Path, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "out")
    before = (tmp_path / "out" / "rows.jsonl").read_bytes()
    with pytest.raises(OutputError, match="already holds a run"):
        cvtl.run([messy], glow, tmp_path / "out")
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == before


def test_an_output_folder_that_cannot_be_made_is_named(glow: Path, messy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write '.*file/out/run\.json'"):
        cvtl.run([messy], glow, tmp_path / "file" / "out")


def test_what_a_run_has_written_is_no_input_of_the_next(glow: Path, messy: Path) -> None:
    settings = RunSettings(save_images=True)
    first = cvtl.run([messy], glow, messy / "runs" / "one", settings=settings)
    second = cvtl.run([messy], glow, messy / "runs" / "two", settings=settings)
    assert first.inputs == second.inputs == 43
    assert cvtl.run([messy], glow, messy / "runs" / "one", settings=settings, resume=True).inputs == 43


def test_options_that_do_not_fit_the_network_end_the_run_and_blame_no_picture(tmp_path: Path, messy: Path) -> None:
    from cvtl_windows.builtin import digit_weights

    with pytest.raises(UsageError, match="fine=3 does not divide the network's stride of 4"):
        cvtl.run([messy], digit_weights(), tmp_path / "out", predict={"fine": 3})


def test_run_json_keeps_the_command(glow: Path, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "out", command="cvtl run detect x")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["command"] == "cvtl run detect x"
