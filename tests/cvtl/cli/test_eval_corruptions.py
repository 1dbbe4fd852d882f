"""`cvtl eval --corruptions`: a third party's classifier measured on corrupted pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import Command

from cvtl.registry import plugins

InstallPlugins = Callable[[Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]], Path]

SPEC = """
from cvtl.registry import PluginSpec
plugin = PluginSpec(
    name="shades", task="classify", summary="tells dark from light", options="cvtl.options:Options",
    model="cvtl_shades_model:ShadesModel",
)
"""
MODEL = """
import torch
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, prepare
from cvtl.results import Classification

class ShadesModel(Model):
    plugin = "shades"

    def __init__(self, options, classes, input):
        super().__init__(options, classes, input)
        self.gain = torch.nn.Parameter(torch.tensor(10.0))

    @classmethod
    def initialize(cls, options, classes):
        return cls(options, classes, InputSpec(size_hw=(8, 8), mean=(0.5,) * 3, std=(1,) * 3))

    def predict(self, images):
        logits = self.gain * prepare(images, self.input).mean(dim=(1, 2, 3))
        scores = torch.stack([-logits, logits], dim=1).softmax(dim=1)
        return [Classification(each, self.classes) for each in scores]

    def loss(self, images, targets): ...
    def training_samples(self, data, *, epoch, seed): ...
"""


@pytest.fixture(scope="module")
def site(install_plugins: InstallPlugins) -> Path:
    modules = {"cvtl_shades": SPEC, "cvtl_shades_model": MODEL}
    return install_plugins({"cvtl-shades": (modules, {"shades": "cvtl_shades:plugin"})})


@pytest.fixture
def shades(site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Weights that are right about every picture of `crops`, until they are too bright or too dark."""
    from cvtl import weights

    monkeypatch.syspath_prepend(str(site))
    plugins.cache_clear()
    spec = plugins().get("shades")
    model = spec.model_type().initialize(spec.options_type()(), ["dark", "light"])
    yield weights.save(model, tmp_path / "shades.safetensors", seed=0)
    plugins.cache_clear()


