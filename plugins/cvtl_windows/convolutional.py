"""A window classifier turned into a network that looks at all windows of a picture in one pass.

OverFeat: Sermanet et al. 2013, arXiv 1312.6229, sections 3.3 and 3.5. A fully-connected layer over a window's map is
a convolution whose kernel is that map's size; on the map of a whole picture it gives the answer for every window, a
stride of the features apart, and what neighbouring windows share is computed once.

Without padding inside the features the answers are those of the crops. Layers that pad show a crop zeros beyond its
edges, where the picture shows what lies there; layers that pool over the whole map (squeeze-and-excitation, as in
MobileNet v3) show a crop its own mean, and the picture the picture's. The places agree in any case.
"""

from __future__ import annotations

from itertools import product
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl.errors import UsageError
from cvtl_windows.classifier import Classifier, map_shape
from cvtl_windows.pyramid import grid_hw

# Pixels far enough to tell strides apart, and a multiple of all in use.
_PROBE = 2**7 * 3**2 * 5 * 7

_CROPS_HINT = "Use mode=crops, which takes any network"
_ELEMENTWISE = (
    *(nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Tanh, nn.Sigmoid, nn.Mish, nn.Softplus),
)


class WindowNet(nn.Module):
    """A window classifier slid over whole pictures; made by `to_convolutional`.

    Args:
        before: the layers computed once for each shift of the picture.
        after: the layers computed for each offset of the map that `before` gives.
        window_hw: the window in pixels.
        stride: pixels from window to window.
        shifts: how many shifts of the picture, along each axis, a stride apart.
        offsets: how many offsets of the map, along each axis.
        offset_step: cells of the map from one offset to the next.
    """

    def __init__(
        self,
        before: nn.Module,
        after: nn.Module,
        *,
        window_hw: tuple[int, int],
        stride: int,
        shifts: int,
        offsets: int,
        offset_step: int,
    ) -> None:
        super().__init__()
        self.before = before
        self.after = after
        self.window_hw = window_hw
        self.stride = stride
        self._shifts = shifts
        self._offsets = offsets
        self._offset_step = offset_step

    def forward(self, images: Tensor) -> Tensor:
        """Classify every window that lies wholly inside the pictures.

        Args:
            images: (N, 3, H, W), at least as large as the window.

        Returns:
            (N, K, rows, columns); cell (i, j) is the window whose top left corner is (i * stride, j * stride).

        Raises:
            UsageError: the pictures are smaller than the window.
        """
        rows, columns = grid_hw((images.shape[-2], images.shape[-1]), self.window_hw, self.stride)
        if rows * columns == 0:
            size = f"{images.shape[-1]} x {images.shape[-2]}"
            raise UsageError(f"a picture of {size} is smaller than the window", hint="Pad it, as `level_image` does")
        fine = self._shifts * self._offsets
        outputs: Tensor | None = None
        for shift_y, shift_x in product(range(min(rows, self._shifts)), range(min(columns, self._shifts))):
            maps = self.before(images[..., shift_y * self.stride :, shift_x * self.stride :])
            for offset_y, offset_x in product(range(self._offsets), repeat=2):
                y, x = offset_y * self._shifts + shift_y, offset_x * self._shifts + shift_x
                if y >= rows or x >= columns:
                    continue
                found = self.after(maps[..., offset_y * self._offset_step :, offset_x * self._offset_step :])
                if outputs is None:
                    outputs = found.new_empty(*found.shape[:2], rows, columns)
                place = outputs[..., y::fine, x::fine]
                # Padding and ceil_mode add cells of windows that reach beyond the picture.
                place.copy_(found[..., : place.shape[-2], : place.shape[-1]])
        assert outputs is not None
        return outputs


def to_convolutional(classifier: Classifier, window_hw: tuple[int, int], *, fine: int = 1) -> WindowNet:
    """Turn fully-connected layers into convolutions, so that one pass over a picture classifies all its windows.

    The layers stay the classifier's own: the two agree after training, loading or moving it, and share its mode, so
    call its `eval()` to predict. Only an adaptive pooling before the head (AlexNet, VGG) is worked into a copy of the
    first fully-connected layer.

    Args:
        classifier: what classifies one window.
        window_hw: the window in pixels.
        fine: how many windows for each stride of the features, along each axis; a divisor of that stride. They come
            from the last pooling applied at all its offsets (section 3.3 of the paper) where a pooling is the last
            layer that downsamples, else from the picture shifted by fractions of the stride.

    Returns:
        (N, 3, H, W) to (N, K, rows, columns), with the distance between windows as its `stride`.

    Raises:
        UsageError: the window is too small for the network or does not fit its head, the features have no one stride,
            `fine` does not divide it, or the head has layers that cannot be slid.

    Example:
        >>> features = nn.Sequential(nn.Conv2d(3, 4, 5), nn.MaxPool2d(2))
        >>> classifier = Classifier(features, "flatten", nn.Sequential(nn.Linear(4 * 6 * 6, 10)))
        >>> net = to_convolutional(classifier, (16, 16))
        >>> net.stride, net(torch.zeros(1, 3, 48, 64)).shape
        (2, torch.Size([1, 10, 17, 25]))
    """
    layers = _chain(classifier.features)
    pooled_hw: tuple[int, int] | None = None
    if classifier.pooling == "flatten" and isinstance(layers[-1], nn.AdaptiveAvgPool2d):
        pooled_hw = map_shape(classifier.features, window_hw)[1:]
        layers.pop()
    features = nn.Sequential(*layers)
    shape = map_shape(features, window_hw)
    stride = measure_stride(features, window_hw)
    if fine < 1 or stride % fine:
        divisors = ", ".join(str(each) for each in range(1, stride + 1) if stride % each == 0)
        raise UsageError(f"fine={fine} does not divide the network's stride of {stride}", hint=f"Use one of {divisors}")
    if classifier.pooling == "average":
        head = nn.Sequential(nn.AvgPool2d(shape[1:], stride=1), *_convolutions(classifier.head, (shape[0], 1, 1), None))
    else:
        head = nn.Sequential(*_convolutions(classifier.head, shape, pooled_hw))

    split, pool_stride = _last_pool(layers, stride, window_hw) if fine > 1 else (len(layers), 1)
    offsets = gcd(fine, pool_stride)
    return WindowNet(
        nn.Sequential(*layers[:split]),
        nn.Sequential(*layers[split:], head),
        window_hw=window_hw,
        stride=stride // fine,
        shifts=fine // offsets,
        offsets=offsets,
        offset_step=pool_stride // offsets,
    )


