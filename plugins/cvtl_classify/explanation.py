"""Class activation maps: where in a picture the evidence for a class lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl.features import pool
from cvtl.preprocessing import InputSpec, place, prepare
from cvtl_classify.network import Classifier

if TYPE_CHECKING:
    from cvtl_classify.model import ClassifyModel


def explain(model: ClassifyModel, image: Tensor, label: int) -> Tensor:
    """Where in one picture the evidence for a class lies, as the last stage that the head sees has it.

    Args:
        model: in evaluation mode. Test-time augmentation plays no part.
        image: uint8 RGB (3, H, W), on the model's device.
        label: index of the class.

    Returns:
        Float (h, w) in [0, 1], stretched over the whole picture, on the CPU: 1 where there is most evidence, 0 where
        there is none and where the network did not look; all 0 if nothing speaks for the class.
    """
    # Tensors made in inference mode take no gradients.
    with torch.inference_mode(False):
        heat = grad_cam(model.classifier, prepare([image], model.input), label)
    smooth = LayerAttribution.interpolate(heat[:, None], model.input.size_hw, interpolate_mode="bilinear")
    (heat,) = _over_picture(smooth[:, 0], (image.shape[-2], image.shape[-1]), model.input)
    scaled: Tensor = heat / heat.max().clamp_min(torch.finfo(heat.dtype).tiny)
    return scaled.cpu()


def grad_cam(network: Classifier, images: Tensor, label: int) -> Tensor:
    """Grad-CAM of a class's logit: the maps' channels, weighted by their mean gradients, summed; what is below 0 is 0.

    Source: Selvaraju et al., arXiv 1610.02391, equations 1 and 2. Of averages and a linear head it is the class
    activation map of Zhou et al., arXiv 1512.04150, equation 2, up to a factor, where that is positive.

    Args:
        network: in evaluation mode.
        images: normalised pictures (N, 3, H, W), on the network's device.
        label: index of the class.

    Returns:
        (N, h, w), at the size of the map of the last stage that the head sees.
    """
    with torch.no_grad():
        maps = network.backbone.features(images)
    *others, last = network.spaces
    known = [pool(maps[space.stage], space.pooling) for space in others]
    tap = nn.Identity()

    def logits(last_maps: Tensor) -> Tensor:
        found: Tensor = network.head(torch.cat([*known, pool(tap(last_maps), last.pooling)], dim=1))
        return found

    inputs = maps[last.stage].requires_grad_()
    attributions: Tensor = LayerGradCam(logits, tap).attribute(inputs, label, relu_attributions=True)
    return attributions[:, 0].detach()


def _over_picture(heat: Tensor, image_hw: tuple[int, int], spec: InputSpec) -> Tensor:
    """Cut off the letterbox's margins, or put 0 where the crop has cut: (N, *spec.size_hw) to (N, h, w)."""
    placement = place(image_hw, spec)
    left, top = round(placement.offset_x), round(placement.offset_y)
    right = spec.size_hw[1] - left - round(image_hw[1] * placement.scale_x)
    bottom = spec.size_hw[0] - top - round(image_hw[0] * placement.scale_y)
    return F.pad(heat, (-left, -right, -top, -bottom))
