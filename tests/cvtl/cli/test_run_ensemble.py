"""`cvtl run classify --weights A B ...`, how many classes rows name, and ten thousand classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from commands import Command

from cvtl.weights import digest

SaveWeights = Callable[..., Path]

CLASSES = ("daisy", "rose", "tulip")


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def scores_of(out: Path) -> list[dict[str, float]]:
    results = [row["result"] for row in rows_of(out) if row["status"] == "ok"]
    return [dict(zip(result["labels"], result["scores"], strict=True)) for result in results]


def description_of(out: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((out / "run.json").read_text())
    return description


@pytest.fixture
def three(save_weights: SaveWeights) -> list[Path]:
    """Three weights files, one with its classes in another order."""
    orders = {"a": CLASSES, "b": CLASSES[::-1], "c": CLASSES}
    return [save_weights(f"{name}.safetensors", *order, seed=ord(name)) for name, order in orders.items()]


FORMS = [
    ["--weights", "a.safetensors", "b.safetensors", "c.safetensors", "pictures"],
    ["pictures", "--weights", "a.safetensors", "b.safetensors", "c.safetensors"],
    ["--weights", "a.safetensors,b.safetensors,c.safetensors", "pictures"],
    ["--weights=a.safetensors,b.safetensors", "c.safetensors", "pictures"],
    ["--weights", "a.safetensors", "pictures", "--weights=b.safetensors", "--weights", "c.safetensors"],
    ["--weights", "a.safetensors", "b.safetensors", "c.safetensors", "--", "pictures"],
    ["--config", "c.yaml", "pictures"],
]


@pytest.mark.parametrize("words", FORMS, ids=" ".join)
def test_several_weights_are_named_in_any_of_these_ways(
    command: Command, three: list[Path], pictures: Path, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"weights": [path.name for path in three]}))
    assert command("run", "classify", "--out", "out", "--quiet", *words).code == 3
    found = description_of(tmp_path / "out")
    assert found["identity"]["weights"] == [digest(path) for path in three]
    assert found["weights_file"] == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert len(found["identity"]["options"]["members"]) == 3


def test_rows_hold_the_mean_of_what_each_says_alone(
    command: Command, three: list[Path], pictures: Path, tmp_path: Path
) -> None:
    for path in three:
        command("run", "classify", pictures, "--weights", path, "--out", path.stem)
    command("run", "classify", pictures, "--weights", *three, "--out", "mean")
    alone = [scores_of(tmp_path / path.stem) for path in three]
    for number, found in enumerate(scores_of(tmp_path / "mean")):
        expected = {name: sum(each[number][name] for each in alone) / 3 for name in CLASSES}
        assert found == pytest.approx(expected, abs=2e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_a_file_name_may_hold_a_comma(
    command: Command, save_weights: SaveWeights, pictures: Path, tmp_path: Path
) -> None:
    one, other = save_weights("lr 0,1.safetensors", *CLASSES), save_weights("b.safetensors", *CLASSES)
    command("run", "classify", pictures, "--weights", one, "--out", "one")
    command("run", "classify", pictures, "--weights", f"{one},{other}", "--out", "two")
    assert description_of(tmp_path / "one")["identity"]["weights"] == digest(one)
    assert description_of(tmp_path / "two")["identity"]["weights"] == [digest(one), digest(other)]


def test_a_printed_configuration_names_them_all(
    command: Command, three: list[Path], pictures: Path, tmp_path: Path
) -> None:
    words = ["run", "classify", pictures, "--weights", *three]
    (tmp_path / "c.yaml").write_text(command(*words, "--print-config").out)
    command(*words, "--out", "one")
    command("run", "classify", "--config", "c.yaml", "--out", "two")
    assert scores_of(tmp_path / "one") == scores_of(tmp_path / "two") != []
    one, two = (description_of(tmp_path / name)["identity"] for name in ("one", "two"))
    assert one == two


def test_a_run_goes_on_with_the_same_weights_only(
    command: Command, three: list[Path], pictures: Path, tmp_path: Path
) -> None:
    words = ["run", "classify", pictures, "--out", "out", "--batch-size", "2"]
    command(*words, "--weights", *three)
    rows = (tmp_path / "out" / "rows.jsonl").read_bytes()
    description = description_of(tmp_path / "out")
    (tmp_path / "out" / "rows.jsonl").write_bytes(b"".join(rows.splitlines(keepends=True)[:3]))
    (tmp_path / "out" / "run.json").write_text(json.dumps(description | {"state": "running"}))
    for others in ([three[0]], three[:2], [*three[::-1]], [*three, three[0]]):
        said = command(*words, "--resume", "--weights", *others)
        assert said.code == 2
        assert "cannot go on with this command: " in said.err
        assert "weights was [" in said.err
    assert command(*words, "--resume", "--weights", *three).code == 3
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == rows


# What does not fit


def test_only_weights_that_classify_are_averaged(command: Command, glow: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").write_bytes(glow.read_bytes())
    said = command("run", "detect", "--weights", glow, "b.safetensors", pictures, "--out", "out")
    assert said.code == 2
    assert "2 weights were named, but those for the task 'detect' cannot be averaged. Name one of them" in said.err
    assert not (tmp_path / "out").exists()


def test_weights_with_other_classes_are_refused_before_anything_is_written(
    command: Command, save_weights: SaveWeights, pictures: Path, tmp_path: Path
) -> None:
    save_weights("a.safetensors", *CLASSES)
    save_weights("b.safetensors", "daisy", "rose", "lily")
    said = command("run", "classify", pictures, "--weights", "a.safetensors", "b.safetensors", "--out", "out")
    assert said.code == 2
    expected = "'b.safetensors' has other classes than 'a.safetensors': it does not know tulip; it alone knows lily. "
    assert expected in said.err
    assert not (tmp_path / "out").exists()


def test_weights_without_a_value_are_an_error(command: Command, three: list[Path], pictures: Path) -> None:
    for words in (["--weights"], ["--weights", "--out", "o"]):
        said = command("run", "classify", pictures, *words)
        assert (said.code, said.err.startswith("cvtl: --weights needs a value")) == (2, True)


def test_weights_without_pictures_are_an_error(command: Command, three: list[Path]) -> None:
    said = command("run", "classify", "--weights", *three)
    assert said.code == 2
    assert "no pictures were given" in said.err


# Prediction options


def test_help_shows_the_options_of_the_first_weights_plugin(
    command: Command, save_weights: SaveWeights, three: list[Path]
) -> None:
    plain = save_weights("plain.safetensors", *CLASSES, plugin="plain")
    assert "--predict.top-k N" in command("run", "classify", "--weights", three[0], plain, "--help").out
    assert "--predict.top-k" not in command("run", "classify", "--weights", plain, three[0], "--help").out


@pytest.mark.parametrize("count", [1, 3])
def test_top_k_is_how_many_classes_rows_name(
    command: Command, three: list[Path], pictures: Path, tmp_path: Path, count: int
) -> None:
    words = ["run", "classify", pictures, "--weights", *three[:count]]
    command(*words, "--out", "two", "--predict.top-k", "2")
    command(*words, "--out", "all")
    assert {len(each) for each in scores_of(tmp_path / "all")} == {3}
    expected = [dict(list(each.items())[:2]) for each in scores_of(tmp_path / "all")]
    assert scores_of(tmp_path / "two") == expected


def test_what_is_not_said_stays_as_each_file_has_it(
    command: Command, save_weights: SaveWeights, good: Path, tmp_path: Path
) -> None:
    paths = [save_weights(f"{gain}.safetensors", *CLASSES, predict={"gain": float(gain)}) for gain in (2, 3)]
    words = ["run", "classify", good, "--weights", *paths, "--predict.top-k", "1"]

    def predict_options(out: str) -> list[dict[str, float]]:
        members = description_of(tmp_path / out)["identity"]["options"]["members"]
        return [member["predict"] for member in members]

    command(*words, "--out", "a")
    assert predict_options("a") == [{"top_k": 1, "gain": 2.0}, {"top_k": 1, "gain": 3.0}]
    command(*words, "--out", "b", "--predict.gain", "5")
    assert predict_options("b") == [{"top_k": 1, "gain": 5.0}] * 2


# Ten thousand classes

MANY = tuple(f"class {number:05d}" for number in range(10_000))


@pytest.fixture
def many(save_weights: SaveWeights) -> Path:
    return save_weights("many.safetensors", *MANY)


def test_rows_of_ten_thousand_classes_stay_short(
    command: Command, save_weights: SaveWeights, many: Path, pictures: Path, tmp_path: Path
) -> None:
    other = save_weights("other.safetensors", *MANY[::-1], seed=1)
    assert command("run", "classify", pictures, "--weights", many, other, "--out", "out", "--save-images").code == 3
    rows = [row for row in rows_of(tmp_path / "out") if row["status"] == "ok"]
    assert len(rows) == 3
    for row in rows:
        assert len(row["result"]["labels"]) == 5
        assert set(row["result"]["labels"]) < set(MANY)
    assert (tmp_path / "out" / "rows.jsonl").stat().st_size < 3000
    assert (tmp_path / "out" / "run.json").stat().st_size < 5000
    assert (tmp_path / "out" / "pictures" / "a.png").exists()


def test_info_lists_some_of_ten_thousand_classes_and_all_as_json(command: Command, many: Path) -> None:
    said = command("info", many).out
    assert "class 00099 and 9900 more: --json lists them" in " ".join(said.split())
    assert "class 00100" not in " ".join(said.split())
    assert len(said) < 5000
    assert json.loads(command("info", many, "--json").out)["classes"] == list(MANY)


def test_ten_thousand_classes_are_evaluated(command: Command, many: Path, tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / "data" / MANY[number * 700]
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), np.full((10, 12, 3), 20 * number, np.uint8))
    said = command("eval", many, "data", "--split", "all", "--out", "eval", "--draws", "50", "--quiet")
    assert (said.code, said.err) == (0, "")
    figures = json.loads((tmp_path / "eval" / "evaluation.json").read_text())["figures"]
    assert 0 <= figures["top-1 accuracy"]["value"] <= figures["top-5 accuracy"]["value"] <= 1
    assert (tmp_path / "eval" / "report.html").stat().st_size < 1_000_000
