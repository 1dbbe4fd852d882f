"""Pictures of what a detector gets wrong."""

from __future__ import annotations

import numpy as np

from cvtl.data import Dataset
from cvtl.evaluation.detection.error_types import BACKGROUND, CLASS, DUPLICATE, LOCATION, Errors
from cvtl.evaluation.detection.outcome import Outcome
from cvtl.evaluation.detection.tables import Floats
from cvtl.reporting.sections import Gallery, Marks, Thumbnail


def false_positives(outcome: Outcome, errors: Errors, dataset: Dataset, count: int) -> Gallery:
    """The false positives with the highest scores.

    Args:
        outcome: of the detections.
        errors: of what kinds they are.
        dataset: the pictures.
        count: how many to show.
    """
    found, true, classes = outcome.tables.found, outcome.tables.true, outcome.tables.classes
    thumbnails = []
    for i in np.flatnonzero(outcome.wrong)[:count].tolist():
        box, what = found.boxes[i : i + 1], f"{classes[found.labels[i]]} {found.scores[i]:.2f}"
        meant = errors.objects[[i]]
        thumbnails.append(
            Thumbnail(
                sample=dataset[int(found.pictures[i])],
                caption=f"{what}: {_explain(outcome, errors, i)}",
                marks=(*_around(outcome, int(found.pictures[i]), box[0], but_found=i), _wrong(box, what)),
                focus=_hull(np.vstack([box, true.boxes[meant[meant >= 0]]])),
            )
        )
    return Gallery(
        title="Worst false positives",
        thumbnails=tuple(thumbnails),
        note=f"Those with the highest scores, at IoU {outcome.iou:g}, with the true boxes and the other detections "
        "there from their class's best threshold on.",
    )


def misses(outcome: Outcome, dataset: Dataset, count: int) -> Gallery:
    """The largest objects that were missed.

    Args:
        outcome: of the detections.
        dataset: the pictures.
        count: how many to show.
    """
    true, classes = outcome.tables.true, outcome.tables.classes
    missed = np.flatnonzero(outcome.missed)
    thumbnails = []
    for i in missed[np.argsort(-true.areas[missed], kind="stable")][:count].tolist():
        box, what = true.boxes[i : i + 1], f"{classes[true.labels[i]]} missed"
        width, height = box[0, 2:] - box[0, :2]
        thumbnails.append(
            Thumbnail(
                sample=dataset[int(true.pictures[i])],
                caption=f"{what}, {width:.0f} x {height:.0f} px",
                marks=(*_around(outcome, int(true.pictures[i]), box[0], but_true=i), _wrong(box, what)),
                focus=_hull(box),
            )
        )
    return Gallery(
        title="Largest misses",
        thumbnails=tuple(thumbnails),
        note=f"Objects that no detection from its class's best threshold on has found, at IoU {outcome.iou:g}, with "
        "the other true boxes and the detections there.",
    )


def _explain(outcome: Outcome, errors: Errors, i: int) -> str:
    kind = errors.kinds[i]
    if kind == CLASS:
        return f"is {outcome.tables.classes[outcome.tables.true.labels[errors.objects[i]]]}"
    plain = {LOCATION: "badly placed", DUPLICATE: "found before", BACKGROUND: "matches nothing"}
    return plain.get(int(kind), "wrong class, badly placed")


def _around(
    outcome: Outcome, picture: int, box: Floats, but_true: int = -1, but_found: int = -1
) -> tuple[Marks, Marks]:
    """The true boxes of a picture, and the detections that are believed and touch a box; but not this box itself."""
    found, true, classes = outcome.tables.found, outcome.tables.true, outcome.tables.classes
    there = np.flatnonzero(true.pictures == picture)
    there = there[there != but_true]
    answers = np.flatnonzero((found.pictures == picture) & outcome.believed)
    touching = (found.boxes[answers, :2] < box[2:]).all(axis=1) & (found.boxes[answers, 2:] > box[:2]).all(axis=1)
    answers = answers[touching & (answers != but_found)]
    names = tuple(classes[k] for k in true.labels[there])
    scored = tuple(f"{classes[found.labels[i]]} {found.scores[i]:.2f}" for i in answers)
    return (
        Marks(role="true", boxes=true.boxes[there], captions=names),
        Marks(role="found", boxes=found.boxes[answers], captions=scored),
    )


def _wrong(box: Floats, caption: str) -> Marks:
    return Marks(role="wrong", boxes=box, captions=(caption,))


def _hull(boxes: Floats) -> tuple[float, float, float, float]:
    (x1, y1), (x2, y2) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    return x1, y1, x2, y2