def measure_stride(features: nn.Module, window_hw: tuple[int, int]) -> int:
    """The pixels between neighbouring cells of the features' map, found by trying sizes; nothing is computed.

    Raises:
        UsageError: the map does not grow evenly with the picture.

    Example:
        >>> measure_stride(nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.MaxPool2d(3, 2)), (32, 32))
        4
    """
    height, width = window_hw
    # A strip along each axis tells the map's size for the window from the one for the distance.
    _, rows, far_columns = map_shape(features, (height, width + _PROBE))
    _, far_rows, columns = map_shape(features, (height + _PROBE, width))
    stride = round(_PROBE / max(1, far_rows - rows))
    if not (far_rows - rows) * stride == (far_columns - columns) * stride == _PROBE:
        raise UsageError(
            "the network's feature map does not grow evenly with the picture, so it cannot be slid in one pass",
            hint=_CROPS_HINT,
        )
    return stride


def _chain(features: nn.Module) -> list[nn.Module]:
    """The layers applied one after another, nested sequences opened; a `Backbone` shows its sequence as `body`."""
    body = getattr(features, "body", None)
    if isinstance(body, nn.Sequential):
        features = body
    if isinstance(features, nn.Sequential) and type(features).forward is nn.Sequential.forward:
        return [layer for part in features for layer in _chain(part)]
    return [features]


def _last_pool(layers: list[nn.Module], stride: int, window_hw: tuple[int, int]) -> tuple[int, int]:
    """Index and stride of the pooling that downsamples last; the end and 1 where another layer does."""
    for index, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            pool_stride = layer.stride if isinstance(layer.stride, int) else layer.stride[0]
            if pool_stride > 1:
                is_last = measure_stride(nn.Sequential(*layers[:index]), window_hw) * pool_stride == stride
                return (index, pool_stride) if is_last else (len(layers), 1)
    return len(layers), 1


def _convolutions(
    head: nn.Sequential, shape: tuple[int, int, int], pooled_hw: tuple[int, int] | None
) -> list[nn.Module]:
    """The head over a window's maps of `shape` (C, h, w), after adaptive pooling to `pooled_hw` if that is given."""
    channels, height, width = shape
    linear_hw = pooled_hw or (height, width)
    layers: list[nn.Module] = []
    first = True
    for layer in _chain(head):
        if isinstance(layer, nn.Linear):
            kernel_hw = linear_hw if first else (1, 1)
            inputs = channels * kernel_hw[0] * kernel_hw[1] if first else layer.in_features
            if inputs != layer.in_features:
                raise UsageError(
                    f"the head takes {layer.in_features} values, but the features of a window give {inputs}",
                    hint="Use the window that the head was made for",
                )
            if first and kernel_hw != (height, width):
                layer, kernel_hw = _unpooled(layer, kernel_hw, (height, width)), (height, width)
            layers.append(_SlidLinear(layer, kernel_hw))
            first = False
        elif isinstance(layer, nn.Dropout) or (isinstance(layer, _ELEMENTWISE) and not (first and pooled_hw)):
            layers.append(layer)
        else:
            raise UsageError(f"a head with a {type(layer).__name__} there cannot be slid in one pass", hint=_CROPS_HINT)
    if first and (height, width) != (1, 1):
        raise UsageError(
            "a head without a Linear layer over flattened maps cannot be slid in one pass", hint=_CROPS_HINT
        )
    return layers


class _SlidLinear(nn.Module):
    """A fully-connected layer over a window's map, as a convolution over a picture's."""

    def __init__(self, linear: nn.Linear, kernel_hw: tuple[int, int]) -> None:
        super().__init__()
        self.linear = linear
        self._kernel_hw = kernel_hw

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, K, H - h + 1, W - w + 1)."""
        weight = self.linear.weight.view(self.linear.out_features, -1, *self._kernel_hw)
        return F.conv2d(maps, weight, self.linear.bias)


def _unpooled(linear: nn.Linear, pooled_hw: tuple[int, int], map_hw: tuple[int, int]) -> nn.Linear:
    """A layer over an adaptively averaged map as one over the map itself, which is possible as averaging is linear."""
    weight = linear.weight.detach()
    down, across = (
        F.adaptive_avg_pool1d(torch.eye(size, device=weight.device, dtype=weight.dtype)[None], pooled)[0]
        for size, pooled in zip(map_hw, pooled_hw, strict=True)
    )
    # Rows of `spread` are places of the map, its columns places after pooling.
    spread = torch.kron(down, across)
    unpooled = weight.view(linear.out_features, -1, spread.shape[1]) @ spread.T
    layer = nn.Linear(unpooled[0].numel(), linear.out_features, linear.bias is not None, device="meta")
    layer.weight = nn.Parameter(unpooled.flatten(1), requires_grad=False)
    layer.bias = linear.bias
    return layer
