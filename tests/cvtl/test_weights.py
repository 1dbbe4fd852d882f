"""The weights file: what goes in comes out, and what does not fit is refused with a clear error."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cvtl import weights
from cvtl.data import Dataset
from cvtl.errors import CvtlError, OutputError, PluginError, UsageError, WeightsError
from cvtl.model import Model
from cvtl.options import Options
from cvtl.preprocessing import InputSpec
from cvtl.registry import PLUGINS_GROUP, PluginSpec, Registry
from cvtl.results import Classification, Result


class TinyOptions(Options):
    width: int = 4


class TinyModel(Model):
    plugin = "tiny"

    def __init__(self, options: TinyOptions, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__(options, classes, input)
        self.body = nn.Linear(3, options.width)
        self.norm = nn.BatchNorm1d(options.width)
        self.head = nn.Linear(options.width, len(self.classes))

    @classmethod
    def initialize(cls, options: Any, classes: Sequence[str]) -> Self:
        return cls(options, classes, InputSpec(size_hw=(8, 6), resize="letterbox", mean=(0.1, 0.2, 0.3)))

    def loss(self, images: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        raise NotImplementedError

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        features = torch.stack([image.float().mean(dim=(1, 2)) / 255 for image in images])
        scores = self.head(self.norm(self.body(features))).softmax(dim=1)
        return [Classification(each, self.classes) for each in scores]

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Any]]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def tiny_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry in which the plugin `tiny` is all there is."""
    module: Any = ModuleType("tiny_plugin")
    module.TinyOptions, module.TinyModel = TinyOptions, TinyModel
    module.plugin = PluginSpec(
        name="tiny", task="classify", summary="a test", options="tiny_plugin:TinyOptions", model="tiny_plugin:TinyModel"
    )
    monkeypatch.setitem(sys.modules, "tiny_plugin", module)
    point = EntryPoint("tiny", "tiny_plugin:plugin", PLUGINS_GROUP)
    registry = Registry(PLUGINS_GROUP, PluginSpec, "plugin", points=[point])
    monkeypatch.setattr(weights, "plugins", lambda: registry)


@pytest.fixture
def model() -> TinyModel:
    torch.manual_seed(0)
    made = TinyModel.initialize(TinyOptions(width=5), ("daisy", "rose"))
    made.norm.running_mean = torch.randn(5)
    return made


@pytest.fixture
def saved(model: TinyModel, tmp_path: Path) -> Path:
    return weights.save(model, tmp_path / "tiny.safetensors", metrics={"accuracy": 0.5}, seed=3, licence="CC0-1.0")


def header_of(path: Path) -> dict[str, Any]:
    header: dict[str, Any] = weights.read_header(path).model_dump(mode="json")
    return header


def rewrite(
    path: Path,
    *,
    header: Mapping[str, Any] | None = None,
    tensors: Callable[[dict[str, Tensor]], None] | None = None,
) -> None:
    """Change a weights file by hand: entries of its header, or its tensors in place."""
    text = json.dumps(header_of(path) | dict(header or {}))
    found = load_file(path)
    if tensors is not None:
        tensors(found)
    save_file(found, path, metadata={"cvtl": text})


# Round trip


def test_a_saved_model_comes_back_and_predicts_the_same(model: TinyModel, saved: Path) -> None:
    loaded = weights.load(saved, task="classify")
    assert type(loaded) is TinyModel
    assert (loaded.options, loaded.classes, loaded.input) == (model.options, model.classes, model.input)
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    pictures = [torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)]
    (before,), (after,) = model.eval().predict(pictures), loaded.predict(pictures)
    assert before.to_dict() == after.to_dict()


def test_the_header_says_what_the_weights_are(saved: Path) -> None:
    header = weights.read_header(saved)
    assert (header.format, header.plugin, header.task, header.classes) == (1, "tiny", "classify", ("daisy", "rose"))
    assert header.options == {"width": 5}
    assert header.input == InputSpec(size_hw=(8, 6), resize="letterbox", mean=(0.1, 0.2, 0.3))
    assert (header.metrics, header.seed, header.licence) == ({"accuracy": 0.5}, 3, "CC0-1.0")
    assert header.versions["torch"] == torch.__version__.partition("+")[0]


def test_the_same_model_gives_the_same_bytes(model: TinyModel, saved: Path, tmp_path: Path) -> None:
    metrics = {"accuracy": 0.5}
    again = weights.save(model, tmp_path / "again.safetensors", metrics=metrics, seed=3, licence="CC0-1.0")
    assert again.read_bytes() == saved.read_bytes()
    copy = weights.save(weights.load(saved), tmp_path / "copy.safetensors", metrics=metrics, seed=3, licence="CC0-1.0")
    assert copy.read_bytes() == saved.read_bytes()


def test_tied_and_strided_tensors_are_saved(model: TinyModel, tmp_path: Path) -> None:
    model.body.weight = nn.Parameter(torch.randn(3, 5).t())
    model.norm.bias = model.norm.weight
    loaded = weights.load(weights.save(model, tmp_path / "tied.safetensors")).state_dict()
    assert torch.equal(loaded["body.weight"], model.body.weight)
    assert torch.equal(loaded["norm.bias"], loaded["norm.weight"])


