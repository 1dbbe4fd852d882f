"""The classify plugin: transfer learning that measures how much of a network to keep.

Importing this package imports no torch.
"""

from __future__ import annotations

from cvtl.registry import PluginSpec
from cvtl.verbs import VerbSpec

__all__ = ["advise", "plugin"]

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
