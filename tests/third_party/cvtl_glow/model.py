"""The model of the glow plugin: a logistic regression on the mean colour."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from cvtl.data import Dataset
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, normalize, resize
from cvtl.results import Detections, Result
from cvtl_glow.options import GlowOptions


class GlowModel(Model):
    """Each picture's one box covers it; its score depends on the mean colour alone."""

    plugin: ClassVar[str] = "glow"
    options: GlowOptions

    def __init__(self, options: GlowOptions, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__(options, classes, input)
        self.linear = nn.Linear(3, 1)

    @classmethod
    def initialize(cls, options: GlowOptions, classes: Sequence[str]) -> Self:
        return cls(options, classes, InputSpec(size_hw=(8, 8)))

    def loss(self, images: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        logits = self.options.gain * self.linear(images.mean(dim=(2, 3)))[:, 0]
        wanted = torch.tensor(targets, dtype=logits.dtype)
        return {"entropy": functional.binary_cross_entropy_with_logits(logits, wanted)}

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        options = self.options.predict
        time.sleep(options.seconds)
        if options.capacity is not None and len(images) > options.capacity:
            raise torch.OutOfMemoryError("out of memory")
        return [self._one(image) for image in images]

    def _one(self, image: Tensor) -> Detections:
        height, width = image.shape[-2:]
        if width == self.options.predict.fails_at_width:
            raise ValueError(f"cannot look at {width} pixels")
        colour = normalize(image, self.input).mean(dim=(1, 2))
        score = torch.sigmoid(self.options.gain * self.linear(colour))
        if width == self.options.predict.nan_at_width:
            score = score * torch.nan
        return Detections(torch.tensor([[0, 0, width, height]]), score, torch.tensor([0]), self.classes)

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Any]]:
        return [
            (resize(torch.from_numpy(sample.read()).permute(2, 0, 1), self.input), sample.target.label)
            for sample in data
        ]
