"""What the first layer's filters look like."""

from __future__ import annotations

from torch import nn

from cvtl.backbones import Backbone
from cvtl.data import UInt8Image
from cvtl.errors import UsageError


def first_filters(backbone: Backbone) -> list[UInt8Image]:
    """The first convolution's filters as pictures.

    Krizhevsky, Sutskever, Hinton, 2012, fig. 3. Each is scaled by itself, its smallest weight to 0 and its largest to
    255, so that brightness does not compare between filters.

    Returns:
        RGB uint8 (kernel height, kernel width, 3) each.

    Raises:
        UsageError: they are no pictures; the message says why.

    Example:
        >>> from cvtl import backbones
        >>> filters = first_filters(backbones.load("lenet5"))
        >>> len(filters), filters[0].shape
        (6, (5, 5, 3))
    """
    first = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise UsageError(f"'{backbone.name}' begins with no convolution, so it has no filters to show")
    _, channels, height, width = first.weight.shape
    if channels != 3:
        raise UsageError(f"the first filters of '{backbone.name}' take {channels} channels, so they have no colours")
    if height * width == 1:
        raise UsageError(f"the first filters of '{backbone.name}' are 1 x 1, so they have a colour but no shape")
    weights = first.weight.detach()
    low, high = weights.amin(dim=(1, 2, 3), keepdim=True), weights.amax(dim=(1, 2, 3), keepdim=True)
    scaled = (weights - low) / (high - low).clamp(min=1e-12)
    return list(scaled.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy())
