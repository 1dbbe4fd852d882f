"""COCO's figures of a detector's results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from cvtl.data import BoxesTarget, Dataset
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.detection.coco import coco_figures
from cvtl.evaluation.detection.tables import tabulate
from cvtl.evaluation.found import FoundBoxes
from cvtl.results import Detections

if TYPE_CHECKING:
    from cvtl.model import Model


@dataclass(frozen=True, kw_only=True)
class DetectionMetrics:
    """COCO's twelve figures and AP50 per class, all in [0, 1]; NaN where there is nothing to find.

    See `cvtl.evaluation.detection.coco.COCO_FIGURES` for what they mean.

    Attributes:
        ap: average precision.
        ap50: at IoU 0.50.
        ap75: at IoU 0.75.
        ap_small: on small objects.
        ap_medium: on medium objects.
        ap_large: on large objects.
        ar1: average recall, given the best detection of each picture and class.
        ar10: given the best ten.
        ar100: given the best hundred, as all the others.
        ar_small: on small objects.
        ar_medium: on medium objects.
        ar_large: on large objects.
        ap50_by_class: class name to AP50, in class order.
    """

    # In the order of COCO's own summary.
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    ap50_by_class: dict[str, float]


def evaluate_detections(
    results: Sequence[Detections], targets: Sequence[BoxesTarget], classes: Sequence[str]
) -> DetectionMetrics:
    """Compare what was found with what is there.

    Args:
        results: one for each picture.
        targets: of the same pictures, in the same order.
        classes: the class names that the labels of both index into.

    Raises:
        UsageError: the results are of a model with other classes.

    Example:
        >>> import numpy as np, torch
        >>> target = BoxesTarget(np.array([[0, 0, 50, 40]]), np.array([0]))
        >>> found = Detections(torch.tensor([[0, 0, 50, 36]]), torch.tensor([0.9]), torch.tensor([0]), ("car",))
        >>> metrics = evaluate_detections([found], [target], ["car"])
        >>> round(metrics.ap50, 3), round(metrics.ap, 3), metrics.ap_small
        (1.0, 0.9, nan)
    """
    for result in results:
        if tuple(result.classes) != tuple(classes):
            raise UsageError(
                f"the detections are of the classes {', '.join(result.classes)}, the data of {', '.join(classes)}",
                hint="Evaluate with data that has the model's classes, in the same order",
            )
    found = [
        FoundBoxes(each.boxes.double().numpy(), each.scores.double().numpy(), each.labels.numpy()) for each in results
    ]
    coco = coco_figures(tabulate(found, targets, classes))
    names = [name for name in DetectionMetrics.__dataclass_fields__ if name != "ap50_by_class"]
    return DetectionMetrics(
        **dict(zip(names, coco.figures.tolist(), strict=True)),
        ap50_by_class=dict(zip(classes, coco.ap50.tolist(), strict=True)),
    )


def evaluate_detector(model: Model, data: Dataset, *, batch_size: int = 8) -> DetectionMetrics:
    """Run a detector over a data set and compare.

    Args:
        model: on its device.
        data: samples with a `BoxesTarget` each.
        batch_size: pictures that are predicted together.

    Raises:
        DataError: a picture cannot be read, or a sample has no boxes' target.
        UsageError: the data's classes are not the model's.
    """
    import torch

    results: list[Detections] = []
    targets: list[BoxesTarget] = []
    samples = iter(data)
    while batch := list(islice(samples, batch_size)):
        images = [torch.from_numpy(sample.read()).permute(2, 0, 1).to(model.device) for sample in batch]
        with torch.inference_mode():
            results += [result for result in model.eval().predict(images) if isinstance(result, Detections)]
        targets += [sample.target for sample in batch if isinstance(sample.target, BoxesTarget)]
    if not len(results) == len(targets) == len(data):
        raise DataError(f"'{data.root or data.format}' and the model are not both of boxes", hint="Use a detection set")
    return evaluate_detections(results, targets, data.classes)
