"""The yolo plugin: all objects of a picture from one pass over a grid of cells.

    from cvtl_yolo import YoloModel, YoloOptions, decode, encode

Importing this package imports no torch; what is named here is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cvtl.registry import PluginSpec

if TYPE_CHECKING:
    from cvtl_yolo.grid import Grid, Level, decode, encode
    from cvtl_yolo.model import YoloModel
    from cvtl_yolo.options import YoloOptions

__all__ = ["Grid", "Level", "YoloModel", "YoloOptions", "decode", "encode", "plugin"]

_LAZY = {
    "Grid": "grid",
    "Level": "grid",
    "YoloModel": "model",
    "YoloOptions": "options",
    "decode": "grid",
    "encode": "grid",
}

plugin = PluginSpec(
    name="yolo",
    task="detect",
    summary="YOLO: a grid of cells on any backbone, with anchors and several levels or without",
    options="cvtl_yolo.options:YoloOptions",
    model="cvtl_yolo.model:YoloModel",
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"cvtl_yolo.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cvtl_yolo' has no attribute '{name}'")
