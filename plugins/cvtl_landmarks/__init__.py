"""The landmarks plugin: any set of named points, learnt without boxes.

Importing this package imports no torch; everything else that is named here is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cvtl.registry import PluginSpec

if TYPE_CHECKING:
    from cvtl_landmarks.model import LandmarksModel, find_landmarks
    from cvtl_landmarks.options import LandmarksOptions

__all__ = ["LandmarksModel", "LandmarksOptions", "find_landmarks", "plugin"]

_LAZY = {"LandmarksModel": "model", "find_landmarks": "model", "LandmarksOptions": "options"}

plugin = PluginSpec(
    name="landmarks",
    task="landmarks",
    summary="any named points, by coordinate regression or heat maps, without boxes",
    options="cvtl_landmarks.options:LandmarksOptions",
    model="cvtl_landmarks.model:LandmarksModel",
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"cvtl_landmarks.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cvtl_landmarks' has no attribute '{name}'")
