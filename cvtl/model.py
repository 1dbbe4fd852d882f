"""What a plugin's network must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from cvtl.errors import UsageError
from cvtl.preprocessing import InputSpec

if TYPE_CHECKING:
    from cvtl.data import Dataset, Sample
    from cvtl.progress import Progress
    from cvtl.results import Result
    from cvtl.training.folder import TrainRun
    from cvtl.training.settings import TrainSettings
    from cvtl.workplace import Workplace


class Model(nn.Module, ABC):
    """Base of every plugin's network.

    A model is made in one of two ways: by `initialize` for training (which may read pretrained backbone weights), or
    by the constructor for loading (which reads nothing). No state is parked on it between calls.

    Args:
        options: the plugin's options, an instance of the spec's options class.
        classes: class names; background is never one of them.
        input: the preprocessing saved with the weights.
    """

    plugin: ClassVar[str]
    """Name of the plugin, as in its spec."""

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_loss", "min")
    """What training watches to choose the best epoch, and whether the least or the most of it is best: `val_loss`, or
    `val_` and a name that `measure` gives."""

    licence: ClassVar[str] = ""
    """Under which its weights may be used unless somebody says otherwise, where what it is built with decides that."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Further distributions whose versions belong into a weights file."""

    def __init__(self, options: BaseModel, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__()
        self.options = options
        self.classes = tuple(classes)
        self.input = input

    @property
    def device(self) -> torch.device:
        """Where pictures have to lie for `predict`: where its tensors are."""
        return next(chain(self.parameters(), self.buffers())).device

    @classmethod
    @abstractmethod
    def initialize(cls, options: BaseModel, classes: Sequence[str]) -> Self:
        """A new model for training, its backbone's weights read where the options name some.

        Raises:
            WeightsError: the named weights cannot be used.
            OfflineError: they would have to be downloaded and cannot be.
        """

    @abstractmethod
    def loss(self, images: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        """The terms of the loss, each a scalar; their sum is minimised.

        Several processes train as one would if each term is a mean over the pictures, or over something in them with
        `cvtl.training.whole_batch.batch_divisor` for their number.

        Args:
            images: float (N, 3, *input.size_hw), normalised.
            targets: N targets, as `training_samples` gave them.
        """

    @abstractmethod
    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """One result for each picture, in order.

        Args:
            images: uint8 RGB (3, H, W) each, of any sizes, on the model's device.
        """

    def predict_in_steps(self, images: Sequence[Tensor], places: Sequence[Workplace]) -> list[Result]:
        """Like `predict`, for models that take minutes over a picture.

        Such a model keeps what it has so far in the picture's place, and goes on from there if it finds something; it
        must end with the same result. By default `predict`.

        Args:
            images: as for `predict`.
            places: for each picture.
        """
        return self.predict(images)

    def predict_in_boxes(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Result]:
        """One result for each picture that says something of each of some objects in it: points, say.

        Args:
            images: as for `predict`.
            boxes: float (N_i, 4) for each picture, xyxy in its pixels, of the objects in it; there may be none.

        Raises:
            UsageError: the plugin looks at pictures as a whole only.
        """
        raise UsageError(
            f"weights of the plugin '{self.plugin}' look at pictures as a whole, not at objects in boxes",
            hint="Leave the detector out",
        )

    @abstractmethod
    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Any]]:
        """What one epoch trains on: a map-style sequence that worker processes index into.

        Each item is (uint8 (3, h, w), target), decoded and, unless `augment` does it, geometrically augmented; all are
        of one size, which is `input.size_hw` behind `augment`. It depends on nothing but the arguments, the index, and
        the model's weights, so that a resumed training sees what it would have seen.
        """

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, Any]]:
        """What every epoch is measured on: like `training_samples`, without augmentation, each `input.size_hw`."""
        return self.training_samples(data, epoch=0, seed=seed)

    def augment(self, images: Tensor) -> Tensor:
        """Augmentation of a training batch, on the device: uint8 (N, 3, h, w) in, (N, 3, *input.size_hw) out.

        It may give another size where `loss` takes one: whole batches larger or smaller, say. Random numbers for each
        picture come from `cvtl.training.whole_batch.drawn`, if several processes are to draw as one would.
        """
        return images

    def measure(self, images: Tensor, targets: Sequence[Any]) -> Mapping[str, Tensor]:
        """Figures to log beside the loss on validation batches (accuracy, IoU).

        Each is the batch's mean, or has a value for each sample, (N,), which is NaN where it says nothing of one (the
        IoU where there is no object). A figure `name` stands in metrics.csv as `val_name`, averaged over the samples.
        """
        return {}

    def assess(
        self, images: Tensor, targets: Sequence[Any], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The terms of the loss, and the figures to log beside it, of one batch.

        By default `loss`, and `measure` on validation batches only, for it passes through the network once more. A
        plugin that gets both from one pass overrides this, and has its figures logged of training batches, too
        (`train_name` in metrics.csv).
        """
        return self.loss(images, targets), {} if training else self.measure(images, targets)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """What learns, in groups: by what factor the learning rate of each is multiplied, and its parameters."""
        return [(1.0, [parameter for parameter in self.parameters() if parameter.requires_grad])]

    def after_step(self) -> None:
        """What follows each step of the optimizer: an average of the weights that goes along, say.

        Its state has to be in the model's `state_dict`, or a resumed training would not equal an uninterrupted one.
        """
        return

    def saved_state(self) -> Mapping[str, Tensor]:
        """The tensors that a weights file holds: `state_dict`, less what only training needs."""
        state: Mapping[str, Tensor] = self.state_dict()
        return state

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        """Train: by default with the one loop over `loss`, which calls all of the above.

        A plugin with a better way (features computed once, a solver) overrides this. It must call `run.record` at
        least once, with `monitor` among the figures, and stop when `run.is_over`; each call books an epoch, keeps the
        best weights and writes the metrics. `cvtl.training.train` does the rest: it refuses or resumes folders,
        turns signals into errors, and writes curves and report. It calls this in a resumed training, too, unless that
        is finished; whatever then is on disk has to lead to the same result.

        Every process of a training calls it, and all have to come to the same: what depends on the run's folder, or
        writes to it, goes through `run.processes.lead`.
        """
        from cvtl.training.loop import fit

        fit(self, train_data, val_data, settings, run)

    def why_alone(self) -> str:
        """Why its training gains nothing from several processes, as a `fit` of its own does not that is not the loop's.

        By default empty: the loop shares out the batches.
        """
        return ""

    def predict_samples(
        self, samples: Sequence[Sample], *, batch_size: int, progress: Progress
    ) -> Iterator[Result | Exception] | None:
        """Predict samples of a data set in a better way than by `predict` on their decoded pictures, if there is one.

        Args:
            samples: pictures are read by whoever needs them.
            batch_size: pictures that go through the network together.
            progress: is told of each sample that is done; whoever calls starts and finishes it.

        Returns:
            One result for each sample, in order, equal to what `predict` gives to rounding; an exception stands where
            a picture could not be read. A model that looks into boxes may take those that the samples have, and says
            so by a `CvtlWarning`. None if `predict` is the way.
        """
        return None

    def explain(self, image: Tensor, label: int) -> Tensor:
        """Where in one picture the evidence for a class lies.

        Args:
            image: uint8 RGB (3, H, W), on the model's device.
            label: index of the class.

        Returns:
            Float (h, w) in [0, 1], stretched over the whole picture, on the CPU.

        Raises:
            UsageError: the plugin has no explanation to give.
        """
        raise UsageError(f"weights of the plugin '{self.plugin}' cannot explain what they find")

    def verify(self, image: Tensor) -> Mapping[str, Any]:
        """Measure on one picture, uint8 (3, H, W), what the plugin promises: `cvtl info WEIGHTS --verify PICTURE`."""
        return {}

    def with_predict_options(self, **changes: Any) -> Self:
        """Set the options that `cvtl run` may change (the fields of `options.predict`) and return the model.

        Raises:
            OptionsError: the plugin has no such option, or the value does not fit.
        """
        from cvtl.options import change_predict_options

        self.options = change_predict_options(self.options, changes)
        return self


class ComposedModel(Model):
    """A model that is made of trained ones: it predicts and does not learn."""

    @classmethod
    def initialize(cls, options: BaseModel, classes: Sequence[str]) -> Self:
        """There is none for training."""
        raise _untrainable()

    def loss(self, images: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        """There is none."""
        raise _untrainable()

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Any]]:
        """There are none."""
        raise _untrainable()


def _untrainable() -> UsageError:
    return UsageError(
        "a model that is made of others cannot be trained", hint="Train its parts, and name them all for prediction"
    )
