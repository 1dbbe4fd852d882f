"""A model asked about the pictures of a data set: its results as answers in the data set's terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from cvtl import registry, weights
from cvtl.data import Dataset, UInt8Image
from cvtl.devices import Predictor, Uploader, choose_device
from cvtl.errors import DataError
from cvtl.evaluation.alignment import no_class_in_common, unknown_classes, without_answer
from cvtl.evaluation.evaluate import check_targets
from cvtl.evaluation.found import Found, FoundBoxes, FoundClasses, FoundObject, FoundPoints, Ints, Predictions
from cvtl.model import Model
from cvtl.results import TOP_K, Classification, Detections, Landmarks, Localization, Result
from cvtl.tasks import TaskName


class AskedModel:
    """A model on its device, ready to be asked about a data set.

    Args:
        model: a model, or a weights file. Its classes are matched with the data set's by name, its points by order.
        dataset: samples with targets of the model's task.
        device: where to compute.
        name: what to call the model in messages; the weights file's or the plugin's if not given.

    Raises:
        DataError: the data set's targets are of another task, or it has no class in common with the model.
        WeightsError: the weights cannot be used.
        UsageError: there is no such device, or the model's task has no figures.
    """

    def __init__(
        self, model: Model | str | Path, dataset: Dataset, device: str = "auto", name: str | None = None
    ) -> None:
        where = choose_device(device)
        self.name = name or (str(model) if isinstance(model, (str, Path)) else model.plugin)
        self.model = weights.load(model, device=where) if isinstance(model, (str, Path)) else model.to(where)
        self.task = registry.plugins().get(self.model.plugin).task
        self.dataset = dataset
        check_targets(dataset, self.task)
        self._labels = _labels(self.name, self.model.classes, dataset, self.task)
        self._predictor, self._uploader = Predictor(self.model), Uploader(where)

    def answer(self, images: Sequence[UInt8Image | Exception]) -> list[Found | Exception]:
        """One answer for each picture (H, W, 3), in order.

        An exception in the place of a picture stays there; another one stands where the model failed on a picture.
        """
        uploaded = self._uploader.upload([image for image in images if isinstance(image, np.ndarray)]).wait()
        results = iter(self._predictor.predict(uploaded) if uploaded else [])
        return [self.found(next(results)) if isinstance(image, np.ndarray) else image for image in images]

    def found(self, result: Result | Exception) -> Found | Exception:
        """What a result says in the data set's labels."""
        return result if isinstance(result, Exception) else _found(result, self._labels)

    def predictions(self, answers: Sequence[Found | Exception]) -> Predictions:
        """Answers, one for each sample, with notes on what does not fit."""
        pairs = zip(self.dataset, answers, strict=True)
        errors = {sample.name: answer for sample, answer in pairs if isinstance(answer, Exception)}
        unknown = Counter(name for name, label in zip(self.model.classes, self._labels, strict=True) if label < 0)
        notes = without_answer(list(errors), len(self.dataset), "have no answer") + unknown_classes(unknown, "in all")
        notes += [f"The first error: {error}" for error in islice(errors.values(), 1)]
        found = [None if isinstance(answer, Exception) else answer for answer in answers]
        return Predictions(name=self.name, task=self.task, found=found, notes=tuple(notes))


def _labels(name: str, classes: Sequence[str], dataset: Dataset, task: TaskName) -> Ints:
    """The data set's label for each of the model's, -1 for classes that it does not have."""
    if task == "landmarks":
        if len(classes) != len(dataset.classes):
            raise DataError(
                f"'{name}' finds {len(classes)} points, the data set '{dataset.root}' has {len(dataset.classes)}",
                hint="Use a data set of the same points in the same order",
            )
        return np.arange(len(classes))
    known = {each: label for label, each in enumerate(dataset.classes)}
    labels = np.array([known.get(each, -1) for each in classes], np.int64)
    if not (labels >= 0).any():
        raise no_class_in_common(name, classes, dataset)
    return labels


def _found(result: Result, labels: Ints) -> Found:
    if isinstance(result, Classification):
        scores = result.scores.double().numpy()
        best = np.argsort(-scores, kind="stable")[:TOP_K]
        return FoundClasses(labels[best], scores[best])
    if isinstance(result, Localization):
        best_label = int(result.scores.argmax())
        score = float(result.scores[best_label])
        return FoundObject(result.present, int(labels[best_label]), score, result.box.double().numpy())
    if isinstance(result, Detections):
        known = labels[result.labels.numpy()] >= 0
        boxes, scores = result.boxes.double().numpy(), result.scores.double().numpy()
        return FoundBoxes(boxes[known], scores[known], labels[result.labels.numpy()][known])
    assert isinstance(result, Landmarks)
    found_boxes = None if result.boxes is None else result.boxes.double().numpy()
    return FoundPoints(result.points.double().numpy(), result.visible.double().numpy(), found_boxes)
