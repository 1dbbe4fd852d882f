"""How near data lie to the natural photographs that backbones are usually trained on, as the backbone itself sees it.

The pictures' features at every stage, averaged over the map, are compared with those of parts of two photographs that
come with scikit-learn: a Chinese temple and a flower. The distance is Fréchet's between normal distributions with
independent channels (Dowson and Landau 1982; of all channels together, FID, arXiv 1706.08500), where every channel
counts in units of its own mean deviation:

    d^2 = mean over channels of ((m1 - m2)^2 + (s1 - s2)^2) / ((s1^2 + s2^2) / 2)

The yardstick is the distance between the two photographs themselves. A ratio of 1 therefore means: as far from natural
photographs as one photograph is from the other. Data are called similar if the mean of this ratio over the stages is at
most 1. For SqueezeNet 1.1 it is 0.47 for photographs of flowers, 0.88 for patches of street scenes, 1.17 for hands
before a plain wall, and 1.38 for handwritten digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from cvtl.data import Sample, UInt8Image
from cvtl.features import Features, FeatureSpace

Floats = npt.NDArray[np.float32]

PHOTOGRAPHS = 2
SIMILAR = 1.0
"""At most so far from natural photographs, in units of the yardstick, is similar."""

_PARTS = 32
_SMALLEST_SIDE = 96
# Of a channel that is the same everywhere.
_LEAST_VARIANCE = 1e-12


def reference_samples() -> list[Sample]:
    """The parts of the photographs: 32 squares of the first, then as many of the second, always the same."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    samples = []
    for number, photograph in enumerate(load_sample_images().images):
        height, width = photograph.shape[:2]
        for part in range(_PARTS):
            side = int(_SMALLEST_SIDE * (height / _SMALLEST_SIDE) ** random.random())
            top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
            square = photograph[top : top + side, left : left + side]
            samples.append(Sample(f"photograph{number}/{part}", partial(_copy, square)))
    return samples


def _copy(square: UInt8Image) -> UInt8Image:
    return np.ascontiguousarray(square)


def distances(features: Features, reference: Features, spaces: Sequence[FeatureSpace]) -> Mapping[FeatureSpace, float]:
    """How far the data lie from the photographs at each stage, in units of the yardstick.

    Args:
        features: of the data's pictures.
        reference: of `reference_samples()`.
        spaces: one for each stage.
    """
    found = {}
    for space in spaces:
        parts = reference.vectors[space]
        yardstick = distance(*np.split(parts, PHOTOGRAPHS))
        found[space] = distance(features.vectors[space], parts) / yardstick
    return found


def distance(a: Floats, b: Floats) -> float:
    """The distance between two sets of features, (N, C) and (M, C), as above.

    Example:
        >>> narrow = np.array([[0.0], [2.0]], np.float32)
        >>> distance(narrow, narrow), distance(narrow, narrow + 3)
        (0.0, 3.0)
    """
    shift = a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64)
    deviations = a.std(axis=0, dtype=np.float64), b.std(axis=0, dtype=np.float64)
    variance = np.maximum((deviations[0] ** 2 + deviations[1] ** 2) / 2, _LEAST_VARIANCE)
    return float(np.sqrt(((shift**2 + (deviations[0] - deviations[1]) ** 2) / variance).mean()))
