"""Weights that other tools wrote: the plugins that read them are asked, and nobody else has to know."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from cvtl import ensemble, foreign, weights
from cvtl.errors import OptionsError, PluginError, UsageError, WeightsError
from cvtl.foreign import is_foreign, reading_options
from cvtl.model import ComposedModel, Model
from cvtl.options import Options
from cvtl.preprocessing import InputSpec
from cvtl.registry import PLUGINS_GROUP, ForeignWeights, PluginSpec, Registry
from cvtl.results import Classification, Result


class NoteOptions(Options):
    """What a note may leave open."""

    first: str = "yes"


class Oracle(ComposedModel):
    """Says the first of its classes of every picture."""

    plugin = "note"

    def __init__(self, options: Options, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__(options, classes, input)
        self.register_buffer("scores", torch.eye(len(self.classes))[0])

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        return [Classification(self.scores, self.classes) for _ in images]


def read_note(path: Path, options: NoteOptions) -> weights.Header:
    text = path.read_text().split()
    if text[:1] != ["oracle"]:
        raise WeightsError(f"'{path}' is no oracle's note", hint="Write one")
    return weights.Header(
        plugin="note", task="classify", classes=(options.first, *text[1:]), input=InputSpec(size_hw=(8, 8))
    )


def load_note(path: Path, header: weights.Header) -> Model:
    return Oracle(Options(), header.classes, header.input)


def read_scroll(path: Path, options: Options) -> weights.Header:
    if not path.read_text().startswith("scroll"):
        raise WeightsError(f"'{path}' is no scroll")
    return weights.Header(plugin="scroll", task="detect", classes=("a",), input=InputSpec(size_hw=(8, 8)))


NOTE = ForeignWeights(
    suffixes=(".note", ".note.gz"), header="notes:read_note", load="notes:load_note", options="notes:NoteOptions"
)
SCROLL = ForeignWeights(suffixes=(".note", ".scroll"), header="notes:read_scroll", load="notes:load_note")

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Have these plugins, each with what it reads, and no others."""

    def install(**reads: ForeignWeights | None) -> None:
        module: Any = ModuleType("notes")
        for each in (NoteOptions, Oracle, read_note, load_note, read_scroll, Options):
            setattr(module, each.__name__, each)
        for name, each in reads.items():
            spec = PluginSpec(
                name=name, task="classify", summary="a test", options="notes:Options", model="notes:Oracle", reads=each
            )
            setattr(module, name, spec)
        monkeypatch.setitem(sys.modules, "notes", module)
        points = [EntryPoint(name, f"notes:{name}", PLUGINS_GROUP) for name in reads]
        points.append(EntryPoint("broken", "notes:nothing", PLUGINS_GROUP))
        registry = Registry(PLUGINS_GROUP, PluginSpec, "plugin", points=points)
        monkeypatch.setattr(foreign, "plugins", lambda: registry)

    return install


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "a.note"
    path.write_text("oracle no maybe")
    return path


def test_a_plugin_reads_the_files_that_it_names(install: Install, note: Path) -> None:
    install(note=NOTE)
    assert weights.read_header(note).classes == ("yes", "no", "maybe")
    model = weights.load(note, task="classify")
    assert not model.training
    (said,) = model.predict([torch.zeros(3, 4, 4, dtype=torch.uint8)])
    assert said.to_dict()["labels"][0] == "yes"


def test_what_a_user_says_of_a_file_reaches_its_reader(install: Install, note: Path) -> None:
    install(note=NOTE)
    assert weights.read_header(note, {"first": "of course"}).classes[0] == "of course"
    assert weights.load(note, reading={"first": "of course"}).classes[0] == "of course"
    with pytest.raises(OptionsError, match="option 'second': there is no such option"):
        weights.read_header(note, {"second": "no"})


