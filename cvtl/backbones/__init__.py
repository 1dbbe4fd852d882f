"""Networks to build on: found by name, cut after a stage, frozen below a stage, with or without published weights."""

from cvtl.backbones.backbone import EVERYTHING, Backbone, Stage
from cvtl.backbones.families import BackboneInfo, list_backbones
from cvtl.backbones.loading import NO_WEIGHTS, chosen_weights, load

__all__ = ["EVERYTHING", "NO_WEIGHTS", "Backbone", "BackboneInfo", "Stage", "chosen_weights", "list_backbones", "load"]
