"""How `cvtl eval` evaluates. Torch-free: the command line shows these fields."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cvtl.options import Options


class EvalSettings(Options):
    """How to evaluate predictions."""

    draws: int = Field(
        1000, ge=0, description="bootstrap draws, half of the pictures each, for the 95 % intervals; 0 for none"
    )
    seed: int = Field(0, ge=0, description="of the bootstrap and of corruptions")
    group_by: str | None = Field(
        None,
        description="regular expression for what of a picture's name says which person, video or place it belongs to: "
        "intervals are then over the choice of these, not of single pictures",
    )
    examples: int = Field(24, ge=0, description="thumbnails of the worst mistakes of each kind")
    engine: Literal["faster-coco-eval", "pycocotools"] = Field(
        "faster-coco-eval", description="detect: what computes COCO's figures; pycocotools is slower and gives the same"
    )
    iou: float = Field(0.5, gt=0, lt=1, description="detect: IoU for VOC AP, thresholds, confusion and error types")
    norm: Literal["inter-ocular", "box", "picture"] | None = Field(
        None, description="landmarks: the length that errors are divided by; if unset, what the data allow"
    )
    eyes: tuple[int, int] | None = Field(
        None, description="landmarks: numbers of the two points whose distance is the inter-ocular one"
    )
