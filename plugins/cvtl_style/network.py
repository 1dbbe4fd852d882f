"""The network that paints in one style in a single pass.

Source: Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer, arXiv 1603.08155.
"""

from __future__ import annotations

from torch import Tensor, nn

STRIDE = 4
"""Sides of what goes in have to be multiples of this."""

LEAST_SIDE = 32
"""Below this there is nothing to mirror at the borders of the innermost maps."""


class PaintingNetwork(nn.Module):
    """Pictures in, painted pictures of the same size out.

    The supplementary material's table 1, with what has since been found better: instance normalisation (Ulyanov et al.,
    arXiv 1607.08022), enlarging before convolving in place of transposed convolutions (Odena et al., Distill 2016),
    and mirrored borders.

    Args:
        channels: of the first layer; two and four times as many behind it.
        blocks: residual blocks at a quarter of the size.

    Example:
        >>> import torch
        >>> PaintingNetwork(channels=4, blocks=1)(torch.zeros(1, 3, 32, 40)).shape
        torch.Size([1, 3, 32, 40])
    """

    def __init__(self, channels: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(3, channels, 9),
            *_convolution(channels, 2 * channels, 3, stride=2),
            *_convolution(2 * channels, 4 * channels, 3, stride=2),
            *(_Residual(4 * channels) for _ in range(blocks)),
            nn.Upsample(scale_factor=2),
            *_convolution(4 * channels, 2 * channels, 3),
            nn.Upsample(scale_factor=2),
            *_convolution(2 * channels, channels, 3),
            nn.Conv2d(channels, 3, 9, padding=4, padding_mode="reflect"),
            nn.Sigmoid(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pictures (N, 3, H, W) to painted ones of values in [0, 1]; sides are multiples of `STRIDE`."""
        painted: Tensor = self.layers(images)
        return painted


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first = _convolution(channels, channels, 3)
        convolution, norm, _ = _convolution(channels, channels, 3)
        self.layers = nn.Sequential(*first, convolution, norm)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.layers(x)
        return x + added


def _convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    return (
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="reflect"),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.ReLU(inplace=True),
    )
