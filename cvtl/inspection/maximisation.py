"""Pictures made so that a channel of a network answers strongly: what it has learnt to look for.

Gradient ascent on the input is due to Erhan, Bengio, Courville, Vincent: Visualizing Higher-Layer Features of a Deep
Network, 2009, and for ConvNets to Simonyan, Vedaldi, Zisserman, arXiv 1312.6034, section 2. Done plainly it ends in
high-frequency noise. What makes the pictures readable is from Olah, Mordvintsev, Schubert: Feature Visualization,
Distill 2017 (doi 10.23915/distill.00007): the ascent goes over a spectrum in which frequencies weigh as much as they do
in photographs, and the network sees the picture shifted and scaled anew at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cvtl.backbones import Backbone
from cvtl.data import UInt8Image
from cvtl.preprocessing import InputSpec
from cvtl.progress import Progress

_RATE = 0.05
_DEVIATION_AT_START = 0.01
_CONTRAST = 0.25
_MOST_SHIFT = 8
_SCALES = (0.9, 1.1)
_LEAK = 0.1
# The axes along which the colours of photographs vary, brightness far more than the others: Ohta, Kanade, Sakai: Color
# information for region segmentation, 1980.
_COLOURS = ((0.58, 0.58, 0.58), (0.2, 0.0, -0.2), (-0.05, 0.1, -0.05))


def maximise(
    backbone: Backbone,
    channels: Sequence[int],
    *,
    side: int,
    steps: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[UInt8Image]:
    """For each channel of the last stage's map, a picture that makes its mean over the map large.

    Args:
        backbone: in evaluation mode; end it after the stage to look at with `cut`.
        channels: their numbers.
        side: of the square pictures in pixels.
        steps: of the ascent; all channels climb together, each on a picture of its own.
        seed: the same one gives the same pictures.
        progress: is told of each step.

    Returns:
        RGB uint8 (side, side, 3) each.

    Example:
        >>> from cvtl import backbones
        >>> [picture.shape for picture in maximise(backbones.load("lenet5"), [0, 7], side=32, steps=1)]
        [(32, 32, 3), (32, 32, 3)]
    """
    progress = progress or Progress()
    device = next(backbone.parameters()).device
    # On the CPU, so that the pictures of a seed do not depend on the device.
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(len(channels), 3, side, side // 2 + 1, 2, generator=generator).to(device)
    spectrum.mul_(_DEVIATION_AT_START).requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=_RATE)
    own = list(range(len(channels))), list(channels)
    progress.start(0)
    try:
        for _ in range(steps):
            with _LeakyGradients():
                maps = backbone(_normalized(_jittered(_pictures(spectrum), generator), backbone.input))
            answers = maps[own].mean(dim=(1, 2)).sum()
            (spectrum.grad,) = torch.autograd.grad(-answers, [spectrum])
            optimizer.step()
            progress.advance(1)
    finally:
        progress.finish()
    pictures = _pictures(spectrum.detach()).mul(255).round().byte()
    return list(pictures.permute(0, 2, 3, 1).cpu().numpy())


def _pictures(spectrum: Tensor) -> Tensor:
    """Spectra (N, 3, side, side // 2 + 1, 2) to RGB in [0, 1] (N, 3, side, side)."""
    side = spectrum.shape[2]
    frequencies = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)).to(spectrum.device)
    # In photographs the amplitude falls with the frequency.
    weighted = torch.view_as_complex(spectrum) * (_CONTRAST * side / frequencies.clamp(min=1 / side))
    planes = torch.fft.irfft2(weighted, s=(side, side))
    return torch.sigmoid(torch.einsum("nahw,ac->nchw", planes, planes.new_tensor(_COLOURS)))


def _jittered(pictures: Tensor, generator: torch.Generator) -> Tensor:
    side = pictures.shape[-1]
    low, high = _SCALES
    scale = low + (high - low) * torch.rand((), generator=generator).item()
    right, down = (torch.rand(2, generator=generator) * 2 - 1).mul(2 * _MOST_SHIFT / side).tolist()
    matrix = pictures.new_tensor([[scale, 0, right], [0, scale, down]])
    grid = F.affine_grid(matrix.expand(len(pictures), 2, 3), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _normalized(pictures: Tensor, spec: InputSpec) -> Tensor:
    mean, std = (pictures.new_tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return (pictures - mean) / std


class _LeakyGradients(TorchFunctionMode):
    """Lets a little gradient through where a ReLU gives 0: otherwise a channel that is silent at first stays so."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func not in (F.relu, F.relu6, F.hardtanh, torch.relu):
            return func(*args, **(kwargs or {}))
        below = _LEAK * args[0].clamp(max=0)
        # Its value is 0, its gradient is not.
        return func(args[0].clone(), *args[1:], **(kwargs or {})) + below - below.detach()
