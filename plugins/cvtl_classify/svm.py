"""A linear SVM whose decision values become probabilities."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from cvtl.errors import UsageError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# Of all errors together: divided by the number of pictures, so that a fold's decision values are like those of all.
_STRENGTHS = (0.03, 0.3, 3.0, 30.0, 300.0)
_FOLDS = 3
_LOG_SLOPES = (-5.0, 5.0)
# Pictures times features times classes; one fit of so many takes some five minutes.
_MOST_WORK = 4e9


def fit_svm(features: Floats, labels: Labels, classes: int, *, seed: int) -> tuple[Floats, Floats]:
    """One-against-rest linear SVMs (squared hinge loss) as one dense layer whose softmax gives probabilities.

    How strongly errors count is chosen by cross-validation, by the likelihood of what was held out. The decision values
    are scaled by the one number that makes this likelihood greatest (temperature scaling, arXiv 1706.04599, section
    4.2; for two classes, Platt's sigmoid through the origin), so that probabilities are calibrated and the most
    probable class is the SVM's.

    Args:
        features: float32 (N, D), standardised.
        labels: (N,), at least two different ones.
        classes: C.
        seed: of the folds and the solver.

    Returns:
        Weight (C, D) and bias (C,), float32.

    Raises:
        UsageError: there are so many pictures and classes that it would take hours.
    """
    _refuse_hours(features, labels)
    folds = _folds(labels, seed)
    tested = folds >= 0
    strength, slope, best = _STRENGTHS[len(_STRENGTHS) // 2], 1.0, np.inf
    # Nothing can be held out of classes with one picture each.
    for candidate in _STRENGTHS if tested.any() else ():
        values = np.empty((len(labels), classes))
        for fold in range(_FOLDS):
            weight, bias = _solve(features[folds != fold], labels[folds != fold], classes, candidate, seed)
            values[folds == fold] = features[folds == fold] @ weight.T + bias
        loss, fitted = _calibrate(values[tested], labels[tested])
        if loss >= best:
            # The loss falls and then grows with the strength, and so does the time.
            break
        strength, slope, best = candidate, fitted, loss
    weight, bias = _solve(features, labels, classes, strength, seed)
    return (slope * weight).astype(np.float32), (slope * bias).astype(np.float32)


def _refuse_hours(features: Floats, labels: Labels) -> None:
    present = len(np.unique(labels))
    if features.size * present > _MOST_WORK:
        raise UsageError(
            f"an SVM of {len(labels)} pictures with {features.shape[1]} features in {present} classes would take hours",
            hint="Use --head linear",
        )


def _folds(labels: Labels, seed: int) -> Labels:
    """The fold in which each picture is held out; no class is held out as a whole, hence -1 for a class's only one."""
    random = np.random.default_rng(seed)
    folds = np.full(len(labels), -1)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            folds[members] = (np.arange(len(members)) + label) % _FOLDS
    return folds


def _solve(features: Floats, labels: Labels, classes: int, strength: float, seed: int) -> tuple[Doubles, Doubles]:
    """Weight (C, D) and bias (C,) of the decision values; a class without pictures is never decided for."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    svm: Any = LinearSVC(C=strength / len(labels), dual="auto", random_state=seed)
    with warnings.catch_warnings():
        # The last digits that it warns of change no decision worth making.
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm.fit(features, labels)
    weight, bias = np.zeros((classes, features.shape[1])), np.full(classes, -1.0)
    if len(svm.classes_) == 2:
        # It has one decision value then, for the second class.
        weight[svm.classes_], bias[svm.classes_] = (
            [-svm.coef_[0], svm.coef_[0]],
            [-svm.intercept_[0], svm.intercept_[0]],
        )
    else:
        weight[svm.classes_], bias[svm.classes_] = svm.coef_, svm.intercept_
    return weight, bias


def _calibrate(values: Doubles, labels: Labels) -> tuple[float, float]:
    """The least mean cross-entropy of `softmax(slope * values)`, and the slope.

    Targets are softened as Platt's are (1999, section 2.2), so that values without an error do not ask for an endless
    slope.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    count, classes = values.shape
    miss = 1 / (count + 2)
    targets = np.full((count, classes), miss / (classes - 1))
    targets[np.arange(count), labels] = 1 - miss

    def loss(log_slope: float) -> float:
        return float(-(targets * log_softmax(np.exp(log_slope) * values, axis=1)).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=_LOG_SLOPES, method="bounded")
    return float(found.fun), float(np.exp(found.x))
