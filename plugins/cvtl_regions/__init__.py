"""The regions plugin: detectors that judge regions of a picture, from R-CNN's loop to Faster R-CNN and FCOS.

    from cvtl_regions import RegionsModel, RegionsOptions, detect, propose

Importing this package imports no torch; what is named here is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cvtl.registry import PluginSpec

if TYPE_CHECKING:
    from cvtl_regions.loop import detect
    from cvtl_regions.model import RegionsModel
    from cvtl_regions.options import RegionsOptions
    from cvtl_regions.proposals import propose

__all__ = ["RegionsModel", "RegionsOptions", "detect", "plugin", "propose"]

_LAZY = {"RegionsModel": "model", "RegionsOptions": "options", "detect": "loop", "propose": "proposals"}

plugin = PluginSpec(
    name="regions",
    task="detect",
    summary="Faster R-CNN, RetinaNet, FCOS and SSD on any backbone, and R-CNN's loop over proposals",
    options="cvtl_regions.options:RegionsOptions",
    model="cvtl_regions.model:RegionsModel",
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"cvtl_regions.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cvtl_regions' has no attribute '{name}'")
