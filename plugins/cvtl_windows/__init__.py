"""The windows plugin: a ConvNet that tells object from background, slid over the picture.

Importing this package imports no torch; `to_convolutional` is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvtl.registry import Demo, PluginSpec

if TYPE_CHECKING:
    from cvtl_windows.convolutional import to_convolutional

__all__ = ["plugin", "to_convolutional"]

plugin = PluginSpec(
    name="windows",
    task="detect",
    summary="a ConvNet that tells object from background, slid over the picture",
    options="cvtl_windows.options:WindowsOptions",
    model="cvtl_windows.model:WindowsModel",
    demo=Demo(weights="cvtl_windows.builtin:digit_weights", picture="cvtl_datasets.scenes:sample_scene"),
)


def __getattr__(name: str) -> Any:
    if name == "to_convolutional":
        from cvtl_windows.convolutional import to_convolutional

        return to_convolutional
    raise AttributeError(f"module 'cvtl_windows' has no attribute '{name}'")
