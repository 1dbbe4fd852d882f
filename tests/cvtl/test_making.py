"""Models that are made of options: which plugin makes them, and how they run in steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from cvtl import making
from cvtl.cli.main import main
from cvtl.errors import OptionsError, OutputError, PluginError, UsageError
from cvtl.files import write_atomically
from cvtl.making import Made, is_for_maker, make, maker
from cvtl.model import ComposedModel
from cvtl.options import Options
from cvtl.pipeline import run
from cvtl.preprocessing import InputSpec
from cvtl.registry import PLUGINS_GROUP, Making, PluginSpec, Registry
from cvtl.results import Picture, Result
from cvtl.workplace import Workplace, clear_all

WritePicture = Callable[..., Path]


class WashOptions(Options):
    """How dark a wash is."""

    shade: int
    weights: str | None = None
    fails: bool = False

    def run_defaults(self) -> Mapping[str, Any]:
        return {"batch_size": 2}


class Wash(ComposedModel):
    """Gives every pixel one shade, in two steps; a first one that is there already is not done again."""

    plugin = "wash"
    options: WashOptions

    def __init__(self, options: WashOptions) -> None:
        super().__init__(options, (), InputSpec(size_hw=(8, 8)))
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        return [Picture(torch.full_like(image, self.options.shade)) for image in images]

    def predict_in_steps(self, images: Sequence[Tensor], places: Sequence[Workplace]) -> list[Result]:
        for place in places:
            if not place.steps.exists():
                write_atomically(place.steps, "half of it")
                write_atomically(place.preview, "a glance")
                place.note(f"{place.name}: half of it")
                if self.options.fails:
                    raise KeyboardInterrupt
        return self.predict(images)


def make_wash(options: WashOptions) -> Made:
    return Made(Wash(options), {"weights": options.weights})


SPEC = PluginSpec(
    name="wash",
    task="style",
    summary="a test",
    options="cvtl.options:Options",
    model="washes:Wash",
    makes=Making(options="washes:WashOptions", make="washes:make_wash", example="photo.jpg --shade 40"),
    trains=False,
)


@pytest.fixture(autouse=True)
def wash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this plugin and no others."""
    module: Any = ModuleType("washes")
    for name, each in {"Wash": Wash, "WashOptions": WashOptions, "make_wash": make_wash, "wash": SPEC}.items():
        setattr(module, name, each)
    monkeypatch.setitem(sys.modules, "washes", module)
    points = [EntryPoint("wash", "washes:wash", PLUGINS_GROUP)]
    registry = Registry(PLUGINS_GROUP, PluginSpec, "plugin", points=points)
    monkeypatch.setattr(making, "plugins", lambda: registry)


@pytest.fixture
def photos(tmp_path: Path, write_picture: WritePicture) -> Path:
    for number in range(3):
        write_picture(tmp_path / "photos" / f"{number}.png", grey=50 + number)
    return tmp_path / "photos"


def test_the_plugin_of_a_task_that_makes_models_is_found() -> None:
    assert maker("style") is SPEC
    assert maker("detect") is None


@pytest.mark.parametrize(
    ("task", "named", "expected"),
    [
        ("style", [], True),
        ("style", ["imagenet"], True),
        ("style", ["vgg.pth"], True),
        ("style", ["missing.safetensors"], True),
        ("style", ["a.safetensors", "b.safetensors"], False),
        ("detect", [], False),
    ],
)
def test_what_is_no_trained_model_is_for_the_maker(task: str, named: list[str], expected: bool) -> None:
    assert is_for_maker(task, named) == expected


def test_a_run_needs_no_weights_where_a_model_is_made(photos: Path, tmp_path: Path) -> None:
    report = run([photos], None, tmp_path / "o", task="style", making={"shade": 40})
    assert report.counts == {"ok": 3}
    description = json.loads((tmp_path / "o" / "run.json").read_text())
    assert description["identity"]["made_of"] == {"weights": None}
    assert description["identity"]["options"]["shade"] == 40
    assert description["identity"]["batch_size"] == 2
    assert len(list((tmp_path / "o" / "pictures").iterdir())) == 3


def test_options_that_do_not_fit_are_told() -> None:
    with pytest.raises(OptionsError, match="shade"):
        make("style", {"shade": "dark"})


def test_a_task_without_a_maker_says_so() -> None:
    with pytest.raises(UsageError, match="no installed plugin makes models for the task 'detect'"):
        make("detect", {})


def test_what_there_was_is_gone_on_from_and_removed_in_the_end(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    with pytest.raises(KeyboardInterrupt):
        run([photos], None, out, task="style", making={"shade": 40, "fails": True})
    assert (out / "steps" / "0.png.steps").read_text() == "half of it"
    # Only the first picture's first step is done; the second's would fail anew.
    identity = out / "run.json"
    identity.write_text(identity.read_text().replace('"fails": true', '"fails": false'))
    (out / "steps" / "0.png.steps").write_text("of before")
    report = run([photos], None, out, task="style", making={"shade": 40}, resume=True)
    assert report.counts == {"ok": 3}
    assert sorted(path.name for path in out.iterdir()) == ["pictures", "rows.jsonl", "run.json"]


def test_the_command_shows_and_takes_the_makers_options(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["run", "style", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--shade N" in out
    assert "cvtl run style photo.jpg --shade 40" in out
    assert main(["run", "style", str(photos), "--shade", "7", "--weights", "any", "--out", str(tmp_path / "o")]) == 0
    assert "0.png: half of it" in capsys.readouterr().err
    assert json.loads((tmp_path / "o" / "run.json").read_text())["identity"]["made_of"] == {"weights": "any"}


def test_a_full_disk_ends_the_run_and_no_picture_is_blamed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> list[Result]:
        raise OutputError("cannot write: no space left")

    monkeypatch.setattr(Wash, "predict_in_steps", full)
    with pytest.raises(OutputError):
        run([photos], None, tmp_path / "o", task="style", making={"shade": 40})
    assert (tmp_path / "o" / "rows.jsonl").read_text() == ""


def test_places_of_inputs_never_collide_and_leave_nothing_behind_in_the_end(tmp_path: Path) -> None:
    names = ("a/x.png", "b/x.png", "x.png")
    places = [Workplace(tmp_path, name) for name in names]
    for place in places:
        write_atomically(place.steps, place.name)
        write_atomically(place.preview, place.name)
    assert [place.steps.read_text() for place in places] == list(names)
    for place in places:
        place.clear()
        place.clear()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    clear_all(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_clearing_one_place_leaves_its_neighbours_and_clearing_all_none(tmp_path: Path) -> None:
    first, second = Workplace(tmp_path, "a/x.png"), Workplace(tmp_path, "a/y.png")
    for place in (first, second):
        write_atomically(place.steps, "half")
    first.clear()
    assert second.steps.exists()
    clear_all(tmp_path)
    assert not second.steps.exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"make": "washes.make"}, "makes.make must be 'module:attribute'"),
        ({"options": "nowhere:Options"}, "makes.options 'nowhere:Options' cannot be imported"),
        ({"options": "pathlib:Path"}, "makes.options 'pathlib:Path' is not a pydantic model"),
    ],
)
def test_a_spec_is_checked_when_it_is_loaded(changes: dict[str, str], expected: str) -> None:
    makes = {"options": "washes:WashOptions", "make": "washes:make_wash", **changes}
    with pytest.raises(PluginError) as caught:
        PluginSpec(
            name="wash",
            task="style",
            summary="a test",
            options="cvtl.options:Options",
            model="washes:Wash",
            makes=Making(**makes),
        ).check()
    assert expected in str(caught.value)
