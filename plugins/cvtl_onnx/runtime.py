"""onnxruntime: opening ONNX files, and what they say of themselves. Torch-free.

Since 1.29 the published builds send telemetry, on Linux too, and keep a device's number and a queue on disk. Only a
variable in the environment, set before the import, keeps all of that from happening; the function that turns it off
comes too late for the first event. Whoever wants it may set ORT_DISABLE_TELEMETRY=0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from cvtl.errors import PluginError, WeightsError

Shape = tuple[int | None, ...]
"""Sizes; None where the file leaves one open."""

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_ONLY_FATAL = 4


@dataclass(frozen=True)
class Facts:
    """What an ONNX file says of itself.

    Attributes:
        input_name: of the one input.
        input_shape: N, 3, H, W.
        input_type: of its numbers: float32 or float16.
        outputs: name and shape of each.
        metadata: what the exporter wrote into it.
    """

    input_name: str
    input_shape: Shape
    input_type: str
    outputs: Mapping[str, Shape]
    metadata: Mapping[str, str]


def read_facts(path: Path) -> Facts:
    """What a file says of itself.

    Raises:
        PluginError: onnxruntime is not installed.
        WeightsError: the file is no ONNX, is damaged, or its input is not one batch of pictures.
    """
    state = path.stat()
    return _read_facts(path, state.st_size, state.st_mtime_ns)


# One command asks for the same header several times.
@lru_cache(maxsize=16)
def _read_facts(path: Path, size: int, mtime_ns: int) -> Facts:
    session = open_session(path, optimize=False)
    inputs = {each.name: _shape(each.shape) for each in session.get_inputs()}
    kinds = [each.type for each in session.get_inputs()]
    ((name, shape), *others) = inputs.items()
    if others or len(shape) != 4 or shape[1] not in (3, None) or kinds[0] not in _TYPES:
        listed = ", ".join(f"{each.name} {each.type} {shape_text(_shape(each.shape))}" for each in session.get_inputs())
        raise WeightsError(
            f"'{path}' takes {listed}, not one batch of pictures N x 3 x H x W of floats",
            hint="Export the network with channels first and nothing but pictures as its input",
        )
    outputs = {each.name: _shape(each.shape) for each in session.get_outputs()}
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    return Facts(name, shape, _TYPES[kinds[0]], outputs, metadata)


def open_session(path: Path, *, device: str = "cpu", threads: int = 1, optimize: bool = True) -> Any:
    """An `onnxruntime.InferenceSession`.

    Args:
        path: an ONNX file.
        device: `cuda` runs on the GPU where the installed onnxruntime can; everything else on the CPU.
        threads: for one picture's operations.
        optimize: rewrite the network to be fast, which takes time.

    Raises:
        PluginError: onnxruntime is not installed.
        WeightsError: the file is no ONNX, or damaged, or needs operations that onnxruntime does not have.
    """
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = _ONLY_FATAL
    options.intra_op_num_threads = threads
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = ["CUDAExecutionProvider"] * (device == "cuda") + ["CPUExecutionProvider"]
    providers = [name for name in wanted if name in runtime.get_available_providers()]
    try:
        return runtime.InferenceSession(os.fspath(path), options, providers=providers)
    # onnxruntime's own errors have no base of their own.
    except Exception as error:
        raise WeightsError(f"cannot read '{path}': {_reason(error)}", hint=_advice(error)) from error


def run_black(path: Path, facts: Facts, size_hw: tuple[int, int]) -> list[npt.NDArray[Any]]:
    """What the network gives for a black picture, to see what the file does not say: shapes, and kinds of scores."""
    state = path.stat()
    return _run_black(path, facts.input_name, facts.input_shape[0] or 1, facts.input_type, size_hw, state.st_mtime_ns)


@lru_cache(maxsize=16)
def _run_black(
    path: Path, name: str, batch: int, kind: str, size_hw: tuple[int, int], mtime_ns: int
) -> list[npt.NDArray[Any]]:
    session = open_session(path, optimize=False)
    try:
        outputs = session.run(None, {name: np.zeros((batch, 3, *size_hw), kind)})
    except Exception as error:
        raise WeightsError(
            f"'{path}' fails on a picture of {size_hw[0]} x {size_hw[1]}: {_first_line(error)}",
            hint="If it is made for another size, name it with --size",
        ) from error
    return [np.asarray(each) for each in outputs]


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape as people write it.

    Example:
        >>> shape_text((1, None, 85))
        '1 x ? x 85'
    """
    return " x ".join("?" if size is None else str(size) for size in shape) or "of unknown shape"


def runtime_version() -> str:
    """Of onnxruntime."""
    return str(_onnxruntime().__version__)


def _onnxruntime() -> ModuleType:
    os.environ.setdefault(NO_TELEMETRY, "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise PluginError(
            f"ONNX files are run by onnxruntime, which cannot be imported: {error}",
            hint="Install it with `pip install 'cvtl[export]'`, or alone with `pip install onnxruntime`",
        ) from error
    # Another package may have imported it before.
    if os.environ[NO_TELEMETRY] == "1":
        onnxruntime.disable_telemetry_events()
    module: ModuleType = onnxruntime
    return module


def _shape(sizes: Sequence[Any]) -> Shape:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in sizes)


def _reason(error: Exception) -> str:
    name = type(error).__name__
    if name == "InvalidProtobuf":
        return "it is truncated, or no ONNX file at all"
    return f"{_first_line(error)} ({name})"


def _advice(error: Exception) -> str:
    if "external data" in str(error) or ".data" in str(error):
        return "Its weights lie in a second file beside it (often .onnx.data): copy that, too"
    if type(error).__name__ == "NotImplemented":
        return "Export it with standard operations only, or upgrade onnxruntime"
    return "Copy it again and compare its SHA-256 with the original's"


def _first_line(error: Exception) -> str:
    """What onnxruntime says, without the code, the source line and the path that stand before it."""
    line = str(error).strip().partition("\n")[0].rpartition(" : ")[2]
    return re.sub(r"^Load model from .* failed:", "", line).strip().rstrip(".")
