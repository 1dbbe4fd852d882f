"""`cvtl weights convert`."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from commands import Command

from cvtl import foreign, weights
from cvtl.errors import UsageError
from cvtl.registry import PLUGINS_GROUP, ForeignWeights, PluginSpec, Registry

OPTIONS = "cvtl.options:Options"
SAID = {"licence": "MIT", "metrics": {"AP": 0.5}, "seed": 7}


@pytest.fixture
def note(tmp_path: Path, glow: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of another tool's that a plugin reads: to it, all such files are a lamp."""
    module: Any = ModuleType("notes")
    module.header = lambda path, options: weights.read_header(glow).model_copy(update=SAID)
    module.load = lambda path, header: weights.load(glow)
    reads = ForeignWeights(suffixes=(".note",), header="notes:header", load="notes:load")
    module.plugin = PluginSpec(name="note", task="detect", summary="a test", options=OPTIONS, model="m:M", reads=reads)
    monkeypatch.setitem(sys.modules, "notes", module)
    point = EntryPoint("note", "notes:plugin", PLUGINS_GROUP)
    registry = Registry(PLUGINS_GROUP, PluginSpec, "plugin", points=[point])
    monkeypatch.setattr(foreign, "plugins", lambda: registry)
    path = tmp_path / "lamp.note"
    path.write_text("a lamp")
    return path


def test_what_it_says_is_kept(command: Command, note: Path, tmp_path: Path) -> None:
    said = command("weights", "convert", note, tmp_path / "lamp.safetensors")
    assert said.code == 0, said.err
    assert "licence: MIT" in said.out
    header = weights.read_header(tmp_path / "lamp.safetensors")
    assert (header.plugin, header.licence, header.metrics, header.seed) == ("glow", "MIT", {"AP": 0.5}, 7)


def test_programs_get_json(command: Command, note: Path, tmp_path: Path) -> None:
    said = command("weights", "convert", note, tmp_path / "lamp.safetensors", "--json")
    told = json.loads(said.out)
    assert told["plugin"] == "glow"
    assert told["sha256"] == weights.digest(tmp_path / "lamp.safetensors")


def test_nothing_is_overwritten(command: Command, note: Path, tmp_path: Path) -> None:
    (tmp_path / "lamp.safetensors").write_text("mine")
    said = command("weights", "convert", note, tmp_path / "lamp.safetensors")
    assert said.code == 2
    assert "is there already" in said.err
    assert (tmp_path / "lamp.safetensors").read_text() == "mine"


@pytest.mark.parametrize(
    "words", [(), ("convert",), ("convert", "a.note"), ("turn", "a", "b"), ("convert", "a", "b", "c")]
)
def test_a_command_that_does_not_fit_shows_one_that_does(command: Command, words: tuple[str, ...]) -> None:
    said = command("weights", *words)
    assert said.code == 2
    assert "cvtl weights convert yolo11n.pt yolo11n.safetensors" in said.err


def test_own_and_unknown_files_and_wrong_targets_are_refused(note: Path, glow: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is one of cvtl's own files already"):
        weights.convert(glow, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="of a kind that no installed plugin reads"):
        weights.convert(tmp_path / "x.bin", tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=r"Call it 'x\.safetensors'"):
        weights.convert(note, tmp_path / "x.pth")
