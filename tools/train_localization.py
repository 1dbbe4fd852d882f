"""Measure the localize plugin: the figures of docs/localization.md.

    python tools/train_localization.py digits RUNS --weights squeezenet1_1.pth
    python tools/train_localization.py raccoon RUNS --weights squeezenet1_1.pth --data detection_raccoon

`digits` trains on generated scenes and evaluates on scenes of unseen writers and unseen halves of the photographs.
`raccoon` divides the pictures itself, near-duplicates together: 30 % for testing, 15 % for validation, the rest for
training. `--loss squared` takes the lectures' loss. A run that is there is gone on with. Prints the figures with their
95 % intervals, and the seconds of the clock and of the processors.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import cvtl
from cvtl.data import BoxesTarget, Dataset, Sample, Split
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.objects import iou, largest_object
from cvtl.preprocessing import InputSpec
from cvtl.splits import divide, find_groups
from cvtl.training import TrainSettings
from cvtl.training.memory import at_size
from cvtl.training.start import train_plugin
from cvtl_datasets.scenes import localization_scenes

TRAIN_SCENES = 7500
TEST_SCENES = 1000
# Digits are not their mirror images. What edges and blobs are like, the backbone knows.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"flip": False, "freeze": "fire4-5", "scale": 1.4, "shift": 0.2},
    "raccoon": {},
}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"epochs": 8, "batch_size": 32, "learning_rate": 1e-3, "val_fraction": 0.1},
    "raccoon": {},
}


def main() -> None:
    """Train, evaluate, print."""
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    data, test = _digits(arguments.scenes) if arguments.what == "digits" else _raccoons(arguments.data)
    options = {**OPTIONS[arguments.what], "weights": arguments.weights, "loss": arguments.loss}
    said = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    proposed = {**SETTINGS[arguments.what], **said}
    settings = TrainSettings(**proposed, seed=arguments.seed, device="cpu", workers=arguments.workers)
    folder = arguments.runs / f"{arguments.what}-{arguments.loss}-{arguments.seed}"
    clock, processors = perf_counter(), sum(os.times()[:4])
    report = train_plugin("localize", data, folder, options=options, settings=settings, resume=True)
    print(f"training: {perf_counter() - clock:.0f} s, {sum(os.times()[:4]) - processors:.0f} s of processors")
    _show(cvtl.evaluate(cvtl.predict(cvtl.load_model(report.weights), test), test))
    print(f"mean IoU of the same box in every picture: {_guess(data, test):.3f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=OPTIONS)
    parser.add_argument("runs", type=Path, help="folder for the run folders")
    parser.add_argument("--weights", default="imagenet", help="of the backbone: imagenet, a file, or none")
    parser.add_argument("--loss", choices=("modern", "squared"), default="modern")
    parser.add_argument("--data", type=Path, help="the raccoons")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--scenes", type=int, default=TRAIN_SCENES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="that compute")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare samples beside them")
    return parser


def _digits(scenes: int) -> tuple[Dataset, Dataset]:
    return localization_scenes(scenes, seed=1), localization_scenes(TEST_SCENES, seed=2, digits="test")


def _raccoons(path: Path) -> tuple[Dataset, Dataset]:
    """Training and validation part as one data set, and the test part."""
    data = cvtl.load_data(path, "localize", splits=False)
    groups = find_groups(data, group_by=None, near_duplicates=True, advance=lambda count: None)
    fractions: dict[Split, float] = {"val": 0.15, "test": 0.3}
    parts = divide(data, fractions, 0, groups.of)
    print(", ".join(f"{len(part)} pictures for {name}" for name, part in parts.items()))
    told = [replace(sample, split=name) for name, part in parts.items() if name != "test" for sample in part]
    return replace(data, samples=told), parts["test"]


def _guess(data: Dataset, test: Dataset) -> float:
    """Mean IoU of one box, the mean of all that were trained on as parts of their pictures."""
    seen, wanted = (np.concatenate([_box(sample) for sample in part]) for part in (data, test))
    return float(iou(seen.mean(axis=0), wanted).mean())


def _box(sample: Sample) -> npt.NDArray[np.float64]:
    """The object's box as a part of the picture, (1, 4), or none, (0, 4)."""
    _, target = at_size(sample, InputSpec(size_hw=(1, 1)))
    assert isinstance(target, BoxesTarget)
    index = largest_object(target)
    return target.boxes[:0] if index is None else target.boxes[index : index + 1]


def _show(evaluation: Evaluation) -> None:
    print(f"{evaluation.pictures} test pictures")
    for figure in evaluation.figures:
        interval = "" if figure.low is None else f" ({figure.low:.3f} to {figure.high:.3f})"
        print(f"{figure.name}: {figure.value:.3f}{interval}")


if __name__ == "__main__":
    main()
