"""Keeping a picture's own colours.

Source: Gatys, Bethge, Hertzmann, Shechtman: Preserving Color in Neural Artistic Style Transfer, arXiv 1606.05897.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cvtl.augmentation import GREY_OF_RGB

# Of values in [0, 1]: what a picture of one colour is taken to vary by.
_LEAST_VARIANCE = 1e-6


def with_colours_of(content: Tensor, painted: Tensor) -> Tensor:
    """The painted picture's luminance with the content's colours (section 3.2; in YIQ, Y alone changes).

    Args:
        content: float (3, H, W) in [0, 1].
        painted: of the same size.

    Returns:
        (3, H, W) in [0, 1].

    Example:
        >>> red, grey = torch.tensor([0.5, 0.2, 0.2]).view(3, 1, 1), torch.full((3, 1, 1), 0.5)
        >>> [round(value, 3) for value in with_colours_of(red, grey).flatten().tolist()]
        [0.71, 0.41, 0.41]
    """
    return (content + luminance(painted) - luminance(content)).clamp(0, 1)


def luminance(image: Tensor) -> Tensor:
    """(3, H, W) to (1, H, W)."""
    return (image * image.new_tensor(GREY_OF_RGB).view(3, 1, 1)).sum(0, keepdim=True)


def recoloured(style: Tensor, content: Tensor) -> Tensor:
    """The style picture with the content's mean and covariance of colours (section 3.1).

    x' = A (x - mean_S) + mean_C, with A = cov_C^(1/2) cov_S^(-1/2).

    Args:
        style: float (3, H, W) in [0, 1].
        content: likewise, of any size.

    Returns:
        (3, H, W) in [0, 1], of the style's size.
    """
    (mean_s, cov_s), (mean_c, cov_c) = _statistics(style), _statistics(content)
    matrix = _power(cov_c, 0.5) @ _power(cov_s, -0.5)
    moved = matrix @ (style.flatten(1).double() - mean_s) + mean_c
    return moved.clamp(0, 1).to(style.dtype).view_as(style)


def _statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (3, 1) and covariance (3, 3) of the pixels' colours."""
    pixels = image.flatten(1).double()
    mean = pixels.mean(1, keepdim=True)
    around = pixels - mean
    return mean, around @ around.T / pixels.shape[1]


def _power(covariance: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return torch.einsum("ik,k,jk->ij", vectors, values.clamp(min=_LEAST_VARIANCE).pow(exponent), vectors)
