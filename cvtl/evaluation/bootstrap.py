"""How far figures would move with other pictures: bootstrap intervals, and paired comparison of two evaluations.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals). Each draw takes
as many pictures as there are, with replacement, which is to say that it gives each picture a whole weight; the middle
95 % of the draws' figures are the interval.

What an interval covers: the choice of pictures, were others of the same kind taken. What it does not: another training
of the model, pictures of another kind, and pictures that depend on one another (frames of one video are fewer than they
seem).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cvtl.errors import UsageError
from cvtl.evaluation.evaluation import Evaluation, Scorer
from cvtl.reporting.sections import Cell, Figure, Table

Floats = npt.NDArray[np.float64]

FEWEST_PICTURES = 20
"""With fewer no interval is given: of ten pictures, the percentile interval of a mean holds it in 90 % of cases instead
of 95 %, and in two thirds of them where nearly all pictures are right."""

MOST_UNDEFINED = 0.1
"""Share of draws in which a figure may be undefined. What rests on one or two pictures is missing from 37 % and 14 % of
the draws, and gets no interval; three pictures are missing from 5 %."""

_ENDS = (2.5, 97.5)
# Weights in memory at a time; what scorers compute from them may be several times that.
_CHUNK = 2**18
# Figures are of the order of 1: smaller differences than this are rounding.
_DIGITS = 12


@dataclass(frozen=True, eq=False)
class RatioScorer:
    """Figures that are ratios of sums over pictures: accuracies, means.

    Attributes:
        names: the F figures' names.
        higher_is_better: for each figure.
        numerators: float64 (N, F), what each picture adds above the line.
        denominators: float64 (N, F), what it adds below, such as 1 where it is judged and 0 where not.

    Example:
        >>> right = np.array([[1.0], [0], [1], [1]])
        >>> accuracy = RatioScorer(("accuracy",), (True,), right, np.ones((4, 1)))
        >>> accuracy(np.array([[1.0, 1, 1, 1], [0, 2, 2, 0]]))
        array([[0.75],
               [0.5 ]])
    """

    names: tuple[str, ...]
    higher_is_better: tuple[bool, ...]
    numerators: Floats
    denominators: Floats

    def __call__(self, weights: Floats) -> Floats:
        """The figures, (D, F), for weights (D, N); NaN where no picture counts."""
        return divide(weights @ self.numerators, weights @ self.denominators)


def divide(numerators: Floats, denominators: Floats) -> Floats:
    """Elementwise; NaN where the denominator is 0."""
    return np.divide(numerators, denominators, out=np.full_like(numerators, np.nan), where=denominators != 0)


def with_intervals(scorer: Scorer, pictures: int, draws: int, seed: int) -> list[Figure]:
    """The scorer's figures with their 95 % intervals.

    Args:
        scorer: of the figures.
        pictures: how many there are.
        draws: how many to make; 0 for no intervals.
        seed: of the draws, which are the same for every scorer of as many pictures.

    Returns:
        The F figures. One is without an interval where the bootstrap cannot say: fewer than `FEWEST_PICTURES`, a figure
        undefined in more than `MOST_UNDEFINED` of the draws, all draws alike (every picture is right: that does
        not make it certain), or a figure outside of its own draws, as where noise can only add to it.

    Example:
        >>> right = (np.arange(200) % 4 > 0).astype(float)[:, None]
        >>> scorer = RatioScorer(("accuracy",), (True,), right, np.ones((200, 1)))
        >>> (figure,) = with_intervals(scorer, pictures=200, draws=1000, seed=0)
        >>> f"{figure.name} {figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
        'accuracy 0.75 (0.69 to 0.81)'
    """
    values = _on_all_pictures(scorer, pictures)
    lows, highs = _intervals(_on_draws(scorer, pictures, draws, seed))
    figures = []
    for name, value, low, high in zip(scorer.names, values, lows, highs, strict=True):
        # NaN is in no interval.
        known = low <= value <= high and high - low > 10**-_DIGITS
        figures.append(
            Figure(name=name, value=float(value), low=float(low), high=float(high))
            if known
            else Figure(name=name, value=float(value))
        )
    return figures


def compare(a: Evaluation, b: Evaluation, draws: int, seed: int) -> Table:
    """Whether two evaluations of the same pictures differ by more than the choice of pictures explains.

    Both are computed on the same draws, so that what is hard for both cancels: paired differences vary less than the
    intervals of the two figures suggest.

    Args:
        a: one.
        b: the other, of the same data set and with the same settings.
        draws: how many to make; 0 for no intervals.
        seed: of the draws.

    Returns:
        A row for each headline figure: both values, a less b, the 95 % interval of that, whether it is "more than
        noise" (the interval excludes 0) or "within noise", and the better one, "A" or "B"; None where that cannot be
        said.

    Raises:
        UsageError: they are of different tasks, figures or numbers of pictures.
    """
    _check_comparable(a, b)
    pictures = a.pictures
    a_values, b_values = _on_all_pictures(a.scorer, pictures), _on_all_pictures(b.scorer, pictures)
    differences = np.round(a_values - b_values, _DIGITS)
    drawn = _on_draws(a.scorer, pictures, draws, seed) - _on_draws(b.scorer, pictures, draws, seed)
    lows, highs = _intervals(np.round(drawn, _DIGITS))
    rows: list[tuple[Cell, ...]] = []
    for i, name in enumerate(a.scorer.names):
        a_is_better = (differences[i] > 0) == a.scorer.higher_is_better[i]
        better = None if differences[i] == 0 or np.isnan(differences[i]) else "A" if a_is_better else "B"
        verdict = None
        if not np.isnan(lows[i]):
            verdict = "within noise" if lows[i] <= 0 <= highs[i] else "more than noise"
        numbers = (a_values[i], b_values[i], differences[i], lows[i], highs[i])
        rows.append((name, *map(_number, numbers), verdict, better))
    return Table(
        title=f"{a.name} (A) against {b.name} (B)",
        columns=("figure", "A", "B", "A - B", "low", "high", "verdict", "better"),
        rows=tuple(rows),
        note=f"low, high: the 95 % interval of A - B over other choices of pictures ({draws} paired draws); more than "
        "noise: it excludes 0. Another training of a model may differ, too.",
    )


def draw_weights(pictures: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each picture counts in each draw, in chunks (d, N) of all the draws (D, N).

    Example:
        >>> (weights,) = draw_weights(pictures=4, draws=2, seed=0)
        >>> weights.sum(axis=1)
        array([4., 4.])
    """
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK // max(1, pictures))
    for start in range(0, draws, size):
        count = min(size, draws - start)
        # Each draw numbers the pictures anew, so that all can be counted at once.
        drawn = random.integers(0, pictures, (count, pictures)) + pictures * np.arange(count)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=count * pictures)
        yield counts.reshape(count, pictures).astype(np.float64)


