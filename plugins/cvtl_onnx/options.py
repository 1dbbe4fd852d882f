"""What can be said of ONNX files, and of what their networks find. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cvtl.options import Options

LayoutName = Literal["yolox", "ultralytics", "fastestdet", "classifier"]
DetectorLayout = Literal["yolox", "ultralytics", "fastestdet"]
Scores = Literal["logits", "probabilities"]


class ReadingOptions(Options):
    """What to know of an ONNX file that it does not say itself; all of it is guessed where it is unset."""

    layout: LayoutName | None = Field(
        None, description="what the outputs mean; recognised from their shapes and the metadata if unset"
    )
    classes: str | None = Field(
        None,
        description="text file with the name of a class in each line; if unset, those in the metadata, or else in a "
        "file *classes*.txt beside the weights",
    )
    size: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="side of the input, or height,width, where the network takes any; if unset, as the metadata say, "
        "or else 640 for detectors and 224 for classifiers",
    )
    resize: Literal["stretch", "letterbox", "crop"] | None = Field(
        None, description="how pictures are brought to the input's size; as is usual for the layout if unset"
    )
    channels: Literal["rgb", "bgr"] | None = Field(
        None, description="order of the channels; as is usual for the layout if unset"
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="subtracted from red,green,blue in [0, 1]; as is usual for the layout if unset"
    )
    std: tuple[float, float, float] | None = Field(
        None, description="divides red,green,blue; 0.00392156862745098 (1 / 255) gives a network values up to 255"
    )
    scores: Scores | None = Field(
        None, description="what a classifier gives; found out by showing it a black picture if unset"
    )


class DetectPredictOptions(Options):
    """What `cvtl run` may change of a detector."""

    # As low as Megvii's evaluation has it: the average precision needs the doubtful ones, too.
    threshold: float = Field(0.01, ge=0, le=1, description="boxes that score less are no detections")
    nms_iou: float = Field(
        0.65,
        ge=0,
        le=1,
        description="IoU above which two boxes of a class are one object; not for end-to-end exports",
    )
    max_detections: int = Field(300, ge=1, description="most boxes for a picture")


class DetectOptions(Options):
    """How a detector's outputs are to be understood."""

    layout: DetectorLayout = Field(description="what the outputs mean")
    predict: DetectPredictOptions = Field(default_factory=DetectPredictOptions, description="what counts as found")


class ClassifyPredictOptions(Options):
    """What `cvtl run` may change of a classifier."""

    top_k: int = Field(5, ge=1, description="classes that rows name")


class ClassifyOptions(Options):
    """How a classifier's outputs are to be understood."""

    scores: Scores = Field(description="whether they are probabilities, or a softmax has to make them such")
    predict: ClassifyPredictOptions = Field(default_factory=ClassifyPredictOptions, description="what rows name")
