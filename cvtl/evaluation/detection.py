"""Average precision and recall of detections, as COCO defines them.

Definition: https://cocodataset.org/#detection-eval. A detection is right if its IoU with a box of its class that no
better detection has taken reaches a threshold; crowd boxes excuse detections and are missed by nobody. The engine is
faster-coco-eval, which gives pycocotools' numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from cvtl.boxes import xyxy_to_xywh
from cvtl.data import BoxesTarget, Dataset
from cvtl.errors import DataError, UsageError
from cvtl.results import Detections

if TYPE_CHECKING:
    from cvtl.model import Model


@dataclass(frozen=True, kw_only=True)
class DetectionMetrics:
    """COCO's twelve figures and AP50 per class, all in [0, 1]; NaN where there is no box to find.

    AP is the mean over recall levels and classes; where no IoU is named also over the IoU thresholds 0.50, 0.55, ...
    0.95. AR is the recall, averaged likewise. Sizes are those of the true box (COCO's own files name the area of
    the outline instead): small below 32 x 32 pixels, large above 96 x 96.

    Attributes:
        ap: average precision.
        ap50: at IoU 0.50.
        ap75: at IoU 0.75.
        ap_small: on small boxes.
        ap_medium: on medium boxes.
        ap_large: on large boxes.
        ar1: average recall, given the best detection of each picture and class.
        ar10: given the best ten.
        ar100: given the best hundred, as all the others.
        ar_small: on small boxes.
        ar_medium: on medium boxes.
        ar_large: on large boxes.
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
        >>> import torch
        >>> target = BoxesTarget(np.array([[0, 0, 50, 40]]), np.array([0]))
        >>> found = Detections(torch.tensor([[0, 0, 50, 36]]), torch.tensor([0.9]), torch.tensor([0]), ("car",))
        >>> metrics = evaluate_detections([found], [target], ["car"])
        >>> round(metrics.ap50, 3), round(metrics.ap, 3), metrics.ap_small
        (1.0, 0.9, nan)
    """
    from faster_coco_eval import COCO, COCOeval_faster

    found: list[dict[str, Any]] = []
    true: list[dict[str, Any]] = []
    for image_id, (result, target) in enumerate(zip(results, targets, strict=True)):
        if tuple(result.classes) != tuple(classes):
            raise UsageError(
                f"the detections are of the classes {', '.join(result.classes)}, the data of {', '.join(classes)}",
                hint="Evaluate with data that has the model's classes, in the same order",
            )
        found += _result_rows(image_id, result)
        true += _target_rows(image_id, target)
    dataset = {
        "images": [{"id": i} for i in range(len(targets))],
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes)],
    }
    evaluator = COCOeval_faster(
        COCO(dataset | {"annotations": _numbered(true)}, print_function=_silent),
        COCO(dataset | {"annotations": _numbered(found)}, print_function=_silent),
        iouType="bbox",
        print_function=_silent,
    )
    evaluator.run()
    names = [each.name for each in fields(DetectionMetrics) if each.name != "ap50_by_class"]
    summary = {name: _defined(value) for name, value in zip(names, evaluator.stats, strict=True)}
    # precision: IoU threshold x recall level x class x size x number of detections; IoU 0.50 first, all sizes first.
    ap50 = evaluator.eval["precision"][0, :, :, 0, -1].mean(axis=0)
    by_class = {name: _defined(value) for name, value in zip(classes, ap50, strict=True)}
    return DetectionMetrics(**summary, ap50_by_class=by_class)


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

    device = next(model.parameters()).device
    results: list[Detections] = []
    targets: list[BoxesTarget] = []
    samples = iter(data)
    while batch := list(islice(samples, batch_size)):
        images = [torch.from_numpy(sample.read()).permute(2, 0, 1).to(device) for sample in batch]
        with torch.inference_mode():
            results += [result for result in model.eval().predict(images) if isinstance(result, Detections)]
        targets += [sample.target for sample in batch if isinstance(sample.target, BoxesTarget)]
    if not len(results) == len(targets) == len(data):
        raise DataError(f"'{data.root or data.format}' and the model are not both of boxes", hint="Use a detection set")
    return evaluate_detections(results, targets, data.classes)


def _result_rows(image_id: int, result: Detections) -> list[dict[str, Any]]:
    boxes = xyxy_to_xywh(result.boxes.double()).tolist()
    triples = zip(boxes, result.scores.tolist(), result.labels.tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "area": box[2] * box[3], "score": score}
        for box, score, label in triples
    ]


def _target_rows(image_id: int, target: BoxesTarget) -> list[dict[str, Any]]:
    boxes = target.boxes.astype(np.float64)
    sizes = boxes[:, 2:] - boxes[:, :2]
    rows = zip(np.hstack([boxes[:, :2], sizes]).tolist(), target.labels.tolist(), target.crowd.tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": int(crowd)}
        for box, label, crowd in rows
    ]


def _numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # From 1: COCO's matching takes the number 0 for "not matched".
    return [row | {"id": number} for number, row in enumerate(rows, start=1)]


def _defined(value: float) -> float:
    # COCO says -1 where there is nothing to measure, which would spoil a mean.
    return float(value) if value >= 0 else float("nan")


def _silent(*_: object) -> None:
    pass
