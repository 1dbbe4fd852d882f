"""Options of the regions plugin. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from cvtl.options import Options
from cvtl.shared_options import BackboneOptions, BoxViewOptions

HeadName = Literal["faster_rcnn", "retinanet", "fcos", "ssd", "rcnn"]


class PredictOptions(Options):
    """What `cvtl run` may change without training anew."""

    threshold: float = Field(
        0.05, ge=0, le=1, description="boxes that score less are no detections; average precision wants it low"
    )
    nms_iou: float = Field(0.5, ge=0, le=1, description="IoU above which the lesser of two boxes of a class goes")
    max_detections: int = Field(300, ge=1, description="most boxes for a picture")
    proposals: int = Field(
        300, ge=1, description="regions of a picture that are looked at, with the heads faster_rcnn and rcnn"
    )


class RegionsOptions(BoxViewOptions, BackboneOptions):
    """Which detector stands on which backbone, and how it is trained.

    Example:
        >>> RegionsOptions(weights="none", head="fcos").predict.threshold
        0.05
    """

    head: HeadName = Field(
        "faster_rcnn",
        description="faster_rcnn: proposals, then a closer look at each; retinanet: anchors with focal loss; fcos: the "
        "same without anchors; ssd: anchors on the backbone's plain maps, the fastest; rcnn: every proposal's patch by "
        "itself, the slowest",
    )
    size: int = Field(320, ge=32, description="side of the network's input in pixels, a multiple of its largest stride")
    resize: Literal["letterbox", "stretch"] = Field(
        "letterbox", description="how pictures are brought to that size: letterbox keeps their shape and pads with grey"
    )
    levels: int | None = Field(
        None,
        ge=1,
        le=4,
        description="maps taken from the backbone, those of its coarsest strides; coarser ones are added; those from "
        "stride 8 on if unset; one more for small objects",
    )
    channels: int = Field(
        128, ge=1, description="of the merged maps (FPN), and of those that ssd adds; fcos wants a multiple of 64"
    )
    anchor_sizes: tuple[float, ...] | None = Field(
        None,
        description="side in pixels of the input of each level's anchors, the finest level's first; from the strides "
        "if unset",
    )
    aspects: tuple[float, ...] = Field(
        (0.5, 1.0, 2.0), min_length=1, description="height / width of the anchors of faster_rcnn and retinanet"
    )
    patch: int = Field(96, ge=16, description="head rcnn: side in pixels of the patch that each region is warped to")
    classifier: str | dict[str, Any] | None = Field(
        None,
        description="head rcnn: weights of any classifier, which is run on the patches as it is; those of its classes "
        "that the data do not have are background",
    )
    regions: int = Field(
        128, ge=2, description="heads faster_rcnn and rcnn: regions of a training picture that one step learns from"
    )
    backbone_rate: float = Field(
        0.3, gt=0, le=1, description="learning rate of the backbone as a part of that of the layers behind it"
    )
    mosaic: float = Field(
        0.0, ge=0, le=1, description="part of the training pictures that are put together from parts of four"
    )
    jitter: float = Field(0.3, ge=0, le=1, description="most by which brightness, contrast and saturation change")
    predict: PredictOptions = Field(PredictOptions(), description="prediction options of the plugin 'regions'")

    def train_defaults(self) -> Mapping[str, Any]:
        """What served on a few hundred pictures."""
        return {"epochs": 30, "batch_size": 4, "learning_rate": 1e-3, "weight_decay": 1e-2}
