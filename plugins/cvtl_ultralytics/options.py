"""Options of the ultralytics plugin. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from cvtl.options import Options
from cvtl.shared_options import BoxViewOptions
from cvtl_ultralytics.architecture import Architecture, checked

DEFAULT_MODEL = "yolo11n.yaml"
LARGEST_STRIDE = 32


class PredictOptions(Options):
    """What `cvtl run` may change without training anew."""

    threshold: float = Field(
        0.01, ge=0, le=1, description="boxes that score less are no detections; average precision wants it low"
    )
    suppression: Literal["nms", "none"] = Field(
        "nms",
        description="of double detections: nms, as Ultralytics predicts by default; none takes the answers of a head "
        "that gives one box for an object, which YOLOv10 and YOLO26 have",
    )
    nms_iou: float = Field(0.7, ge=0, le=1, description="IoU above which two boxes of a class are one object")
    labels: Literal["best", "all"] = Field(
        "best",
        description="of a box: the best class, as Ultralytics predicts, or all above the threshold, as it validates",
    )
    max_detections: int = Field(300, ge=1, description="most boxes for a picture")
    size: int | None = Field(
        None,
        ge=32,
        description="longer side of the network's input, a multiple of 32; what it was trained for if unset",
    )
    frame: Literal["tight", "square"] = Field(
        "tight",
        description="grey round a picture: tight, only up to the next multiple of the stride, as Ultralytics predicts "
        "one picture; or up to the square that it was trained with",
    )


class UltralyticsOptions(BoxViewOptions):
    """Which network, and how it is trained.

    Example:
        >>> UltralyticsOptions(model="yolov8s.yaml").predict.nms_iou
        0.7
    """

    model: str | dict[str, Any] | None = Field(
        None,
        description="one of Ultralytics' architectures (yolo11n.yaml, yolov8s.yaml, yolo26n.yaml, ...), or the path of "
        f"a .yaml file of your own; if unset, that of --weights, or else {DEFAULT_MODEL}",
    )
    weights: str | None = Field(
        None,
        description="start from these: a .pt of Ultralytics' or a .safetensors of this plugin; layers that fit are "
        "taken over; from random weights if unset",
    )
    freeze: int = Field(0, ge=0, description="so many of the first layers of --model do not learn")
    size: int = Field(640, ge=32, description="side of the network's input in pixels, a multiple of 32")
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
    scale: float = Field(1.5, ge=1, description="most by which a picture is made larger or smaller, as a factor")
    jitter: float = Field(0.4, ge=0, le=1, description="most by which brightness, contrast and saturation change")
    predict: PredictOptions = Field(PredictOptions(), description="prediction options of the plugin 'ultralytics'")

    @field_validator("model")
    @classmethod
    def _sound(cls, model: str | Architecture | None) -> str | Architecture | None:
        """Weights files hold the whole table of layers: it is checked wherever it comes from."""
        return checked(model) if isinstance(model, dict) else model

    def train_defaults(self) -> Mapping[str, Any]:
        """What served on a few hundred pictures."""
        return {"epochs": 60, "batch_size": 8, "learning_rate": 1e-3, "weight_decay": 5e-4}
