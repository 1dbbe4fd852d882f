"""Figures for weighted pictures against pycocotools on pictures that are really there so often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cvtl.evaluation.detection.scorer import BoxScorer

Figures = Callable[[Any], npt.NDArray[np.float64]]


@pytest.mark.parametrize("seed", range(6))
def test_weights_are_copies_of_pictures(make_scene: Any, pycocotools_figures: Figures, seed: int) -> None:
    scene = make_scene(seed, pictures=25, classes=4, ties=False)
    weights = np.random.default_rng(seed).multinomial(25, np.full(25, 1 / 25), size=6)
    figures = BoxScorer(scene.tables.best())(weights.astype(np.float64))
    for counts, drawn in zip(weights, figures, strict=True):
        assert drawn == pytest.approx(pycocotools_figures(scene.repeat(counts)), abs=1e-9, nan_ok=True)


def test_scores_that_are_equal_in_different_pictures_are_copied_likewise(
    make_scene: Any, pycocotools_figures: Figures
) -> None:
    scene = make_scene(0, pictures=12, ties=False)
    for answer in scene.found:  # equal across pictures, different in each
        answer.scores[:] = np.linspace(0.9, 0.1, len(answer.scores))
    counts = np.arange(12) % 4
    figures = BoxScorer(scene.tables.best())(counts[None].astype(np.float64))[0]
    assert figures == pytest.approx(pycocotools_figures(scene.repeat(counts)), abs=1e-9, nan_ok=True)


def test_a_class_that_no_drawn_picture_shows_does_not_count(make_scene: Any, pycocotools_figures: Figures) -> None:
    scene = make_scene(2, pictures=20, classes=12, ties=False)
    counts = np.zeros(20, int)
    counts[:3] = 2
    figures = BoxScorer(scene.tables.best())(counts[None].astype(np.float64))[0]
    assert figures == pytest.approx(pycocotools_figures(scene.repeat(counts)), abs=1e-9, nan_ok=True)


def test_pictures_that_never_count_leave_nothing_to_measure(make_scene: Any) -> None:
    assert np.isnan(BoxScorer(make_scene(0).tables)(np.zeros((2, 30)))).all()


def test_no_draws_give_no_figures(make_scene: Any) -> None:
    assert BoxScorer(make_scene(0).tables)(np.zeros((0, 30))).shape == (0, 12)


def test_many_draws_at_once_are_the_same_as_one_by_one(make_scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = BoxScorer(make_scene(0).tables)
    weights = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), size=17).astype(np.float64)
    together = scorer(weights)
    monkeypatch.setattr("cvtl.evaluation.detection.scorer._BLOCK", 200)
    assert scorer(weights) == pytest.approx(together, abs=1e-12, nan_ok=True)
    assert np.vstack([scorer(row[None]) for row in weights]) == pytest.approx(together, abs=1e-12, nan_ok=True)


def test_weights_are_left_as_they_are(make_scene: Any) -> None:
    weights = np.full((3, 30), 2.0)
    BoxScorer(make_scene(0).tables)(weights)
    assert np.array_equal(weights, np.full((3, 30), 2.0))
