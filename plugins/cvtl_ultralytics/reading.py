"""From a checkpoint of Ultralytics to the header that cvtl's own weights carry, and to a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from cvtl import __version__
from cvtl.errors import UsageError, WeightsError
from cvtl.options import Options
from cvtl.preprocessing import InputSpec
from cvtl.weights import Header
from cvtl_ultralytics.architecture import RTDETR_HEAD, Architecture, checked, head_of
from cvtl_ultralytics.isolation import LICENCE
from cvtl_ultralytics.opening import Facts, open_checkpoint
from cvtl_ultralytics.options import LARGEST_STRIDE, UltralyticsOptions

if TYPE_CHECKING:
    from cvtl.model import Model

_DEFAULT_SIZE = 640


def read_header(path: Path, reading: Options) -> Header:
    """What a checkpoint is. Imports no torch; a child process does.

    Raises:
        PluginError: ultralytics is not installed.
        WeightsError: the file is no checkpoint of a detector of Ultralytics, or could run code.
    """
    facts = open_checkpoint(path).facts
    architecture = _architecture(path, facts)
    side = _side(facts)
    options = UltralyticsOptions(model=architecture, size=side)
    return Header(
        plugin="ultralytics",
        plugin_version=__version__,
        task="detect",
        classes=_names(path, facts),
        options=options.model_dump(mode="json"),
        input=input_of(architecture, side),
        metrics=_metrics(facts),
        versions={"ultralytics": facts.version or ""},
        licence=facts.license or LICENCE,
    )


def load(path: Path, header: Header) -> Model:
    """The model that a header of `read_header` describes, on the CPU."""
    from safetensors.torch import load_file

    from cvtl_ultralytics import networks
    from cvtl_ultralytics.model import UltralyticsModel

    model = UltralyticsModel(UltralyticsOptions(**header.options), header.classes, header.input)
    networks.load(model.network, load_file(open_checkpoint(path).tensors), str(path))
    return model


def input_of(architecture: Architecture, side: int) -> InputSpec:
    """How Ultralytics prepares pictures: letterboxed, or stretched for RT-DETR, as OpenCV does it."""
    return InputSpec(
        size_hw=(side, side),
        resize="stretch" if head_of(architecture) == RTDETR_HEAD else "letterbox",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation="opencv",
    )


def check_side(side: int, option: str) -> None:
    """Refuse a side that the networks cannot halve often enough.

    Raises:
        UsageError: it is no multiple of their largest stride.
    """
    if side % LARGEST_STRIDE:
        lower = side - side % LARGEST_STRIDE
        raise UsageError(
            f"{option} {side} is no multiple of {LARGEST_STRIDE}", hint=f"Take {lower} or {lower + LARGEST_STRIDE}"
        )


def _architecture(path: Path, facts: Facts) -> Architecture:
    if facts.task not in (None, "detect"):
        raise WeightsError(
            f"'{path}' is made for Ultralytics' task '{facts.task}', and only detectors are run here",
            hint="Export it as ONNX if it classifies, and use that: `cvtl run classify --weights x.onnx`",
        )
    if facts.quantized:
        raise WeightsError(f"'{path}' learnt with quantized weights, which are not read here")
    try:
        return checked(facts.architecture)
    except ValueError as error:
        raise WeightsError(f"'{path}' cannot be used: {error}") from None


def _names(path: Path, facts: Facts) -> tuple[str, ...]:
    names = facts.names
    if isinstance(names, dict):
        if set(names) != set(map(str, range(len(names)))):
            raise WeightsError(f"'{path}' does not number its classes from 0 on")
        names = [names[str(number)] for number in range(len(names))]
    return tuple(names)


def _side(facts: Facts) -> int:
    """The longer side that it was trained with, up to the next multiple of the largest stride."""
    size = facts.size if facts.size is not None else _DEFAULT_SIZE
    longest = max(size) if isinstance(size, list) and size else size
    assert isinstance(longest, int)
    return max(1, math.ceil(longest / LARGEST_STRIDE)) * LARGEST_STRIDE


def _metrics(facts: Facts) -> dict[str, float]:
    figures = facts.metrics or {}
    return {
        name: float(each) for name, each in figures.items() if isinstance(each, int | float) and math.isfinite(each)
    }
