"""Options of the yolo plugin. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from cvtl.options import Options
from cvtl.shared_options import BackboneOptions, BoxViewOptions

LossName = Literal["squared", "modern"]


class PredictOptions(Options):
    """What `cvtl run` may change without training anew."""

    threshold: float = Field(
        0.05, ge=0, le=1, description="boxes that score less are no detections; average precision wants it low"
    )
    nms: Literal["hard", "soft"] = Field(
        "hard", description="overlapping boxes of a class: hard keeps the best, soft lowers the others' scores"
    )
    nms_iou: float = Field(0.5, ge=0, le=1, description="nms hard: IoU from which two boxes are one object")
    max_detections: int = Field(300, ge=1, description="most boxes for a picture")


class YoloOptions(BoxViewOptions, BackboneOptions):
    """How a grid of cells is read off a backbone, and how that is trained.

    Example:
        >>> lectures = YoloOptions(weights="none", levels=1, anchors=1, loss="squared")
        >>> lectures.predict.nms
        'hard'
    """

    size: int = Field(320, ge=32, description="side of the network's input in pixels, a multiple of its largest stride")
    resize: Literal["letterbox", "stretch"] = Field(
        "letterbox", description="how pictures are brought to that size: letterbox keeps their shape and pads with grey"
    )
    levels: int = Field(
        2, ge=1, le=3, description="grids, from the backbone's coarsest strides; 1 is the lectures' single grid"
    )
    anchors: int = Field(
        3, ge=1, le=9, description="objects a cell of each level can have; 1 is the lectures' one object a cell"
    )
    anchor_sizes: tuple[tuple[float, float], ...] | None = Field(
        None,
        description="widths and heights in pixels of the input, the finest level's first, as '[[10, 12], [40, 30]]'; "
        "from the training boxes if unset",
    )
    channels: int = Field(96, ge=1, description="of the maps between backbone and outputs")
    loss: LossName = Field(
        "modern",
        description="modern: binary cross-entropy and CIoU, with several anchors and cells for an object; squared: "
        "the lectures' squared error, with one for each",
    )
    anchor_ratio: float = Field(
        4.0,
        gt=1,
        description="loss modern: an anchor learns an object if their widths and heights differ by less than this "
        "factor",
    )
    lambda_coord: float = Field(5.0, ge=0, description="loss squared: weight of the box; the lectures' is 1")
    lambda_noobj: float = Field(
        0.5, ge=0, description="loss squared: weight of pc where there is no object; the lectures' is 1"
    )
    backbone_rate: float = Field(
        0.3, gt=0, le=1, description="learning rate of the backbone as a part of that of the layers behind it"
    )
    ema: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="validate, save and predict with the average of the weights over about 1 / (1 - this) steps; 0: "
        "with the weights themselves",
    )
    mosaic: float = Field(
        0.5, ge=0, le=1, description="part of the training pictures that are put together from parts of four"
    )
    multi_scale: float = Field(
        1.25, ge=1, le=2, description="most by which whole batches are larger or smaller than the input; 1: none are"
    )
    jitter: float = Field(0.3, ge=0, le=1, description="most by which brightness, contrast and saturation change")
    predict: PredictOptions = Field(PredictOptions(), description="prediction options of the plugin 'yolo'")

    def train_defaults(self) -> Mapping[str, Any]:
        """What served on a few hundred pictures."""
        return {"epochs": 60, "batch_size": 8, "learning_rate": 2e-3, "weight_decay": 1e-2}
