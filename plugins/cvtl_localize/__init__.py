"""The localize plugin: whether there is an object, what it is, and its box, by one network's numbers.

    import cvtl
    from cvtl_localize import locate

    found = locate(cvtl.load_model("best.safetensors"), image)    # image: (H, W, 3) RGB uint8

Importing this package imports no torch; what is named here is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cvtl.registry import PluginSpec

if TYPE_CHECKING:
    from cvtl_localize.model import LocalizeModel, locate
    from cvtl_localize.options import LocalizeOptions
    from cvtl_localize.vector import decode, encode

__all__ = ["LocalizeModel", "LocalizeOptions", "decode", "encode", "locate", "plugin"]

_LAZY = {
    "LocalizeModel": "model",
    "LocalizeOptions": "options",
    "decode": "vector",
    "encode": "vector",
    "locate": "model",
}

plugin = PluginSpec(
    name="localize",
    task="localize",
    summary="one object at most: whether it is there, its class and its box, from one dense layer",
    options="cvtl_localize.options:LocalizeOptions",
    model="cvtl_localize.model:LocalizeModel",
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"cvtl_localize.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cvtl_localize' has no attribute '{name}'")
