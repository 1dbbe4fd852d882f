"""Networks to build on: found by name, cut after a stage, frozen below a stage, with or without published weights."""

from cvtl.backbones.backbone import EVERYTHING, Backbone, Stage
from cvtl.backbones.families import BackboneInfo, list_backbones
from cvtl.backbones.loading import load

__all__ = ["EVERYTHING", "Backbone", "BackboneInfo", "Stage", "list_backbones", "load"]
