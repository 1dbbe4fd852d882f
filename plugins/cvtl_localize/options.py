"""Options of the localize plugin. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from cvtl.augmentation import Variation
from cvtl.options import Options

LossName = Literal["squared", "modern"]


class LocalizeOptions(Options):
    """How one object's class and box are read off a backbone, and how that is trained.

    Example:
        >>> LocalizeOptions(weights="none").variation().scale
        1.25
    """

    backbone: str = Field("squeezenet1_1", description="any name that `cvtl backbones` lists")
    weights: str | None = Field(
        None,
        description="of the backbone: imagenet (downloaded once, if they are not here yet), the path of a weights "
        "file, or none for random ones; has to be said",
    )
    cut: str | None = Field(None, description="stage of the backbone to end after; its last if unset")
    freeze: str | None = Field(
        None, description="stage below which the backbone does not learn, or all; everything learns if unset"
    )
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
    flip: bool = Field(True, description="mirrored pictures show the same; wrong for text and digits")
    rotation: float = Field(
        0.0, ge=0, le=180, description="most degrees a picture is turned by; the box of a turned object gets too large"
    )
    scale: float = Field(1.25, ge=1, description="most by which a picture is made larger or smaller, as a factor")
    shift: float = Field(0.1, ge=0, le=0.5, description="most by which it is moved, as a part of its sides")
    jitter: float = Field(0.2, ge=0, le=1, description="most by which brightness, contrast and saturation change")

    def train_defaults(self) -> Mapping[str, Any]:
        """What suited a hundred photographs of raccoons (docs/localization.md); of thousands, fewer epochs will do."""
        return {"epochs": 40, "batch_size": 16, "learning_rate": 3e-4, "weight_decay": 1e-2}

    def variation(self) -> Variation:
        """By how much training views differ from the plain one."""
        return Variation(flip=self.flip, rotation=self.rotation, scale=self.scale, shift=self.shift)
