"""Checkpoints are opened in a process of their own, and nothing in them is run."""

from __future__ import annotations

import builtins
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made_checkpoints import CLASSES, SIDE, TINY, make_network, save_checkpoint, table, tasks
from safetensors.torch import load_file

from cvtl.errors import WeightsError
from cvtl.options import Options
from cvtl_ultralytics import isolation, opening, reading, unpickling
from cvtl_ultralytics.opening import Facts, names_in_pickle, open_checkpoint


class Call:
    """Pickled, it is a call of a function, which reading it carelessly would make."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture(scope="module")
def touched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that must never come to be."""
    return tmp_path_factory.mktemp("touched") / "touched"


def payloads(touched: Path) -> dict[str, tuple[Any, str]]:
    """What a malicious file may hold, and the name in its refusal."""
    line = f"open({str(touched)!r}, 'w').close()"
    network, hidden = make_network(TINY), make_network(TINY, seed=1)
    vars(network)["args"] = {}
    vars(hidden).update(args={}, note=Call(os.system, f"touch {touched}"))
    downloads = isolation.module("utils.downloads")
    blocks = isolation.module("nn.modules.block")
    return {
        "a shell command": (Call(os.system, f"touch {touched}"), "posix.system"),
        "exec": (Call(builtins.exec, line), "builtins.exec"),
        "eval": (Call(builtins.eval, f"__import__('os').system('touch {touched}')"), "builtins.eval"),
        "a process": (Call(subprocess.Popen, ["touch", str(touched)]), "Popen"),
        "in a module": (hidden, "posix.system"),
        "beside a network": ({"model": network, "note": Call(builtins.exec, line)}, "builtins.exec"),
        "a function of ultralytics": (Call(tasks().check_requirements, "evil"), "check_requirements"),
        "a download": (Call(downloads.safe_download, "http://127.0.0.1/x", str(touched)), "safe_download"),
        "an opened file": (Call(np.fromfile, str(touched)), "fromfile"),
        "getattr": (Call(getattr, torch.nn.Linear, "__init__"), "unsafe getattr"),
        "a listed class that reaches out": (Call(blocks.TorchVision, "resnet18", "DEFAULT"), "tried to"),
    }


NAMES = [
    *("a shell command", "exec", "eval", "a process", "in a module", "beside a network", "a function of ultralytics"),
    *("a download", "an opened file", "getattr", "a listed class that reaches out"),
]

# One process imports once, and has a copy of itself open each file.
_OPEN_ALL = """
import importlib.util, json, os, sys
from pathlib import Path
specification = importlib.util.spec_from_file_location("unpickling", sys.argv[1])
unpickling = importlib.util.module_from_spec(specification)
specification.loader.exec_module(unpickling)
import safetensors.torch, torch, torchvision
from ultralytics.nn import tasks
for path in sorted(Path(sys.argv[2]).glob("*.pt")):
    child = os.fork()
    if not child:
        folder = path.with_suffix("")
        folder.mkdir()
        unpickling.main(path, folder)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def answers(touched: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the script that opens checkpoints says of each of the malicious ones."""
    folder = tmp_path_factory.mktemp("malicious")
    for name, (content, _) in payloads(touched).items():
        torch.save({"epoch": 0, "model": content, "ema": None}, folder / f"{name}.pt")
    environment = os.environ | isolation.SAFELY | {"YOLO_CONFIG_DIR": str(folder / "settings")}
    command = [sys.executable, "-c", _OPEN_ALL, unpickling.__file__, str(folder)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return {name: json.loads((folder / name / "facts.json").read_text()) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_malicious_file_is_refused_by_name_and_nothing_of_it_is_run(
    answers: dict[str, dict[str, Any]], touched: Path, name: str
) -> None:
    assert payloads(touched)[name][1] in answers[name]["refused"]
    assert not touched.exists()


def test_the_payloads_do_what_they_are_meant_to_where_nobody_guards(tmp_path: Path) -> None:
    content, _ = payloads(tmp_path / "touched")["a shell command"]
    torch.save(content, tmp_path / "x.pt")
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert (tmp_path / "touched").exists()


def test_facts_and_tensors_are_those_of_the_network_whatever_lies_in_the_working_folder(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch.py", "json.py", "safetensors.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    opened = open_checkpoint(checkpoint)
    assert opened.facts.names == {str(number): name for number, name in enumerate(CLASSES)}
    assert (opened.facts.size, opened.facts.task, opened.facts.network) == (SIDE, "detect", "DetectionModel")
    tensors, expected = load_file(opened.tensors), make_network(TINY).half().state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_a_file_is_opened_once_until_it_changes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_checkpoint(checkpoint)
    monkeypatch.setattr(opening, "subprocess", None)
    assert open_checkpoint(checkpoint) is first
    os.utime(checkpoint, (1, 1))
    with pytest.raises(AttributeError):
        open_checkpoint(checkpoint)


# What is told without a child process.


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"task": "segment"}, "made for Ultralytics' task 'segment', and only detectors are run here"),
        ({"quantized": True}, "learnt with quantized weights"),
        ({"architecture": {"backbone": []}}, "cannot be used: it has no 'backbone'"),
        ({"architecture": table("Segment", 32, 64)}, "its head is 'Segment'"),
        ({"names": {"1": "a", "2": "b"}}, "does not number its classes from 0 on"),
    ],
)
def test_networks_that_are_no_detectors_are_refused(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], message: str
) -> None:
    facts = Facts(**{"network": "DetectionModel", "architecture": TINY, "names": list(CLASSES)} | said)
    monkeypatch.setattr(reading, "open_checkpoint", lambda path: SimpleNamespace(facts=facts))
    with pytest.raises(WeightsError, match=re.escape(message)):
        reading.read_header(Path("x.pt"), Options())


