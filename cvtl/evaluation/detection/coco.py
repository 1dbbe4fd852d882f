"""COCO's twelve figures by libraries that are known for them.

Definition: https://cocodataset.org/#detection-eval. A detection is right if its IoU with an object of its class that no
better detection has taken reaches a threshold; crowds excuse detections and are missed by nobody.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cvtl.errors import UsageError
from cvtl.evaluation.detection.tables import BoxTables, Floats, FoundTable, TrueTable

Engine = Literal["faster-coco-eval", "pycocotools"]

COCO_FIGURES = (
    *("AP", "AP50", "AP75", "AP small", "AP medium", "AP large"),
    *("AR1", "AR10", "AR100", "AR small", "AR medium", "AR large"),
)
"""Names of the twelve, in the order of COCO's own summary.

AP is the mean over recall levels and classes; where no IoU is named also over the IoU thresholds 0.50, 0.55, ... 0.95.
AR is the recall, averaged likewise, given the best 1, 10 or 100 detections of each picture and class. Sizes are areas
of the objects' outlines, or of their boxes where there are none: small up to 32 x 32 pixels, large from 96 x 96.
"""


@dataclass(frozen=True, eq=False)
class CocoFigures:
    """What an engine gives, in [0, 1]; NaN where there is nothing to find.

    Attributes:
        figures: float64 (12,), in the order of `COCO_FIGURES`.
        ap: float64 (K,), AP of each class.
        ap50: float64 (K,), AP50 of each class.
    """

    figures: Floats
    ap: Floats
    ap50: Floats


def coco_figures(tables: BoxTables, engine: Engine = "faster-coco-eval") -> CocoFigures:
    """COCO's twelve figures.

    Args:
        tables: detections and objects; `difficult` means nothing to COCO.
        engine: the library that computes them.

    Raises:
        UsageError: the library is not installed.
    """
    ap, ap50 = np.full((2, len(tables.classes)), np.nan)
    # Classes without an object count for nothing, but the libraries' tables of them take memory.
    shown = np.flatnonzero(tables.objects_by_class())
    if not len(shown):
        return CocoFigures(np.full(len(COCO_FIGURES), np.nan), ap, ap50)
    shared = {
        "images": [{"id": i} for i in range(tables.pictures)],
        "categories": [{"id": label, "name": tables.classes[label]} for label in shown.tolist()],
    }
    true = shared | {"annotations": _true_rows(tables.true.select(np.isin(tables.true.labels, shown)))}
    found = shared | {"annotations": _found_rows(tables.found.select(np.isin(tables.found.labels, shown)))}
    evaluator = _faster_coco_eval(true, found) if engine == "faster-coco-eval" else _pycocotools(true, found)
    # precision: IoU threshold x recall level x class x size x number of detections; IoU 0.50 first, all sizes first.
    precision = _defined(evaluator.eval["precision"][:, :, :, 0, -1])
    ap[shown], ap50[shown] = precision.mean(axis=(0, 1)), precision[0].mean(axis=0)
    return CocoFigures(_defined(np.array(evaluator.stats[: len(COCO_FIGURES)])), ap, ap50)


def _faster_coco_eval(true: dict[str, Any], found: dict[str, Any]) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    sides = (COCO(side, print_function=_silent) for side in (true, found))
    evaluator = COCOeval_faster(*sides, iouType="bbox", print_function=_silent)
    evaluator.run()
    return evaluator


def _pycocotools(true: dict[str, Any], found: dict[str, Any]) -> Any:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise UsageError(
            "the engine 'pycocotools' is not installed",
            hint="Install it with `pip install pycocotools`, or use faster-coco-eval, which gives the same figures",
        ) from error
    sides = COCO(), COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        for side, dataset in zip(sides, (true, found), strict=True):
            side.dataset = dataset
            side.createIndex()
        evaluator = COCOeval(*sides, iouType="bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def _found_rows(found: FoundTable) -> list[dict[str, Any]]:
    columns = _columns(found.pictures, found.labels, _xywh(found.boxes), found.scores)
    return [
        {"id": i, "image_id": picture, "category_id": label, "bbox": box, "area": box[2] * box[3], "score": score}
        for i, picture, label, box, score in columns
    ]


def _true_rows(true: TrueTable) -> list[dict[str, Any]]:
    columns = _columns(true.pictures, true.labels, _xywh(true.boxes), true.areas, true.crowd.astype(int))
    return [
        {"id": i, "image_id": picture, "category_id": label, "bbox": box, "area": area, "iscrowd": crowd}
        for i, picture, label, box, area, crowd in columns
    ]


def _columns(*columns: npt.NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    # Numbered from 1: COCO's matching takes the number 0 for "not matched".
    return zip(range(1, len(columns[0]) + 1), *(column.tolist() for column in columns), strict=True)


def _xywh(boxes: Floats) -> Floats:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def _defined(values: Floats) -> Floats:
    # COCO says -1 where there is nothing to measure, which would spoil a mean.
    return np.where(values < 0, np.nan, values)


def _silent(*_: object) -> None:
    pass
