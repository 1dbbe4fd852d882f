"""The One Euro filter: what stands still does not tremble, what moves is not late.

G. Casiez, N. Roussel, D. Vogel: 1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems. CHI 2012.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# In Hz, for what moves by its own size in a second: a face is then late by less than a frame (docs/tracking.md).
QUICKNESS = 8.0
# The paper's: the speed is averaged over 1 / (2 pi) seconds.
_SPEED_CUTOFF = 1.0
# Who was away for so long, in seconds, may be anywhere.
_LONGEST_GAP = 0.5
_LEAST_STEP = 1e-3


class OneEuro:
    """Smooths the points of one instance, frame by frame, at whatever times these come.

    A low-pass filter is `y = a x + (1 - a) y'`, where `y'` is what it said before and `a = 1 / (1 + 1 / (2 pi f dt))`
    for the cutoff frequency `f`. The filter follows the points `x` so with `f = f0 + quickness |v|`, where `v` is the
    speed `(x - y') / dt` behind such a filter of 1 Hz. Here the speed is in sizes of the instance a second, so that
    it does not matter how large the picture is; and `a` is multiplied by the point's score, so that a point that is
    not seen stays where it was. After half a second without a frame the filter begins anew.

    Args:
        seconds: over which what stands still is averaged: `f0 = 1 / (2 pi seconds)`.
        quickness: how much faster what moves is followed.

    Example:
        >>> smoother = OneEuro(0.1)
        >>> smoother(np.zeros((1, 2)), np.ones(1), 0.0, size=100).tolist()
        [[0.0, 0.0]]
        >>> smoother(np.ones((1, 2)), np.ones(1), 0.1, size=100).round(2).tolist()
        [[0.54, 0.54]]
    """

    def __init__(self, seconds: float, quickness: float = QUICKNESS) -> None:
        self._cutoff = 1 / (2 * np.pi * seconds)
        self._quickness = quickness
        self._points: Floats | None = None
        self._speeds: Floats | None = None
        self._time = 0.0

    def __call__(self, points: Floats, scores: Floats, time: float, size: float) -> Floats:
        """The smoothed points of the next frame.

        Args:
            points: (K, 2), as measured, in pixels.
            scores: (K,) in [0, 1], how sure the points are.
            time: in seconds, later than before.
            size: of the instance in pixels.

        Returns:
            (K, 2).
        """
        step = max(time - self._time, _LEAST_STEP)
        self._time = time
        if self._points is None or self._speeds is None or step > _LONGEST_GAP:
            self._points, self._speeds = points.copy(), np.zeros_like(points)
            return points.copy()
        trust = scores[:, None]
        speeds = (points - self._points) / step / max(size, 1.0)
        self._speeds = self._speeds + trust * _share(_SPEED_CUTOFF, step) * (speeds - self._speeds)
        share = trust * _share(self._cutoff + self._quickness * np.abs(self._speeds), step)
        self._points = self._points + share * (points - self._points)
        return self._points.copy()


def _share(cutoff: Floats | float, step: float) -> Floats | float:
    """How much of what is new a low-pass filter takes in after `step` seconds."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))


def size_of(points: Floats) -> float:
    """How large a shape is: the longer side of the box round its points (K, 2), at least a pixel.

    Example:
        >>> size_of(np.array([[0.0, 0.0], [9.0, 4.0]]))
        9.0
    """
    return max(float(np.ptp(points, axis=0).max()), 1.0)
