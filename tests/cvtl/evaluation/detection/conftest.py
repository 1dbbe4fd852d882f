"""What the tests of detection share: pictures made by chance, and pycocotools on its own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cvtl.data import BoxesTarget
from cvtl.evaluation.detection.tables import BoxTables, tabulate
from cvtl.evaluation.found import FoundBoxes

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """Pictures with what was found and what is there."""

    found: list[FoundBoxes]
    targets: list[BoxesTarget]
    classes: tuple[str, ...]

    @property
    def tables(self) -> BoxTables:
        return tabulate(self.found, self.targets, self.classes)

    def repeat(self, counts: Sequence[int]) -> Scene:
        """Each picture as often as said, its copies side by side."""
        order = np.repeat(np.arange(len(counts)), counts)
        return Scene([self.found[i] for i in order], [self.targets[i] for i in order], self.classes)


MakeScene = Callable[..., Scene]


@pytest.fixture(scope="session")
def make_scene() -> MakeScene:
    """Pictures with near misses, wrong classes, duplicates, background, crowds, difficult objects, or nothing."""
    return _scene


def _scene(seed: int, pictures: int = 30, classes: int = 3, most: int = 8, ties: bool = True, step: float = 0) -> Scene:
    rng = np.random.default_rng(seed)
    found, targets = [], []
    for _ in range(pictures):
        count = rng.integers(0, most)
        corners = rng.uniform(0, 200, (count, 2))
        boxes = np.hstack(
            [corners, corners + rng.choice([12, 60, 200], (count, 1)) * rng.uniform(0.6, 1.4, (count, 2))]
        )
        labels = rng.integers(0, classes, count)
        flags = rng.random((2, count)) < 0.15
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.uniform(0.4, 1, count)
        copies = rng.integers(0, 4, count)
        near = np.repeat(boxes, copies, axis=0)
        near += rng.normal(0, 0.1, near.shape) * (near[:, 2:] - near[:, :2]).repeat(2, axis=1)
        far = rng.uniform(0, 200, (rng.integers(0, 4), 4))
        all_found = np.vstack([near, np.hstack([far[:, :2], far[:, :2] + far[:, 2:]])])
        if step:
            boxes, all_found = np.round(boxes / step) * step, np.round(all_found / step) * step
        said = np.concatenate([np.repeat(labels, copies), rng.integers(0, classes, len(far))])
        said = np.where(rng.random(len(said)) < 0.75, said, rng.integers(0, classes, len(said)))
        scores = rng.integers(1, 10, len(said)) / 10 if ties else rng.permutation(1000)[: len(said)] / 1000
        targets.append(BoxesTarget(boxes, labels, flags[0], flags[1], areas))
        found.append(FoundBoxes(all_found, scores, said))
    return Scene(found, targets, tuple(f"class {k}" for k in range(classes)))


@pytest.fixture(scope="session")
def pycocotools() -> Callable[[Scene], COCOeval]:
    """Pycocotools' evaluator after its work, fed without any code of ours."""
    return _pycocotools


def _pycocotools(scene: Scene) -> COCOeval:
    shared = {
        "images": [{"id": i + 1} for i in range(len(scene.targets))],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(scene.classes)],
    }
    true: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for i, (answer, target) in enumerate(zip(scene.found, scene.targets, strict=True), start=1):
        for (x1, y1, x2, y2), label, crowd, area in zip(
            target.boxes.tolist(), target.labels, target.crowd, target.areas, strict=True
        ):
            row = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(area), "iscrowd": int(crowd)}
            true.append(row | {"id": len(true) + 1, "image_id": i, "category_id": int(label) + 1})
        for (x1, y1, x2, y2), score, label in zip(answer.boxes.tolist(), answer.scores, answer.labels, strict=True):
            row = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "score": float(score)}
            found.append(row | {"id": len(found) + 1, "image_id": i, "category_id": int(label) + 1})
    with contextlib.redirect_stdout(io.StringIO()):
        sides = COCO(), COCO()
        for side, rows in zip(sides, (true, found), strict=True):
            side.dataset = shared | {"annotations": rows}
            side.createIndex()
        evaluator = COCOeval(*sides, iouType="bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


@pytest.fixture(scope="session")
def pycocotools_figures() -> Callable[[Scene], Floats]:
    """Pycocotools' twelve figures, NaN where there is nothing to find."""
    return _figures


def _figures(scene: Scene) -> Floats:
    stats = np.array(_pycocotools(scene).stats)
    return np.where(stats < 0, np.nan, stats)
