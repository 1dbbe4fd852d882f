"""Options of the windows plugin. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cvtl.options import Options


class PredictOptions(Options):
    """What `cvtl run` may change without training anew."""

    mode: Literal["conv", "crops"] = Field(
        "conv", description="conv: one pass per scale (OverFeat); crops: every window cut out and classified by itself"
    )
    fine: int = Field(1, ge=1, le=8, description="windows this many times denser than the network's stride")
    min_object: float = Field(
        24.0, gt=0, description="size of the smallest window in the picture, as the root of its area in pixels"
    )
    max_object: float | None = Field(
        None, gt=0, description="size of the largest; as large as fits the picture if unset"
    )
    scales_per_octave: int = Field(3, ge=1, description="scales tried between one object size and its double")
    aspects: tuple[float, ...] = Field((1.0,), min_length=1, description="width / height of the windows in the picture")
    threshold: float = Field(0.5, ge=0, le=1, description="windows that score less are no detections")
    nms: Literal["hard", "soft", "merge"] = Field(
        "hard",
        description="overlapping windows: hard keeps the best, soft lowers the others' scores, merge "
        "averages those that agree",
    )
    nms_iou: float = Field(0.3, ge=0, le=1, description="IoU from which two windows are one object")
    nms_among: Literal["class", "all"] = Field(
        "class", description="whether only windows of one class compete for an object, or those of all classes"
    )
    min_support: float = Field(
        0.0, ge=0, description="least sum of scores of the windows of its class that agree with a detection (IoU 0.5)"
    )
    max_detections: int = Field(300, ge=1, description="most boxes for a picture")
    heatmaps: bool = Field(False, description="also give a map per class of how strongly it answers where")


class WindowsOptions(Options):
    """How a window classifier is built and trained."""

    backbone: str = Field("lenet5", description="any name that `cvtl backbones` lists")
    backbone_weights: str | None = Field(
        None, description="imagenet, or the path of a weights file; from scratch if unset"
    )
    cut: str | None = Field(None, description="stage of the backbone to end after; its last if unset")
    freeze: str | None = Field(None, description="stages before this one keep their weights; 'all' freezes every stage")
    window: int | None = Field(None, ge=8, description="side of the network's window in pixels; 64 or less if unset")
    pooling: Literal["flatten", "average"] = Field("average", description="how the window's features become a vector")
    hidden: tuple[int, ...] = Field((), description="units of the dense layers before the last")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of features dropped before the last layer")
    background: str | None = Field(
        None, description="class folder that holds no objects; background, negative(s), non-... are known"
    )
    refine: bool = Field(False, description="learn to correct the box (needs boxes to learn from)")
    flip: bool = Field(False, description="mirror half of the training windows; not for text or digits")
    jitter: float = Field(0.3, ge=0, le=1, description="strength of brightness and contrast changes in training")
    windows_per_object: int = Field(4, ge=1, description="shifted and scaled windows cut round each object an epoch")
    negatives_per_picture: int = Field(12, ge=0, description="windows away from objects cut from each picture an epoch")
    mine_from: int | None = Field(
        None, ge=1, description="epoch from which false alarms on training pictures become negatives; never if unset"
    )
    mining_pictures: int = Field(200, ge=1, description="training pictures searched for false alarms each epoch")
    predict: PredictOptions = Field(default_factory=PredictOptions, description="how windows are slid")
