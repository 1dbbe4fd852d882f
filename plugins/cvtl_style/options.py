"""Options of the style plugin. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from cvtl.options import Options

Colours = Literal["style", "luminance", "histogram"]
Pooling = Literal["max", "average"]

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def named_weight(text: str) -> tuple[str, float]:
    """A name with a weight behind a colon; 1 if there is none.

    Example:
        >>> named_weight("b.jpg:0.3"), named_weight("c:/b.jpg")
        (('b.jpg', 0.3), ('c:/b.jpg', 1.0))
    """
    name, _, weight = text.rpartition(":")
    return (name, float(weight)) if name and re.fullmatch(r"\d*\.?\d+", weight) else (text, 1.0)


def memory_bytes(text: str) -> int:
    """A size of memory in bytes; the units are powers of 1024.

    Raises:
        ValueError: it is no such size.

    Example:
        >>> memory_bytes("1.5 GB"), memory_bytes("512M")
        (1610612736, 536870912)
    """
    found = _MEMORY.fullmatch(text.strip())
    if not found:
        raise ValueError(f"'{text}' is no size of memory: write 6GB, say, or 800MB")
    return int(float(found[1]) * 1024 ** _UNITS[found[2].upper()])


class LookingOptions(Options):
    """What painting and training share: the style, and the network that looks at pictures."""

    style: tuple[str, ...] = Field(
        min_length=1,
        description="picture whose style to take; of several a mixture, with a weight behind a colon: b.jpg:0.3",
    )
    backbone: str = Field("vgg19", description="network that looks; vgg16 and vgg19 have the paper's layers")
    weights: str | None = Field(
        None, description="weights of the backbone: imagenet (downloaded once), a .pth or .safetensors FILE, or none"
    )
    layers: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="layers that the style is compared at, with a weight behind a colon if need be: relu2_1:0.5; "
        "if unset, relu1_1 to relu5_1 as far as the weights reach, or the backbone's stages",
    )
    content_layer: str | None = Field(
        None, description="layer that the content is compared at; relu4_2 if unset, or what comes nearest to it"
    )
    pooling: Pooling = Field("max", description="average is smoother, and what Gatys et al. took")
    alpha: float = Field(1.0, ge=0, description="weight of the content")
    beta: float = Field(100.0, ge=0, description="weight of the style")
    variation: float = Field(0.0, ge=0, description="weight of the total variation: more makes it smoother")

    @field_validator("style", "layers")
    @classmethod
    def _positive(cls, named: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if named and not any(weight for _, weight in map(named_weight, named)):
            raise ValueError("one of the weights must be more than 0")
        return named

    @property
    def styles(self) -> list[tuple[str, float]]:
        """Paths and weights."""
        return [named_weight(each) for each in self.style]

    @property
    def layer_weights(self) -> dict[str, float] | None:
        """Weights of the layers that were named; None if none were."""
        return dict(map(named_weight, self.layers)) if self.layers else None


class PaintOptions(LookingOptions):
    """How to paint a picture by optimisation (Gatys et al., arXiv 1508.06576)."""

    size: int | None = Field(
        512, ge=16, description="longer side of the painted picture; null keeps the picture's own size"
    )
    style_scale: float = Field(1.0, gt=0, le=4, description="size of the style's strokes; 1 fits it to the picture")
    steps: int = Field(100, ge=1, description="at the full size; a third of them at each smaller one")
    levels: int = Field(3, ge=1, description="sizes to work at, from coarse to fine, each twice the one before")
    tolerance: float = Field(
        1e-3, ge=0, description="stop when ten steps make J less by no more than this part of it; 0 never stops"
    )
    optimizer: Literal["lbfgs", "adam"] = Field("lbfgs", description="adam needs less memory and more steps")
    rate: float = Field(0.05, gt=0, description="adam: step size")
    history: int = Field(20, ge=1, description="lbfgs: steps it remembers, each in the memory of two pictures")
    init: Literal["content", "noise"] = Field("content", description="what to start from")
    seed: int = Field(0, ge=0, description="of the noise")
    colours: Colours = Field(
        "style",
        description="luminance keeps the picture's colours and paints its brightness; histogram gives the style the "
        "picture's colours before",
    )
    mask: str | None = Field(None, description="picture that is white where the painting may change something")
    style_mask: tuple[str, ...] | None = Field(
        None, description="for each style a picture that is white where it holds; 'none' for everywhere"
    )
    max_memory: str = Field("4GB", description="larger pictures are worked on in tiles, with the same result")
    save_every: int = Field(25, ge=1, description="steps between what --resume can go on from, and previews")

    @field_validator("max_memory")
    @classmethod
    def _is_memory(cls, text: str) -> str:
        memory_bytes(text)
        return text

    @model_validator(mode="after")
    def _one_mask_each(self) -> PaintOptions:
        if self.style_mask and len(self.style_mask) != len(self.style):
            raise ValueError(f"{len(self.style_mask)} style masks for {len(self.style)} styles: give one for each")
        return self

    def run_defaults(self) -> Mapping[str, Any]:
        """One picture at a time, so that each has its row as soon as it is done."""
        return {"batch_size": 1}


class PredictOptions(Options):
    """What `cvtl run` may change of a trained style."""

    size: int | None = Field(None, ge=16, description="longer side of the painted picture; its own if unset")


class StyleOptions(LookingOptions):
    """How to train a network that paints in one style (Johnson et al., arXiv 1603.08155)."""

    variation: float = Field(0.1, ge=0, description="weight of the total variation: more makes it smoother")
    size: int = Field(256, ge=16, multiple_of=4, description="side of the training pictures")
    channels: int = Field(32, ge=1, description="of the painter's first layer; fewer are faster")
    blocks: int = Field(5, ge=0, description="residual blocks of the painter")
    predict: PredictOptions = Field(default_factory=PredictOptions, description="how to paint")

    def train_defaults(self) -> Mapping[str, Any]:
        """As the paper trains: small batches, two epochs, and no decay."""
        return {"epochs": 2, "batch_size": 4, "weight_decay": 0.0, "near_duplicates": False}
