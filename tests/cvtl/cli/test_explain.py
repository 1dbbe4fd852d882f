"""`cvtl explain`: heat maps over pictures, and where the evidence lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import Command
from PIL import Image

from cvtl.images import read_image

SaveWeights = Callable[..., Path]

CLASSES = ("bright", "dark", "nothing")


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def explained(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = row["result"]["explained"]
    return found


@pytest.fixture
def shades(save_weights: SaveWeights) -> Path:
    return save_weights("w.safetensors", *CLASSES)


@pytest.fixture
def spot(tmp_path: Path) -> Path:
    """A grey picture, 60 x 40, that is bright round (50, 10) and dark round (10, 30)."""
    image = np.full((40, 60, 3), 128, np.uint8)
    image[8:12, 48:52] = 255
    image[28:32, 8:12] = 0
    cv2.imwrite(str(tmp_path / "spot.png"), image)
    return tmp_path / "spot.png"


def test_the_most_probable_class_is_explained(command: Command, shades: Path, spot: Path, tmp_path: Path) -> None:
    said = command("explain", shades, spot, "--out", "out")
    assert said.code == 0
    (row,) = rows_of(tmp_path / "out")
    found, result = explained(row), row["result"]
    assert (found["labels"], found["scores"]) == (result["labels"][:1], result["scores"][:1])
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "picture label score most evidence at (x y)" in lines
    assert any(line.startswith(f"spot.png (60 x 40) {found['labels'][0]} {found['scores'][0]:.3f}") for line in lines)
    assert "pictures: out/pictures" in lines


@pytest.mark.parametrize(("name", "peak_xy"), [("bright", (50, 10)), ("dark", (10, 30))])
def test_the_peak_is_where_the_evidence_is(
    command: Command, shades: Path, spot: Path, tmp_path: Path, name: str, peak_xy: tuple[int, int]
) -> None:
    assert command("explain", shades, spot, "--class", name, "--out", "out").code == 0
    found = explained(rows_of(tmp_path / "out")[0])
    assert found["labels"] == [name]
    assert found["peaks"][0] == pytest.approx(peak_xy, abs=2)


def test_where_nothing_speaks_for_a_class_there_is_no_peak(
    command: Command, shades: Path, spot: Path, tmp_path: Path
) -> None:
    said = command("explain", shades, spot, "--class", "nothing", "--out", "out")
    assert explained(rows_of(tmp_path / "out")[0])["peaks"] == [None]
    assert said.code == 0


def test_peaks_refer_to_the_upright_picture(command: Command, shades: Path, spot: Path, tmp_path: Path) -> None:
    stored = Image.open(spot).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.jpg", quality=100, subsampling=0, exif=exif)
    command("explain", shades, "turned.jpg", "--class", "bright", "--out", "out")
    (row,) = rows_of(tmp_path / "out")
    assert (row["width"], row["height"]) == (60, 40)
    assert explained(row)["peaks"][0] == pytest.approx((50, 10), abs=2)


def test_the_best_classes_are_shown_side_by_side(command: Command, shades: Path, spot: Path, tmp_path: Path) -> None:
    widths = {}
    for top in (1, 2, 3):
        command("explain", shades, spot, "--top", top, "--out", f"top-{top}")
        (row,) = rows_of(tmp_path / f"top-{top}")
        assert explained(row)["labels"] == row["result"]["labels"][:top]
        assert explained(row)["scores"] == row["result"]["scores"][:top]
        widths[top] = read_image(tmp_path / f"top-{top}" / "pictures" / "spot.png").shape[1]
    assert widths == {1: widths[1], 2: widths[1] * 3 // 2, 3: widths[1] * 2}


def test_more_than_there_are_classes_explains_all(command: Command, shades: Path, spot: Path, tmp_path: Path) -> None:
    command("explain", shades, spot, "--top", "9", "--out", "out")
    assert sorted(explained(rows_of(tmp_path / "out")[0])["labels"]) == sorted(CLASSES)


def test_the_heat_map_lies_over_the_picture_as_strongly_as_asked(
    command: Command, shades: Path, spot: Path, tmp_path: Path
) -> None:
    drawn = {}
    for alpha in (0, 1):
        command("explain", shades, spot, "--class", "bright", "--alpha", alpha, "--out", f"a{alpha}")
        drawn[alpha] = read_image(tmp_path / f"a{alpha}" / "pictures" / "spot.png").astype(int)
    height, width = drawn[0].shape[:2]
    changed = (np.abs(drawn[0] - drawn[1]).max(axis=2) > 30).nonzero()
    assert len(changed[0]) > 500
    assert changed[1].min() > width / 2
    colours = drawn[0][height // 4 :].std(axis=2)
    assert colours.max() < 1


def test_json_tells_paths_classes_scores_and_peaks(
    command: Command, shades: Path, pictures: Path, tmp_path: Path
) -> None:
    said = command("explain", shades, pictures, "--json", "--top", "2", "--out", "out")
    assert (said.code, said.err) == (3, "")
    found = json.loads(said.out)
    assert found["pictures"] == rows_of(tmp_path / "out")
    assert found["counts"] == {"ok": 3, "unreadable": 1}
    assert [row["source"] for row in found["pictures"]] == ["a.png", "b.png", "bad.png", "sub/a.png"]


def test_bad_pictures_are_reported_and_cost_the_others_nothing(
    command: Command, shades: Path, pictures: Path, tmp_path: Path
) -> None:
    said = command("explain", shades, pictures, "--out", "out")
    assert said.code == 3
    assert "unreadable: bad.png: it is not a picture" in said.out
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert written == {"pictures/a.png", "pictures/b.png", "pictures/sub/a.png"}


def test_what_it_has_written_is_no_input_of_the_next(command: Command, shades: Path, spot: Path) -> None:
    folder = spot.parent
    for _ in range(2):
        assert json.loads(command("explain", shades, folder, "--json").out)["inputs"] == 1


def test_resume_goes_on(command: Command, shades: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["explain", shades, pictures, "--out", "out"]
    command(*words)
    rows = (tmp_path / "out" / "rows.jsonl").read_bytes()
    assert "(4 of them from before)" in command(*words, "--resume").out
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == rows
    said = command(*words, "--resume", "--class", "dark")
    assert said.code == 2
    assert "explain was " in said.err


@pytest.mark.parametrize("name", ["$x_1^2$ and $\\frac{1}$", "日本", "a\nb", "long " * 40, "unbroken" * 40, "[red]"])
def test_any_class_name_can_be_drawn(
    command: Command, save_weights: SaveWeights, spot: Path, tmp_path: Path, name: str
) -> None:
    weights = save_weights("odd.safetensors", name, "other")
    said = command("explain", weights, spot, "--class", name, "--out", "out")
    assert (said.code, said.err) == (0, "")
    assert read_image(tmp_path / "out" / "pictures" / "spot.png").shape[1] > 400


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2000), (2000, 3), (1500, 1200)])
def test_pictures_of_any_shape_are_drawn_at_a_reasonable_size(
    command: Command, shades: Path, tmp_path: Path, size_hw: tuple[int, int]
) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), np.random.default_rng(0).integers(0, 255, (*size_hw, 3), dtype=np.uint8))
    assert command("explain", shades, "p.png", "--out", "out").code == 0
    height, width = read_image(tmp_path / "out" / "pictures" / "p.png").shape[:2]
    assert 60 < height < 700
    assert 300 < width < 1300


def test_ten_thousand_classes_are_ranked_and_found_by_name(
    command: Command, save_weights: SaveWeights, spot: Path, tmp_path: Path
) -> None:
    weights = save_weights("many.safetensors", *(f"class {number:05d}" for number in range(10_000)))
    assert command("explain", weights, spot, "--class", "class 00001", "--out", "out").code == 0
    (row,) = rows_of(tmp_path / "out")
    assert explained(row)["labels"] == ["class 00001"]
    assert len(row["result"]["labels"]) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no weights were named"),
        (["w.safetensors"], "no pictures were given"),
        (["w.safetensors", "nowhere"], "there is no file or folder 'nowhere'"),
        (["w.safetensors", "spot.png", "--class", "brigth"], "know no class 'brigth'. Similar is 'bright'"),
        (["w.safetensors", "spot.png", "--class", "xyz"], "know no class 'xyz'. `cvtl info WEIGHTS` lists"),
        (["w.safetensors", "spot.png", "--class", "dark", "--top", "2"], "--class and --top exclude each other"),
        (["w.safetensors", "spot.png", "--top", "0"], "--top must be greater than or equal to 1"),
        (["w.safetensors", "spot.png", "--alpha", "2"], "--alpha must be less than or equal to 1"),
        (["w.safetensors", "spot.png", "--resume"], "--resume needs --out"),
        (["mute.safetensors", "spot.png"], "weights of the plugin 'plain' cannot explain what they find"),
        (["glow.safetensors", "spot.png"], "holds weights for the task 'detect', not 'classify'"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_written(
    command: Command,
    save_weights: SaveWeights,
    shades: Path,
    spot: Path,
    glow: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    save_weights("mute.safetensors", *CLASSES, plugin="plain")
    (tmp_path / "glow.safetensors").write_bytes(glow.read_bytes())
    said = command("explain", *words)
    assert said.code == 2
    assert message in said.err
    assert not (tmp_path / "cvtl-runs").exists()


def test_a_folder_that_holds_a_run_is_not_written_over(command: Command, shades: Path, spot: Path) -> None:
    command("explain", shades, spot, "--out", "out")
    said = command("explain", shades, spot, "--out", "out")
    assert said.code == 1
    assert "'out' already holds a run" in said.err
