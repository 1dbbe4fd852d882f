"""Windows placed finer than the network's stride, against a plain loop over crops."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cvtl.errors import UsageError
from cvtl_windows.classifier import Classifier
from cvtl_windows.convolutional import to_convolutional

Build = Callable[[], nn.Sequential]


def pool_last() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2))


def layers_after_the_last_pool() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3))


def pool_of_three() -> nn.Sequential:
    """The pooling of OverFeat's section 3.3: 3 x 3, not overlapping."""
    return nn.Sequential(nn.Conv2d(3, 4, 4, stride=2), nn.AvgPool2d((3, 3)), nn.Conv2d(4, 6, 2))


def pool_of_four() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.MaxPool2d(5, 4))


def pool_in_ceil_mode() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(6, 6, 1))


def strided_convolution_last() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2))


def no_pool() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 5, stride=3))


CASES = [
    (pool_last, (24, 28), 4, (1, 2, 4)),
    (layers_after_the_last_pool, (31, 23), 4, (1, 2, 4)),
    (pool_of_three, (34, 34), 6, (1, 2, 3, 6)),
    (pool_of_four, (31, 27), 4, (1, 2, 4)),
    (pool_in_ceil_mode, (23, 27), 4, (1, 2, 4)),
    (strided_convolution_last, (23, 23), 4, (1, 2, 4)),
    (no_pool, (17, 20), 3, (1, 3)),
]
EACH_FINE = [(build, window_hw, stride, fine) for build, window_hw, stride, fines in CASES for fine in fines]


def make(features: nn.Sequential, window_hw: tuple[int, int]) -> Classifier:
    values = features(torch.zeros(1, 3, *window_hw)).numel()
    return Classifier(features, "flatten", nn.Sequential(nn.Linear(values, 8), nn.Tanh(), nn.Linear(8, 2))).eval()


@pytest.mark.parametrize(("build", "window_hw", "stride", "fine"), EACH_FINE)
@pytest.mark.parametrize("extra_hw", [(0, 0), (1, 14), (12, 17)])
def test_the_fine_map_equals_crops_at_every_fine_position(
    build: Build, window_hw: tuple[int, int], stride: int, fine: int, extra_hw: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    classifier = make(build(), window_hw)
    picture = torch.randn(1, 3, window_hw[0] + extra_hw[0], window_hw[1] + extra_hw[1])
    net = to_convolutional(classifier, window_hw, fine=fine)
    step = stride // fine
    assert net.stride == step
    with torch.no_grad():
        found = net(picture)[0]
        assert found.shape == (2, extra_hw[0] // step + 1, extra_hw[1] // step + 1)
        for i in range(found.shape[1]):
            for j in range(found.shape[2]):
                crop = picture[..., i * step : i * step + window_hw[0], j * step : j * step + window_hw[1]]
                torch.testing.assert_close(found[:, i, j], classifier(crop)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("build", "fine", "passes"),
    [
        (pool_last, 2, 1),
        (pool_last, 4, 4),
        (pool_of_three, 3, 1),
        (pool_of_four, 2, 1),
        (pool_of_four, 4, 1),
        (layers_after_the_last_pool, 2, 1),
        (strided_convolution_last, 2, 4),
    ],
)
def test_what_lies_before_the_last_pooling_is_computed_once_for_all_its_offsets(
    build: Build, fine: int, passes: int
) -> None:
    features = build()
    net = to_convolutional(make(features, (40, 40)), (40, 40), fine=fine)
    seen = []
    features[0].register_forward_hook(lambda *_: seen.append(1))
    net(torch.zeros(1, 3, 80, 80))
    assert len(seen) == passes


@pytest.mark.parametrize("fine", [0, -1, 3, 8])
def test_a_fine_that_does_not_divide_the_stride_names_those_that_do(fine: int) -> None:
    with pytest.raises(UsageError, match=f"fine={fine} does not divide.*stride of 4. Use one of 1, 2, 4"):
        to_convolutional(make(pool_last(), (24, 24)), (24, 24), fine=fine)
