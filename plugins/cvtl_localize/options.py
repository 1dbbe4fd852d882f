"""Options of the localize plugin. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from cvtl.shared_options import BackboneOptions, BoxViewOptions

LossName = Literal["squared", "modern"]


class LocalizeOptions(BoxViewOptions, BackboneOptions):
    """How one object's class and box are read off a backbone, and how that is trained.

    Example:
        >>> LocalizeOptions(weights="none").variation().scale
        1.25
    """

    size: int = Field(128, ge=32, description="side of the network's input in pixels")
    resize: Literal["stretch", "letterbox"] = Field(
        "stretch", description="how pictures are brought to that size: letterbox keeps their shape and pads with grey"
    )
    loss: LossName = Field(
        "modern",
        description="modern: binary cross-entropy of the presence, and where there is an object, GIoU of the box and "
        "cross-entropy of the class; squared: the lectures' squared error of the same numbers",
    )
    channels: int = Field(128, ge=1, description="channels that a 1x1 convolution leaves of the backbone's map")
    grid: int = Field(7, ge=1, description="cells to a side that the map is pooled to; they keep where things are")
    hidden: int = Field(256, ge=1, description="units of the dense layer between the map and the outputs")
    dropout: float = Field(0.1, ge=0, lt=1, description="before each dense layer")
    backbone_rate: float = Field(
        0.2, gt=0, le=1, description="learning rate of the backbone as a part of that of the layers behind it"
    )
    jitter: float = Field(0.2, ge=0, le=1, description="most by which brightness, contrast and saturation change")

    def train_defaults(self) -> Mapping[str, Any]:
        """What suited a hundred photographs of raccoons (docs/localization.md); of thousands, fewer epochs will do."""
        return {"epochs": 40, "batch_size": 16, "learning_rate": 3e-4, "weight_decay": 1e-2}
