"""The model of the regions plugin: a backbone, one of the detectors over it, and what becomes of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from cvtl import backbones, boxes
from cvtl.augmentation import jitter
from cvtl.backbones.levels import check_side
from cvtl.data import Dataset
from cvtl.errors import DataError
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, place, prepare
from cvtl.results import Detections, Result
from cvtl.training.measuring import picture_ap
from cvtl_regions.detectors import build_detector
from cvtl_regions.options import RegionsOptions

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun
    from cvtl.training.objects import Seen
    from cvtl.training.settings import TrainSettings


class RegionsModel(Model):
    """All objects of a picture, by one of torchvision's detectors on any backbone.

    Args:
        options: which detector.
        classes: class names.
        input: the preprocessing.
        backbone: with its weights; one with random weights if not given.

    Attributes:
        detector: what learns and predicts.
    """

    plugin: ClassVar[str] = "regions"
    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_ap", "max")
    options: RegionsOptions

    def __init__(
        self,
        options: RegionsOptions,
        classes: Sequence[str],
        input: InputSpec,
        backbone: backbones.Backbone | None = None,
    ) -> None:
        super().__init__(options, classes, input)
        backbone = backbone or backbones.load(options.backbone, cut=options.cut)
        backbone.freeze(options.freeze)
        check_side(options.size, backbone.stages, backbone)
        self.detector = build_detector(options, len(self.classes), backbone)

    @classmethod
    def initialize(cls, options: RegionsOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
        """A new model for training.

        Raises:
            DataError: there is no class.
            UsageError: the options do not say where the backbone's weights come from, or do not fit it.
        """
        if not classes:
            raise DataError("there is nothing to find: the data have no classes", hint="Give pictures with boxes")
        backbone = backbones.load(
            options.backbone, backbones.chosen_weights(options.weights, options.backbone), cut=options.cut
        )
        size = {"size_hw": (options.size, options.size), "resize": options.resize}
        return cls(options, classes, backbone.input.model_copy(update=size), backbone)

    # Training

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        """Train with the core's loop, over pictures decoded once where memory allows it."""
        from cvtl.terminal_progress import shown_progress
        from cvtl.training.memory import in_memory
        from cvtl.training.objects import check_objects, sample_spec

        for data in (train_data, val_data):
            check_objects(data, self.plugin)
        if run.is_over:
            return
        with shown_progress(len(train_data) + len(val_data), quiet=run.console.quiet, noun="pictures") as progress:
            train_data = in_memory(train_data, sample_spec(self.input, self.options.variation()), progress=progress)
            val_data = in_memory(val_data, self.input, progress=progress)
        super().fit(train_data, val_data, settings, run)

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Seen]]:
        """Views of the pictures, mirrored, moved and scaled at random, and their objects."""
        from cvtl.training.objects import TrainingSamples

        options = self.options
        return TrainingSamples(data, self.input, options.variation(), mosaic=options.mosaic, seed=seed, epoch=epoch)

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, Seen]]:
        """Pictures as they are predicted."""
        from cvtl.training.objects import ValidationSamples

        return ValidationSamples(data, self.input)

    def augment(self, images: Tensor) -> Tensor:
        """Change the colours of a batch."""
        return jitter(images, self.options.jitter)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The layers behind the backbone at the full learning rate, the backbone at `backbone_rate` of it."""
        backbone = {id(each) for each in self.detector.backbone.parameters()}
        learning = [each for each in self.parameters() if each.requires_grad]
        groups = [
            (1.0, [each for each in learning if id(each) not in backbone]),
            (self.options.backbone_rate, [each for each in learning if id(each) in backbone]),
        ]
        return [(factor, parameters) for factor, parameters in groups if parameters]

    def loss(self, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        """The terms of torchvision's loss of this detector."""
        return self.detector.losses(images, targets)

    def assess(
        self, images: Tensor, targets: Sequence[Seen], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss, its terms as figures, and of validation pictures `ap` (`cvtl.training.measuring.picture_ap`)."""
        terms = self.loss(images, targets)
        figures = {f"{name}_loss": value.detach() for name, value in terms.items()}
        return terms, figures if training else {**figures, **self.measure(images, targets)}

    def measure(self, images: Tensor, targets: Sequence[Seen]) -> Mapping[str, Tensor]:
        """Average precision within each picture, from a pass of its own: what is learnt from is not what is found."""
        found = self._find(images)
        scores = [picture_ap(each, seen.boxes, seen.labels) for each, seen in zip(found, targets, strict=True)]
        return {"ap": torch.tensor(scores, device=images.device)}

    # Prediction

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The objects of each picture, best first, their boxes cut to it."""
        results: list[Result] = []
        for found, image in zip(self._find(prepare(images, self.input)), images, strict=True):
            image_hw = image.shape[1], image.shape[2]
            moved = boxes.clip_to_image(place(image_hw, self.input).to_picture(found.boxes), image_hw)
            # Boxes may lie wholly in the grey beside a letterboxed picture.
            inside = boxes.area(moved) > 0
            results.append(Detections(moved[inside], found.scores[inside], found.labels[inside], self.classes))
        return results

    def _find(self, images: Tensor) -> list[Detections]:
        """What is found in normalised pictures, boxes in pixels of the input."""
        return [Detections(*found, self.classes) for found in self.detector.detect(images, self.options.predict)]
