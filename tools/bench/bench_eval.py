"""Evaluating detections: COCO's figures against pycocotools on the same boxes, and the bootstrap of their intervals.

Run: python tools/bench/bench_eval.py [--pictures N] [--rounds N]. The ratio counts: the engines take turns in one
process, both are given the same tables and have to give the same figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import process_time
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from cvtl.data import BoxesTarget, Dataset, Sample, UInt8Image
from cvtl.evaluation.bootstrap import with_intervals
from cvtl.evaluation.detection.boxes import evaluate_boxes
from cvtl.evaluation.detection.coco import coco_figures
from cvtl.evaluation.detection.scorer import BoxScorer
from cvtl.evaluation.detection.tables import BoxTables, tabulate
from cvtl.evaluation.found import FoundBoxes, Predictions
from cvtl.evaluation.settings import EvalSettings

DETECTIONS, CLASSES, OBJECTS = 100, 80, 8
DRAWS = 1000
RATIO_BAR, BOOTSTRAP_BAR = 5.0, 60.0
SIDE = 640.0

ResultT = TypeVar("ResultT")


def picture(rng: np.random.Generator) -> tuple[FoundBoxes, BoxesTarget]:
    """About eight objects; two detections of five lie near one of them, the others anywhere."""
    there = boxes(rng, 1 + rng.poisson(OBJECTS - 1))
    labels = rng.integers(0, CLASSES, len(there))
    meant = rng.integers(0, len(there), DETECTIONS)
    sizes = np.tile(there[meant, 2:] - there[meant, :2], 2)
    near = rng.random(DETECTIONS) < 0.4
    right = near & (rng.random(DETECTIONS) < 0.8)
    found = np.where(near[:, None], there[meant] + sizes * rng.normal(0, 0.08, sizes.shape), boxes(rng, DETECTIONS))
    said = np.where(right, labels[meant], rng.integers(0, CLASSES, DETECTIONS))
    return FoundBoxes(found, rng.beta(1 + near, 3 - near), said), BoxesTarget(
        there, labels, rng.random(len(there)) < 0.01
    )


def boxes(rng: np.random.Generator, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Boxes of all sizes in the picture."""
    sizes = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corners = rng.random((count, 2)) * (SIDE - sizes)
    return np.hstack([corners, corners + sizes])


def timed(run: Callable[[], ResultT]) -> tuple[float, ResultT]:
    """Processor seconds, which other work on the machine does not add to, and what came of it."""
    start = process_time()
    result = run()
    return process_time() - start, result


def compare(tables: BoxTables, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of faster-coco-eval and of pycocotools, which have to agree with each other and with our matching."""
    ours, theirs = [], []
    for _ in range(rounds):
        seconds, fast = timed(lambda: coco_figures(tables, "faster-coco-eval"))
        ours.append(seconds)
        seconds, slow = timed(lambda: coco_figures(tables, "pycocotools"))
        theirs.append(seconds)
    assert np.abs(fast.figures - slow.figures).max() < 1e-9
    assert np.abs(BoxScorer(tables)(np.ones((1, tables.pictures)))[0] - slow.figures).max() < 1e-9
    return ours, theirs


def no_picture() -> UInt8Image:
    """Stands in for the pictures, which nobody looks at."""
    raise FileNotFoundError


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1, help="pairs to time")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    found, targets = zip(*(picture(rng) for _ in range(arguments.pictures)), strict=True)
    classes = tuple(f"class {k}" for k in range(CLASSES))

    table_seconds, tables = timed(lambda: tabulate(found, targets, classes).best())
    ours, theirs = compare(tables, arguments.rounds)
    scorer_seconds, scorer = timed(lambda: BoxScorer(tables))
    draws_seconds, _ = timed(lambda: with_intervals(scorer, tables.pictures, DRAWS, seed=0))
    samples = [Sample(f"{i}.jpg", no_picture, target) for i, target in enumerate(targets)]
    predictions = Predictions(name="model", task="detect", found=found)
    settings = EvalSettings(draws=0)
    whole_seconds, _ = timed(lambda: evaluate_boxes(predictions, Dataset(samples, classes, "memory"), settings))

    ratio = median(theirs) / median(ours)
    bootstrap = scorer_seconds + draws_seconds
    counts = f"{len(tables.found)} detections, {len(tables.true)} objects of {CLASSES} classes"
    table = Table(title=f"{tables.pictures} pictures, {counts}")
    for column in ("what", "processor seconds", "bar"):
        table.add_column(column, no_wrap=True, justify="left" if column == "what" else "right")
    table.add_row("boxes into tables", f"{table_seconds:.2f}", "")
    table.add_row("twelve figures, pycocotools", f"{median(theirs):.2f}", "")
    verdict = "ok" if ratio >= RATIO_BAR else "MISSED"
    table.add_row(f"twelve figures, ours: {ratio:.1f}x", f"{median(ours):.2f}", f"{RATIO_BAR:.0f}x {verdict}")
    table.add_row("our matching, all thresholds and sizes", f"{scorer_seconds:.2f}", "")
    verdict = "ok" if bootstrap < BOOTSTRAP_BAR else "MISSED"
    table.add_row(
        f"with the bootstrap of all twelve, {DRAWS} draws", f"{bootstrap:.2f}", f"{BOOTSTRAP_BAR:.0f} {verdict}"
    )
    table.add_row("the whole evaluation without the bootstrap", f"{whole_seconds:.2f}", "")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
