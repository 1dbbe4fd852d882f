"""Fields that the options of several plugins share. Torch-free."""

from __future__ import annotations

from pydantic import Field

from cvtl.augmentation import Variation
from cvtl.options import Options


class BackboneOptions(Options):
    """Which backbone a plugin stands on, and how much of it learns."""

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


class BoxViewOptions(Options):
    """By how much the views of training pictures with boxes differ from the plain ones.

    Example:
        >>> BoxViewOptions(flip=False).variation().scale
        1.25
    """

    flip: bool = Field(True, description="mirrored pictures show the same; wrong for text and digits")
    rotation: float = Field(
        0.0, ge=0, le=180, description="most degrees a picture is turned by; boxes of turned objects get too large"
    )
    scale: float = Field(1.25, ge=1, description="most by which a picture is made larger or smaller, as a factor")
    shift: float = Field(0.1, ge=0, le=0.5, description="most by which it is moved, as a part of its sides")

    def variation(self) -> Variation:
        """The same for `cvtl.augmentation`."""
        return Variation(flip=self.flip, rotation=self.rotation, scale=self.scale, shift=self.shift)
