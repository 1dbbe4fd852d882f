"""Classification: accuracy, per-class figures, confusion, and whether the scores can be believed.

A picture without an answer, or with an answer that the data set has no class for, is answered wrongly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cvtl.data import ClassTarget, Dataset
from cvtl.evaluation.bootstrap import RatioScorer, divide, with_intervals
from cvtl.evaluation.evaluation import Evaluation, WatchedScorer
from cvtl.evaluation.found import FoundClasses, Predictions
from cvtl.evaluation.settings import EvalSettings
from cvtl.progress import Progress
from cvtl.reporting.sections import Bars, Cell, Curves, Gallery, Matrix, Section, Table, Thumbnail

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 15
"""Of equal width, for calibration, as in Guo et al. 2017."""

_TOP = 5
LARGEST_MATRIX = 100
"""Of more classes, a confusion matrix holds those with the most mistakes: all pairs of 10,000 fill the memory."""

_CONFUSIONS = 10
OTHER = "(other or none)"
"""Stands for what is no class of the data set."""


class ClassScorer:
    """Accuracy, its mean over classes, and calibration.

    - top-1 and top-5 accuracy: the true class is the best, or among the best five (of more than five classes).
    - macro F1 and balanced accuracy: F1 and recall, averaged over the classes of which there are pictures.
    - ECE: expected calibration error, the mean distance of confidence and accuracy over bins of confidence, of
      pictures with an answer. Source: Guo et al. 2017, arXiv 1706.04599, equation 3.

    Args:
        truth: int64 (N,), the true labels.
        best: int64 (N, k), labels found, best first; -1 where there is none.
        confidence: float64 (N,), score of the best; NaN where there is none.
        classes: how many classes the data set has.
    """

    def __init__(self, truth: Ints, best: Ints, confidence: Floats, classes: int) -> None:
        right = best[:, 0] == truth
        hits = {"top-1 accuracy": right}
        if classes > _TOP:
            hits["top-5 accuracy"] = (best[:, :_TOP] == truth[:, None]).any(axis=1)
        accuracies = np.column_stack(list(hits.values())).astype(np.float64)
        self._accuracies = RatioScorer(tuple(hits), (True,) * len(hits), accuracies, np.ones(accuracies.shape))
        self.names = (*hits, "macro F1", "balanced accuracy", "ECE")
        self.higher_is_better = (True,) * (len(self.names) - 1) + (False,)
        there, self._true = np.unique(truth, return_inverse=True)
        position = np.full(classes + 1, -1)
        position[there] = np.arange(len(there))
        # Label -1 is the last place, which no class has.
        self._one_hot_true = one_hot(self._true, len(there))
        self._one_hot_found = one_hot(position[best[:, 0]], len(there))
        self._one_hot_right = one_hot(np.where(right, self._true, -1), len(there))
        self._answered = ~np.isnan(confidence)
        gaps = np.where(self._answered, right - np.nan_to_num(confidence), 0)
        self._gaps = one_hot(confidence_bin(confidence), BINS).multiply(gaps[:, None]).tocsr()

    def __call__(self, weights: Floats) -> Floats:
        """The figures, (D, F), for weights (D, N)."""
        true, found, right = (weights @ each for each in (self._one_hot_true, self._one_hot_found, self._one_hot_right))
        drawn = (true > 0).sum(axis=1).astype(np.float64)
        macro_f1 = divide(
            np.divide(2 * right, true + found, out=np.zeros_like(true), where=true > 0).sum(axis=1), drawn
        )
        recall = divide(np.divide(right, true, out=np.zeros_like(true), where=true > 0).sum(axis=1), drawn)
        ece = divide(np.abs(weights @ self._gaps).sum(axis=1), weights @ self._answered.astype(np.float64))
        return np.column_stack([self._accuracies(weights), macro_f1, recall, ece])


def evaluate_classes(
    predictions: Predictions, dataset: Dataset, settings: EvalSettings, progress: Progress | None = None
) -> Evaluation:
    """Compare the classes that were found with the true ones.

    Args:
        predictions: a `FoundClasses` or None for each sample.
        dataset: samples with a `ClassTarget` each.
        settings: how.
        progress: is told of each draw.
    """
    truth = np.array([sample.target.label for sample in dataset if isinstance(sample.target, ClassTarget)], np.int64)
    best = np.full((len(truth), _TOP), -1)
    confidence = np.full(len(truth), np.nan)
    for i, found in enumerate(predictions.found):
        if isinstance(found, FoundClasses) and len(found.labels):
            best[i, : len(found.labels)] = found.labels[:_TOP]
            confidence[i] = found.scores[0]
    scorer = WatchedScorer(ClassScorer(truth, best, confidence, len(dataset.classes)), progress or Progress())
    sections: list[Section] = [
        _per_class(truth, best[:, 0], dataset.classes),
        *confusion(truth, best[:, 0], dataset.classes),
        *_calibration(truth == best[:, 0], confidence),
        *_worst(truth, best[:, 0], confidence, dataset, settings.examples),
    ]
    return Evaluation(
        name=predictions.name,
        task="classify",
        pictures=len(truth),
        figures=with_intervals(scorer, len(truth), settings.draws, settings.seed),
        scorer=scorer,
        sections=sections,
    )


def one_hot(labels: Ints, count: int) -> Any:
    """A sparse (N, count) matrix with a 1 in each row, at its label; rows of label -1 are empty.

    Example:
        >>> one_hot(np.array([1, -1, 0]), 2).toarray()
        array([[0., 1.],
               [0., 0.],
               [1., 0.]])
    """
    from scipy.sparse import csr_array

    rows = np.flatnonzero(labels >= 0)
    return csr_array((np.ones(len(rows)), (rows, labels[rows])), shape=(len(labels), count))


def confidence_bin(confidence: Floats) -> Ints:
    """The bin, 0 to 14, of each confidence (N,); a bound belongs to the bin below it; -1 for NaN.

    Example:
        >>> confidence_bin(np.array([0.0, 0.07, 1.0, np.nan]))
        array([ 0,  1, 14, -1])
    """
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence, side="left")
    return np.where(np.isnan(confidence), -1, bins)


def confusion(truth: Ints, answers: Ints, classes: Sequence[str]) -> list[Section]:
    """How often each class was taken for which: a matrix, and the most frequent confusions.

    Args:
        truth: int64 (N,), true labels.
        answers: int64 (N,), labels found; -1 for none of the classes.
        classes: their names. Of more than `LARGEST_MATRIX`, the matrix shows those with the most mistakes.
    """
    wrong = truth != answers
    shown = most_mistaken(truth, answers, len(classes))
    # Label -1 and classes that are not shown fall into the last column.
    place = np.full(len(classes) + 1, len(shown))
    place[shown] = np.arange(len(shown))
    counts = np.zeros((len(shown) + 1, len(shown) + 1))
    np.add.at(counts, (place[truth], place[answers]), 1)
    names = tuple(classes[label] for label in shown.tolist())
    other = bool(counts[:-1, -1].any())
    matrix = Matrix(
        title="Confusion",
        row_label="true class",
        column_label="found as",
        rows=names,
        columns=(*names, OTHER) if other else names,
        values=counts[:-1, :] if other else counts[:-1, :-1],
        note="" if len(shown) == len(classes) else f"The {len(shown)} classes with the most mistakes.",
    )
    pairs = Counter(zip(truth[wrong].tolist(), answers[wrong].tolist(), strict=True)).most_common(_CONFUSIONS)
    rows: list[tuple[Cell, ...]] = [(classes[true], _name(found, classes), count) for (true, found), count in pairs]
    table = Table(title="Most frequent confusions", columns=("true class", "found as", "pictures"), rows=tuple(rows))
    return [matrix, table] if rows else [matrix]


def most_mistaken(truth: Ints, answers: Ints, classes: int) -> Ints:
    """The labels that a confusion matrix shows, ascending: all, or the `LARGEST_MATRIX` with the most mistakes.

    Args:
        truth: int64 (N,), true labels.
        answers: int64 (N,), labels found; what is not from 0 to `classes` - 1, in either, is no class.
        classes: how many there are.
    """
    if classes <= LARGEST_MATRIX:
        return np.arange(classes)
    mistaken = np.concatenate([truth[truth != answers], answers[truth != answers]])
    counts = np.bincount(mistaken[(mistaken >= 0) & (mistaken < classes)], minlength=classes)
    return np.sort(np.argsort(-counts, kind="stable")[:LARGEST_MATRIX])


def _per_class(truth: Ints, answers: Ints, classes: Sequence[str]) -> Table:
    count = len(classes)
    true = np.bincount(truth, minlength=count).astype(np.float64)
    found = np.bincount(answers[answers >= 0], minlength=count).astype(np.float64)
    right = np.bincount(truth[truth == answers], minlength=count).astype(np.float64)
    numbers = zip(
        classes, true, divide(right, found), divide(right, true), divide(2 * right, true + found), strict=True
    )
    return Table(
        title="Per class",
        columns=("class", "pictures", "precision", "recall", "F1"),
        rows=tuple((name, int(n), float(p), float(r), float(f1)) for name, n, p, r, f1 in numbers),
    )


def _calibration(right: npt.NDArray[np.bool_], confidence: Floats) -> list[Section]:
    """Accuracy against confidence, and how many pictures there are of each."""
    answered = ~np.isnan(confidence)
    bins, right, confidence = confidence_bin(confidence[answered]), right[answered], confidence[answered]
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    means = [np.bincount(bins, weights=each, minlength=BINS)[filled] / counts[filled] for each in (confidence, right)]
    edges = np.linspace(0, 1, BINS + 1)
    return [
        Curves(
            title="Reliability",
            x_label="confidence",
            y_label="accuracy",
            lines={"pictures of this confidence": (means[0], means[1])},
            x_range=(0, 1),
            y_range=(0, 1),
            diagonal=True,
            note="Below the diagonal the model is surer than it is right. ECE is the mean distance from it; of few "
            "pictures it comes out too large, for noise moves points away from the diagonal.",
        ),
        Bars(
            title="Confidence",
            label="pictures",
            values={f"{low:.2f} to {low + 1 / BINS:.2f}": int(n) for low, n in zip(edges, counts, strict=False)},
        ),
    ]


def _worst(truth: Ints, answers: Ints, confidence: Floats, dataset: Dataset, examples: int) -> list[Section]:
    wrong = np.flatnonzero((truth != answers) & ~np.isnan(confidence))
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:examples].tolist()
    if not worst:
        return []
    thumbnails = [
        Thumbnail(
            sample=dataset[i],
            caption=f"{dataset.classes[truth[i]]}, found as {_name(answers[i], dataset.classes)} ({confidence[i]:.2f})",
        )
        for i in worst
    ]
    return [Gallery(title="Most confident mistakes", thumbnails=tuple(thumbnails))]


def _name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if label >= 0 else OTHER
