"""The model of the regions plugin: a backbone, one of the detectors over it, and what becomes of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from cvtl import backbones, boxes, weights
from cvtl.augmentation import jitter
from cvtl.data import BoxesTarget, Dataset
from cvtl.errors import DataError, UsageError
from cvtl.model import Model
from cvtl.preprocessing import InputSpec
from cvtl.results import Detections, Result
from cvtl.training.measuring import picture_ap
from cvtl_regions.detectors import build_detector
from cvtl_regions.loop import ClassifierDetector, classifier_from, header_of
from cvtl_regions.options import RegionsOptions
from cvtl_regions.patches import TRAINING_PROPOSALS, PatchDetector, objects_of, with_proposals
from cvtl_regions.region_detector import RegionDetector

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun
    from cvtl.training.objects import Seen
    from cvtl.training.settings import TrainSettings


class RegionsModel(Model):
    """All objects of a picture, by a detector that judges regions of it.

    Args:
        options: which detector.
        classes: class names.
        input: the preprocessing.
        part: the backbone, or the classifier that the options name, with its weights; with random ones if not given.

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
        part: backbones.Backbone | Model | None = None,
    ) -> None:
        super().__init__(options, classes, input)
        self.detector = self._make_detector(part)

    def _make_detector(self, part: backbones.Backbone | Model | None) -> RegionDetector:
        options = self.options
        if options.classifier is not None:
            assert isinstance(options.classifier, dict)
            classifier = part if isinstance(part, Model) else classifier_from(options.classifier)
            return ClassifierDetector(classifier, self.classes)
        backbone = part if isinstance(part, backbones.Backbone) else backbones.load(options.backbone, cut=options.cut)
        backbone.freeze(options.freeze)
        if options.head == "rcnn":
            return PatchDetector(options, len(self.classes), backbone)
        return build_detector(options, len(self.classes), backbone)

    @classmethod
    def initialize(cls, options: RegionsOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
        """A new model for training.

        Raises:
            DataError: there is no class.
            UsageError: the options do not say where the backbone's weights come from, or do not fit it or one another.
            WeightsError: the classifier or the weights cannot be read.
        """
        if not classes:
            raise DataError("there is nothing to find: the data have no classes", hint="Give pictures with boxes")
        if options.classifier is not None:
            return cls._of_classifier(options, classes)
        backbone = backbones.load(
            options.backbone, backbones.chosen_weights(options.weights, options.backbone), cut=options.cut
        )
        size = {"size_hw": (options.size, options.size), "resize": options.resize}
        return cls(options, classes, backbone.input.model_copy(update=size), backbone)

    @classmethod
    def _of_classifier(cls, options: RegionsOptions, classes: Sequence[str]) -> Self:
        if options.head != "rcnn":
            raise UsageError(f"--classifier: head {options.head} has no patches to classify", hint="Add --head rcnn")
        if not isinstance(options.classifier, str):
            raise UsageError("--classifier has to name a weights file")
        classifier = weights.load(options.classifier, task="classify")
        # The weights of the classifier go into the detector's; what they are for goes into its options.
        options = options.model_copy(update={"classifier": header_of(classifier)})
        return cls(options, classes, classifier.input, classifier)

    # Training

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        """Train with the core's loop, over pictures decoded once where memory allows it.

        A classifier that is run as it is learns nothing: what it does on the validation pictures is the one epoch.
        """
        from cvtl.terminal_progress import shown_progress
        from cvtl.training.memory import in_memory
        from cvtl.training.objects import check_objects, sample_spec

        for data in (train_data, val_data):
            check_objects(data, self.plugin)
        if run.is_over:
            return
        if isinstance(self.detector, ClassifierDetector):
            run.record(self, {"val_ap": self._mean_ap(val_data)})
            return
        if isinstance(self.detector, PatchDetector):
            total = len(train_data) + len(val_data)
            run.console.print(f"Searching {total} pictures for proposals.")
            with shown_progress(total, quiet=run.console.quiet, noun="pictures") as progress:
                train_data = with_proposals(train_data, TRAINING_PROPOSALS, progress)
                val_data = with_proposals(val_data, self.options.predict.proposals, progress)
        with shown_progress(len(train_data) + len(val_data), quiet=run.console.quiet, noun="pictures") as progress:
            train_data = in_memory(train_data, sample_spec(self.input, self.options.variation()), progress=progress)
            val_data = in_memory(val_data, self.input, progress=progress)
        super().fit(train_data, val_data, settings, run)

    def why_alone(self) -> str:
        """A classifier that is run as it is learns nothing."""
        return "with --classifier nothing is learnt" if isinstance(self.detector, ClassifierDetector) else ""

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
        slow = self.detector.backbone
        backbone = set() if slow is None else {id(each) for each in slow.parameters()}
        learning = [each for each in self.parameters() if each.requires_grad]
        groups = [
            (1.0, [each for each in learning if id(each) not in backbone]),
            (self.options.backbone_rate, [each for each in learning if id(each) in backbone]),
        ]
        return [(factor, parameters) for factor, parameters in groups if parameters]

    def loss(self, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        """The terms of the detector's loss."""
        return self.detector.losses(images, targets)

    def assess(
        self, images: Tensor, targets: Sequence[Seen], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss, its terms as figures, and of validation pictures `ap` (`cvtl.training.measuring`)."""
        terms = self.loss(images, targets)
        figures = {f"{name}_loss": value.detach() for name, value in terms.items()}
        return terms, figures if training else {**figures, **self.measure(images, targets)}

    def measure(self, images: Tensor, targets: Sequence[Seen]) -> Mapping[str, Tensor]:
        """Average precision within each picture, from a pass of its own: what is learnt from is not what is found."""
        answers = self.detector.detect(images, targets, self.options.predict)
        scores = []
        for found, seen in zip(answers, map(objects_of, targets), strict=True):
            scores.append(picture_ap(Detections(*found, self.classes), seen.boxes, seen.labels))
        return {"ap": torch.tensor(scores, device=images.device)}

    @torch.no_grad()
    def _mean_ap(self, data: Dataset) -> float:
        """The same over whole pictures, as they are read."""
        scores = []
        for sample in data:
            target = sample.target
            assert isinstance(target, BoxesTarget)
            (found,) = self.predict([torch.from_numpy(sample.read()).permute(2, 0, 1).to(self.device)])
            assert isinstance(found, Detections)
            objects = torch.from_numpy(target.boxes[~target.crowd]).float()
            scores.append(picture_ap(found, objects, torch.from_numpy(target.labels[~target.crowd])))
        return float(torch.tensor(scores).nanmean())

    # Prediction

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The objects of each picture, best first, their boxes cut to it."""
        results: list[Result] = []
        found = self.detector.find(images, self.input, self.options.predict)
        for (moved, scores, labels), image in zip(found, images, strict=True):
            moved = boxes.clip_to_image(moved, (image.shape[1], image.shape[2]))
            # Boxes may lie wholly in the grey beside a letterboxed picture.
            inside = boxes.area(moved) > 0
            results.append(Detections(moved[inside], scores[inside], labels[inside], self.classes))
        return results
