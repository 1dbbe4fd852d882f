"""Whether sliding by convolution says what classifying crops says: measured, not promised."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cvtl.errors import UsageError

if TYPE_CHECKING:
    from cvtl_windows.model import WindowsModel


@torch.inference_mode()
def verify_convolution(model: WindowsModel, image: Tensor) -> dict[str, Any]:
    """Compare the two modes on the windows of a picture, on the level where the window has its own size.

    Args:
        model: in evaluation mode.
        image: uint8 (3, H, W).

    Returns:
        Figures to print; differences are of class scores (probabilities).

    Raises:
        UsageError: the picture is smaller than the window.
    """
    height, width = model.input.size_hw
    if image.shape[-2] < height or image.shape[-1] < width:
        raise UsageError(
            f"the picture is smaller than the window of {width} x {height} pixels", hint="Use a larger one"
        )
    scores, seconds = {}, {}
    for mode in ("crops", "conv"):
        look, stride = model.look(model.options.predict.model_copy(update={"mode": mode, "fine": 1}))
        # The first pass pays for what the later ones find ready.
        look(image[None, :, :height, :width])
        start = perf_counter()
        outputs = look(image[None])
        seconds[mode] = perf_counter() - start
        scores[mode] = outputs[:, : len(model.classes) + 1].softmax(dim=1)[:, :-1]
    difference = (scores["conv"] - scores["crops"]).abs()
    rows, columns = difference.shape[-2:]
    agreeing = (scores["conv"].amax(1) >= 0.5) == (scores["crops"].amax(1) >= 0.5)
    padded = [name for name, layer in model.classifier.named_modules() if _pads(layer)]
    return {
        "windows": f"{rows} x {columns} of {width} x {height} pixels, {stride} pixels apart",
        "largest difference of scores": round(float(difference.max()), 6),
        "mean difference of scores": round(float(difference.mean()), 6),
        "windows on the same side of 0.5": f"{float(agreeing.float().mean()):.2%}",
        "seconds by crops": round(seconds["crops"], 4),
        "seconds by convolution": round(seconds["conv"], 4),
        "speed-up": round(seconds["crops"] / seconds["conv"], 1),
        "why they differ": f"{len(padded)} layers pad: crops see zeros beyond their edges, the picture does not"
        if padded
        else "no layer pads: they differ by rounding only",
    }


def _pads(layer: nn.Module) -> bool:
    padding = getattr(layer, "padding", 0)
    return padding != "valid" and any(padding if isinstance(padding, tuple) else (padding,))
