"""The model of the landmarks plugin, and how other programs ask it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from cvtl import backbones
from cvtl.augmentation import jitter
from cvtl.background import map_ahead
from cvtl.data import Dataset, PointsTarget, Sample, UInt8Image
from cvtl.errors import CvtlWarning, DataError, UsageError
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, normalize
from cvtl.progress import Progress
from cvtl.results import Landmarks, Result
from cvtl_landmarks.losses import confidence_loss, coordinate_loss, mean_errors, shares_right, spread_loss
from cvtl_landmarks.network import Points, PointsNetwork
from cvtl_landmarks.options import LandmarksOptions
from cvtl_landmarks.regions import Region, look, region_of, to_picture, view_of, whole
from cvtl_landmarks.samples import (
    PlacedPoints,
    PointSamples,
    mirrored_order,
    objects_of,
    sample_spec,
    variation_of,
)

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun
    from cvtl.training.settings import TrainSettings

# Of the loss: enough to learn from, too little to be what is learnt.
_CONFIDENCE_WEIGHT = 0.1
# Regions that go through the network together: a picture may show hundreds of objects.
_TOGETHER = 32
_READERS = 4


class LandmarksModel(Model):
    """K named points of the object that a picture, or each of some boxes in it, shows."""

    plugin: ClassVar[str] = "landmarks"
    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_error", "min")
    options: LandmarksOptions

    def __init__(
        self,
        options: LandmarksOptions,
        classes: Sequence[str],
        input: InputSpec,
        backbone: backbones.Backbone | None = None,
    ) -> None:
        super().__init__(options, classes, input)
        backbone = backbone or backbones.load(options.backbone, cut=options.cut)
        backbone.freeze(options.freeze)
        self.network = PointsNetwork(backbone, len(self.classes), options)

    @classmethod
    def initialize(cls, options: LandmarksOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
        """A new model for training; `classes` are the points' names, unless the file of `points` has others.

        Raises:
            DataError: there are no points, or that file does not fit them.
            UsageError: the options do not say where the backbone's weights come from.
        """
        if not classes:
            raise DataError("there is nothing to learn: the data name no points")
        backbone = backbones.load(
            options.backbone, backbones.chosen_weights(options.weights, options.backbone), cut=options.cut
        )
        if options.points is not None:
            from cvtl_datasets.points_file import apply_points_file

            classes = apply_points_file(Dataset([], tuple(classes), ""), Path(options.points)).classes
        changes = {"size_hw": (options.size, options.size), "resize": options.resize}
        return cls(options, classes, backbone.input.model_copy(update=changes), backbone)

    # Training

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        """Settle what the options leave open by the data, then train with the core's loop.

        Whole pictures are decoded once, where the memory allows it.
        """
        from cvtl_landmarks.settling import settle

        self.options = run.processes.lead(lambda: settle(self.options, train_data, run))
        if self.options.crop != "box":
            train_data, val_data = self._in_memory(train_data, val_data, run)
        super().fit(train_data, val_data, settings, run)

    def _in_memory(self, train_data: Dataset, val_data: Dataset, run: TrainRun) -> tuple[Dataset, Dataset]:
        from cvtl.terminal_progress import shown_progress
        from cvtl.training.memory import in_memory

        for data in (train_data, val_data):
            objects_of(data, in_boxes=False)  # what cannot be learnt is said before pictures are read
        if run.is_over:
            return train_data, val_data
        with shown_progress(len(train_data) + len(val_data), quiet=run.console.quiet, noun="pictures") as progress:
            spec = sample_spec(self.input, variation_of(self.options))
            return in_memory(train_data, spec, progress=progress), in_memory(val_data, self.input, progress=progress)

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, PlacedPoints]]:
        """Every object in a view of its own, turned, scaled, shifted and mirrored."""
        return PointSamples(data, self.input, self.options, (seed, epoch))

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, PlacedPoints]]:
        """Every object as it is predicted."""
        return PointSamples(data, self.input, self.options, None)

    def augment(self, images: Tensor) -> Tensor:
        """Change the colours of a batch."""
        return jitter(images, self.options.jitter)

    def loss(self, images: Tensor, targets: Sequence[PlacedPoints]) -> dict[str, Tensor]:
        """Of the coordinates, of the heat maps' shape where there are some, and of the confidence."""
        return self._terms(self.network(images), *_stacked(targets, images.device))

    def assess(
        self, images: Tensor, targets: Sequence[PlacedPoints], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss, and two figures of each object: `error`, `right`.

        `error` is the mean distance of its points from their places, as a fraction of the input's side; `right` the
        share of the points that are there which is found within a fortieth of that side.
        """
        found, (places, visible) = self.network(images), _stacked(targets, images.device)
        figures = {
            "error": mean_errors(found.places.detach(), places, visible),
            "right": shares_right(found.places, places, visible),
        }
        return self._terms(found, places, visible), figures

    def _terms(self, found: Points, places: Tensor, visible: Tensor) -> dict[str, Tensor]:
        terms = {
            "points": coordinate_loss(found.places, places, visible, self.options.loss),
            "confidence": _CONFIDENCE_WEIGHT * confidence_loss(found.logits, found.places, places, visible),
        }
        if found.heatmaps is not None and self.options.spread > 0:
            terms["spread"] = self.options.spread * spread_loss(found.heatmaps, places, visible)
        return terms

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The head at the full learning rate, the backbone at `backbone_rate` of it."""
        network = self.network
        head = [*network.head.parameters(), *network.confidence.parameters()]
        backbone = [each for each in network.backbone.parameters() if each.requires_grad]
        groups = [(1.0, head), (self.options.backbone_rate, backbone)]
        return [(factor, parameters) for factor, parameters in groups if parameters]

    # Prediction

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The points of each picture, taken for one object."""
        regions = [whole((image.shape[1], image.shape[2])) for image in images]
        found = self._find(list(zip(images, regions, strict=True)))
        return [self._result(points[None], scores[None]) for points, scores in found]

    def predict_in_boxes(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Result]:
        """The points of the objects in boxes, of pictures with several."""
        margin = self.options.margin
        regions = [[region_of(box, margin) for box in each.tolist()] for each in boxes]
        asked = [(image, region) for image, each in zip(images, regions, strict=True) for region in each]
        found = self._find(asked)
        results: list[Result] = []
        for each in boxes:
            mine = [next(found) for _ in range(len(each))]
            points = torch.stack([points for points, _ in mine]) if mine else torch.zeros(0, len(self.classes), 2)
            scores = torch.stack([scores for _, scores in mine]) if mine else torch.zeros(0, len(self.classes))
            results.append(self._result(points, scores, each))
        return results

    def predict_samples(
        self, samples: Sequence[Sample], *, batch_size: int, progress: Progress
    ) -> Iterator[Result | Exception] | None:
        """By the samples' own boxes, where points were learnt in boxes: a detector is not measured then."""
        if self.options.crop != "box":
            return None
        warnings.warn(
            "Points are looked for in the data's own boxes: what a detector would miss is not counted. "
            "`cvtl eval --detector W` counts it.",
            CvtlWarning,
            stacklevel=2,
        )
        return self._predict_in_known_boxes(samples, progress)

    def _predict_in_known_boxes(self, samples: Sequence[Sample], progress: Progress) -> Iterator[Result | Exception]:
        device = next(self.parameters()).device
        for image, sample in zip(map_ahead(_read, samples, _READERS), samples, strict=True):
            progress.advance(1)
            if isinstance(image, Exception):
                yield image
                continue
            target = sample.target
            known = target.boxes if isinstance(target, PointsTarget) and target.boxes is not None else np.zeros((0, 4))
            tensor = torch.from_numpy(image).permute(2, 0, 1).to(device)
            yield from self.predict_in_boxes([tensor], [torch.from_numpy(known).float()])

    def _result(self, points: Tensor, scores: Tensor, boxes: Tensor | None = None) -> Landmarks:
        return Landmarks(points, scores, self.classes, boxes, self.options.edges or (), self.options.predict.threshold)

    def _find(self, asked: Sequence[tuple[Tensor, Region]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Points (K, 2) in pixels of the picture, and how sure they are (K,), of each region."""
        for start in range(0, len(asked), _TOGETHER):
            some = asked[start : start + _TOGETHER]
            places, scores = self._look([look(image, region, self.input) for image, region in some])
            for (_, region), place, score in zip(some, places.double().cpu().numpy(), scores.cpu(), strict=True):
                points = to_picture(place, view_of(region, self.input))
                yield torch.from_numpy(points).float(), score

    def _look(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Places (N, K, 2) in the input and how sure they are (N, K)."""
        batch = normalize(torch.stack(list(inputs)), self.input)
        found = self.network(batch)
        places, scores = found.places, found.logits.sigmoid()
        if self.options.predict.tta == "flip":
            order = mirrored_order(len(self.classes), self._known_pairs())
            mirrored = self.network(batch.flip(-1))
            back = torch.stack([1 - mirrored.places[..., 0], mirrored.places[..., 1]], dim=-1)[:, order]
            places, scores = (places + back) / 2, (scores + mirrored.logits.sigmoid()[:, order]) / 2
        return places, scores

    def _known_pairs(self) -> tuple[tuple[int, int], ...]:
        if self.options.flip_pairs is None:
            raise UsageError(
                "--predict.tta flip needs to know which points change places in a mirror, which nobody has told these "
                "weights",
                hint="Train with --pairs guess, --flip-pairs, or a points.yaml beside the data",
            )
        return self.options.flip_pairs


def find_landmarks(
    model: LandmarksModel | str | Path, image: UInt8Image, boxes: Sequence[Sequence[float]] | None = None
) -> Landmarks:
    """The points of one picture, for other programs.

    Args:
        model: a model, or its weights file; load it once with `cvtl.load_model` if there are several pictures.
        image: uint8 (H, W, 3), RGB, upright.
        boxes: xyxy of the objects in the picture; None: the picture is the object.

    Returns:
        Points in pixels of the picture, one set of them or one for each box.

    Raises:
        WeightsError: the weights cannot be used.
        UsageError: they are not of this plugin.

    Example:
        >>> options = LandmarksOptions(backbone="lenet5", weights="none", size=32)
        >>> model = LandmarksModel.initialize(options, ("left", "right"))
        >>> find_landmarks(model, np.zeros((48, 64, 3), np.uint8)).points.shape
        torch.Size([1, 2, 2])
    """
    if not isinstance(model, LandmarksModel):
        from cvtl import weights

        loaded = weights.load(model)
        if not isinstance(loaded, LandmarksModel):
            raise UsageError(f"'{model}' are weights of the plugin '{loaded.plugin}', not of 'landmarks'")
        model = loaded
    model.eval()
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).to(next(model.parameters()).device)
    with torch.inference_mode():
        if boxes is None:
            (result,) = model.predict([tensor])
        else:
            (result,) = model.predict_in_boxes([tensor], [torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)])
    assert isinstance(result, Landmarks)
    return result


def _read(sample: Sample) -> UInt8Image | DataError:
    try:
        return sample.read()
    except DataError as error:
        return error


def _stacked(targets: Sequence[PlacedPoints], device: torch.device) -> tuple[Tensor, Tensor]:
    """Places (N, K, 2) and visibility (N, K) of a batch."""
    places = torch.stack([target.places for target in targets]).to(device)
    return places, torch.stack([target.visible for target in targets]).to(device)
