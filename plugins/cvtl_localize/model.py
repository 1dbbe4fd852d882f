"""The model of the localize plugin: a backbone, dense layers, and the lectures' vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from cvtl import backbones
from cvtl.augmentation import jitter, plain_view
from cvtl.boxes import clip_to_image, cxcywh_to_xyxy, iou
from cvtl.data import Dataset, UInt8Image
from cvtl.errors import DataError, UsageError
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, prepare
from cvtl.results import Localization, Result
from cvtl_localize.losses import activate, modern_loss, squared_loss
from cvtl_localize.network import Localizer
from cvtl_localize.options import LocalizeOptions
from cvtl_localize.vector import BOX, CLASSES, PRESENT, decode

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun
    from cvtl.training.settings import TrainSettings

_LOSSES = {"squared": squared_loss, "modern": modern_loss}


class LocalizeModel(Model):
    """One object at most: whether it is there, its class and its box, as numbers of one dense layer.

    Args:
        options: as they were given.
        classes: class names.
        input: the preprocessing.
        backbone: with its weights; one with random weights if not given.
    """

    plugin: ClassVar[str] = "localize"
    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_score", "max")
    options: LocalizeOptions

    def __init__(
        self,
        options: LocalizeOptions,
        classes: Sequence[str],
        input: InputSpec,
        backbone: backbones.Backbone | None = None,
    ) -> None:
        super().__init__(options, classes, input)
        backbone = backbone or backbones.load(options.backbone, cut=options.cut)
        backbone.freeze(options.freeze)
        self.network = Localizer(
            backbone,
            len(self.classes),
            channels=options.channels,
            grid=options.grid,
            hidden=options.hidden,
            dropout=options.dropout,
        )

    @classmethod
    def initialize(cls, options: LocalizeOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
        """A new model for training.

        Raises:
            DataError: there is no class.
            UsageError: the options do not say where the backbone's weights come from.
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
        """The core's loop, over pictures that are decoded once where the memory allows it."""
        from cvtl.terminal_progress import shown_progress
        from cvtl.training.loop import fit
        from cvtl.training.memory import in_memory
        from cvtl_localize.samples import check_objects, sample_spec

        empty = check_objects(train_data)
        check_objects(val_data)
        if run.is_over:
            return
        if not empty:
            run.console.print(
                "Every training picture has an object, so the weights will see one everywhere; add pictures without "
                "one if they are to tell."
            )
        with shown_progress(len(train_data) + len(val_data), quiet=run.console.quiet, noun="pictures") as progress:
            train_data = in_memory(train_data, sample_spec(self.input, self.options.variation()), progress=progress)
            val_data = in_memory(val_data, self.input, progress=progress)
        fit(self, train_data, val_data, settings, run)

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Tensor]]:
        """Views of the pictures, mirrored, moved and scaled at random, and their vectors."""
        from cvtl_localize.samples import TrainingSamples

        return TrainingSamples(data, self.input, self.options.variation(), seed=seed, epoch=epoch)

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, Tensor]]:
        """Pictures as they are predicted."""
        from cvtl_localize.samples import ValidationSamples

        return ValidationSamples(data, self.input)

    def augment(self, images: Tensor) -> Tensor:
        """Change the colours of a batch."""
        return jitter(images, self.options.jitter)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The layers behind the backbone at the full learning rate, the backbone at `backbone_rate` of it."""
        backbone = {id(each) for each in self.network.backbone.parameters()}
        learning = [each for each in self.parameters() if each.requires_grad]
        groups = [
            (1.0, [each for each in learning if id(each) not in backbone]),
            (self.options.backbone_rate, [each for each in learning if id(each) in backbone]),
        ]
        return [(factor, parameters) for factor, parameters in groups if parameters]

    def loss(self, images: Tensor, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """The terms of the chosen loss (`cvtl_localize.losses`)."""
        outputs = self.network(images)
        return _LOSSES[self.options.loss](outputs, torch.stack(list(targets)).to(outputs.device))

    def assess(
        self, images: Tensor, targets: Sequence[Tensor], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss and the figures of `judge`, of one pass."""
        outputs = self.network(images)
        wanted = torch.stack(list(targets)).to(outputs.device)
        return _LOSSES[self.options.loss](outputs, wanted), judge(activate(outputs.detach().float()), wanted)

    # Prediction

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """Whether each picture has an object, its class, and its box, cut to the picture."""
        answers = activate(self.network(prepare(images, self.input)).float()).cpu()
        return [self._result(answer, image) for answer, image in zip(answers, images, strict=True)]

    def _result(self, answer: Tensor, image: Tensor) -> Localization:
        height, width = image.shape[1:]
        found = decode(answer, plain_view((0, 0, width, height), self.input), self.classes)
        return Localization(found.present, found.scores, clip_to_image(found.box, (height, width)), self.classes)


def judge(answers: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """What training shows of answers (N, 5 + C), one value for each picture, NaN where it says nothing of one.

    - `presence`: 1 where an object is rightly said to be there or not.
    - `accuracy`: 1 where there is an object and its class is the most probable one, whatever the presence.
    - `iou`: of the boxes, where there is an object, whatever the presence.
    - `score`: where there is an object, that IoU if it is found and its class is right, else 0; where there is none, 1
      if none is found, else 0. It is what the best epoch is chosen by.
    """
    there, found = targets[:, PRESENT] > 0.5, answers[:, PRESENT] >= 0.5
    right = answers[:, CLASSES].argmax(dim=1) == targets[:, CLASSES].argmax(dim=1)
    overlaps = _paired_iou(answers[:, BOX], targets[:, BOX])
    score = torch.where(there, overlaps * (found & right), (~found).float())
    unknown = torch.full_like(overlaps, torch.nan)
    return {
        "score": score,
        "iou": torch.where(there, overlaps, unknown),
        "accuracy": torch.where(there, right.float(), unknown),
        "presence": (found == there).float(),
    }


def locate(model: LocalizeModel, image: UInt8Image) -> Localization:
    """Find the object in one picture.

    Args:
        model: as `cvtl.load_model` gives it.
        image: uint8 (H, W, 3) RGB.

    Returns:
        The answer: `present`, `scores` of the classes, `box` as xyxy in pixels.

    Raises:
        UsageError: the picture is of another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(
            f"a picture is uint8 (H, W, 3), not {image.dtype} {image.shape}", hint="Give RGB as `cv2.cvtColor` makes it"
        )
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    with torch.inference_mode():
        (found,) = model.predict([tensor.to(next(model.parameters()).device)])
    assert isinstance(found, Localization)
    return found


def _paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (N,) of boxes (N, 4) as centre and size with as many others, each with its own."""
    return iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(others)).diagonal()
