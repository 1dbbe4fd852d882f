"""How often 95 % intervals hold the true figure, made in several ways: what `bootstrap` rests on.

Run: OMP_NUM_THREADS=1 python tools/measure_coverage.py [--draws N] [--jobs N]. Takes some ten minutes on two cores and
prints what docs/evaluation.md sums up, the same on any machine.

Populations of 20,000 made-up pictures have known figures; test sets are drawn from them without replacement. A class
that a test set does not show drops out of its AP, as COCO defines it, and counts in the population's all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from scipy.stats import norm, t

from cvtl.evaluation.bootstrap import RatioScorer, draw_weights, reaches
from cvtl.evaluation.classes import ClassScorer
from cvtl.evaluation.detection.scorer import BoxScorer
from cvtl.evaluation.detection.tables import BoxTables, FoundTable, TrueTable, ranks_within
from cvtl.evaluation.evaluation import Scorer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PICTURES = 20_000
SIZES = (30, 100, 500)
TAIL = 0.025
ROUNDING = 1e-9
MOST_FOR_JACKKNIFE = 100
CLASS_FIGURES = ("top-1 accuracy", "macro F1", "ECE")


@dataclass(frozen=True)
class Population:
    """Pictures of which every test set has a scorer.

    Attributes:
        figures: those to look at.
        test_sets: how many to draw of each size.
        scorer: of the pictures with these indices, ascending.
    """

    figures: tuple[str, ...]
    test_sets: int
    scorer: Callable[[Ints], Scorer]


@dataclass(frozen=True)
class Sampled:
    """A figure of a test set.

    Attributes:
        value: of the test set.
        drawn: float64 (D,), of draws with replacement, without those in which it is undefined.
        halves: float64 (D,), of half of the pictures, likewise.
        left_out: float64 (N,), with each picture left out in turn; empty of many pictures.
        pictures: N.
    """

    value: float
    drawn: Floats
    halves: Floats
    left_out: Floats
    pictures: int

    @property
    def known(self) -> bool:
        """Whether there can be an interval."""
        return bool(np.ptp(self.drawn) > 0 and np.ptp(self.halves) > 0)


# Populations


def detection(classes: int, ease: float, seed: int = 0, rivals: bool = False) -> Population:
    """Detections of objects whose classes are the rarer, the higher their number: of 40, the last is 1 in 170."""
    truth, difficulty = _objects(classes, np.random.default_rng(seed))
    tables = [
        BoxTables(_found(truth, difficulty, ease, classes, np.random.default_rng(seed + 1 + i)), truth, PICTURES, ())
        for i in range(1 + rivals)
    ]

    def scorer(chosen: Ints) -> Scorer:
        scorers = [BoxScorer(_some(each, chosen, classes)) for each in tables]
        return Difference(*scorers) if rivals else scorers[0]

    return Population(("AP",), 100, scorer)


def _objects(classes: int, rng: np.random.Generator) -> tuple[TrueTable, Floats]:
    """About four objects a picture, half of them of one class; and how difficult each picture is."""
    pictures = np.repeat(np.arange(PICTURES), rng.geometric(0.25, PICTURES))
    count = len(pictures)
    shares = 1 / np.arange(1, classes + 1)
    shares /= shares.sum()
    theme = rng.choice(classes, PICTURES, p=shares)[pictures]
    labels = np.where(rng.random(count) < 0.5, theme, rng.choice(classes, count, p=shares))
    sides = np.exp(rng.uniform(np.log(16), np.log(300), count))[:, None] * rng.uniform(0.7, 1.3, (count, 2))
    # Objects lie apart, so that only their own detections overlap them.
    corners = np.column_stack([ranks_within(pictures) * 1000.0, np.zeros(count)])
    no = np.zeros(count, bool)
    truth = TrueTable(pictures, labels, np.hstack([corners, corners + sides]), no, no, sides.prod(axis=1))
    return truth, rng.normal(0, 0.7, PICTURES)


def _found(truth: TrueTable, difficulty: Floats, ease: float, classes: int, rng: np.random.Generator) -> FoundTable:
    """What a detector finds: objects the better, the easier they and their picture are, and background."""
    eases = ease - difficulty[truth.pictures] + rng.normal(0, 1, len(truth))
    hits = np.flatnonzero(rng.random(len(truth)) < expit(eases + 1))
    boxes = truth.boxes[hits]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + sides * rng.normal(0, 1, boxes.shape) * 0.1 * np.exp(-0.35 * eases[hits])[:, None]
    wrong = rng.integers(0, PICTURES, 3 * PICTURES)
    background = np.tile([0.0, 5000, 50, 5050], (len(wrong), 1))
    scores = expit(np.append(eases[hits] + rng.normal(0, 1, len(hits)), rng.normal(-1, 1.2, len(wrong))))
    order = np.argsort(-scores, kind="stable")
    pictures = np.append(truth.pictures[hits], wrong)[order]
    labels = np.append(truth.labels[hits], rng.permutation(truth.labels)[: len(wrong)])[order]
    ranks = ranks_within(pictures * classes + labels)
    return FoundTable(pictures, labels, np.vstack([boxes, background])[order], scores[order], ranks)


def _some(tables: BoxTables, chosen: Ints, classes: int) -> BoxTables:
    place = np.full(PICTURES, -1)
    place[chosen] = np.arange(len(chosen))
    found = tables.found.select(place[tables.found.pictures] >= 0)
    true = tables.true.select(place[tables.true.pictures] >= 0)
    return BoxTables(
        replace(found, pictures=place[found.pictures]),
        replace(true, pictures=place[true.pictures]),
        len(chosen),
        tuple(f"class {k}" for k in range(classes)),
    )


def classification(
    scale: float, sharpness: float = 1.0, rivals: bool = False, figures: tuple[str, ...] = CLASS_FIGURES
) -> Population:
    """Ten classes, some rare; calibrated if the sharpness is 1, for the true class is drawn from the probabilities."""
    rng = np.random.default_rng(0)
    logits = scale * rng.normal(0, 1, (PICTURES, 10)) - 0.15 * scale * np.arange(10)
    truth = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((PICTURES, 1))).argmax(axis=1)
    models = [logits + rivals * rng.normal(0, scale / 2, logits.shape) for _ in range(1 + rivals)]

    def scorer(chosen: Ints) -> Scorer:
        answers = [softmax(sharpness * each[chosen], axis=1) for each in models]
        scorers = [
            ClassScorer(truth[chosen], np.argsort(-each, axis=1)[:, :5], each.max(axis=1), 10) for each in answers
        ]
        return Difference(*scorers) if rivals else scorers[0]

    return Population(figures, 400, scorer)


def landmarks() -> Population:
    """One instance a picture, with errors of log-normal distribution."""
    error = np.exp(np.random.default_rng(0).normal(np.log(0.04), 0.55, PICTURES))
    columns = np.column_stack([error, error > 0.1]).astype(np.float64)
    names = "NME", "failure rate"
    return Population(
        names, 400, lambda chosen: RatioScorer(names, (False, False), columns[chosen], np.ones((len(chosen), 2)))
    )


class Difference:
    """The figures of one less those of another, on the same pictures."""

    def __init__(self, a: Scorer, b: Scorer) -> None:
        self._a, self._b = a, b
        self.names, self.higher_is_better = a.names, a.higher_is_better

    def __call__(self, weights: Floats) -> Floats:
        """(D, F)."""
        return self._a(weights) - self._b(weights)


POPULATIONS: dict[str, Callable[[], Population]] = {
    "1 class, hard": partial(detection, 1, 0.2),
    "1 class, easy": partial(detection, 1, 2.2),
    "10 classes, hard": partial(detection, 10, 0.2),
    "10 classes, easy": partial(detection, 10, 2.2),
    "40 classes, hard": partial(detection, 40, 0.2),
    "40 classes, easy": partial(detection, 40, 2.2),
    "40 classes, easy, A - B": partial(detection, 40, 2.2, rivals=True),
    "often wrong, calibrated": partial(classification, 2.5),
    "seldom wrong, calibrated": partial(classification, 60.0),
    "often wrong, too sure": partial(classification, 2.5, 2.0, figures=("ECE",)),
    "often wrong, A - B": partial(classification, 2.5, rivals=True),
    "landmarks": landmarks,
}

# Intervals


def percentile(s: Sampled) -> tuple[float, float]:
    """Efron and Tibshirani 1993, chapter 13."""
    low, high = np.quantile(s.drawn, (TAIL, 1 - TAIL))
    return low, high


def basic(s: Sampled) -> tuple[float, float]:
    """Davison and Hinkley 1997, chapter 5: the draws mirrored at the figure."""
    low, high = percentile(s)
    return 2 * s.value - high, 2 * s.value - low


def shifted(s: Sampled) -> tuple[float, float]:
    """The percentile interval less twice the draws' bias: theirs, and that of the figure, taken to be alike."""
    low, high = percentile(s)
    bias = s.drawn.mean() - s.value
    return low - 2 * bias, high - 2 * bias


