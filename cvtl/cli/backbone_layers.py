"""`cvtl backbones NAME --layers`: what a network consists of, as a table or for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cvtl.terminal import print_json, table, terminal

if TYPE_CHECKING:
    from cvtl.backbones import Backbone
    from cvtl.inspection.layers import Layer, StageLayers
    from cvtl.inspection.receptive_field import Axis, Field

_FEW = 2
_WIDTH_OF_FILES = 100
_NOTE = """\
s and p are stride and padding; sizes are vertical x horizontal, of outputs channels x height x width. \
field is the receptive field in pixels, through the branch that reaches farthest, and jump the pixels from one \
position to the next; 'all' is the whole picture, through global pooling, and '-' not known, as behind attention. \
mult-adds are the multiplications, each with an addition, that convolutions and dense layers take for one picture. \
Activations and dropout are left out: they have no parameters and change no shape."""


def show_layers(backbone: Backbone, input_hw: tuple[int, int], *, as_json: bool) -> None:
    """Print every layer of a backbone, with totals for blocks, stages and the whole.

    Raises:
        UsageError: the backbone cannot take pictures of this size.
    """
    from cvtl.inspection.layers import stage_layers

    stages = stage_layers(backbone, input_hw)
    if as_json:
        print_json(_as_json(backbone.name, input_hw, stages))
    else:
        console = terminal()
        if not console.is_terminal:
            console.width = max(console.width, _WIDTH_OF_FILES)
        console.print(f"{backbone.name}, pictures of {input_hw[0]} x {input_hw[1]}")
        console.print(_table(stages))
        console.print(_NOTE, style="dim")


def _table(stages: Sequence[StageLayers]) -> Table:
    made = table("", "layer")
    made.padding = (0, 1, 0, 0)
    for heading in ("s", "p", "output", "field", "jump", "parameters", "mult-adds"):
        made.add_column(heading, justify="right", no_wrap=True)
    for stage in stages:
        _add_heading(made, stage.stage.name, stage.output, stage.field, stage.layers, style="bold")
        _add_layers(made, stage.layers, path="", indent=" ")
        made.add_section()
    everything = [layer for stage in stages for layer in stage.layers]
    made.add_row("in all", *[""] * 6, *_cost(everything), style="bold")
    return made


def _add_layers(made: Table, layers: Sequence[Layer], path: str, indent: str) -> None:
    """A tree of what lies below a path: blocks of several layers have a row of their own above them."""
    shared = _shared_path([layer.name[len(path) :] for layer in layers])
    for block, members in groupby(layers, lambda layer: layer.name[len(path + shared) :].partition(".")[0]):
        inside = list(members)
        if block and len(inside) > _FEW:
            _add_heading(made, indent + shared + block, inside[-1].output, inside[-1].field, inside)
            _add_layers(made, inside, f"{path}{shared}{block}.", f"{indent} ")
        else:
            for layer in inside:
                reach, cost = _reach(layer.field), _cost([layer])
                made.add_row(indent + layer.name[len(path) :], *_geometry(layer), _by(layer.output), *reach, *cost)


def _add_heading(
    made: Table, name: str, output: Sequence[int], field: Field | None, layers: Sequence[Layer], style: str = ""
) -> None:
    made.add_row(name, "", "", "", _by(output), *_reach(field), *_cost(layers), style=style)


def _shared_path(names: Sequence[str]) -> str:
    """What all paths begin with, up to a dot.

    Example:
        >>> _shared_path(["layer1.0.conv1", "layer1.1.conv1"])
        'layer1.'
    """
    shared = ""
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared += f"{parts[0]}."
    return shared


def _geometry(layer: Layer) -> tuple[str, str, str]:
    window = layer.window
    if window is None:
        return layer.kind, "", ""
    words = [layer.kind, _by(window.kernel)]
    if set(window.dilation) != {1}:
        words.append(f"dilated {_same(window.dilation)}")
    if layer.groups > 1:
        words.append(f"groups {layer.groups}")
    return " ".join(words), _same(window.stride), _same(window.padding)


def _reach(field: Field | None) -> tuple[str, str]:
    if field is None:
        return "-", "-"
    sizes = ["all" if axis.size == math.inf else int(axis.size) for axis in field]
    jumps = [axis.jump if axis.dim is not None else "-" for axis in field]
    return _same(sizes), _same(jumps)


def _cost(layers: Sequence[Layer]) -> tuple[str, str]:
    parameters, multiplications = _totals(layers).values()
    return f"{parameters:,}" if parameters else "-", f"{multiplications:,}" if multiplications else "-"


def _same(values: Sequence[object]) -> str:
    return _by(values if len(set(values)) > 1 else values[:1])


def _by(values: Sequence[object]) -> str:
    return "x".join(map(str, values))


def _as_json(name: str, input_hw: tuple[int, int], stages: Sequence[StageLayers]) -> dict[str, Any]:
    everything = [layer for stage in stages for layer in stage.layers]
    return {
        "name": name,
        "size_hw": list(input_hw),
        **_totals(everything),
        "stages": [
            {
                "name": stage.stage.name,
                "output": list(stage.output),
                **_field_json(stage.field),
                **_totals(stage.layers),
                "layers": [_layer_json(layer) for layer in stage.layers],
            }
            for stage in stages
        ],
    }


def _layer_json(layer: Layer) -> dict[str, Any]:
    window = layer.window
    geometry = {
        name: list(getattr(window, name)) if window else None for name in ("kernel", "stride", "padding", "dilation")
    }
    return {
        "name": layer.name,
        "kind": layer.kind,
        **geometry,
        "groups": layer.groups,
        "output": list(layer.output),
        **_field_json(layer.field),
        **_totals([layer]),
    }


def _field_json(field: Field | None) -> dict[str, Any]:
    def size(axis: Axis) -> int | str:
        return "all" if axis.size == math.inf else int(axis.size)

    return {
        "receptive_field": [size(axis) for axis in field] if field else None,
        "jump": [axis.jump for axis in field] if field else None,
    }


def _totals(layers: Sequence[Layer]) -> dict[str, int]:
    return {
        "parameters": sum(layer.parameters for layer in layers),
        "multiplications": sum(layer.multiplications for layer in layers),
    }
