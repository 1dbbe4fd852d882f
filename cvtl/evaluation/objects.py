"""Localization: whether there is an object, what it is, and where.

The true object of a picture is the largest of its boxes that is no crowd, if there is one. An answer that holds an
object for less likely than not (`present` below 0.5) is that there is none, as is no answer at all; where there is an
object, both have a wrong class and an IoU of 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget, Dataset
from cvtl.evaluation.bootstrap import RatioScorer, divide, with_intervals
from cvtl.evaluation.classes import confusion
from cvtl.evaluation.evaluation import Evaluation, WatchedScorer
from cvtl.evaluation.found import FoundObject, Predictions
from cvtl.evaluation.presence import PresenceScorer, presence_curve
from cvtl.evaluation.settings import EvalSettings
from cvtl.progress import Progress
from cvtl.reporting.sections import Curves, Gallery, Marks, Section, Table, Thumbnail

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RIGHT_IOU = 0.5
"""An object is in the right place from this IoU on, as in ImageNet's localization task (Russakovsky et al. 2015)."""

_NONE = "(no object)"


@dataclass(frozen=True, eq=False)
class _Answers:
    """Truth and answers of N pictures.

    Attributes:
        there: bool (N,), whether there is an object.
        truth: int64 (N,), its label; -1 where there is none.
        boxes: float64 (N, 4), its box.
        answered: bool (N,), whether there is an answer.
        found: int64 (N,), label found; -1 for no object or none of the classes.
        found_boxes: float64 (N, 4), boxes found, of no extent where there is none.
        scores: float64 (N,), how sure the answer is of the object and its class.
        certainty: float64 (N,), how sure it is of the object; 0 where there is no answer.
    """

    there: Bools
    truth: Ints
    boxes: Floats
    answered: Bools
    present: Bools
    found: Ints
    found_boxes: Floats
    scores: Floats
    certainty: Floats


class ObjectScorer:
    """The headline figures: ratios over pictures, and the average precision of the presence.

    Args:
        ratios: of class, place and presence.
        presence: of the probability that there is an object.
    """

    def __init__(self, ratios: RatioScorer, presence: PresenceScorer) -> None:
        self._parts = ratios, presence
        self.names = (*ratios.names, *presence.names)
        self.higher_is_better = (*ratios.higher_is_better, *presence.higher_is_better)

    def __call__(self, weights: Floats) -> Floats:
        """The figures, (D, F), for weights (D, N)."""
        return np.column_stack([part(weights) for part in self._parts])


def evaluate_objects(
    predictions: Predictions, dataset: Dataset, settings: EvalSettings, progress: Progress | None = None
) -> Evaluation:
    """Compare the object that was found in each picture with the largest one that is there.

    Figures: of the pictures with an object, the share with the right class, the mean IoU, and the share with the right
    class and an IoU of 0.5 or more; of all pictures, the share where an object is rightly said to be there or not, and
    the average precision of the probability that one is there, if pictures with and without one are among them.

    Args:
        predictions: a `FoundObject` or None for each sample.
        dataset: samples with a `BoxesTarget` each.
        settings: how.
        progress: is told of each draw.
    """
    answers = _answers(predictions, dataset)
    ious = iou(answers.boxes, answers.found_boxes)
    right = answers.there & (answers.found == answers.truth)
    both = right & (ious >= RIGHT_IOU)
    present = answers.answered & (answers.present == answers.there)
    everywhere = np.ones(len(present))
    ratios = RatioScorer(
        names=("class accuracy", "mean IoU", "class right and IoU >= 0.5", "presence accuracy"),
        higher_is_better=(True,) * 4,
        numerators=np.column_stack([right, ious, both, present]),
        denominators=np.column_stack([answers.there, answers.there, answers.there, everywhere]).astype(np.float64),
    )
    presence = PresenceScorer(answers.there, answers.certainty)
    scorer = WatchedScorer(ObjectScorer(ratios, presence), progress or Progress())
    sections: list[Section] = [
        _per_class(answers, right, ious, both, dataset.classes),
        *confusion(answers.truth[answers.there], answers.found[answers.there], dataset.classes),
        _overlaps(ious[answers.there]),
        *presence_curve(presence),
        *_worst(answers, ious, both, dataset, settings.examples),
    ]
    return Evaluation(
        name=predictions.name,
        task="localize",
        pictures=len(dataset),
        figures=with_intervals(scorer, len(dataset), settings.draws, settings.seed),
        scorer=scorer,
        sections=sections,
    )


