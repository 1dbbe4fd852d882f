"""Landmarks: how far the points are from where they should be, as a share of a length of the object.

Errors are distances divided by a length ("norm") of the true object, so that large and small ones count alike:

- inter-ocular: between the outer corners of the eyes, as for 300-W (Sagonas et al. 2013); of points with other names,
  between the two eyes.
- box: the square root of the true box's width times height.
- picture: likewise of the picture.

What is judged: the points that are there in the truth. An instance that nothing was found for counts as failed; what is
found besides the true instances counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cvtl.data import Dataset, PointsTarget, Sample
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.bootstrap import RatioScorer, divide, with_intervals
from cvtl.evaluation.evaluation import Evaluation, WatchedScorer
from cvtl.evaluation.found import FoundPoints, Predictions
from cvtl.evaluation.objects import iou
from cvtl.evaluation.settings import EvalSettings
from cvtl.mean_shape import mean_shape
from cvtl.progress import Progress
from cvtl.reporting.sections import Bars, Curves, Gallery, Marks, Section, Shape, Table, Thumbnail

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Norm = Literal["inter-ocular", "box", "picture"]

PCK_THRESHOLDS = (0.05, 0.1, 0.2)
LIMIT = 0.1
"""NME up to which the cumulative error curve is integrated (AUC), and above which an instance has failed."""

# Of the 68 points of iBUG's convention, numbered from 0.
_OUTER_CORNERS_OF_68 = (36, 45)
_EYES_BY_NAME = ("eyeoutercorner", "eyeouter", "eye", "eyecenter", "eyecentre")
# The share of instances that must have both eyes for the inter-ocular distance to be chosen unasked.
_MOST_HAVE_EYES = 0.95


@dataclass(frozen=True, eq=False)
class _Instance:
    """A true object and what was found for it.

    Attributes:
        picture: index of its sample.
        norm: the length that its errors are divided by; NaN where there is none.
        points: float64 (K, 2), where its points are.
        judged: bool (K,), which of them are there.
        found: float64 (K, 2); None where nothing was found.
    """

    picture: int
    norm: float
    points: Floats
    judged: Bools
    found: Floats | None

    def errors(self) -> Floats:
        """Normalised distance of each point (K,): NaN where it is not judged, infinite where nothing was found."""
        if self.found is None:
            return np.where(self.judged, np.inf, np.nan)
        return np.where(self.judged, np.linalg.norm(self.found - self.points, axis=1) / self.norm, np.nan)


def evaluate_points(
    predictions: Predictions, dataset: Dataset, settings: EvalSettings, progress: Progress | None = None
) -> Evaluation:
    """Compare the points that were found with the true ones.

    Figures:
        - NME: normalised mean error, the mean over an instance's points and then over the instances that something
          was found for.
        - PCK@t: percentage of correct keypoints, as a share: points with an error of at most t.
        - AUC@0.1: area under the curve of the share of instances with an NME of at most x, for x from 0 to 0.1, divided
          by 0.1.
        - failure rate@0.1: share of instances with an NME above 0.1.

    Args:
        predictions: a `FoundPoints` or None for each sample. Where there are several instances in a picture, they are
            matched by the IoU of their boxes, where both have some, else by the distance of their points.
        dataset: samples with a `PointsTarget` each.
        settings: how.
        progress: is told of each draw.

    Raises:
        UsageError: the data do not have the length that errors are to be divided by.
    """
    targets = [sample.target for sample in dataset if isinstance(sample.target, PointsTarget)]
    eyes = settings.eyes or dataset.eyes or _eyes(dataset.classes)
    norm = settings.norm or ("inter-ocular" if settings.eyes else _choose_norm(targets, eyes))
    _check_norm(norm, eyes, targets, dataset)
    everything = [
        instance
        for picture, (sample, found) in enumerate(zip(dataset, predictions.found, strict=True))
        for instance in _instances(picture, sample, found, norm, eyes)
    ]
    instances = [each for each in everything if each.norm > 0]
    errors = np.array([each.errors() for each in instances]).reshape(-1, len(dataset.classes))
    pictures = np.array([each.picture for each in instances], np.int64)
    scorer = WatchedScorer(_scorer(errors, pictures, len(dataset), norm), progress or Progress())
    notes = _notes(len(everything) - len(instances), instances, norm)
    sections: list[Section] = [
        *_per_point(errors, instances, dataset),
        *_curves(errors),
        *_worst(errors, instances, dataset, settings.examples),
    ]
    return Evaluation(
        name=predictions.name,
        task="landmarks",
        pictures=len(dataset),
        figures=with_intervals(scorer, len(dataset), settings.draws, settings.seed),
        scorer=scorer,
        sections=sections,
        notes=notes,
    )


def match_instances(target: PointsTarget, found: FoundPoints) -> list[int | None]:
    """For each true instance, the index of the one that was found for it, each at most once; the closest pairs first.

    Example:
        >>> target = PointsTarget(np.array([[[0, 0]], [[50, 50]]]), np.ones((2, 1)))
        >>> match_instances(target, FoundPoints(np.array([[[49.0, 50]]]), np.ones((1, 1))))
        [None, 0]
    """
    if len(target.points) == len(found.points) == 1:
        return [0]
    matched: list[int | None] = [None] * len(target.points)
    judged = target.visible.sum(axis=1) > 0
    if target.boxes is not None and found.boxes is not None:
        costs = -iou(target.boxes[:, None], found.boxes[None])
        possible = costs < 0
    else:
        distances = np.linalg.norm(target.points[:, None] - found.points[None], axis=-1)
        costs = np.where(target.visible[:, None], distances, 0).sum(axis=-1)
        costs /= np.maximum(target.visible.sum(axis=1), 1)[:, None]
        possible = np.ones(costs.shape, bool)
    # An object without judged points must not take an answer from one that has some.
    possible &= judged[:, None]
    for _, i, j in sorted((costs[i, j], i, j) for i, j in np.argwhere(possible).tolist()):
        if matched[i] is None and j not in matched:
            matched[i] = j
    return matched


def _instances(
    picture: int, sample: Sample, found: object, norm: Norm, eyes: tuple[int, int] | None
) -> list[_Instance]:
    """The instances of a picture of which a point is there."""
    target = sample.target
    assert isinstance(target, PointsTarget)
    answers = found if isinstance(found, FoundPoints) else None
    matched = [None] * len(target.points) if answers is None else match_instances(target, answers)
    lengths = _lengths(sample, target, norm, eyes)
    return [
        _Instance(picture, float(length), points, judged, None if answers is None or j is None else answers.points[j])
        for length, points, judged, j in zip(lengths, target.points, target.visible, matched, strict=True)
        if judged.any()
    ]


def _lengths(sample: Sample, target: PointsTarget, norm: Norm, eyes: tuple[int, int] | None) -> Floats:
    """What the errors of each instance (N,) are divided by; NaN where it cannot be measured."""
    if norm == "inter-ocular":
        assert eyes is not None
        left, right = eyes
        distances = np.linalg.norm(target.points[:, left] - target.points[:, right], axis=-1)
        lengths: Floats = np.where(target.visible[:, left] & target.visible[:, right], distances, np.nan)
        return lengths
    if norm == "box":
        assert target.boxes is not None
        sides: Floats = (target.boxes[:, 2:] - target.boxes[:, :2]).clip(min=0)
        return np.sqrt(sides[:, 0] * sides[:, 1])
    return np.full(len(target.points), _picture_size(sample))


def _picture_size(sample: Sample) -> float:
    try:
        width, height = sample.annotated_wh or sample.read().shape[1::-1]
    except DataError:
        return float("nan")
    return float(np.sqrt(width * height))


def _choose_norm(targets: Sequence[PointsTarget], eyes: tuple[int, int] | None) -> Norm:
    """The first that the data allow: inter-ocular, box, picture."""
    if eyes is not None:
        visible = np.concatenate([target.visible for target in targets])
        judged = visible[visible.sum(axis=1) > 0]
        if len(judged) and judged[:, list(eyes)].prod(axis=1).mean() >= _MOST_HAVE_EYES:
            return "inter-ocular"
    return "box" if all(target.boxes is not None for target in targets) else "picture"


def _eyes(names: Sequence[str]) -> tuple[int, int] | None:
    """Numbers of the points that the inter-ocular distance is measured between, if the names or their number tell.

    Example:
        >>> _eyes(["nose", "left_eye", "right_eye"]), _eyes([f"point {i}" for i in range(68)]), _eyes(["a", "b"])
        ((1, 2), (36, 45), None)
    """
    plain = ["".join(filter(str.isalpha, name.lower())) for name in names]
    for eye in _EYES_BY_NAME:
        if f"left{eye}" in plain and f"right{eye}" in plain:
            return plain.index(f"left{eye}"), plain.index(f"right{eye}")
    return _OUTER_CORNERS_OF_68 if len(names) == 68 else None


def _check_norm(norm: Norm, eyes: tuple[int, int] | None, targets: Sequence[PointsTarget], dataset: Dataset) -> None:
    where = f"'{dataset.root}'"
    if norm == "inter-ocular" and eyes is None:
        raise UsageError(f"which points of {where} are the eyes is not known", hint="Say so with --eyes")
    if eyes is not None and not all(0 <= eye < len(dataset.classes) for eye in eyes):
        raise UsageError(f"--eyes {eyes[0]} {eyes[1]}: {where} has the points 0 to {len(dataset.classes) - 1}")
    if norm == "box" and any(target.boxes is None for target in targets):
        raise UsageError(f"not all objects of {where} have a box", hint="Choose another length with --norm")


def _scorer(errors: Floats, pictures: npt.NDArray[np.int64], count: int, norm: Norm) -> RatioScorer:
    """The figures as ratios of sums over pictures."""

    def sums(values: Floats | Bools) -> Floats:
        return np.bincount(pictures, weights=values, minlength=count).astype(np.float64)

    judged = ~np.isnan(errors)
    mean = _instance_errors(errors)
    answered = np.isfinite(mean)
    instances = sums(np.ones(len(mean)))
    points = sums(judged.sum(axis=1))
    figures = {
        f"NME ({norm})": (sums(np.where(answered, mean, 0)), sums(answered)),
        **{f"PCK@{t:g}": (sums((errors <= t).sum(axis=1)), points) for t in PCK_THRESHOLDS},
        f"AUC@{LIMIT:g}": (sums((1 - mean / LIMIT).clip(min=0)), instances),
        f"failure rate@{LIMIT:g}": (sums(mean > LIMIT), instances),
    }
    return RatioScorer(
        names=tuple(figures),
        higher_is_better=(False, *(True,) * len(PCK_THRESHOLDS), True, False),
        numerators=np.column_stack([above for above, _ in figures.values()]),
        denominators=np.column_stack([below for _, below in figures.values()]),
    )


def _instance_errors(errors: Floats) -> Floats:
    """NME of each instance (I,), infinite where nothing was found."""
    judged = ~np.isnan(errors)
    return divide(np.where(judged, errors, 0).sum(axis=1), judged.sum(axis=1).astype(np.float64))


def _per_point(errors: Floats, instances: Sequence[_Instance], dataset: Dataset) -> list[Section]:
    names = dataset.classes
    answered = np.isfinite(errors)
    lengths = np.array([each.norm for each in instances])[:, None]
    counts = answered.sum(axis=0).astype(np.float64)
    mean = divide(np.where(answered, errors, 0).sum(axis=0), counts)
    pixels = divide(np.where(answered, errors * lengths, 0).sum(axis=0), counts)
    judged = (~np.isnan(errors)).sum(axis=0)
    correct = divide((errors <= LIMIT).sum(axis=0).astype(np.float64), judged.astype(np.float64))
    table = Table(
        title="Per point",
        columns=("point", "judged", "error", "error in pixels", f"PCK@{LIMIT:g}"),
        rows=tuple(zip(names, *(each.tolist() for each in (judged, mean, pixels, correct)), strict=True)),
        note="error: mean normalised distance, of the instances that something was found for.",
    )
    bars = Bars(title="Error of each point", label="error", values=dict(zip(names, mean.tolist(), strict=True)))
    shape = Shape(
        title="Error on the mean shape",
        label="error",
        names=names,
        points=_mean_true_shape(instances, len(names)),
        values=mean,
        edges=dataset.edges,
        note="Each point lies where it does on average; the radius of its circle is its mean error, to scale.",
    )
    return [shape, table, bars]


def _mean_true_shape(instances: Sequence[_Instance], count: int) -> Floats:
    """The mean of the true shapes (K, 2), in units of the length that errors are divided by."""
    points = [each.points / each.norm for each in instances]
    judged = [each.judged for each in instances]
    return mean_shape(np.array(points).reshape(-1, count, 2), np.array(judged, bool).reshape(-1, count))


def _curves(errors: Floats) -> list[Section]:
    return [
        Curves(
            title="Correct points",
            x_label="threshold",
            y_label="PCK",
            lines={"points": _shares(errors[~np.isnan(errors)], PCK_THRESHOLDS[-1])},
            x_range=(0, PCK_THRESHOLDS[-1]),
            y_range=(0, 1),
        ),
        Curves(
            title="Cumulative error",
            x_label="NME",
            y_label="share of instances with at most this NME",
            lines={"instances": _shares(_instance_errors(errors), LIMIT)},
            x_range=(0, LIMIT),
            y_range=(0, 1),
        ),
    ]


def _shares(values: Floats, limit: float) -> tuple[Floats, Floats]:
    thresholds = np.linspace(0, limit, 101)
    return thresholds, np.searchsorted(np.sort(values), thresholds, side="right") / max(len(values), 1)


def _worst(errors: Floats, instances: Sequence[_Instance], dataset: Dataset, examples: int) -> list[Section]:
    """The largest errors, then what nothing was found for."""
    mean = _instance_errors(errors)
    worst = np.argsort(np.where(np.isinf(mean), 0, -mean), kind="stable")[:examples].tolist()
    thumbnails = []
    for i in worst:
        instance = instances[i]
        marks = [Marks(role="true", points=instance.points[instance.judged])]
        if instance.found is not None:
            marks.append(Marks(role="found", points=instance.found[instance.judged]))
        left, top = instance.points[instance.judged].min(axis=0) - instance.norm / 2
        right, bottom = instance.points[instance.judged].max(axis=0) + instance.norm / 2
        thumbnails.append(
            Thumbnail(
                sample=dataset[instance.picture],
                caption="nothing found" if instance.found is None else f"NME {mean[i]:.3f}",
                marks=tuple(marks),
                focus=(float(left), float(top), float(right), float(bottom)),
            )
        )
    return [Gallery(title="Largest errors", thumbnails=tuple(thumbnails))] if thumbnails else []


def _notes(left_out: int, instances: Sequence[_Instance], norm: Norm) -> tuple[str, ...]:
    notes = []
    if left_out:
        notes.append(f"{left_out} instances are left out, because their length ({norm}) cannot be measured.")
    failed = sum(each.found is None for each in instances)
    if failed:
        notes.append(
            f"{failed} of {len(instances)} instances have no answer: they count as failed, and not in the NME."
        )
    return tuple(notes)
