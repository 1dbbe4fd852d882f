"""The model of the yolo plugin: a backbone, grids of cells, and what becomes of their answers."""

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
from cvtl.preprocessing import InputSpec, place, prepare, resize_to
from cvtl.results import Detections, Result
from cvtl.training.averaging import Learner
from cvtl.training.measuring import picture_ap
from cvtl_yolo.anchors import default_anchors
from cvtl_yolo.grid import Grid, Level, decode, flat, levels_of, slots_of
from cvtl_yolo.losses import Objects, activate, modern_loss, squared_loss
from cvtl_yolo.network import YoloNetwork
from cvtl_yolo.options import YoloOptions
from cvtl_yolo.settling import check_anchor_sizes

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun
    from cvtl.training.objects import Seen
    from cvtl.training.settings import TrainSettings

# What untrained outputs say of pc. Squared errors change sigmoids near 0 too slowly to start from lower.
_PRIOR = {"modern": 0.01, "squared": 0.1}


class YoloModel(Model):
    """All objects of a picture, from one pass over grids of cells.

    Args:
        options: as they were given, or with the anchors that a training settled.
        classes: class names.
        input: the preprocessing.
        backbone: with its weights; one with random weights if not given.

    Attributes:
        network: what predicts; with `options.ema`, the average of the learner's weights.
        learner: what learns; None where `network` itself does, and outside of a training.
    """

    plugin: ClassVar[str] = "yolo"
    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_ap", "max")
    options: YoloOptions
    learner: Learner | None

    def __init__(
        self,
        options: YoloOptions,
        classes: Sequence[str],
        input: InputSpec,
        backbone: backbones.Backbone | None = None,
    ) -> None:
        super().__init__(options, classes, input)
        check_anchor_sizes(options)
        backbone = backbone or backbones.load(options.backbone, cut=options.cut)
        backbone.freeze(options.freeze)
        self.network = YoloNetwork(
            backbone,
            len(self.classes),
            levels=options.levels,
            anchors=options.anchors,
            channels=options.channels,
            prior=_PRIOR[options.loss],
        )
        self.learner = None
        check_side(options.size, self.network.stages, backbone)

    @classmethod
    def initialize(cls, options: YoloOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
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

    def grid(self, size_hw: tuple[int, int] | None = None) -> Grid:
        """The grids over an input of a size, the model's own if not given.

        Before a training has settled anchors they are squares of some cells.
        """
        count, sizes = self.options.anchors, self.options.anchor_sizes
        levels = []
        for number, stage in enumerate(self.network.stages):
            own = (
                default_anchors(stage.stride, count) if sizes is None else sizes[number * count : (number + 1) * count]
            )
            levels.append(Level(stage.stride, own))
        return Grid(size_hw or self.input.size_hw, tuple(levels), len(self.classes))

    # Training

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        """Settle the anchors, then train with the core's loop, over pictures decoded once where memory allows it."""
        from cvtl.terminal_progress import shown_progress
        from cvtl.training.memory import in_memory
        from cvtl.training.objects import check_objects, plain_objects, sample_spec
        from cvtl_yolo.settling import report, settle

        for data in (train_data, val_data):
            check_objects(data, self.plugin)
        if run.is_over:
            return
        with shown_progress(len(train_data) + len(val_data), quiet=run.console.quiet, noun="pictures") as progress:
            train_data = in_memory(train_data, sample_spec(self.input, self.options.variation()), progress=progress)
            val_data = in_memory(val_data, self.input, progress=progress)
        objects = plain_objects(train_data, self.input)
        self.options = run.processes.lead(lambda: settle(self.options, objects, run))
        report(objects, self.grid(), self.options, run.console)
        self.learner = Learner(self.network, self.options.ema) if self.options.ema else None
        try:
            super().fit(train_data, val_data, settings, run)
        finally:
            self.learner = None

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Seen]]:
        """Views of the pictures, mirrored, moved and scaled at random, some of four of them, and their objects."""
        from cvtl.training.objects import TrainingSamples

        options = self.options
        return TrainingSamples(data, self.input, options.variation(), mosaic=options.mosaic, seed=seed, epoch=epoch)

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, Seen]]:
        """Pictures as they are predicted."""
        from cvtl.training.objects import ValidationSamples

        return ValidationSamples(data, self.input)

    def augment(self, images: Tensor) -> Tensor:
        """Change the colours of a batch, and the size of all of it."""
        side = self._drawn_side()
        return jitter(resize_to(images, (side, side)), self.options.jitter)

    def _drawn_side(self) -> int:
        """A side of the input between `size / multi_scale` and `size * multi_scale`, by torch's global generator."""
        stride, size, most = self.network.stages[-1].stride, self.options.size, self.options.multi_scale
        least_cells, most_cells = max(1, round(size / most / stride)), round(size * most / stride)
        return stride * int(torch.randint(least_cells, most_cells + 1, ()))

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The layers behind the backbone at the full learning rate, the backbone at `backbone_rate` of it."""
        network = self._learning
        backbone = {id(each) for each in network.backbone.parameters()}
        learning = [each for each in network.parameters() if each.requires_grad]
        groups = [
            (1.0, [each for each in learning if id(each) not in backbone]),
            (self.options.backbone_rate, [each for each in learning if id(each) in backbone]),
        ]
        return [(factor, parameters) for factor, parameters in groups if parameters]

    @property
    def _learning(self) -> YoloNetwork:
        if self.learner is None:
            return self.network
        assert isinstance(self.learner.network, YoloNetwork)
        return self.learner.network

    def after_step(self) -> None:
        """Take the step into the average, where there is one."""
        if self.learner is not None:
            self.learner.update(self.network)

    def saved_state(self) -> Mapping[str, Tensor]:
        """The network that predicts; the one that learns is a training's own."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("learner.")}

    def loss(self, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        """The terms of the chosen loss (`cvtl_yolo.losses`), of the network that learns."""
        return self._terms(flat(self._learning(images)), images, targets)

    def assess(
        self, images: Tensor, targets: Sequence[Seen], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss, its terms as figures, and of validation pictures `ap` (`cvtl.training.measuring.picture_ap`).

        Validation is of the network that predicts.
        """
        levels = (self._learning if training else self.network)(images)
        terms = self._terms(flat(levels), images, targets)
        figures = {f"{name}_loss": value.detach() for name, value in terms.items()}
        if not training:
            size_hw = images.shape[-2], images.shape[-1]
            found = [self._suppressed(*each, size_hw) for each in self._candidates(levels, size_hw)]
            scores = [picture_ap(each, seen.boxes, seen.labels) for each, seen in zip(found, targets, strict=True)]
            figures["ap"] = torch.tensor(scores, device=images.device)
        return terms, figures

    def _terms(self, outputs: Tensor, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        size_hw = images.shape[-2], images.shape[-1]
        grid, objects = self.grid(size_hw), self._objects(targets, size_hw, outputs.device)
        options = self.options
        if options.loss == "squared":
            return squared_loss(outputs, objects, grid, coord=options.lambda_coord, noobj=options.lambda_noobj)
        return modern_loss(outputs, objects, grid, ratio=options.anchor_ratio)

    def _objects(self, targets: Sequence[Seen], size_hw: tuple[int, int], device: torch.device) -> Objects:
        """The objects of a batch, in pixels of the size that the batch has."""
        height, width = self.input.size_hw
        growth = torch.tensor([size_hw[1] / width, size_hw[0] / height] * 2)
        counts = torch.tensor([len(seen.labels) for seen in targets])
        return Objects(
            (torch.cat([seen.boxes for seen in targets]) * growth).to(device),
            torch.cat([seen.labels for seen in targets]).to(device),
            torch.repeat_interleave(torch.arange(len(targets)), counts).to(device),
        )

    # Prediction

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The objects of each picture, best first, their boxes cut to it."""
        candidates = self._candidates(self.network(prepare(images, self.input)), self.input.size_hw)
        results: list[Result] = []
        for (found, scores, labels), image in zip(candidates, images, strict=True):
            image_hw = image.shape[1], image.shape[2]
            moved = place(image_hw, self.input).to_picture(found)
            results.append(self._suppressed(moved, scores, labels, image_hw))
        return results

    def _candidates(self, outputs: Sequence[Tensor], size_hw: tuple[int, int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes in pixels of the input, scores and labels of each picture, before suppression."""
        together = flat(outputs).detach().float()
        if not bool(together.isfinite().all()):
            raise ValueError("the network's outputs are not finite")
        grid, threshold = self.grid(size_hw), self.options.predict.threshold
        answers = activate(together, slots_of(grid, together))
        return [decode(levels_of(each, grid), grid, threshold=threshold) for each in answers]

    def _suppressed(self, found: Tensor, scores: Tensor, labels: Tensor, image_hw: tuple[int, int]) -> Detections:
        options = self.options.predict
        found = boxes.clip_to_image(found, image_hw)
        # Boxes may lie wholly in the grey beside a letterboxed picture.
        inside = boxes.area(found) > 0
        found, scores, labels = found[inside], scores[inside], labels[inside]
        if options.nms == "soft":
            kept, scores = boxes.soft_nms(found, scores, labels, score_threshold=options.threshold)
        else:
            kept = boxes.nms(found, scores, labels, iou_threshold=options.nms_iou)
            scores = scores[kept]
        most = options.max_detections
        return Detections(found[kept][:most], scores[:most], labels[kept][:most], self.classes)