def _on_all_pictures(scorer: Scorer, pictures: int) -> Floats:
    values: Floats = scorer(np.ones((1, pictures)))[0]
    return values


def _on_draws(scorer: Scorer, pictures: int, draws: int, seed: int) -> Floats:
    """The figures of each draw, (D, F); none where there are too few pictures."""
    none = np.zeros((0, len(scorer.names)))
    if pictures < FEWEST_PICTURES:
        return none
    return np.concatenate([none, *(scorer(weights) for weights in draw_weights(pictures, draws, seed))])


def _intervals(drawn: Floats) -> tuple[Floats, Floats]:
    """Ends (F,) of the intervals of figures (D, F), NaN where there is none."""
    ends = np.full((2, drawn.shape[1]), np.nan)
    for i, values in enumerate(drawn.T):
        defined = values[~np.isnan(values)]
        if len(defined) and len(defined) >= (1 - MOST_UNDEFINED) * len(values):
            ends[:, i] = np.percentile(defined, _ENDS)
    return ends[0], ends[1]


def _check_comparable(a: Evaluation, b: Evaluation) -> None:
    hint = "Compare evaluations of the same data set, made with the same settings"
    if a.task != b.task:
        raise UsageError(f"'{a.name}' is of the task '{a.task}', '{b.name}' of '{b.task}'", hint=hint)
    if a.pictures != b.pictures:
        raise UsageError(f"'{a.name}' is of {a.pictures} pictures, '{b.name}' of {b.pictures}", hint=hint)
    if tuple(a.scorer.names) != tuple(b.scorer.names):
        raise UsageError(
            f"'{a.name}' has the figures {', '.join(a.scorer.names)}, '{b.name}' has {', '.join(b.scorer.names)}",
            hint=hint,
        )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
