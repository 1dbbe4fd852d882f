"""The model of the classify plugin: a backbone, a head, and how they predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl import backbones
from cvtl.backbones.backbone import EVERYTHING
from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.errors import DataError, UsageError
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, normalize, resize
from cvtl.progress import Progress
from cvtl.results import Classification, Result
from cvtl_classify.heads import make_head, start_as_he
from cvtl_classify.network import Classifier, feature_spaces, feature_width, stage_parameters
from cvtl_classify.options import ClassifyOptions
from cvtl_classify.recipes import RECIPES

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun
    from cvtl.training.settings import TrainSettings

# AlexNet cut its ten crops of 224 pixels from pictures of 256.
_TEN_CROP_SCALE = 256 / 224
# Samples whose features are in memory together at prediction.
_SAMPLES_AT_ONCE = 4096


class ClassifyModel(Model):
    """Classification by a head on a backbone, of which as much learns as the strategy says.

    Args:
        options: as they were given, or as strategy `auto` has settled them.
        classes: class names.
        input: the preprocessing.
        backbone: with its weights; one with random weights if not given.
    """

    plugin: ClassVar[str] = "classify"
    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_loss", "min")
    options: ClassifyOptions

    def __init__(
        self,
        options: ClassifyOptions,
        classes: Sequence[str],
        input: InputSpec,
        backbone: backbones.Backbone | None = None,
    ) -> None:
        super().__init__(options, classes, input)
        self._build(backbone or backbones.load(options.backbone, cut=options.cut))

    @classmethod
    def initialize(cls, options: ClassifyOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
        """A new model for training; strategy `scratch` reads no weights.

        Raises:
            DataError: there are fewer than two classes.
            UsageError: the options do not say where the backbone's weights come from, or ask for a size that it cannot
                take.
        """
        if len(classes) < 2:
            raise DataError(
                f"there is nothing to tell apart: the data have {len(classes)} class{'es' * (not classes)}",
                hint="Put pictures of each class into a folder of its own",
            )
        backbone = backbones.load(options.backbone, _weights(options), cut=options.cut)
        if options.size is not None and (options.size, options.size) != backbone.input.size_hw:
            _check_size(backbone, options.size)
        model = cls(options, classes, input_spec(backbone, options), backbone)
        if options.strategy == "scratch" and RECIPES[options.recipe].he_init:
            start_as_he(model)
        return model

    def become(self, options: ClassifyOptions, backbone: backbones.Backbone) -> None:
        """Make the network anew on a backbone, with a new head: what strategy `auto` has settled."""
        self.options, self.input = options, input_spec(backbone, options)
        self._build(backbone)

    def _build(self, backbone: backbones.Backbone) -> None:
        options = self.options
        spaces = feature_spaces(backbone, options.stages, options.pooling)
        head = make_head(options.head, feature_width(backbone, spaces), len(self.classes), options.used_recipe())
        backbone.freeze(_frozen_below(backbone, options))
        self.classifier = Classifier(backbone, spaces, head)

    # Training

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        """Train by the options' strategy (`cvtl_classify.fitting`)."""
        from cvtl_classify.fitting import fit

        fit(self, train_data, val_data, settings, run)

    def why_alone(self) -> str:
        """Strategy `features` computes features once, in no batches of samples; `auto` measures it."""
        strategy = self.options.strategy
        if strategy not in ("auto", "features"):
            return ""
        return f"strategy {strategy} goes by features that are computed once; augmented, finetune, full, scratch do not"

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, ClassTarget]]:
        """Pictures with a margin for `augment` to cut from, or at the input's size where it does nothing."""
        from cvtl_classify.samples import training_samples

        return training_samples(data, self.input, self.options)

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, ClassTarget]]:
        """Pictures as they are predicted."""
        from cvtl_classify.samples import validation_samples

        return validation_samples(data, self.input)

    def augment(self, images: Tensor) -> Tensor:
        """Crop, mirror, turn and colour a batch where it is, if that is how it is to be augmented."""
        if self.options.augment != "device":
            return images
        from cvtl_classify.augmentation import augment_batch

        return augment_batch(images, self.input.size_hw, self.options)

    def loss(self, images: Tensor, targets: Sequence[ClassTarget]) -> dict[str, Tensor]:
        """Cross-entropy, its targets smoothed as the recipe says."""
        return {"class": self._entropy(self.classifier(images), _labels(targets, images.device))}

    def assess(
        self, images: Tensor, targets: Sequence[ClassTarget], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss and the share of pictures that are told right, of one pass."""
        logits, labels = self.classifier(images), _labels(targets, images.device)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return {"class": self._entropy(logits, labels)}, {"accuracy": accuracy}

    def _entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.options.used_recipe().label_smoothing)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The head at the full learning rate, each stage at `discriminative` times the rate of what follows it."""
        groups, factor = [(1.0, list(self.classifier.head.parameters()))], 1.0
        for parameters in reversed(stage_parameters(self.classifier.backbone).values()):
            factor *= self.options.discriminative
            groups.append((factor, [each for each in parameters if each.requires_grad]))
        return [(factor, parameters) for factor, parameters in groups if parameters]

    # Prediction

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """Probabilities of each picture, averaged over the views that test-time augmentation takes of it."""
        views = _views(images, self.input, self.options.predict.tta)
        scores = [self._probabilities(self.classifier(normalize(view, self.input))) for view in views]
        return self._results(torch.stack(scores).mean(dim=0))

    def predict_samples(
        self, samples: Sequence[Sample], *, batch_size: int, progress: Progress
    ) -> Iterator[Result | Exception] | None:
        """By features that are kept, unless test-time augmentation looks at more than the picture itself."""
        if self.options.predict.tta != "none":
            return None
        return self._predict_by_features(samples, batch_size, progress)

    def _predict_by_features(
        self, samples: Sequence[Sample], batch_size: int, progress: Progress
    ) -> Iterator[Result | Exception]:
        from cvtl.feature_cache import FeatureCache
        from cvtl.features import extract

        network, cache = self.classifier.eval(), FeatureCache() if self.options.cache else None
        device = next(network.parameters()).device
        for start in range(0, len(samples), _SAMPLES_AT_ONCE):
            found = extract(
                network.backbone,
                samples[start : start + _SAMPLES_AT_ONCE],
                network.spaces,
                input=self.input,
                cache=cache,
                device=device,
                batch_size=batch_size,
                progress=progress,
            )
            features = torch.from_numpy(found.matrix(network.spaces)).to(device)
            for first in range(0, len(features), batch_size):
                yield from self._results_or_errors(features[first : first + batch_size], first, found.errors)

    def _results_or_errors(
        self, features: Tensor, first: int, errors: Mapping[int, Exception]
    ) -> Iterator[Result | Exception]:
        """One answer for each row of features; that of an unreadable picture is its error."""
        numbers = range(first, first + len(features))
        readable = [row for row, number in enumerate(numbers) if number not in errors]
        with torch.inference_mode():
            results = iter(self._results(self._probabilities(self.classifier.head(features[readable]))))
        for number in numbers:
            yield errors[number] if number in errors else next(results)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.float().softmax(dim=1)

    def _results(self, scores: Tensor) -> list[Result]:
        return [Classification(each, self.classes, self.options.predict.top_k) for each in scores.cpu()]

    def explain(self, image: Tensor, label: int) -> Tensor:
        """A class activation map (`cvtl_classify.explanation`)."""
        from cvtl_classify.explanation import explain

        return explain(self, image, label)


def input_spec(backbone: backbones.Backbone, options: ClassifyOptions) -> InputSpec:
    """The backbone's preprocessing, at the size and by the resizing that the options ask for."""
    changes: dict[str, object] = {}
    if options.size is not None:
        changes["size_hw"] = (options.size, options.size)
    if options.resize is not None:
        changes["resize"] = options.resize
    return backbone.input.model_copy(update=changes)


@torch.inference_mode()
def _check_size(backbone: backbones.Backbone, size: int) -> None:
    training = backbone.training
    try:
        backbone.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"the backbone '{backbone.name}' cannot take pictures of {size} x {size} pixels: "
            f"{str(error).partition(chr(10))[0]}",
            hint="Give another --size, or leave it out",
        ) from error
    finally:
        backbone.train(training)