def test_readers_of_several_kinds_are_each_told_what_concerns_them(
    install: Install, note: Path, tmp_path: Path
) -> None:
    other = ForeignWeights(suffixes=(".scroll",), header=SCROLL.header, load=SCROLL.load)
    install(note=NOTE, scroll=other)
    (tmp_path / "a.scroll").write_text("scroll")
    assert weights.read_header(tmp_path / "a.scroll", {"first": "of course"}).task == "detect"


def test_names_tell_foreign_files_whatever_their_case(install: Install) -> None:
    install(note=NOTE)
    told = {name: is_foreign(name) for name in ("a.note", "A.NOTE", "a.note.gz", "note", "a.gz", "a.safetensors", ".")}
    assert [name for name, is_one in told.items() if is_one] == ["a.note", "A.NOTE", "a.note.gz"]
    assert reading_options("a.note") is NoteOptions
    assert reading_options("a.safetensors") is None


def test_of_two_that_read_a_suffix_the_one_that_understands_the_file_has_it(install: Install, note: Path) -> None:
    install(note=NOTE, scroll=SCROLL)
    assert weights.read_header(note).plugin == "note"
    note.write_text("scroll")
    assert weights.read_header(note).plugin == "scroll"
    note.write_text("neither")
    with pytest.raises(WeightsError, match="is no oracle's note"):
        weights.read_header(note)


def test_plugins_that_share_a_reader_are_asked_once(
    install: Install, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(note=NOTE, twin=NOTE)
    asked = []
    monkeypatch.setattr(sys.modules["notes"], "read_note", lambda *a: asked.append(a) or read_note(*a))
    weights.read_header(note)
    assert len(asked) == 1


@pytest.mark.parametrize(("content", "expected"), [(None, "there is no weights file"), ("", "is empty")])
def test_what_is_no_file_is_told_before_a_reader_is_asked(
    install: Install, tmp_path: Path, content: str | None, expected: str
) -> None:
    install(note=NOTE)
    if content is not None:
        (tmp_path / "x.note").write_text(content)
    for attempt in (weights.read_header, weights.load):
        with pytest.raises(WeightsError, match=expected):
            attempt(tmp_path / "x.note")


def test_a_wrong_task_is_refused(install: Install, note: Path) -> None:
    install(note=NOTE)
    with pytest.raises(UsageError, match="holds weights for the task 'classify', not 'detect'"):
        weights.load(note, task="detect")


def test_foreign_classifiers_are_averaged(install: Install, note: Path) -> None:
    install(note=NOTE)
    other = note.with_name("b.note")
    other.write_text("oracle maybe no")
    (said,) = ensemble.load([note, other]).predict([torch.zeros(3, 4, 4, dtype=torch.uint8)])
    assert said.to_dict()["scores"] == [1, 0, 0]


def test_a_suffix_that_nobody_reads_is_no_foreign_file(install: Install, tmp_path: Path) -> None:
    install(note=None)
    (tmp_path / "a.note").write_text("oracle")
    assert not is_foreign("a.note")
    with pytest.raises(WeightsError, match=r"no safetensors file at all|truncated"):
        weights.read_header(tmp_path / "a.note")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"suffixes": ("note",)}, "reads.suffixes must be like '.onnx', not 'note'"),
        ({"header": "notes.read"}, "reads.header must be 'module:attribute'"),
        ({"options": "nowhere:Options"}, "reads.options 'nowhere:Options' cannot be imported"),
        ({"options": "pathlib:Path"}, "reads.options 'pathlib:Path' is not a pydantic model"),
    ],
)
def test_a_spec_is_checked_when_it_is_loaded(changes: dict[str, Any], expected: str) -> None:
    reads = {"suffixes": (".note",), "header": "notes:read", "load": "notes:load", **changes}
    with pytest.raises(PluginError) as caught:
        PluginSpec(
            name="note",
            task="classify",
            summary="a test",
            options="cvtl.options:Options",
            model="notes:Oracle",
            reads=ForeignWeights(**reads),
        ).check()
    assert expected in str(caught.value)
