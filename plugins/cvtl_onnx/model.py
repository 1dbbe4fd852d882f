"""The models of the onnx plugins: pictures in, results out; the network between them is onnxruntime's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel
from torch import Tensor

from cvtl.boxes import clip_to_image, nms
from cvtl.data import Dataset
from cvtl.errors import UsageError, WeightsError
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, place, prepare
from cvtl.results import Classification, Detections, Result
from cvtl_onnx.decoding import DECODERS
from cvtl_onnx.layouts import is_end_to_end
from cvtl_onnx.network import Network
from cvtl_onnx.options import ClassifyOptions, DetectOptions


class OnnxModel(Model):
    """What both have in common: a network that lies in a file of its own and does not learn.

    Args:
        options: how to understand the outputs.
        classes: class names.
        input: the preprocessing.
        network: the file.

    Raises:
        WeightsError: there is no network.
    """

    def __init__(
        self, options: BaseModel, classes: Sequence[str], input: InputSpec, network: Network | None = None
    ) -> None:
        super().__init__(options, classes, input)
        if network is None:
            raise WeightsError("the network of such weights lies in an .onnx file", hint="Give that file")
        self.network = network
        # Holds nothing: it goes where the model is sent, which is where pictures are prepared and the network runs.
        self.register_buffer("_place", torch.empty(0), persistent=False)

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

    def saved_state(self) -> Mapping[str, Tensor]:
        """There is none: the network is onnxruntime's."""
        raise WeightsError(
            f"'{self.network.path}' is a graph of operations, which a weights file cannot hold",
            hint="Use it as it is: ONNX files cannot run code either",
        )

    def outputs(self, images: Sequence[Tensor]) -> Tensor:
        """What the network gives for pictures, uint8 (3, H, W) each: float32 (N, ...) on the CPU."""
        return self.network(prepare(images, self.input))


class OnnxDetector(OnnxModel):
    """Finds objects."""

    plugin: ClassVar[str] = "onnx_detect"
    options: DetectOptions

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The objects in each picture, cut to it; of those that overlap in one class the best."""
        return [self._found(output, image) for output, image in zip(self.outputs(images), images, strict=True)]

    def _found(self, output: Tensor, image: Tensor) -> Detections:
        options, image_hw = self.options.predict, (image.shape[1], image.shape[2])
        boxes, scores, labels = DECODERS[self.options.layout](output, self.input.size_hw)
        there = scores >= options.threshold
        boxes, scores, labels = boxes[there], scores[there].clamp(max=1), labels[there]
        if not is_end_to_end(tuple(output.shape)):
            kept = nms(boxes, scores, labels, iou_threshold=options.nms_iou)
            boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        if len(labels) and int(labels.max()) >= len(self.classes):
            raise UsageError(
                f"the network found an object of class {int(labels.max())}, but names are known of {len(self.classes)}",
                hint="Name the file that belongs to these weights with --classes",
            )
        boxes = clip_to_image(place(image_hw, self.input).to_picture(boxes), image_hw)
        # What lies in the grey beyond the picture has no extent when it is cut.
        inside = ((boxes[:, 2:] > boxes[:, :2]).all(dim=1)).nonzero()[:, 0]
        best = inside[scores[inside].argsort(descending=True, stable=True)][: options.max_detections]
        return Detections(boxes[best], scores[best], labels[best], self.classes)


class OnnxClassifier(OnnxModel):
    """Says what a picture shows."""

    plugin: ClassVar[str] = "onnx_classify"
    options: ClassifyOptions

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The probabilities of the classes for each picture."""
        scores = self.outputs(images).reshape(len(images), len(self.classes))
        scores = scores.softmax(dim=1) if self.options.scores == "logits" else scores.clamp(0, 1)
        return [Classification(each, self.classes, self.options.predict.top_k) for each in scores]


def _untrainable() -> UsageError:
    return UsageError("ONNX files cannot be trained", hint="Train the network where it comes from, and export it anew")
