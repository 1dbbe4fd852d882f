"""The One Euro filter, against a plain one of single numbers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from cvtl.tracking.smoothing import OneEuro, size_of

Floats = npt.NDArray[np.float64]


class Plain:
    """The paper's algorithm for one coordinate, written down from it; `size` and `score` are this library's."""

    def __init__(self, mincutoff: float, beta: float) -> None:
        self.mincutoff, self.beta = mincutoff, beta
        self.x: float | None = None
        self.dx = 0.0

    def filter(self, x: float, dt: float, size: float, score: float) -> float:
        if self.x is None:
            self.x = x
            return x

        def alpha(cutoff: float) -> float:
            tau = 1.0 / (2.0 * math.pi * cutoff)
            return 1.0 / (1.0 + tau / dt)

        dx = (x - self.x) * (1.0 / dt) / size
        a = alpha(1.0) * score
        self.dx = a * dx + (1.0 - a) * self.dx
        a = alpha(self.mincutoff + self.beta * abs(self.dx)) * score
        self.x = a * x + (1.0 - a) * self.x
        return self.x


def walk(frames: int, points: int, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return np.cumsum(random.normal(0, 3, (frames, points, 2)), axis=0) + 200


def test_it_is_the_papers_filter_at_any_times_and_scores() -> None:
    random = np.random.default_rng(1)
    measured, scores = walk(80, 5), random.uniform(0, 1, (80, 5))
    times = np.cumsum(random.uniform(0.01, 0.2, 80))
    smoother = OneEuro(0.2, quickness=3.0)
    plain = [[Plain(1 / (2 * math.pi * 0.2), 3.0) for _ in range(2)] for _ in range(5)]
    for n in range(80):
        step = times[n] - times[n - 1] if n else 0.0
        expected = [
            [plain[k][axis].filter(measured[n, k, axis], step, 120.0, scores[n, k]) for axis in range(2)]
            for k in range(5)
        ]
        found = smoother(measured[n], scores[n], float(times[n]), 120.0)
        assert np.allclose(found, expected, rtol=0, atol=1e-9)


def test_what_stands_still_trembles_less_and_the_more_seconds_the_less() -> None:
    measured = 100 + np.random.default_rng(0).normal(0, 1, (200, 3, 2))
    trembling = []
    for seconds in (0.03, 0.1, 0.5):
        smoother = OneEuro(seconds)
        smoothed = np.array([smoother(points, np.ones(3), n / 30, 100.0) for n, points in enumerate(measured)])
        trembling.append(float(np.diff(smoothed, axis=0)[30:].std()))
    assert trembling == sorted(trembling, reverse=True)
    assert trembling[1] < 0.4 * float(np.diff(measured, axis=0).std())


def test_what_moves_is_late_by_less_than_a_frame() -> None:
    smoother, speed = OneEuro(0.1), 50.0
    for n in range(90):
        truth = np.array([[speed * n / 30, 0.0]])
        found = smoother(truth, np.ones(1), n / 30, size=100.0)
    assert 0 < (truth - found)[0, 0] / speed < 1 / 30


def test_a_point_that_is_not_seen_stays_and_the_others_go_on() -> None:
    smoother = OneEuro(0.1)
    smoother(np.zeros((2, 2)), np.ones(2), 0.0, 100.0)
    found = smoother(np.full((2, 2), 90.0), np.array([0.0, 1.0]), 0.1, 100.0)
    assert found[0].tolist() == [0, 0]
    assert found[1, 0] > 30


def test_after_a_gap_it_begins_anew() -> None:
    smoother = OneEuro(0.5)
    smoother(np.zeros((1, 2)), np.ones(1), 0.0, 100.0)
    assert smoother(np.full((1, 2), 50.0), np.ones(1), 0.51, 100.0).tolist() == [[50, 50]]


def test_frames_at_one_time_and_shapes_without_extent_give_finite_points() -> None:
    smoother = OneEuro(0.1)
    for _ in range(3):
        found = smoother(np.full((2, 2), 7.0), np.ones(2), 1.0, 0.0)
    assert found.tolist() == [[7, 7], [7, 7]]
    assert size_of(np.full((3, 2), 4.0)) == 1.0


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_how_large_the_picture_is_does_not_matter(scale: float) -> None:
    measured = walk(40, 4)
    small, large = OneEuro(0.1), OneEuro(0.1)
    for n, points in enumerate(measured):
        one = small(points, np.ones(4), n / 25, 100.0)
        other = large(points * scale + 17, np.ones(4), n / 25, 100.0 * scale)
        assert np.allclose(one * scale + 17, other)


def test_what_it_gives_and_gets_is_nobody_elses() -> None:
    smoother, points = OneEuro(0.1), np.zeros((1, 2))
    smoother(points, np.ones(1), 0.0, 10.0)[:] = 99
    assert points.tolist() == [[0, 0]]
    assert smoother(points, np.ones(1), 0.1, 10.0).tolist() == [[0, 0]]
