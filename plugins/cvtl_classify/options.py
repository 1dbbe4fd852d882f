"""Options of the classify plugin. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cvtl.options import Options
from cvtl_classify.recipes import MLP_DROPOUT, RECIPES, Recipe, RecipeName

Strategy = Literal["auto", "features", "augmented", "finetune", "full", "scratch"]
Head = Literal["linear", "mlp", "svm"]
Pooling = Literal["average", "max", "grid"]
Stages = Literal["last", "all"]

NO_WEIGHTS = "none"


class PredictOptions(Options):
    """What `cvtl run` may change without training anew."""

    top_k: int = Field(5, ge=1, description="classes to name for a picture, the most probable first")
    tta: Literal["none", "flip", "ten-crop"] = Field(
        "none",
        description="test-time augmentation, probabilities averaged: flip adds the mirrored picture; ten-crop takes "
        "the four corners and the centre, mirrored too (AlexNet)",
    )


class ClassifyOptions(Options):
    """How a classifier is built on a backbone, and what of it is trained."""

    backbone: str = Field("squeezenet1_1", description="any name that `cvtl backbones` lists")
    weights: str | None = Field(
        None,
        description="of the backbone: imagenet (downloaded once, if they are not here yet), the path of a weights "
        "file, or none for random ones; has to be said, but for strategy scratch",
    )
    strategy: Strategy = Field(
        "auto",
        description="features: the backbone runs once a picture, then the head learns; augmented: a frozen backbone "
        "sees augmented pictures; finetune: the head first, then the last stages with it; full: everything, from the "
        "given weights; scratch: everything, from random ones; auto: measures and chooses",
    )
    head: Head = Field(
        "linear",
        description="linear; mlp: a dense layer of 256 with dropout; svm: linear, with calibrated probabilities",
    )
    recipe: RecipeName = Field(
        "modern",
        description="how it is trained: alexnet (SGD, a tenth on plateau), resnet (SGD from 0.1, He init), or modern "
        "(AdamW, cosine, label smoothing); options that are given override it",
    )
    cut: str | None = Field(None, description="stage of the backbone to end after; its last if unset")
    stages: Stages = Field("last", description="what the head sees: the last stage, or all stages side by side")
    pooling: Pooling = Field(
        "average", description="how a stage's map becomes a vector: average or max over it, or averages of its quarters"
    )
    unfreeze: str | None = Field(None, description="finetune: the first stage that learns; the last if unset")
    discriminative: float = Field(
        1.0, gt=0, le=1, description="the learning rate of each stage as a part of that of the stage behind it"
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="before dense layers; as the recipe has it if unset")
    label_smoothing: float | None = Field(None, ge=0, lt=1, description="as the recipe has it if unset")
    size: int | None = Field(
        None, ge=16, description="side of the network's input in pixels; the backbone's own if unset"
    )
    resize: Literal["stretch", "letterbox", "crop"] | None = Field(
        None, description="how pictures are brought to that size; the backbone's own way if unset"
    )
    augment: Literal["device", "albumentations", "none"] = Field(
        "device",
        description="device: batches are cropped, mirrored, turned and coloured where the network runs; "
        "albumentations: as --transforms says, picture by picture",
    )
    transforms: str | None = Field(
        None, description="file of albumentations' (.yaml or .json) for --augment albumentations"
    )
    flip: bool = Field(True, description="mirrored pictures show the same class, too")
    crop: float = Field(0.5, gt=0, le=1, description="least part of a picture's area that an augmented one shows")
    rotation: float = Field(10.0, ge=0, le=180, description="most degrees an augmented picture is turned by")
    jitter: float = Field(0.2, ge=0, le=1, description="most by which brightness, contrast and saturation change")
    cache: bool = Field(True, description="keep features on disk (`cvtl cache info`), for whoever needs them again")
    predict: PredictOptions = Field(PredictOptions(), description="prediction options of the plugin 'classify'")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.head == "svm" and self.strategy not in ("auto", "features"):
            raise PydanticCustomError(
                "together",
                "head svm is solved on features that stay as they are, which strategy {strategy} does not have; "
                "use strategy features, or head linear",
                {"strategy": self.strategy},
            )
        return self

    def train_defaults(self) -> Mapping[str, Any]:
        """The recipe's settings, as far as they depend on the strategy."""
        return {} if self.strategy == "auto" else RECIPES[self.recipe].settings(self.strategy, self.head)

    def used_recipe(self) -> Recipe:
        """The recipe, with what the head and these options have otherwise.

        Example:
            >>> ClassifyOptions(recipe="modern", head="mlp", label_smoothing=0).used_recipe().label_smoothing
            0.0
        """
        recipe = RECIPES[self.recipe]
        dropout = MLP_DROPOUT if self.head == "mlp" else recipe.dropout
        return replace(
            recipe,
            dropout=dropout if self.dropout is None else self.dropout,
            label_smoothing=recipe.label_smoothing if self.label_smoothing is None else self.label_smoothing,
        )
