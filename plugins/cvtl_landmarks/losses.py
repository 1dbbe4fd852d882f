"""What points are learnt by. Coordinates are fractions of the network's input, x of its width and y of its height."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cvtl.training.whole_batch import batch_divisor
from cvtl_landmarks.options import Loss

# Widths and errors are those of a face of 256 pixels in the paper: fractions are taken to that size.
_PIXELS = 256.0
_WING_WIDTH, _WING_CURVATURE = 10.0, 2.0

# Far below what a cell of a map holds, far above what a logarithm cannot take.
_LEAST = 1e-12

WITHIN = 0.025
"""A point is taken for right within this part of the input's side."""


def wing(errors: Tensor) -> Tensor:
    """The wing loss, elementwise: logarithmic for small errors, which then count more, linear for large ones.

    Source: Feng et al. 2018, arXiv 1711.06753, equation 5, with its w = 10 and epsilon = 2 pixels of 256. It is divided
    by w, so that terms of a loss are of one size.

    Example:
        >>> wing(torch.tensor([0.0, 10 / 256, 20 / 256]))
        tensor([0.0000, 1.7918, 2.7918])
    """
    pixels = errors.abs() * _PIXELS
    curve = _WING_WIDTH * torch.log1p(pixels / _WING_CURVATURE)
    at_width = _WING_WIDTH * torch.log1p(torch.tensor(_WING_WIDTH / _WING_CURVATURE))
    return torch.where(pixels < _WING_WIDTH, curve, pixels - _WING_WIDTH + at_width) / _WING_WIDTH


def smooth_l1(errors: Tensor) -> Tensor:
    """Smooth L1 (Girshick 2015, arXiv 1504.08083, equation 3), elementwise: quadratic up to 10 pixels of 256.

    Example:
        >>> smooth_l1(torch.tensor([0.0, 5 / 256, 20 / 256]))
        tensor([0.0000, 0.1250, 1.5000])
    """
    pixels = errors * _PIXELS / _WING_WIDTH
    return F.smooth_l1_loss(pixels, torch.zeros_like(pixels), reduction="none")


def coordinate_loss(found: Tensor, true: Tensor, visible: Tensor, kind: Loss) -> Tensor:
    """Mean over the coordinates of the points that are there; 0 where none is.

    Args:
        found: (N, K, 2).
        true: (N, K, 2); says nothing where a point is missing, NaN included.
        visible: bool (N, K).
        kind: which function of the error.
    """
    # Indexing, not multiplying: what is missing must not come in as 0 times NaN.
    errors = (found - true)[visible]
    return _mean((wing if kind == "wing" else smooth_l1)(errors))


def spread_loss(heatmaps: Tensor, true: Tensor, visible: Tensor) -> Tensor:
    """How far each map is from a spot round its point: Jensen-Shannon divergence, mean over the points that are there.

    Source: Nibali et al. 2018, arXiv 1801.07372, equation 8, with a spot of one cell's standard deviation.

    Args:
        heatmaps: (N, K, h, w), each adds up to 1.
        true: (N, K, 2).
        visible: bool (N, K).
    """
    height, width = heatmaps.shape[-2:]
    maps, points = heatmaps[visible].flatten(1), true[visible]
    x = torch.arange(width, device=maps.device) + 0.5 - points[:, :1] * width
    y = torch.arange(height, device=maps.device) + 0.5 - points[:, 1:] * height
    spots = torch.softmax((-(x**2)[:, None, :] / 2 - (y**2)[:, :, None] / 2).flatten(1), dim=1)
    middle = (maps + spots) / 2
    return _mean((_divergence(maps, middle) + _divergence(spots, middle)) / 2)


def confidence_loss(logits: Tensor, found: Tensor, true: Tensor, visible: Tensor) -> Tensor:
    """Binary cross-entropy of the probability that a point is there and found within `WITHIN` of its place.

    What is right is what the network finds at this moment, and no gradient goes through that.

    Args:
        logits: (N, K).
        found: (N, K, 2).
        true: (N, K, 2).
        visible: bool (N, K).
    """
    return F.binary_cross_entropy_with_logits(logits, is_right(found.detach(), true, visible).to(logits.dtype))


def is_right(found: Tensor, true: Tensor, visible: Tensor) -> Tensor:
    """Which points are there and found within `WITHIN` of their place, bool (N, K)."""
    return visible & ((found - true).square().sum(dim=-1) < WITHIN**2)


def mean_errors(found: Tensor, true: Tensor, visible: Tensor) -> Tensor:
    """Mean distance (N,) of each object's points from their places, as a fraction of the input's side.

    NaN for an object of which no point is there.
    """
    distances = (found - torch.where(visible[..., None], true, found)).square().sum(dim=-1).sqrt()
    return distances.sum(dim=1) / visible.sum(dim=1)


def shares_right(found: Tensor, true: Tensor, visible: Tensor) -> Tensor:
    """Which share (N,) of each object's points is right, as `is_right` has it; NaN where no point is there."""
    return is_right(found, true, visible).sum(dim=1) / visible.sum(dim=1)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each row of p from that of q; where p is 0 a term is 0, and so is its slope."""
    terms: Tensor = p * (p.clamp(min=_LEAST).log() - q.clamp(min=_LEAST).log())
    return terms.sum(dim=1)


def _mean(values: Tensor) -> Tensor:
    """0 of no values, where `mean` is NaN; it keeps the graph."""
    total: Tensor = values.sum()
    return total / batch_divisor(values.numel())
