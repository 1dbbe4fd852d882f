"""The network that says what one window shows: features, pooling, and a head of fully-connected layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torchvision import models

from cvtl.errors import UsageError

Pooling = Literal["flatten", "average"]

_SHAPE_KEEPING = (F.batch_norm, F.relu, F.relu6, F.hardtanh, F.hardswish, F.silu, F.gelu)


class Classifier(nn.Module):
    """A ConvNet over windows of one size, in the three parts that sliding it over a picture needs apart.

    Args:
        features: images (N, 3, H, W) to maps (N, C, h, w).
        pooling: how the maps of a window become a vector: `flatten` keeps every place, C * h * w values in that order;
            `average` keeps the mean over the places, C values.
        head: fully-connected layers, activations and dropout over that vector; may be empty.

    Example:
        >>> features = nn.Sequential(nn.Conv2d(3, 4, 5), nn.MaxPool2d(2))
        >>> head = nn.Sequential(nn.Linear(4 * 6 * 6, 10))
        >>> Classifier(features, "flatten", head)(torch.zeros(7, 3, 16, 16)).shape
        torch.Size([7, 10])
    """

    def __init__(self, features: nn.Module, pooling: Pooling, head: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.pooling: Pooling = pooling
        self.head = head

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (N, 3, *window_hw) to outputs (N, K): logits, no softmax."""
        maps: Tensor = self.features(windows)
        vectors = maps.flatten(1) if self.pooling == "flatten" else maps.mean(dim=(2, 3))
        outputs: Tensor = self.head(vectors)
        return outputs


def as_classifier(model: nn.Module) -> Classifier:
    """Split a torchvision classification network into features, pooling and head; the layers are shared.

    Args:
        model: an AlexNet, VGG, ResNet (ResNeXt, Wide ResNet), MobileNet v2 or v3, or SqueezeNet.

    Raises:
        UsageError: another network.

    Example:
        >>> as_classifier(models.resnet18(weights=None)).pooling
        'average'
    """
    match model:
        case models.AlexNet() | models.VGG():
            return Classifier(nn.Sequential(model.features, model.avgpool), "flatten", model.classifier)
        case models.ResNet():
            *features, _, fc = model.children()
            return Classifier(nn.Sequential(*features), "average", nn.Sequential(fc))
        case models.MobileNetV2() | models.MobileNetV3():
            return Classifier(model.features, "average", model.classifier)
        case models.SqueezeNet():
            # Its classifier is a convolution, which belongs to what is averaged.
            *convolution, _ = model.classifier
            return Classifier(nn.Sequential(model.features, *convolution), "average", nn.Sequential())
    raise UsageError(
        f"cannot split a {type(model).__name__} into features and head",
        hint="Make the Classifier of its parts yourself",
    )


def map_shape(features: nn.Module, image_hw: tuple[int, int]) -> tuple[int, int, int]:
    """The shape (C, h, w) of the maps that `features` gives for images of `image_hw` pixels; nothing is computed.

    Raises:
        UsageError: the network cannot take images of this size, mostly because they are too small.

    Example:
        >>> map_shape(nn.Sequential(nn.Conv2d(3, 8, 5), nn.MaxPool2d(2)), (480, 640))
        (8, 238, 318)
    """
    tensors = {
        name: tensor.to("meta", torch.float32) if tensor.is_floating_point() else tensor.to("meta")
        for name, tensor in chain(features.named_parameters(), features.named_buffers())
    }
    # Two images, because BatchNorm in training mode refuses one with a 1 x 1 map.
    images = torch.empty(2, 3, *image_hw, device="meta")
    try:
        with torch.no_grad(), _OnlyShapes():
            _, channels, height, width = functional_call(features, tensors, (images,)).shape
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"the network cannot take {image_hw[1]} x {image_hw[0]} pixels: {reason}",
            hint="Choose a larger window or another backbone",
        ) from error
    return channels, height, width


class _OnlyShapes(TorchFunctionMode):
    """Skips functions that keep the shape: without data, PyTorch takes ten times as long over them as with."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return args[0] if func in _SHAPE_KEEPING else func(*args, **(kwargs or {}))
