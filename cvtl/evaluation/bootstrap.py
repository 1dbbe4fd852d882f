"""How far figures would move with other pictures: intervals by resampling, and paired comparison of two evaluations.

The bootstrap of random halves, also known as the delete-half jackknife: Shao and Wu 1989, A General Theory for
Jackknife Variance Estimation, Annals of Statistics 17(3). Each draw leaves out half of the pictures, chosen by chance,
which moves a figure by about as much as it lies off the true one. The interval is the figure plus or minus Student's t
times the root mean square of those moves. That holds what few pictures shift (AP and ECE come out too large) beside
what they scatter.

The usual bootstrap, which draws with replacement, covers less often where a class shows in few pictures: two copies of
one of them teach nothing of the class. docs/evaluation.md has the coverage of both, tools/measure_coverage.py measures
it.

What an interval covers: the choice of pictures, were others of the same kind taken. What it does not: another training
of the model, pictures of another kind, and pictures that depend on one another (frames of one video are fewer than they
seem), unless it is told which do: then groups of pictures are drawn (`GroupedScorer`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cvtl.errors import UsageError
from cvtl.evaluation.evaluation import Evaluation, Scorer
from cvtl.reporting.sections import Cell, Figure, Table

Floats = npt.NDArray[np.float64]

FEWEST_PICTURES = 20
"""With fewer no interval is given: of ten pictures, the interval of a mean of skewed errors holds it in 91 % of cases
instead of 95 %, and where nine in ten are right, a third of such sets shows no mistake to judge by."""

MOST_UNDEFINED = 0.1
"""Share of draws in which a figure may be undefined. What rests on one, two or three pictures is missing from 50 %,
25 % and 12 % of the draws, and gets no interval; four pictures are missing from 6 %."""

_TAIL = 0.025
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


@dataclass(frozen=True, eq=False)
class GroupedScorer:
    """A scorer of groups of pictures: one that counts, counts with all its pictures.

    Pictures of one person or one video depend on one another, so it is groups that chance chooses.

    Attributes:
        scorer: of the pictures.
        groups: int64 (N,), the group of each picture, counted from 0.

    Example:
        >>> right = np.array([[1.0], [0], [1], [1]])
        >>> accuracy = RatioScorer(("accuracy",), (True,), right, np.ones((4, 1)))
        >>> GroupedScorer(accuracy, np.array([0, 0, 1, 1]))(np.array([[1.0, 0], [0, 1]]))
        array([[0.5],
               [1. ]])
    """

    scorer: Scorer
    groups: npt.NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """The scorer's."""
        return self.scorer.names

    @property
    def higher_is_better(self) -> tuple[bool, ...]:
        """The scorer's."""
        return self.scorer.higher_is_better

    def __call__(self, weights: Floats) -> Floats:
        """The figures, (D, F), for weights (D, G) of the G groups."""
        return self.scorer(weights[:, self.groups])


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
        The F figures, in the middle of their intervals unless those end at 0 or 1. One is without an interval where
        the draws cannot say: fewer than `FEWEST_PICTURES`, a figure undefined in more than `MOST_UNDEFINED` of them,
        or all of them alike (every picture is right: that does not make it certain).

    Example:
        >>> right = (np.arange(200) % 4 > 0).astype(float)[:, None]
        >>> scorer = RatioScorer(("accuracy",), (True,), right, np.ones((200, 1)))
        >>> (figure,) = with_intervals(scorer, pictures=200, draws=1000, seed=0)
        >>> f"{figure.name} {figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
        'accuracy 0.75 (0.69 to 0.81)'
    """
    values = _on_all_pictures(scorer, pictures)
    drawn = _on_draws(scorer, pictures, draws, seed)
    figures = []
    for name, value, draw, reach in zip(scorer.names, values, drawn.T, reaches(values, drawn, pictures), strict=True):
        figure = Figure(name=name, value=float(value))
        if reach > 10**-_DIGITS:  # NaN is not.
            # A figure that is never negative, or above 1, in the draws is taken for one that cannot be.
            lowest = 0.0 if np.nanmin(draw) >= 0 else -np.inf
            highest = 1.0 if np.nanmax(draw) <= 1 else np.inf
            figure = replace(figure, low=float(max(value - reach, lowest)), high=float(min(value + reach, highest)))
        figures.append(figure)
    return figures


def reaches(values: Floats, drawn: Floats, pictures: int) -> Floats:
    """How far the 95 % intervals reach to either side of figures, or of differences of figures.

    With m of the N pictures in each draw, it is t times the square root of m / (N - m) times the mean square of the
    draws' distances from the figure (Shao and Wu's delete-d jackknife, about the figure instead of the draws' mean).
    For a mean, this is Student's interval.

    Args:
        values: float64 (F,), of all pictures.
        drawn: float64 (D, F), of the draws of `draw_weights`.
        pictures: N.

    Returns:
        float64 (F,); NaN where a figure is undefined in more than `MOST_UNDEFINED` of the draws, or there are none.
    """
    from scipy.special import stdtrit

    defined = (~np.isnan(drawn)).sum(axis=0)
    known = (defined > 0) & (defined >= (1 - MOST_UNDEFINED) * len(drawn))
    squares = divide(np.nansum((drawn - values) ** 2, axis=0), np.where(known, defined, 0).astype(np.float64))
    kept = pictures // 2
    reach: Floats = stdtrit(max(pictures - 1, 1), 1 - _TAIL) * np.sqrt(kept / max(pictures - kept, 1) * squares)
    return np.where(np.isnan(values), np.nan, reach)


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
    pictures = a.units or a.pictures
    a_values, b_values = _on_all_pictures(a.scorer, pictures), _on_all_pictures(b.scorer, pictures)
    differences = np.round(a_values - b_values, _DIGITS)
    drawn = _on_draws(a.scorer, pictures, draws, seed) - _on_draws(b.scorer, pictures, draws, seed)
    reach = reaches(differences, np.round(drawn, _DIGITS), pictures)
    lows, highs = differences - reach, differences + reach
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
    """Which half of the pictures counts in each draw, as weights 0 and 1, in chunks (d, N) of all the draws (D, N).

    Of an odd number of pictures, the smaller half counts.

    Example:
        >>> (weights,) = draw_weights(pictures=5, draws=2, seed=0)
        >>> weights.sum(axis=1)
        array([2., 2.])
    """
    random = np.random.default_rng(seed)
    first_half = (np.arange(pictures) < pictures // 2).astype(np.float64)
    size = max(1, _CHUNK // max(1, pictures))
    for start in range(0, draws, size):
        yield random.permuted(np.tile(first_half, (min(size, draws - start), 1)), axis=1)


def _on_all_pictures(scorer: Scorer, pictures: int) -> Floats:
    values: Floats = scorer(np.ones((1, pictures)))[0]
    return values


def _on_draws(scorer: Scorer, pictures: int, draws: int, seed: int) -> Floats:
    """The figures of each draw, (D, F); none where there are too few pictures."""
    none = np.zeros((0, len(scorer.names)))
    if pictures < FEWEST_PICTURES:
        return none
    return np.concatenate([none, *(scorer(weights) for weights in draw_weights(pictures, draws, seed))])


def _check_comparable(a: Evaluation, b: Evaluation) -> None:
    hint = "Compare evaluations of the same data set, made with the same settings"
    if a.task != b.task:
        raise UsageError(f"'{a.name}' is of the task '{a.task}', '{b.name}' of '{b.task}'", hint=hint)
    if (a.pictures, a.units) != (b.pictures, b.units):
        raise UsageError(f"'{a.name}' is of {a.pictures} pictures, '{b.name}' of {b.pictures}", hint=hint)
    if tuple(a.scorer.names) != tuple(b.scorer.names):
        raise UsageError(
            f"'{a.name}' has the figures {', '.join(a.scorer.names)}, '{b.name}' has {', '.join(b.scorer.names)}",
            hint=hint,
        )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