def bias_corrected(s: Sampled, acceleration: float = 0.0) -> tuple[float, float]:
    """BC: Efron 1987, Better Bootstrap Confidence Intervals, without the acceleration."""
    below = (s.drawn < s.value).mean() + (s.drawn == s.value).mean() / 2
    # As if half a draw more lay on either side, for the normal distribution has no end.
    bias = norm.ppf(np.clip(below, 0.5 / len(s.drawn), 1 - 0.5 / len(s.drawn)))
    z = bias + norm.ppf((TAIL, 1 - TAIL))
    low, high = np.quantile(s.drawn, norm.cdf(bias + z / (1 - acceleration * z)))
    return low, high


def accelerated(s: Sampled) -> tuple[float, float]:
    """BCa: Efron 1987, the acceleration by the jackknife."""
    moves = s.left_out.mean() - s.left_out
    spread = (moves**2).sum()
    return bias_corrected(s, (moves**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0)


def student(s: Sampled) -> tuple[float, float]:
    """The figure and t times the standard deviation of draws with replacement."""
    reach = t.ppf(1 - TAIL, s.pictures - 1) * s.drawn.std()
    return s.value - reach, s.value + reach


def halves_scatter(s: Sampled) -> tuple[float, float]:
    """The delete-half jackknife about the draws' mean: Shao and Wu 1989."""
    (reach,) = reaches(s.halves.mean(keepdims=True), s.halves[:, None], s.pictures)
    return s.value - reach, s.value + reach


def halves(s: Sampled) -> tuple[float, float]:
    """The same about the figure: what `bootstrap` gives, but for the ends of the figure's range."""
    (reach,) = reaches(np.array([s.value]), s.halves[:, None], s.pictures)
    return s.value - reach, s.value + reach


METHODS = {
    "percentile": percentile,
    "basic": basic,
    "BC": bias_corrected,
    "BCa": accelerated,
    "shifted": shifted,
    "Student": student,
    "halves, scatter": halves_scatter,
    "halves": halves,
}

DETAILS = ("true", "mean", "width", "of percentile", "above, %", "below, %", "holds the mean, %", "none, %")

# Measurement


@cache
def population(name: str) -> Population:
    """Each process makes its own."""
    return POPULATIONS[name]()


def truth(name: str) -> Floats:
    """The population's figures."""
    scorer = population(name).scorer(np.arange(PICTURES))
    return scorer(np.ones((1, PICTURES)))[0, _columns(name, scorer)]


def sample(name: str, pictures: int, draws: int, seed: int) -> list[Sampled]:
    """The figures of a test set."""
    rng = np.random.default_rng([pictures, seed])
    scorer = population(name).scorer(np.sort(rng.choice(PICTURES, pictures, replace=False)))
    weights = [
        np.ones((1, pictures)),
        rng.multinomial(pictures, np.full(pictures, 1 / pictures), draws).astype(np.float64),
        np.concatenate(list(draw_weights(pictures, draws, seed))),
        1 - np.eye(pictures) if pictures <= MOST_FOR_JACKKNIFE else np.zeros((0, pictures)),
    ]
    values = scorer(np.concatenate(weights))[:, _columns(name, scorer)]
    parts = np.split(values, np.cumsum([len(each) for each in weights])[:-1])
    samples = []
    for value, *resampled in zip(*(part.T for part in parts), strict=True):
        drawn, halved, left_out = (each[~np.isnan(each)] for each in resampled)
        samples.append(Sampled(float(value[0]), drawn, halved, left_out, pictures))
    return samples


def _columns(name: str, scorer: Scorer) -> list[int]:
    return [scorer.names.index(figure) for figure in population(name).figures]


def bounds(samples: Sequence[Sampled], method: Callable[[Sampled], tuple[float, float]]) -> Floats:
    """The intervals (S, 2) of the samples."""
    return np.array([method(each) for each in samples]).reshape(-1, 2)


def held(ends: Floats, value: float) -> float:
    """The share of intervals (S, 2) that hold the value."""
    return float(((ends[:, 0] <= value + ROUNDING) & (value - ROUNDING <= ends[:, 1])).mean())


def coverage(samples: Sequence[Sampled], true: float) -> str:
    """A row's cells: for each method, the share of intervals that hold the true figure, in percent."""
    shares = []
    for method in METHODS.values():
        possible = method is not accelerated or len(samples[0].left_out)
        shares.append(f"{100 * held(bounds(samples, method), true):.0f}" if possible else "")
    return " | ".join(shares)


def details(samples: Sequence[Sampled], drawn: int, true: float) -> str:
    """A row's cells about the chosen method."""
    ends = bounds(samples, halves)
    mean = float(np.mean([each.value for each in samples]))
    above, below = (ends[:, 0] > true + ROUNDING).mean(), (ends[:, 1] < true - ROUNDING).mean()
    widths = [(np.diff(bounds(samples, method), axis=1)).mean() for method in (halves, percentile)]
    return (
        f"{true:.3f} | {mean:.3f} | {widths[0]:.3f} | {widths[1]:.3f} | {100 * above:.0f} | {100 * below:.0f} | "
        f"{100 * held(ends, mean):.0f} | {100 * (1 - len(samples) / drawn):.0f}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    first, second = [], []
    with ProcessPoolExecutor(arguments.jobs) as jobs:
        for name in POPULATIONS:
            true = truth(name)
            for pictures in SIZES:
                job = partial(sample, name, pictures, arguments.draws)
                test_sets = list(jobs.map(job, range(population(name).test_sets), chunksize=5))
                for i, figure in enumerate(population(name).figures):
                    known = [each[i] for each in test_sets if each[i].known]
                    row = f"| {figure}, {name} | {pictures} |"
                    first.append(f"{row} {coverage(known, true[i])} |")
                    second.append(f"{row} {details(known, len(test_sets), true[i])} |")
                print(f"{name}, {pictures} pictures", file=sys.stderr, flush=True)
    for columns, rows in ((tuple(METHODS), first), (DETAILS, second)):
        print("| figure | pictures |", " | ".join(columns), "|")
        print("|---|" + "---|" * (len(columns) + 1))
        print(*rows, sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