def largest_object(target: BoxesTarget) -> int | None:
    """Index of the largest box that is no crowd; None if there is none.

    Example:
        >>> largest_object(BoxesTarget(np.array([[0, 0, 2, 2], [0, 0, 5, 5], [0, 0, 9, 9]]), [0, 0, 0], [0, 0, 1]))
        1
    """
    sizes = np.where(target.crowd, -np.inf, (target.boxes[:, 2:] - target.boxes[:, :2]).prod(axis=1))
    return int(sizes.argmax()) if not target.crowd.all() else None


def iou(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union, elementwise over boxes (..., 4) that broadcast; 0 where either box has no extent.

    Example:
        >>> iou(np.array([[0.0, 0, 4, 4]]), np.array([[2.0, 0, 6, 4]]))
        array([0.33333333])
    """
    overlap = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    intersection = overlap.clip(min=0).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).clip(min=0).prod(axis=-1) for each in (boxes, others)]
    return np.where(intersection > 0, intersection / np.maximum(areas[0] + areas[1] - intersection, 1e-300), 0.0)


def _answers(predictions: Predictions, dataset: Dataset) -> _Answers:
    count = len(dataset)
    answers = _Answers(
        there=np.zeros(count, bool),
        truth=np.full(count, -1),
        boxes=np.zeros((count, 4)),
        answered=np.array([found is not None for found in predictions.found], bool),
        present=np.zeros(count, bool),
        found=np.full(count, -1),
        found_boxes=np.zeros((count, 4)),
        scores=np.zeros(count),
        certainty=np.array([found.present if isinstance(found, FoundObject) else 0.0 for found in predictions.found]),
    )
    for i, (sample, found) in enumerate(zip(dataset, predictions.found, strict=True)):
        target = sample.target
        if isinstance(target, BoxesTarget) and (largest := largest_object(target)) is not None:
            answers.there[i], answers.truth[i] = True, target.labels[largest]
            answers.boxes[i] = target.boxes[largest]
        if isinstance(found, FoundObject) and found.present >= 0.5:
            answers.present[i], answers.found[i] = True, found.label
            answers.found_boxes[i], answers.scores[i] = found.box, found.present * found.score
    return answers


def _per_class(answers: _Answers, right: Bools, ious: Floats, both: Bools, classes: tuple[str, ...]) -> Table:
    truth = answers.truth[answers.there]
    pictures = np.bincount(truth, minlength=len(classes)).astype(np.float64)
    sums = [np.bincount(truth, weights=each[answers.there], minlength=len(classes)) for each in (right, ious, both)]
    columns = [divide(each.astype(np.float64), pictures).tolist() for each in sums]
    return Table(
        title="Per class",
        columns=("class", "pictures", "class accuracy", "mean IoU", "class right and IoU >= 0.5"),
        rows=tuple(zip(classes, map(int, pictures), *columns, strict=True)),
    )


def _overlaps(ious: Floats) -> Curves:
    thresholds = np.linspace(0, 1, 101)
    below = np.searchsorted(np.sort(ious), thresholds, side="left")
    shares = (len(ious) - below) / max(len(ious), 1)
    return Curves(
        title="Overlap",
        x_label="IoU",
        y_label="share of pictures with at least this IoU",
        lines={"whatever the class": (thresholds, shares)},
        x_range=(0, 1),
        y_range=(0, 1),
    )


def _worst(answers: _Answers, ious: Floats, both: Bools, dataset: Dataset, examples: int) -> list[Section]:
    """The mistakes the model is surest of, then the objects it does not see."""
    wrong = np.flatnonzero(np.where(answers.there, ~both, answers.present))
    worst = wrong[np.argsort(-answers.scores[wrong], kind="stable")][:examples].tolist()
    if not worst:
        return []
    thumbnails = []
    for i in worst:
        true = dataset.classes[answers.truth[i]] if answers.there[i] else _NONE
        named = dataset.classes[answers.found[i]] if answers.found[i] >= 0 else "(other or none)"
        found = f"{named} ({answers.scores[i]:.2f})" if answers.present[i] else _NONE
        marks = [Marks(role="true", boxes=answers.boxes[i : i + 1], captions=(true,))] if answers.there[i] else []
        if answers.present[i]:
            marks.append(Marks(role="wrong", boxes=answers.found_boxes[i : i + 1], captions=(found,)))
        caption = f"{true}, found as {found}, IoU {ious[i]:.2f}"
        thumbnails.append(Thumbnail(sample=dataset[i], caption=caption, marks=tuple(marks)))
    return [Gallery(title="Worst mistakes", thumbnails=tuple(thumbnails))]
