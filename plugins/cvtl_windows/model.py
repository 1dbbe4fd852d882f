"""The model of the windows plugin: a window classifier, and the ways to slide it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl import backbones, boxes
from cvtl.data import BoxesTarget, ClassTarget, Dataset, UInt8Image
from cvtl.errors import DataError, UsageError
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, normalize
from cvtl.results import Detections, Result
from cvtl.training.whole_batch import batch_divisor, drawn
from cvtl_windows.classifier import Classifier, map_shape
from cvtl_windows.convolutional import to_convolutional
from cvtl_windows.crops import (
    CropSamples,
    CutWindows,
    FindObjects,
    WindowTarget,
    object_classes,
    offsets_to_boxes,
)
from cvtl_windows.heatmaps import Heatmaps
from cvtl_windows.merging import merge_windows, support
from cvtl_windows.options import PredictOptions, WindowsOptions
from cvtl_windows.pyramid import STRIP_PIXELS, Level, level_image, levels, window_boxes
from cvtl_windows.sliding import scores_by_convolution, scores_by_crops

_LARGEST_DEFAULT_WINDOW = 64
_REFINEMENTS = 4
# False alarms are mined at a low threshold: those near it teach the most.
_MINING_THRESHOLD = 0.3
# Pixels of equal-sized pictures that go through the network together.
_STACK_PIXELS = 4_000_000

Look = Callable[[Tensor], Tensor]


class WindowsModel(Model):
    """Detection by a ConvNet that says what one window shows, slid over the picture at every scale.

    OverFeat (Sermanet et al. 2013, arXiv 1312.6229): the classifier's outputs are the classes, then background, then,
    with `refine`, four numbers that correct the box.
    """

    plugin: ClassVar[str] = "windows"
    options: WindowsOptions

    def __init__(
        self,
        options: WindowsOptions,
        classes: Sequence[str],
        input: InputSpec,
        backbone: backbones.Backbone | None = None,
    ) -> None:
        super().__init__(options, classes, input)
        self._build(backbone or backbones.load(options.backbone, cut=options.cut))

    @classmethod
    def initialize(cls, options: WindowsOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
        """A new model for training; background is taken out of the data's classes."""
        backbone = backbones.load(options.backbone, options.backbone_weights, cut=options.cut)
        native = backbone.input
        side = options.window or min(*native.size_hw, _LARGEST_DEFAULT_WINDOW)
        input = native.model_copy(update={"size_hw": (side, side), "resize": "stretch"})
        return cls(options, object_classes(classes, options.background), input, backbone)

    def _build(self, backbone: backbones.Backbone) -> None:
        """The classifier over a backbone: pooling, dense layers, outputs."""
        options = self.options
        if options.freeze is not None:
            backbone.freeze(below=options.freeze)
        channels, height, width = map_shape(backbone, self.input.size_hw)
        inputs = channels * height * width if options.pooling == "flatten" else channels
        layers: list[nn.Module] = []
        for units in options.hidden:
            layers += [nn.Linear(inputs, units), nn.ReLU()]
            inputs = units
        outputs = len(self.classes) + 1 + (_REFINEMENTS if options.refine else 0)
        layers += [nn.Dropout(options.dropout), nn.Linear(inputs, outputs)]
        self.classifier = Classifier(backbone, options.pooling, nn.Sequential(*layers))
        self._stride = backbone.stages[-1].stride

    # Training

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, WindowTarget]]:
        """Crops of class folders as they are, or windows newly cut from pictures with boxes."""
        mine_from = self.options.mine_from
        mines = mine_from is not None and epoch >= mine_from
        return self._samples(data, seed=(seed, epoch), mine=self._find_loosely if mines else None)

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, WindowTarget]]:
        """The same windows in every epoch, none of them mined."""
        return self._samples(data, seed=(seed,), mine=None)

    def _samples(
        self, data: Dataset, *, seed: Sequence[int], mine: FindObjects | None
    ) -> Sequence[tuple[Tensor, WindowTarget]]:
        kinds = {type(sample.target) for sample in data}
        options = self.options
        if kinds == {ClassTarget}:
            if options.refine:
                raise DataError("crops in class folders have no boxes to learn --refine from", hint="Leave it out")
            if len(self.classes) == len(data.classes):
                raise DataError(
                    f"none of the classes ({', '.join(data.classes)}) is background, without which every window is an "
                    "object",
                    hint="Add a folder of crops without objects called 'background', or name yours with --background",
                )
            return CropSamples(data, self.classes, self.input)
        if kinds == {BoxesTarget}:
            return CutWindows(
                data,
                self.classes,
                self.input,
                seed=seed,
                windows_per_object=options.windows_per_object,
                negatives_per_picture=options.negatives_per_picture,
                aspects=options.predict.aspects,
                object_size=(options.predict.min_object, options.predict.max_object),
                mine=mine,
                mining_pictures=options.mining_pictures,
            )
        found = ", ".join(sorted(kind.__name__ for kind in kinds)) or "no samples"
        raise DataError(
            f"the windows plugin learns from crops in class folders or from pictures with boxes, not from {found}"
        )

    def _find_loosely(self, image: UInt8Image) -> Tensor:
        """Windows (N, 4) that look like an object to the present weights, best first: for mining."""
        loose = self.options.predict.model_copy(update={"threshold": _MINING_THRESHOLD, "heatmaps": False})
        tensor = torch.from_numpy(image).to(next(self.parameters()).device).permute(2, 0, 1)
        (found,) = self._detect(tensor[None], loose, refine=False)
        return found.boxes

    def augment(self, images: Tensor) -> Tensor:
        """Mirror half of the windows, if that is allowed, and change brightness and contrast of each."""
        if self.options.flip:
            sides = drawn(lambda count: torch.rand(count, 1, 1, 1, device=images.device), len(images))
            images = torch.where(sides < 0.5, images.flip(-1), images)
        strength = self.options.jitter
        random = drawn(lambda count: torch.rand(2, count, 1, 1, 1, device=images.device), len(images), dim=1)
        factors = 1 + strength * (2 * random - 1)
        mean = images.float().mean(dim=(1, 2, 3), keepdim=True)
        changed: Tensor = (images - mean) * factors[0] + mean * factors[1]
        return changed.round().clamp(0, 255).to(torch.uint8)

    def loss(self, images: Tensor, targets: Sequence[WindowTarget]) -> dict[str, Tensor]:
        """Cross-entropy over classes and background; smooth L1 over the corrections of windows that hold an object."""
        outputs = self.classifier(images)
        kinds = len(self.classes) + 1
        labels = torch.tensor([target.label for target in targets], device=outputs.device)
        terms = {"class": F.cross_entropy(outputs[:, :kinds], labels)}
        if self.options.refine:
            known = [index for index, target in enumerate(targets) if target.offset is not None]
            wanted = outputs.new_tensor([targets[index].offset for index in known]).view(-1, _REFINEMENTS)
            # The sum over none is zero, where the mean would be NaN.
            error = F.smooth_l1_loss(outputs[known, kinds:], wanted, beta=0.1, reduction="sum")
            terms["box"] = error / batch_divisor(len(known))
        return terms

    def measure(self, images: Tensor, targets: Sequence[WindowTarget]) -> Mapping[str, Tensor]:
        """Share of the windows that are told right."""
        outputs = self.classifier(images)[:, : len(self.classes) + 1]
        labels = torch.tensor([target.label for target in targets], device=outputs.device)
        return {"accuracy": (outputs.argmax(dim=1) == labels).float().mean()}

    # Prediction

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """Detections of each picture; pictures of equal size go through the network together."""
        found: dict[int, Detections] = {}
        for indices in _stacks(images):
            stack = torch.stack([images[index] for index in indices])
            found |= zip(indices, self._detect(stack, self.options.predict, refine=self.options.refine), strict=True)
        return [found[index] for index in range(len(images))]

    def _detect(self, stack: Tensor, options: PredictOptions, *, refine: bool) -> list[Detections]:
        """Detections of pictures (N, 3, H, W) of one size, their boxes corrected or the windows as they are."""
        look, stride = self.look(options)
        image_hw = (stack.shape[-2], stack.shape[-1])
        heatmaps = Heatmaps(len(stack), len(self.classes), image_hw, stack.device) if options.heatmaps else None
        candidates: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in stack]
        for level in self._levels(image_hw, options):
            picture = level_image(stack, level, self.input.size_hw, stride, interpolation=self.input.interpolation)
            outputs = look(picture).float()
            if not bool(outputs.isfinite().all()):
                raise ValueError("the network's outputs are not finite")
            scores = outputs[:, : len(self.classes) + 1].softmax(dim=1)[:, :-1]
            if heatmaps is not None:
                heatmaps.add(scores, stride, self.input.size_hw, level)
            rows, columns = scores.shape[-2:]
            windows = window_boxes(rows, columns, stride, self.input.size_hw, level, device=stack.device)
            for index, found in enumerate(candidates):
                offsets = outputs[index, -_REFINEMENTS:] if refine else None
                found.append(_candidates(scores[index], windows, offsets, options.threshold))
        maps = heatmaps.maps.cpu() if heatmaps is not None else None
        return [
            self._thin_out(picture, image_hw, options, None if maps is None else maps[index])
            for index, picture in enumerate(candidates)
        ]

    def _levels(self, image_hw: tuple[int, int], options: PredictOptions) -> list[Level]:
        return levels(
            image_hw,
            self.input.size_hw,
            min_object=options.min_object,
            max_object=options.max_object,
            scales_per_octave=options.scales_per_octave,
            aspects=options.aspects,
        )

    def look(self, options: PredictOptions) -> tuple[Look, int]:
        """What turns levels, uint8 (N, 3, h, w), into outputs (N, K, rows, columns); and the stride of those."""
        hw, ready = self.input.size_hw, self._normalized
        if options.mode == "conv":
            net = to_convolutional(self.classifier, hw, fine=options.fine)

            def slide(pictures: Tensor) -> Tensor:
                # How a picture is cut into strips must not depend on what else is in the batch.
                most = max(1, STRIP_PIXELS // (pictures.shape[-2] * pictures.shape[-1]))
                return torch.cat(
                    [scores_by_convolution(net, part, normalize=ready) for part in torch.split(pictures, most)]
                )

            return slide, net.stride
        if self._stride % options.fine:
            raise UsageError(f"fine={options.fine} does not divide the network's stride of {self._stride}")
        stride = self._stride // options.fine

        def cut_out(pictures: Tensor) -> Tensor:
            each = [scores_by_crops(self.classifier, picture, stride, hw, normalize=ready) for picture in pictures]
            return torch.stack(each)

        return cut_out, stride

    def _normalized(self, images: Tensor) -> Tensor:
        return normalize(images, self.input)

    def _thin_out(
        self,
        candidates: list[tuple[Tensor, Tensor, Tensor]],
        image_hw: tuple[int, int],
        options: PredictOptions,
        heatmaps: Tensor | None,
    ) -> Detections:
        found, scores, labels = (torch.cat(parts) for parts in zip(*candidates, strict=True))
        found = boxes.clip_to_image(found, image_hw)
        # A correction may lead wholly out of the picture.
        inside = boxes.area(found) > 0
        found, scores, labels = found[inside], scores[inside], labels[inside]
        windows = found, scores, labels
        groups = labels if options.nms_among == "class" else torch.zeros_like(labels)
        match options.nms:
            case "hard":
                kept = boxes.nms(found, scores, groups, iou_threshold=options.nms_iou)
                found, scores, labels = found[kept], scores[kept], labels[kept]
            case "soft":
                kept, scores = boxes.soft_nms(found, scores, groups, score_threshold=options.threshold)
                found, labels = found[kept], labels[kept]
            case "merge":
                found, scores, labels = merge_windows(found, scores, labels, groups, iou_threshold=options.nms_iou)
        if options.min_support > 0:
            supported = support((found, labels), windows) >= options.min_support
            found, scores, labels = found[supported], scores[supported], labels[supported]
        most = options.max_detections
        return Detections(found[:most], scores[:most], labels[:most], self.classes, heatmaps)

    def verify(self, image: Tensor) -> Mapping[str, Any]:
        """How far one convolutional pass differs from classifying crops, and how much faster it is."""
        from cvtl_windows.verification import verify_convolution

        return verify_convolution(self, image)


def _stacks(images: Sequence[Tensor]) -> Iterator[list[int]]:
    """Indices of pictures that fit one stack: of one size, and not too many pixels."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_size.setdefault(tuple(image.shape), []).append(index)
    for (_, height, width), indices in by_size.items():
        most = max(1, _STACK_PIXELS // (height * width))
        for start in range(0, len(indices), most):
            yield indices[start : start + most]


def _candidates(
    scores: Tensor, windows: Tensor, offsets: Tensor | None, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels of the windows of one level that answer strongly enough.

    Args:
        scores: (C, rows, columns).
        windows: (rows * columns, 4).
        offsets: (4, rows, columns), if the boxes are to be corrected.
        threshold: least score.
    """
    flat = scores.flatten(1)
    labels, places = torch.where(flat >= threshold)
    found = windows[places]
    if offsets is not None:
        found = offsets_to_boxes(offsets.flatten(1).T[places], found)
    return found, flat[labels, places], labels