def test_the_digest_is_the_files_sha256(saved: Path) -> None:
    assert weights.digest(saved) == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_reading_the_header_imports_no_torch(saved: Path) -> None:
    code = f"""
import sys
from cvtl.weights import digest, read_header
print(read_header({str(saved)!r}).plugin, len(digest({str(saved)!r})), 'torch' in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["tiny", "64", "False"]


def test_a_folder_that_cannot_be_written_is_named(model: TinyModel, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / "out" / "w.safetensors"))):
        weights.save(model, tmp_path / "out" / "w.safetensors")


# What is no weights file


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def refused(path: Path, message: str) -> CvtlError:
    """Both ways of reading say the same, and name the file."""
    with pytest.raises(WeightsError) as of_header:
        weights.read_header(path)
    with pytest.raises(WeightsError) as of_load:
        weights.load(path)
    assert str(of_header.value) == str(of_load.value)
    assert f"'{path}'" in of_load.value.what
    assert message in of_load.value.what
    assert of_load.value.hint
    return of_load.value


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "w.safetensors", "there is no weights file")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder, not a weights file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"abc", "truncated or damaged"),
        (b"These are no weights.\n", "truncated, or no safetensors file at all"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(500), "truncated, or no safetensors file at all"),
        (b"\x10" + bytes(7) + b"{not json at all" + bytes(50), "truncated or damaged"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    refused(path, message)


@pytest.mark.parametrize("kept", [7, 100, 0.5, -1])
def test_a_truncated_file_is_refused(saved: Path, kept: float) -> None:
    content = saved.read_bytes()
    size = len(content)
    saved.write_bytes(content[: int(size * kept) if 0 < kept < 1 else int(kept)])
    refused(saved, "truncated")


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_is_refused_and_never_executed(tmp_path: Path, new_format: bool) -> None:
    path, trace = tmp_path / "model.pth", tmp_path / "exploded"
    torch.save({"weight": Bomb(trace)}, path, _use_new_zipfile_serialization=new_format)
    error = refused(path, "it is a PyTorch pickle (.pth or .pt), which cvtl never executes")
    assert "`cvtl train`" in error.hint
    assert not trace.exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_bare_pickle_is_refused_and_never_executed(tmp_path: Path, protocol: int) -> None:
    path, trace = tmp_path / "model.safetensors", tmp_path / "exploded"
    path.write_bytes(pickle.dumps(Bomb(trace), protocol))
    refused(path, "it is a PyTorch pickle")
    assert not trace.exists()


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    refused(path, "not one of cvtl's: it has no 'cvtl' header")


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["empty", "jpeg_named", "missing_head_squeezenet_fp16", "text", "truncated_squeezenet"]
)
def test_real_bad_checkpoints_are_refused(shared_data: Path, name: str) -> None:
    path = shared_data / "bad_checkpoints" / f"{name}.pth"
    refused(path, f"'{path}'")


# Headers that do not fit


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "header: Invalid JSON"),
        ("[]", "header: Input should be an object"),
        ("{}", "plugin: Field required"),
    ],
)
def test_a_damaged_header_is_refused(saved: Path, header: str, message: str) -> None:
    save_file(load_file(saved), saved, metadata={"cvtl": header})
    refused(saved, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format: Input should be 1"),
        ({"task": "segment"}, "task: Input should be 'classify', 'localize'"),
        ({"input": {"size_hw": [8, 6], "resize": "pad"}}, "input.resize: Input should be 'stretch'"),
    ],
)
def test_a_newer_header_is_refused(saved: Path, change: dict[str, Any], message: str) -> None:
    rewrite(saved, header=change)
    error = refused(saved, message)
    assert "upgrade cvtl" in error.hint


def test_unknown_fields_of_a_header_are_passed_over(saved: Path) -> None:
    rewrite(saved, header={"mood": "sunny"})
    assert weights.load(saved).classes == ("daisy", "rose")


def test_weights_for_another_task_are_a_usage_error_with_the_command_that_fits(saved: Path) -> None:
    with pytest.raises(UsageError) as raised:
        weights.load(saved, task="detect")
    assert f"'{saved}' holds weights for the task 'classify', not 'detect'" in str(raised.value)
    assert f"`cvtl run classify --weights {saved}`" in str(raised.value)


def test_weights_of_a_plugin_that_is_not_installed_name_it(saved: Path) -> None:
    rewrite(saved, header={"plugin": "huge"})
    with pytest.raises(PluginError, match=r"there is no plugin 'huge'. Installed are: tiny"):
        weights.load(saved)


def test_options_that_the_plugin_no_longer_takes_name_file_and_option(saved: Path) -> None:
    rewrite(saved, header={"options": {"width": 5, "depth": 2}, "plugin_version": "0.3"})
    with pytest.raises(WeightsError) as raised:
        weights.load(saved)
    message = f"'{saved}' was trained with options that plugin 'tiny' does not take: option 'depth'"
    assert message in str(raised.value)
    assert "version 0.3 of the plugin" in str(raised.value)


# Tensors that do not fit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("head.bias"), "missing head.bias"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "unexpected extra"),
        (
            lambda tensors: tensors.update({"head.weight": torch.zeros(3, 5)}),
            "unexpected head.weight (3, 5) instead of (2, 5)",
        ),
        (
            lambda tensors: tensors.update({"tail.bias": tensors.pop("head.bias")}),
            "missing head.bias; unexpected tail.bias",
        ),
        (
            lambda tensors: tensors.clear(),
            "missing body.weight, body.bias, norm.weight, norm.bias, norm.running_mean and",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    saved: Path, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    rewrite(saved, tensors=change)
    with pytest.raises(WeightsError) as raised:
        weights.load(saved)
    assert f"'{saved}' does not fit the network its header describes: {message}" in str(raised.value)
