"""Kites, whose corners are points: the left one red, the right one green, the tip blue; and models to learn them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from cvtl.data import Dataset, PointsTarget, Sample, UInt8Image
from cvtl.training import TrainReport, TrainSettings, train
from cvtl.training.samples import seed_all
from cvtl_landmarks.model import LandmarksModel
from cvtl_landmarks.options import LandmarksOptions

NAMES = ("left", "right", "tip")
PAIRS = ((0, 1),)
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
SIDE = 32


def corners(index: int, size_hw: tuple[int, int] = (40, 48)) -> npt.NDArray[np.float64]:
    """Where the corners (3, 2) of a kite lie."""
    height, width = size_hw
    random = np.random.default_rng([index, 1])
    x, y = random.uniform(0.35, 0.65, 2) * [width, height]
    half, tall = random.uniform(0.15, 0.3) * width, random.uniform(0.15, 0.3) * height
    return np.array([[x - half, y], [x + half, y], [x, y + tall]])


def paint(points: npt.NDArray[np.float64], size_hw: tuple[int, int], index: int = 0) -> UInt8Image:
    """A spot of its colour at each point, on noise; none where a coordinate is NaN."""
    image = np.random.default_rng(index).integers(60, 120, (*size_hw, 3), dtype=np.uint8)
    for (x, y), colour in zip(points, COLOURS, strict=True):
        if not np.isnan(x):
            cv2.circle(image, (int(x), int(y)), 3, colour, -1)
    return image


def picture(index: int, size_hw: tuple[int, int] = (40, 48)) -> UInt8Image:
    """A picture of one kite."""
    return paint(corners(index, size_hw), size_hw, index)


def make_data(count: int, *, first: int = 0, flip_pairs: Any = PAIRS, missing: Sequence[int] = ()) -> Dataset:
    """Pictures of a kite each; of those whose numbers are `missing` the tip is not known."""
    samples = []
    for index in range(first, first + count):
        visible = np.array([True, True, index not in missing])
        points = np.where(visible[:, None], corners(index), np.nan)
        samples.append(Sample(f"{index}.png", partial(picture, index), PointsTarget(points, visible)))
    return Dataset(samples, NAMES, "made", "nowhere", flip_pairs=flip_pairs)


def flock(index: int) -> tuple[UInt8Image, PointsTarget]:
    """A larger picture with two kites side by side, and their points and boxes."""
    image = np.zeros((60, 120, 3), np.uint8)
    points, boxes = [], []
    for number, left in enumerate((5, 65)):
        kite = corners(2 * index + number)
        image[10:50, left : left + 48] = picture(2 * index + number)
        points.append(kite + np.array([left, 10]))
        boxes.append([left, 10, left + 48, 50])
    return image, PointsTarget(np.array(points), np.ones((2, 3), bool), np.array(boxes))


def make_flocks(count: int) -> Dataset:
    """Pictures of two kites each, in boxes."""
    samples = [Sample(f"{index}.png", partial(_flock_picture, index), flock(index)[1]) for index in range(count)]
    return Dataset(samples, NAMES, "made", "nowhere", flip_pairs=PAIRS)


def _flock_picture(index: int) -> UInt8Image:
    return flock(index)[0]


def write_data(folder: Path, count: int, *, points_yaml: bool = True) -> Path:
    """A folder of pictures of a kite each, and a CSV file of their points."""
    lines = ["image," + ",".join(f"{name}_{axis}" for name in NAMES for axis in "xy")]
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        assert cv2.imwrite(str(folder / f"{index}.png"), picture(index)[..., ::-1])
        lines.append(f"{index}.png," + ",".join(f"{value:.3f}" for value in corners(index).ravel()))
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
    if points_yaml:
        (folder / "points.yaml").write_text("flip_pairs: [[left, right]]\nedges: [[left, tip], [tip, right]]\n")
    return folder


def make_options(**options: Any) -> LandmarksOptions:
    """Options of a LeNet-5 with random weights."""
    defaults = {"backbone": "lenet5", "weights": "none", "size": SIDE, "backbone_rate": 1.0, "resize": "stretch"}
    return LandmarksOptions(**defaults | options)


def make_model(seed: int = 0, **options: Any) -> LandmarksModel:
    """One of them, new."""
    seed_all(seed)
    return LandmarksModel.initialize(make_options(**options), NAMES).eval()


def train_tiny(
    folder: str | Path,
    options: dict[str, Any] | None = None,
    *,
    data: Dataset | None = None,
    resume: bool = False,
    **settings: Any,
) -> TrainReport:
    """Train one."""
    made = TrainSettings(
        **{"epochs": 2, "batch_size": 16, "workers": 0, "device": "cpu", "learning_rate": 3e-3} | settings
    )
    model = make_model(made.seed, **(options or {}))
    val = make_flocks(4) if data is not None else make_data(16, first=1000)
    return train(model, data or make_data(48), val, made, folder, resume=resume, quiet=True)


def train_in_child(folder: str, options: dict[str, Any], settings: dict[str, Any]) -> None:
    """What a child process does until it is killed."""
    torch.set_num_threads(1)
    train_tiny(folder, options, resume=True, **settings)
