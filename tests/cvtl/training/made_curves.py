"""Curves made to show one thing each, with seeded noise, at any scale and length."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from cvtl.training import TrainSettings

Floats = npt.NDArray[np.float64]
History = list[dict[str, float]]

START_ACCURACY = 0.2
"""Of guessing among the five classes."""


def make_config(**changes: Any) -> dict[str, Any]:
    """config.yaml of a training; keywords are settings, options, samples, or parts of it by their name."""
    settings = {name: changes.pop(name) for name in list(changes) if name in TrainSettings.model_fields}
    data = {part: {"samples": changes.pop(f"{part}_samples", default), "root": "photos", "format": "folders"}
            for part, default in (("train", 1000), ("val", 250))}  # fmt: skip
    config = {
        "cvtl": "0.1",
        "plugin": "tiny",
        "options": changes.pop("options", {"dropout": 0.2, "head": "linear"}),
        "settings": TrainSettings(**{"schedule": "constant", "workers": 0} | settings).model_dump(mode="json"),
        "data": data,
        "classes": list("abcde"),
    }
    return config | changes


def noisy(values: Floats, random: np.random.Generator, share: float) -> Floats:
    """Noise of a share of the level, as means over random batches have it."""
    return values * (1 + share * random.normal(size=len(values)))


def settling(epochs: int, constants: float, floor: float = 0.1) -> Floats:
    """From 1 down to a floor, so many time constants long."""
    return floor + (1 - floor) * np.exp(-constants * np.arange(epochs) / epochs)


Shape = Callable[[int, np.random.Generator], tuple[Floats, Floats]]


def healthy(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    return settling(epochs, random.uniform(5, 15)), settling(epochs, random.uniform(5, 15), random.uniform(0.12, 0.2))


def slight_rise(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Three per cent of its fall: not worth a word."""
    train, val = settling(epochs, 8, 0.05), settling(epochs, 12, 0.12)
    return train, val + 0.88 * 0.03 * np.linspace(0, 1, epochs) ** 2


def rise(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    train, val = settling(epochs, 8, 0.03), settling(epochs, 12, 0.2)
    return train, val + random.uniform(0.25, 2) * np.linspace(0, 1, epochs) ** 2


def gap(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    return settling(epochs, 8, 0.03), settling(epochs, 12, random.uniform(0.45, 0.6))


def unfinished(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    constants = random.uniform(0.8, 1.6)
    return settling(epochs, constants), 0.05 + settling(epochs, constants)


def slow(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    end = random.uniform(0.8, 0.93)
    return np.linspace(1, end, epochs), np.linspace(1, end, epochs) + 0.01


def weak(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    floor = random.uniform(0.6, 0.8)
    return settling(epochs, 15, floor), settling(epochs, 15, floor + 0.02)


def restless(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    train = settling(epochs, 8, 0.5)
    train[1:] *= np.exp(0.3 * random.normal(size=epochs - 1))
    return train, train * np.exp(0.4 * random.normal(size=epochs))


def exploding(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    train = settling(epochs, 6, 0.3) + np.exp(np.linspace(-20, 3, epochs))
    return train, 1.1 * train


def dead(epochs: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    train = settling(epochs, 8, 0.3)
    train[epochs // 2 :] = 1.0
    return train, train.copy()


def make_history(
    shape: Shape,
    epochs: int,
    seed: int,
    *,
    scale: float = 1.0,
    noise: float = 0.01,
    accuracies: tuple[str, ...] = ("val",),
    rates: Floats | None = None,
) -> History:
    """Losses of a shape; accuracies go from guessing up as the losses go down to nothing."""
    random = np.random.default_rng(seed)
    train, val = shape(epochs, random)
    losses = {"train": noisy(train, random, noise), "val": noisy(val, random, 1.5 * noise)}
    figures: Mapping[str, Floats] = {
        "learning_rate": np.full(epochs, 1e-3) if rates is None else rates,
        **{f"{part}_loss": scale * values for part, values in losses.items()},
        **{f"{part}_accuracy": np.clip(1 - (1 - START_ACCURACY) * losses[part], 0, 1) for part in accuracies},
    }
    return [
        {"epoch": number + 1} | {name: float(values[number]) for name, values in figures.items()}
        for number in range(epochs)
    ]


def write_run(folder: Path, history: History, *, finished: bool = True, **changes: Any) -> Path:
    """A run folder as `cvtl train` leaves it, as far as a diagnosis looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = make_config(**{"epochs": len(history)} | changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    with open(folder / "metrics.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    if finished:
        (folder / "report.md").write_text("# tiny\n")
    return folder
