"""Small ONNX files whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Size = int | str | None


def constant_net(
    path: Path,
    output: npt.NDArray[np.floating],
    *,
    size_hw: tuple[Size, Size] = (32, 32),
    batch: Size = 1,
    metadata: Mapping[str, str] | None = None,
    states_output: bool = True,
    half: bool = False,
) -> Path:
    """A network that gives the same for every picture: `output`, without N."""
    dtype = np.float16 if half else np.float32
    ones = [1] * output.ndim
    constants = {"answer": output[None].astype(dtype), "zero": np.zeros(1, dtype), "shape": np.array([-1, *ones])}
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "shape"], ["flat"]),
        helper.make_node("Add", ["flat", "answer"], ["output"]),
    ]
    shape = [batch, *output.shape] if states_output else [batch, *(f"d{axis}" for axis in range(output.ndim))]
    return _save(path, nodes, constants, (batch, 3, *size_hw), {"output": shape}, metadata, half=half)


def mean_net(path: Path, *, size_hw: tuple[Size, Size] = (8, 8), batch: Size = "N", softmax: bool = False) -> Path:
    """A classifier of three classes that answers with the means of its input's channels."""
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0)]
    nodes.append(helper.make_node("Softmax" if softmax else "Identity", ["mean"], ["output"]))
    return _save(path, nodes, {}, (batch, 3, *size_hw), {"output": [batch, 3]}, None)


def two_outputs(path: Path) -> Path:
    """A network with two outputs, of which none is known."""
    nodes = [helper.make_node("Identity", ["images"], [name]) for name in ("masks", "edges")]
    shape: list[Size] = [1, 3, 8, 8]
    return _save(path, nodes, {}, (1, 3, 8, 8), {"masks": shape, "edges": shape}, None)


def grey_net(path: Path) -> Path:
    """A network that takes pictures of one channel."""
    nodes = [helper.make_node("ReduceMean", ["images"], ["output"], axes=[2, 3], keepdims=0)]
    return _save(path, nodes, {}, (1, 1, 8, 8), {"output": [1, 1]}, None)


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, npt.NDArray[np.generic]],
    input_shape: Sequence[Size],
    outputs: Mapping[str, Sequence[Size]],
    metadata: Mapping[str, str] | None,
    *,
    half: bool = False,
) -> Path:
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info("images", kind, list(input_shape))],
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, str(path))
    return path
