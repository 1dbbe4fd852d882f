"""What the model asks of any of its detectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from cvtl.backbones import Backbone
from cvtl.preprocessing import InputSpec, place, prepare
from cvtl.training.objects import Seen
from cvtl_regions.options import PredictOptions

Found = tuple[Tensor, Tensor, Tensor]
"""Boxes float (N, 4), xyxy; scores (N,), best first; labels int64 (N,), the first class is 0."""


class RegionDetector(nn.Module, ABC):
    """Finds the objects in pictures by judging regions of them."""

    @property
    @abstractmethod
    def backbone(self) -> Backbone | None:
        """What learns at a rate of its own, if anything does."""

    @abstractmethod
    def losses(self, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        """The terms of the loss, in training as in evaluation mode.

        Args:
            images: (N, 3, H, W), normalised.
            targets: the objects in each.
        """

    @abstractmethod
    def detect(self, images: Tensor, targets: Sequence[Seen], options: PredictOptions) -> list[Found]:
        """What is found in pictures that are the network's input already, boxes in pixels of it.

        Args:
            images: (N, 3, H, W), normalised.
            targets: where proposals belong to the samples, they are taken from there; the objects are not looked at.
            options: how many, how sure, how near to one another.
        """

    def find(self, pictures: Sequence[Tensor], input: InputSpec, options: PredictOptions) -> list[Found]:
        """What is found in pictures, boxes in pixels of them; they may reach beyond, into the grey of a letterbox.

        Args:
            pictures: uint8 RGB (3, H, W) each.
            input: the preprocessing.
            options: as for `detect`.
        """
        found = self.detect(prepare(pictures, input), [], options)
        return [
            (place((picture.shape[1], picture.shape[2]), input).to_picture(boxes), scores, labels)
            for (boxes, scores, labels), picture in zip(found, pictures, strict=True)
        ]


@contextmanager
def giving_losses(*modules: nn.Module) -> Iterator[None]:
    """Let torchvision's modules give losses, whatever mode their layers are in.

    Some modules decide it by their own mode, and have no layers of their own: those below keep theirs, so that batch
    normalisation does in validation what it does in prediction.

    Args:
        modules: the ones that decide.
    """
    before = [module.training for module in modules]
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training
