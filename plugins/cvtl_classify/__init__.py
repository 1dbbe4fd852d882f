"""The classify plugin: transfer learning that measures how much of a network to keep.

Importing this package imports no torch; `ClassifyModel`, `ClassifyOptions` and `fit_head` are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cvtl.registry import PluginSpec
from cvtl.verbs import VerbSpec

if TYPE_CHECKING:
    from cvtl_classify.heads import fit_head
    from cvtl_classify.model import ClassifyModel
    from cvtl_classify.options import ClassifyOptions

__all__ = ["ClassifyModel", "ClassifyOptions", "advise", "fit_head", "plugin"]

_LAZY = {"ClassifyModel": "model", "ClassifyOptions": "options", "fit_head": "heads"}

plugin = PluginSpec(
    name="classify",
    task="classify",
    summary="transfer learning that measures how much of a network to keep",
    options="cvtl_classify.options:ClassifyOptions",
    model="cvtl_classify.model:ClassifyModel",
)

advise = VerbSpec(
    name="advise",
    summary="measure how much of a network to keep for a data set",
    main="cvtl_classify.cli.advise:main",
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"cvtl_classify.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cvtl_classify' has no attribute '{name}'")
