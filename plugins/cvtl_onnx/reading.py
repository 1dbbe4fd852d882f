"""From an ONNX file to the header that cvtl's own weights carry, and to a model."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cvtl import __version__
from cvtl.errors import UsageError, WeightsError
from cvtl.preprocessing import InputSpec
from cvtl.weights import Header
from cvtl_onnx.layouts import LAYOUTS, OPEN, ULTRALYTICS_CLASSIFIER_INPUT, Layout, Size, recognise
from cvtl_onnx.names import class_names
from cvtl_onnx.options import (
    ClassifyOptions,
    DetectOptions,
    DetectPredictOptions,
    ReadingOptions,
    Scores,
)
from cvtl_onnx.runtime import Facts, Shape, read_facts, run_black, runtime_version, shape_text

if TYPE_CHECKING:
    from cvtl.model import Model

_DETECTOR_SIZE, _CLASSIFIER_SIZE = 640, 224
# Of a softmax in half precision.
_SUM_TOLERANCE = 5e-3


def read_header(path: Path, reading: ReadingOptions) -> Header:
    """What an ONNX file is: read from its shapes and metadata, or said by the options. Imports no torch.

    Args:
        path: the file.
        reading: what is known of it.

    Raises:
        PluginError: onnxruntime is not installed.
        WeightsError: the file is damaged, no ONNX, or its outputs are of no known layout.
        UsageError: an option does not fit the file.
    """
    facts = read_facts(path)
    size_hw = _input_size(path, facts, reading)
    shape = _output_shape(path, facts, size_hw)
    layout, count = _layout(path, facts, shape, size_hw, reading)
    options: DetectOptions | ClassifyOptions
    if layout.name == "classifier":
        options = ClassifyOptions(scores=reading.scores or _kind_of_scores(path, facts, size_hw))
    else:
        options = DetectOptions(layout=layout.name, predict=DetectPredictOptions(nms_iou=layout.nms_iou))
    return Header(
        plugin=f"onnx_{layout.task}",
        plugin_version=__version__,
        task=layout.task,
        classes=class_names(path, facts.metadata, reading.classes, count),
        options=options.model_dump(mode="json"),
        input=_input(facts, layout, size_hw, reading),
        versions={"onnxruntime": runtime_version()},
        licence=facts.metadata.get("license", ""),
    )


def load(path: Path, header: Header) -> Model:
    """The model that a header of `read_header` describes, on the CPU."""
    from cvtl_onnx.model import OnnxClassifier, OnnxDetector
    from cvtl_onnx.network import Network

    network = Network(path, read_facts(path))
    if header.task == "classify":
        return OnnxClassifier(ClassifyOptions(**header.options), header.classes, header.input, network)
    return OnnxDetector(DetectOptions(**header.options), header.classes, header.input, network)


def _input_size(path: Path, facts: Facts, reading: ReadingOptions) -> Size:
    """H and W: the file's, or where it takes any those that are said, by the user or by the exporter."""
    said = None if reading.size is None else (reading.size[0], reading.size[-1])
    fixed = facts.input_shape[2:]
    exported = _literal(facts.metadata.get("imgsz", ""))
    usual = _CLASSIFIER_SIZE if _is_vector(next(iter(facts.outputs.values()), ())) else _DETECTOR_SIZE
    if isinstance(exported, (list, tuple)) and len(exported) == 2 and all(isinstance(each, int) for each in exported):
        chosen = said or (exported[0], exported[1])
    else:
        chosen = said or (usual, usual)
    height, width = (there or wanted for there, wanted in zip(fixed, chosen, strict=True))
    if said not in (None, (height, width)):
        raise UsageError(
            f"'{path}' takes pictures of {height} x {width} only, not {said[0]} x {said[1]}",
            hint="Leave --size out, or export the network with a size that is open",
        )
    return height, width


def _is_vector(shape: Shape) -> bool:
    return len(shape) >= 2 and all(size == 1 for size in shape[2:])


def _output_shape(path: Path, facts: Facts, size_hw: Size) -> tuple[int, ...]:
    """Of the first output, without N; found by a black picture where the file leaves it open."""
    stated = next(iter(facts.outputs.values()), ())[1:]
    if stated and None not in stated:
        return tuple(size for size in stated if size is not None)
    return tuple(run_black(path, facts, size_hw)[0].shape[1:])


def _layout(
    path: Path, facts: Facts, shape: tuple[int, ...], size_hw: Size, reading: ReadingOptions
) -> tuple[Layout, int]:
    """The layout that is named, or else recognised, and the number of classes."""
    if reading.layout is not None:
        layout = LAYOUTS[reading.layout]
        count = layout.count(shape, size_hw)
        if count is None:
            raise UsageError(
                f"'{path}' gives {_outputs(facts, shape)} for pictures of {shape_text(size_hw)}, which is not of the "
                f"layout '{layout.name}': {layout.about}",
                hint="Leave --layout out, or name another one",
            )
        return layout, count
    # Of Ultralytics' exports, those that cut out or turn objects look like those that find boxes, with more numbers.
    task = facts.metadata.get("task", "detect")
    found = recognise(shape, size_hw) if len(facts.outputs) == 1 and task in ("detect", "classify") else None
    if found is None:
        known = "; ".join(f"{each.name} ({each.about})" for each in LAYOUTS.values())
        made = f", exported for the task '{task}'," if task not in ("detect", "classify") else ""
        raise WeightsError(
            f"'{path}'{made} gives {_outputs(facts, shape)} for pictures of {shape_text(size_hw)}, which is of no "
            f"known layout. Known are {known}",
            hint="If it is one of them, name it with --layout",
        )
    count = found.count(shape, size_hw)
    return found, OPEN if count is None else count


def _outputs(facts: Facts, first: tuple[int, ...]) -> str:
    """The outputs by name and shape; of the first it is known."""
    shapes = list(facts.outputs.values())
    shapes[0] = (shapes[0][0] if shapes[0] else None, *first)
    return ", ".join(f"{name} {shape_text(shape)}" for name, shape in zip(facts.outputs, shapes, strict=True))


def _input(facts: Facts, layout: Layout, size_hw: Size, reading: ReadingOptions) -> InputSpec:
    usual = layout.input
    if layout.name == "classifier" and "Ultralytics" in facts.metadata.get("author", ""):
        usual = ULTRALYTICS_CLASSIFIER_INPUT
    said = reading.model_dump(include={"resize", "channels", "mean", "std"}, exclude_none=True)
    return InputSpec(size_hw=size_hw, **{**usual, **said})


def _kind_of_scores(path: Path, facts: Facts, size_hw: Size) -> Scores:
    """Whether a classifier gives probabilities, which add up to one."""
    found: npt.NDArray[Any] = run_black(path, facts, size_hw)[0][0].astype(np.float64).ravel()
    return "probabilities" if (found >= 0).all() and abs(found.sum() - 1) <= _SUM_TOLERANCE else "logits"


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