def evaluation_of(out: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(Path(out, "evaluation.json").read_text())
    return found


def sections_of(out: str) -> dict[str, Any]:
    return {each["title"]: each for each in evaluation_of(out)["sections"]}


def test_alone_it_measures_every_kind_at_every_strength(command: Command, shades: Path, crops: Path) -> None:
    said = command("eval", shades, crops, "--corruptions", "--out", "out")
    assert said.code == 0
    assert said.err == ""
    table = sections_of("out")["Corruptions: top-1 accuracy"]
    rows = {row[0]: row[1:] for row in table["rows"]}
    kinds = ["rotation", "shift", "scale", "blur", "noise", "brightness", "contrast", "jpeg"]
    assert list(rows) == ["clean", *kinds, "all"]
    assert rows["clean"][5] == 1
    assert rows["blur"] == [1, 1, 1, 1, 1, 1, 0]
    assert rows["brightness"][0] == 1
    assert rows["brightness"][4] < 1
    figures = evaluation_of("out")["figures"]
    mean, drop = figures["mean corrupted top-1 accuracy"], figures["drop of top-1 accuracy"]
    assert mean["value"] == pytest.approx(rows["all"][5])
    assert mean["low"] < mean["value"] < mean["high"]
    assert drop["value"] == pytest.approx(1 - mean["value"])


def test_it_is_printed_and_stands_on_the_page(command: Command, shades: Path, crops: Path) -> None:
    said = command("eval", shades, crops, "--corruptions", "--out", "out", "--draws", "20")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "Corruptions: top-1 accuracy" in lines
    assert "corruption 1 2 3 4 5 mean drop" in lines
    assert "clean - - - - - 1.0000 -" in lines
    page = Path("out/report.html").read_text()
    assert '<h2 id="section-1-title">Per class</h2>' in page
    for title in ("top-1 accuracy", "what the strengths are", "top-1 accuracy against strength", "one picture"):
        assert title in page
    gallery = sections_of("out")["Corruptions of one picture"]
    assert len(gallery["thumbnails"]) == page.count("<figcaption>") == 8 * 6


def test_without_it_nothing_is_corrupted(command: Command, shades: Path, crops: Path) -> None:
    command("eval", shades, crops, "--out", "out", "--corruption-kinds", "blur", "--draws", "0")
    found = evaluation_of("out")
    assert found["corruptions"] is None
    assert not any("orruption" in each["title"] for each in found["sections"])


def test_kinds_are_chosen_by_name(command: Command, shades: Path, crops: Path) -> None:
    command("eval", shades, crops, "--corruptions", "--corruption-kinds", "noise,blur", "--out", "out", "--draws", "0")
    rows = sections_of("out")["Corruptions: top-1 accuracy"]["rows"]
    assert [row[0] for row in rows] == ["clean", "noise", "blur", "all"]
    assert evaluation_of("out")["corruptions"] == {"kinds": ["noise", "blur"], "pictures": 500}


def test_of_many_pictures_some_are_chosen_and_a_note_says_so(command: Command, shades: Path, crops: Path) -> None:
    words = ["--corruptions", "--corruption-kinds", "jpeg", "--corruption-pictures", "8", "--out", "out"]
    said = command("eval", shades, crops, *words, "--draws", "0")
    note = "Corruptions are measured on 8 of the 20 pictures, chosen by chance, of every class its share"
    assert note in " ".join(said.out.split())
    assert evaluation_of("out")["data"]["pictures"] == 20


def test_the_same_command_writes_the_same_bytes(command: Command, shades: Path, crops: Path) -> None:
    for out in ("a", "b"):
        command("eval", shades, crops, "--corruptions", "--corruption-pictures", "12", "--out", out, "--draws", "20")
    for name in ("evaluation.json", "report.html"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_another_seed_corrupts_in_another_way(command: Command, shades: Path, crops: Path) -> None:
    words = ["--corruptions", "--corruption-kinds", "brightness", "--draws", "0"]
    for seed in ("0", "1"):
        command("eval", shades, crops, *words, "--out", seed, "--seed", seed)
    first, second = (sections_of(seed)["Corruptions: top-1 accuracy"]["rows"] for seed in ("0", "1"))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_two_weights_are_compared_under_corruptions(
    command: Command, shades: Path, crops: Path, tmp_path: Path
) -> None:
    other = shutil.copy(shades, tmp_path / "other.safetensors")
    words = ["--corruptions", "--corruption-kinds", "brightness", "--out", "out", "--draws", "20"]
    assert command("eval", shades, crops, "--against", other, *words).code == 0
    rows = sections_of("out")[f"Corruptions: {shades} (A) against {other} (B)"]["rows"]
    assert [row[0] for row in rows] == ["mean corrupted top-1 accuracy", "drop of top-1 accuracy"]
    assert all(row[3] == 0 for row in rows)


def test_a_file_to_compare_with_has_no_corrupted_pictures_and_a_note_says_so(
    command: Command, shades: Path, crops: Path
) -> None:
    command("eval", shades, crops, "--out", "first", "--draws", "0")
    words = ["--corruptions", "--corruption-kinds", "blur", "--out", "out", "--draws", "0"]
    said = command("eval", shades, crops, "--against", "first/predictions.jsonl", *words)
    assert said.code == 0
    assert "'first/predictions.jsonl' holds predictions, no weights" in " ".join(said.out.split())


def test_a_log_sees_the_passes_go_by(
    command: Command, shades: Path, crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvtl.terminal_progress._SECONDS_BETWEEN_LINES", 0.0)
    said = command("eval", shades, crops, "--corruptions", "--corruption-kinds", "blur,jpeg", "--draws", "30")
    lines = [line.split(",")[0] for line in said.err.splitlines()]
    assert f"{20 * 11}/{20 * 11} pictures" in lines
    assert lines.count("31/31 draws") == 2


def test_pictures_that_cannot_be_read_make_exit_code_3(command: Command, shades: Path, crops: Path) -> None:
    (crops / "dark" / "3.png").write_bytes(b"no picture")
    words = ["--corruptions", "--corruption-kinds", "blur", "--out", "out", "--draws", "0"]
    assert command("eval", shades, crops, *words).code == 3
    notes = evaluation_of("out")["notes"]
    assert len(notes) == len(set(notes)) == 2


# Other tasks, and wrong usage


@pytest.fixture
def lamps(tmp_path: Path) -> Path:
    """COCO pictures with a box round the whole of every other one."""
    (tmp_path / "lamps").mkdir()
    images = [{"id": n, "file_name": f"{n}.png", "width": 32, "height": 24} for n in range(24)]
    boxes = [
        {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [0, 0, 32, 24], "area": 768, "iscrowd": 0}
        for n in range(0, 24, 2)
    ]
    for n in range(24):
        cv2.imwrite(str(tmp_path / "lamps" / f"{n}.png"), np.full((24, 32, 3), 220 - 180 * (n % 2), np.uint8))
    path = tmp_path / "lamps" / "lamps.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "lamp"}]}))
    return path


def test_where_boxes_are_to_be_found_nothing_is_moved(command: Command, glow: Path, lamps: Path) -> None:
    said = command("eval", glow, lamps, "--corruptions", "--out", "out", "--draws", "20")
    assert said.code == 0
    rows = sections_of("out")["Corruptions: AP"]["rows"]
    assert [row[0] for row in rows] == ["clean", "blur", "noise", "brightness", "contrast", "jpeg", "all"]
    note = "Of the corruptions, rotation, shift, scale are left out: they would move what has to be found."
    assert note in evaluation_of("out")["notes"]
    assert "drop of AP" in evaluation_of("out")["figures"]


def test_moving_what_is_to_be_found_is_refused(command: Command, glow: Path, lamps: Path) -> None:
    said = command("eval", glow, lamps, "--corruptions", "--corruption-kinds", "blur,shift")
    assert said.code == 2
    said = " ".join(said.err.split())
    assert "the corruption 'shift' would move what the task 'detect' has to find" in said
    assert "Those that fit are blur, noise, brightness, contrast, jpeg" in said
    assert not Path("cvtl-runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--predictions", "r.json", "data", "--corruptions"], "--corruptions runs a model over corrupted pictures"),
        (["w.safetensors", "data", "--corruptions", "--corruption-kinds", "fog"], "--corruption-kinds"),
        (["w.safetensors", "data", "--corruptions", "--corruption-pictures", "0"], "--corruption-pictures must be"),
        (["w.safetensors", "data", "--corruptions", "blur"], "'blur' is one word too many"),
    ],
)
def test_words_that_do_not_fit_are_explained(command: Command, words: list[str], message: str) -> None:
    said = command("eval", *words)
    assert said.code == 2
    assert message in " ".join(said.err.split())
    assert "Traceback" not in said.err


# In a browser


@pytest.mark.parametrize("size_wh", [(390, 844), (1280, 900)])
def test_every_kind_has_a_row_of_pictures_from_clean_to_the_worst(
    visit: Callable[..., Any], command: Command, shades: Path, crops: Path, size_wh: tuple[int, int]
) -> None:
    words = ["--corruptions", "--corruption-kinds", "blur,noise", "--corruption-pictures", "4", "--draws", "0"]
    command("eval", shades, crops, *words, "--out", "out")
    seen = visit(Path("out/report.html").resolve(), size_wh)
    assert seen.complaints == []
    assert seen.overflow <= 0
    figures = seen.page.locator("section.gallery").last.locator("figure")
    tops = [round(each.bounding_box()["y"]) for each in figures.all()]
    assert len(set(tops[:6])) == len(set(tops[6:])) == 1
    assert tops[0] < tops[6]
    starts = [each.split(":")[0] for each in figures.locator("figcaption").all_inner_texts()]
    assert starts == [*("clean", *(f"blur {n}" for n in range(1, 6))), *("clean", *(f"noise {n}" for n in range(1, 6)))]
