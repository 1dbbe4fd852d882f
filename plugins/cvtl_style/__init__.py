"""The style plugin: a picture painted in the style of another, by optimisation or by a network trained for one style.

    from cvtl_style import content_loss, gram_matrix, style_loss

Importing this package imports no torch; what is named here is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cvtl.registry import Making, PluginSpec

if TYPE_CHECKING:
    from cvtl_style.losses import content_loss, gram_matrix, style_loss, total_variation
    from cvtl_style.model import StyleModel
    from cvtl_style.options import PaintOptions, StyleOptions
    from cvtl_style.painter import Painter

__all__ = [
    "PaintOptions",
    "Painter",
    "StyleModel",
    "StyleOptions",
    "content_loss",
    "gram_matrix",
    "plugin",
    "style_loss",
    "total_variation",
]

_LAZY = {
    "PaintOptions": "options",
    "Painter": "painter",
    "StyleModel": "model",
    "StyleOptions": "options",
    "content_loss": "losses",
    "gram_matrix": "losses",
    "style_loss": "losses",
    "total_variation": "losses",
}

plugin = PluginSpec(
    name="style",
    task="style",
    summary="the style of one picture on the content of another, by optimisation or by a network trained for it",
    options="cvtl_style.options:StyleOptions",
    model="cvtl_style.model:StyleModel",
    makes=Making(
        options="cvtl_style.options:PaintOptions",
        make="cvtl_style.painter:make",
        example="photo.jpg --style starry.jpg --weights imagenet",
        settings={
            "size": (128, 1024),
            "steps": (10, 300),
            "colours": None,
            "style_scale": (0.25, 4),
            "alpha": (0, 10),
            "beta": (1, 1000),
            "variation": (0, 10),
            "init": None,
        },
    ),
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"cvtl_style.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cvtl_style' has no attribute '{name}'")
