"""How large a crop may be for a budget of memory."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cvtl_style.layers import FeatureNetwork

# Of Python and the libraries, and of what the convolutions need beside their maps.
_PROGRAM_BYTES = 1300 * 2**20
# Pictures in single precision beside the optimizer's history: gradients, directions, trials.
_WORKING_PICTURES = 12
_FLOAT = 4
_PROBE = 64
# Maps that exist beside those that the way back needs: their gradients, and what Gram matrices are multiplied with.
_GRADIENT_MAPS = 3


def most_pixels(network: FeatureNetwork, budget: int, image_hw: tuple[int, int], *, history: int, layer: str) -> int:
    """How many pixels a crop may have so that all of the work on a picture fits a budget.

    Args:
        network: what looks.
        budget: bytes for the whole process.
        image_hw: of the picture.
        history: of its optimizer, in steps.
        layer: whose map of the content picture is kept.

    Returns:
        0 or less where nothing is left for crops.
    """
    pixels = image_hw[0] * image_hw[1]
    maps = map_shapes(network, (_PROBE, _PROBE))
    kept = maps[layer][0] * maps[layer][1] * maps[layer][2] / _PROBE**2
    fixed = _PROGRAM_BYTES + pixels * _FLOAT * (3 * (2 * history + _WORKING_PICTURES) + kept)
    return int((budget - fixed) / bytes_per_pixel(network))


def bytes_per_pixel(network: FeatureNetwork) -> float:
    """What a pixel of a crop takes on the way through a network and back."""
    values: list[int] = []
    taken = sum(channels * h * w for channels, h, w in _traced(network, (_PROBE, _PROBE), values).values())
    return _FLOAT * (sum(values) + _GRADIENT_MAPS * max(values) + 2 * taken) / _PROBE**2


def map_shapes(network: FeatureNetwork, image_hw: tuple[int, int]) -> Mapping[str, tuple[int, int, int]]:
    """Channels, height and width of each layer's map of a picture, without computing it.

    Raises:
        ValueError: the picture is too small for the network.
    """
    try:
        return _traced(network, image_hw, [])
    except RuntimeError as error:
        height, width = image_hw
        raise ValueError(f"a picture of {width} x {height} pixels is too small for the network") from error


def _traced(network: FeatureNetwork, image_hw: tuple[int, int], values: list[int]) -> dict[str, tuple[int, int, int]]:
    """The shapes; what each module makes anew is added to `values`."""
    shadow = copy.deepcopy(network).to("meta")

    def count(module: nn.Module, arguments: object, output: object) -> None:
        if isinstance(output, Tensor) and not getattr(module, "inplace", False):
            values.append(output.numel())

    for module in shadow.modules():
        if not any(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        maps = shadow(torch.empty(1, 3, *image_hw, device="meta"))
    return {name: (each.shape[1], each.shape[2], each.shape[3]) for name, each in maps.items()}
