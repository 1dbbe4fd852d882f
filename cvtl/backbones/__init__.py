"""Networks to build on: found by name, cut after a stage, frozen below a stage, with or without published weights."""

from cvtl.backbones.backbone import EVERYTHING, Backbone, Stage
from cvtl.backbones.families import BackboneInfo, list_backbones
from cvtl.backbones.loading import NO_WEIGHTS, Layers, chosen_weights, is_chain, load, load_layers

__all__ = [
    "EVERYTHING",
    "NO_WEIGHTS",
    "Backbone",
    "BackboneInfo",
    "Layers",
    "Stage",
    "chosen_weights",
    "is_chain",
    "list_backbones",
    "load",
    "load_layers",
]