def _weights(options: ClassifyOptions) -> str | Path | None:
    return None if options.strategy == "scratch" else backbones.chosen_weights(options.weights, options.backbone)


def _frozen_below(backbone: backbones.Backbone, options: ClassifyOptions) -> str | None:
    """What `Backbone.freeze` takes: with `finetune` the named stage and those behind it learn, or only the last."""
    match options.strategy:
        case "full" | "scratch":
            return None
        case "finetune":
            return options.unfreeze or list(stage_parameters(backbone))[-1]
        case _:
            return EVERYTHING


def _labels(targets: Sequence[ClassTarget], device: torch.device) -> Tensor:
    return torch.tensor([target.label for target in targets], device=device)


def _views(images: Sequence[Tensor], input: InputSpec, tta: Literal["none", "flip", "ten-crop"]) -> Iterator[Tensor]:
    """Uint8 batches (N, 3, *input.size_hw): the pictures as the network sees them, in one way or several."""
    if tta != "ten-crop":
        batch = torch.stack([resize(image, input) for image in images])
        yield batch
        if tta == "flip":
            yield batch.flip(-1)
        return
    height, width = input.size_hw
    larger_hw = (round(height * _TEN_CROP_SCALE), round(width * _TEN_CROP_SCALE))
    larger = input.model_copy(update={"size_hw": larger_hw})
    batch = torch.stack([resize(image, larger) for image in images])
    low, right = larger_hw[0] - height, larger_hw[1] - width
    for top, left in ((0, 0), (0, right), (low, 0), (low, right), (low // 2, right // 2)):
        crop = batch[..., top : top + height, left : left + width]
        yield crop
        yield crop.flip(-1)