@pytest.mark.parametrize(("size", "side"), [(None, 640), (640, 640), (100, 128), ([384, 640], 640)])
def test_the_input_is_what_it_was_trained_with(
    monkeypatch: pytest.MonkeyPatch, size: int | list[int] | None, side: int
) -> None:
    facts = Facts(network="DetectionModel", architecture=TINY, names=list(CLASSES), size=size)
    monkeypatch.setattr(reading, "open_checkpoint", lambda path: SimpleNamespace(facts=facts))
    assert reading.read_header(Path("x.pt"), Options()).input.size_hw == (side, side)


def test_names_are_read_off_a_pickle_without_running_it(checkpoint: Path) -> None:
    names = names_in_pickle(checkpoint)
    assert {"ultralytics.nn.tasks.DetectionModel", "torch._utils._rebuild_tensor_v2"} <= set(names)


class Model(torch.nn.Linear):
    """As if from another repository."""


def strangers(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, tuple[Path, str]]:
    """Files that are called like checkpoints, and what is said of them."""
    shell = folder / "shell.pt"
    torch.save(Call(os.system, "touch touched"), shell)
    state = folder / "state.pt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), state)
    old = folder / "old.pt"
    torch.save({}, old, _use_new_zipfile_serialization=False)
    page = folder / "page.pt"
    page.write_text("<html>not found</html>")
    noise = folder / "noise.pt"
    noise.write_bytes(b"\x00" * 50)
    whole = save_checkpoint(make_network(TINY), folder / "whole.pt").read_bytes()
    cut = folder / "cut.pt"
    cut.write_bytes(whole[: len(whole) // 2])
    script = folder / "script.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(script))
    archive = folder / "archive.pt"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("notes.txt", "x")
    module = ModuleType("models.yolo")
    vars(module)["Model"] = Model
    Model.__module__, Model.__qualname__ = "models.yolo", "Model"
    patch.setitem(sys.modules, "models", ModuleType("models"))
    patch.setitem(sys.modules, "models.yolo", module)
    yolov5 = folder / "yolov5.pt"
    torch.save({"model": Model(2, 2)}, yolov5)
    return {
        "shell": (shell, r"it names posix\.system. Nothing of it was run"),
        "state": (state, "it holds tensors alone"),
        "old": (old, "a pickle from before PyTorch 1.6"),
        "page": (page, "a web page"),
        "noise": (noise, "no PyTorch file"),
        "cut": (cut, "truncated or damaged"),
        "script": (script, "a TorchScript archive"),
        "archive": (archive, "a zip archive of other things"),
        "yolov5": (yolov5, r"names models\.yolo\.Model, .* yolov5 .*ONNX"),
    }


def test_other_files_are_told_for_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = strangers(tmp_path, monkeypatch)
    monkeypatch.setattr(opening, "subprocess", None)
    for path, message in made.values():
        with pytest.raises(WeightsError, match=message):
            open_checkpoint(path)
