"""The model of the ultralytics plugin: one of Ultralytics' networks, and what becomes of its answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from cvtl import boxes, weights
from cvtl.augmentation import jitter
from cvtl.data import Dataset
from cvtl.errors import DataError, UsageError, WeightsError
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, normalize, place, resize
from cvtl.results import Detections, Result
from cvtl.training.averaging import Learner
from cvtl.training.measuring import picture_ap
from cvtl_ultralytics import decoding, isolation, networks
from cvtl_ultralytics.architecture import Architecture, find_architecture
from cvtl_ultralytics.framing import Window, tight_window, whole_window
from cvtl_ultralytics.options import DEFAULT_MODEL, LARGEST_STRIDE, UltralyticsOptions
from cvtl_ultralytics.reading import check_side, input_of

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun
    from cvtl.training.objects import Seen
    from cvtl.training.settings import TrainSettings

# Ultralytics looks at so many of the answers that need no suppression, or more if more are wanted.
_LEAST_ANSWERS = 300
# Where less of the weights to start from fits, they are of another network.
_LEAST_TAKEN = 0.5


class UltralyticsModel(Model):
    """A detector of Ultralytics'.

    Args:
        options: `options.model` is the table of layers, or names one.
        classes: class names.
        input: the preprocessing.

    Attributes:
        network: what predicts; with `options.ema`, the average of the learner's weights.
        learner: what learns; None where `network` itself does, and outside of a training.
    """

    plugin: ClassVar[str] = "ultralytics"
    licence: ClassVar[str] = isolation.LICENCE
    libraries: ClassVar[tuple[str, ...]] = (isolation.PACKAGE,)
    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_ap", "max")
    options: UltralyticsOptions
    learner: Learner | None

    def __init__(self, options: UltralyticsOptions, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__(options, classes, input)
        self.network = networks.build(_architecture(options), len(self.classes))
        for layer in self._frozen(self.network):
            layer.requires_grad_(False)
        self.learner = None
        self._run: TrainRun | None = None

    @classmethod
    def initialize(cls, options: UltralyticsOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
        """A new model for training.

        Raises:
            DataError: there is no class.
            UsageError: there is no such architecture, or the size does not suit it.
            WeightsError: the weights to start from cannot be used, or are of another network.
        """
        if not classes:
            raise DataError("there is nothing to find: the data have no classes", hint="Give pictures with boxes")
        check_side(options.size, "--size")
        start = _start(options.weights)
        architecture = start.options.model if start and options.model is None else _architecture(options)
        assert isinstance(architecture, dict)
        settled = options.model_copy(update={"model": architecture})
        model = cls(settled, classes, input_of(architecture, options.size))
        if start is not None:
            model._take_over(start)
        return model

    def _take_over(self, start: UltralyticsModel) -> None:
        tensors = start.network.state_dict()
        taken = networks.take_over(self.network, tensors, classes_too=start.classes == self.classes)
        if taken < _LEAST_TAKEN * len(tensors):
            raise WeightsError(
                f"only {taken} of the {len(tensors)} tensors of --weights '{self.options.weights}' fit the network",
                hint="Leave --model out to take the architecture of the weights",
            )

    def _frozen(self, of: Any) -> list[nn.Module]:
        """The layers that do not learn."""
        return list(of.model[: self.options.freeze])

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; layers that do not learn stay in the latter, for their statistics."""
        super().train(mode)
        for layer in self._frozen(self._learning):
            layer.eval()
        return self

    @property
    def _learning(self) -> nn.Module:
        return self.network if getattr(self, "learner", None) is None else self.learner.network  # type: ignore[union-attr]

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
        self.learner = Learner(self.network, self.options.ema) if self.options.ema else None
        self._run = run
        try:
            super().fit(train_data, val_data, settings, run)
        finally:
            self.learner = self._run = None

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Seen]]:
        """Views of the pictures, mirrored, moved and scaled at random, some of four of them, and their objects."""
        from cvtl.training.objects import TrainingSamples

        options = self.options
        return TrainingSamples(data, self.input, options.variation(), mosaic=options.mosaic, seed=seed, epoch=epoch)

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, Seen]]:
        """Pictures in the whole input."""
        from cvtl.training.objects import ValidationSamples

        return ValidationSamples(data, self.input)

    def augment(self, images: Tensor) -> Tensor:
        """Change the colours of a batch."""
        return jitter(images, self.options.jitter)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """All of the network that learns."""
        return [(1.0, [each for each in self._learning.parameters() if each.requires_grad])]

    def after_step(self) -> None:
        """Take the step into the average, where there is one."""
        if self.learner is not None:
            self.learner.update(self.network)

    def saved_state(self) -> Mapping[str, Tensor]:
        """The network that predicts; the one that learns is a training's own."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("learner.")}

    def loss(self, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        """The terms of Ultralytics' loss (`cvtl_ultralytics.losses`), of the network that learns."""
        return self._assessed(self._learning, images, targets)[0]

    def assess(
        self, images: Tensor, targets: Sequence[Seen], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss, its terms as figures, and of validation pictures `ap` (`cvtl.training.measuring.picture_ap`).

        Validation is of the network that predicts.
        """
        terms, answers = self._assessed(self._learning if training else self.network, images, targets)
        figures = {f"{name}_loss": value.detach() for name, value in terms.items()}
        if not training:
            size_hw = (images.shape[-2], images.shape[-1])
            found = [
                self._suppressed(*self._candidates(each, size_hw), size_hw) for each in answers[0].detach().float()
            ]
            scores = [picture_ap(each, seen.boxes, seen.labels) for each, seen in zip(found, targets, strict=True)]
            figures["ap"] = torch.tensor(scores, device=images.device)
        return terms, figures

    def _assessed(self, of: Any, images: Tensor, targets: Sequence[Seen]) -> tuple[dict[str, Tensor], Any]:
        from cvtl_ultralytics import losses

        if networks.is_rtdetr(of) and of.training:
            # It is shown the objects with noise, which it learns to take away.
            return losses.terms(of, None, targets, images, self._progress()), None
        answers = of(images)
        return losses.terms(of, answers, targets, images, self._progress()), answers

    def _progress(self) -> float:
        """Of the training, from 0 in its first epoch to 1 in its last."""
        if self._run is None:
            return 0.0
        return min(1.0, len(self._run.history) / max(1, self._run.epochs - 1))

    # Prediction

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The objects of each picture, best first, their boxes cut to it."""
        spec = self._spec()
        windows = [self._window((image.shape[1], image.shape[2]), spec) for image in images]
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, window in enumerate(windows):
            alike[window.height, window.width].append(index)
        found: dict[int, Detections] = {}
        for size_hw, indices in alike.items():
            batch = torch.stack([_cut(resize(images[index], spec), windows[index]) for index in indices])
            for index, answers in zip(indices, self._answers(normalize(batch, spec)), strict=True):
                image_hw, window = (images[index].shape[1], images[index].shape[2]), windows[index]
                corners, scores, labels = self._candidates(answers, size_hw)
                moved = corners + corners.new_tensor([window.left, window.top] * 2)
                found[index] = self._suppressed(place(image_hw, spec).to_picture(moved), scores, labels, image_hw)
        return [found[index] for index in range(len(images))]

    def _spec(self) -> InputSpec:
        side = self.options.predict.size
        if side is None:
            return self.input
        check_side(side, "--predict.size")
        return self.input.model_copy(update={"size_hw": (side, side)})

    def _window(self, image_hw: tuple[int, int], spec: InputSpec) -> Window:
        if spec.resize != "letterbox" or self.options.predict.frame == "square":
            return whole_window(spec)
        return tight_window(image_hw, spec, LARGEST_STRIDE)

    def _answers(self, images: Tensor) -> Tensor:
        """What the network says of a batch, (N, 4 + C, A), or (N, K, 6) where it needs no suppression."""
        options, head = self.options.predict, networks.head(self.network)
        single = options.suppression == "none"
        if networks.has_single_answers(self.network):
            head.end2end, head.max_det = single, max(options.max_detections, _LEAST_ANSWERS)
        elif single and not networks.is_rtdetr(self.network):
            raise UsageError(
                "this network has no head that gives one box for an object: double detections must be suppressed",
                hint="Leave --predict.suppression none out; YOLOv10 and YOLO26 have such a head",
            )
        answers: Tensor = self.network(images)[0].detach().float()
        if not bool(answers.isfinite().all()):
            raise ValueError("the network's answers are not finite")
        return answers

    def _candidates(self, answers: Tensor, size_hw: tuple[int, int]) -> decoding.Found:
        """Boxes in pixels of the input, scores and labels of one picture, before suppression."""
        options = self.options.predict
        if networks.is_rtdetr(self.network):
            return decoding.rtdetr(answers, options.threshold, size_hw)
        if networks.head(self.network).end2end:
            return decoding.single(answers, options.threshold)
        return decoding.dense(answers, options.threshold, options.labels)

    def _suppressed(self, found: Tensor, scores: Tensor, labels: Tensor, image_hw: tuple[int, int]) -> Detections:
        options = self.options.predict
        if options.suppression == "nms" and not networks.is_rtdetr(self.network):
            kept = boxes.nms(found, scores, labels, iou_threshold=options.nms_iou)
        else:
            kept = scores.argsort(descending=True, stable=True)
        found = boxes.clip_to_image(found[kept], image_hw)
        # Boxes may lie wholly in the grey beside a letterboxed picture.
        inside = kept[boxes.area(found) > 0]
        best, found = inside[: options.max_detections], found[boxes.area(found) > 0][: options.max_detections]
        return Detections(found, scores[best], labels[best], self.classes)


def _architecture(options: UltralyticsOptions) -> Architecture:
    return options.model if isinstance(options.model, dict) else find_architecture(options.model or DEFAULT_MODEL)


def _start(path: str | None) -> UltralyticsModel | None:
    """The weights to start from."""
    if path is None:
        return None
    model = weights.load(path)
    if not isinstance(model, UltralyticsModel):
        raise UsageError(
            f"--weights '{path}' are of the plugin '{model.plugin}', not of '{UltralyticsModel.plugin}'",
            hint="Give a .pt of Ultralytics' or a .safetensors that was trained with this plugin",
        )
    return model


def _cut(image: Tensor, window: Window) -> Tensor:
    return image[..., window.top : window.top + window.height, window.left : window.left + window.width]
