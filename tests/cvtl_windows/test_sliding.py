"""Crops and the convolutional pass have one layout, however they are cut into batches and strips."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cvtl_windows.classifier import Classifier
from cvtl_windows.convolutional import to_convolutional
from cvtl_windows.sliding import crop_windows, scores_by_convolution, scores_by_crops

WINDOW = (20, 24)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(4))
    return Classifier(features, "flatten", nn.Sequential(nn.Linear(4 * 4 * 5, 3))).eval()


@pytest.mark.parametrize("batch", [1, 3, 9, 10, 23, 1000])
def test_crops_are_every_window_row_by_row_in_batches_no_larger_than_asked(batch: int) -> None:
    level = torch.randn(3, 41, 60)
    rows, columns, batches = crop_windows(level, 4, WINDOW, batch=batch)
    found = list(batches)
    expected = [
        level[:, top : top + 20, left : left + 24]
        for top in range(0, 41 - 20 + 1, 4)
        for left in range(0, 60 - 24 + 1, 4)
    ]
    assert (rows, columns) == (6, 10)
    assert max(len(windows) for windows in found) <= batch
    torch.testing.assert_close(torch.cat(found), torch.stack(expected), rtol=0, atol=0)


@pytest.mark.parametrize("max_pixels", [1, 2500, 10**9])
@pytest.mark.parametrize("batch", [1, 7, 500])
@pytest.mark.parametrize("level_hw", [(20, 24), (20, 61), (75, 53)])
def test_both_ways_give_the_same_scores(
    classifier: Classifier, level_hw: tuple[int, int], batch: int, max_pixels: int
) -> None:
    level = torch.randn(3, *level_hw)
    net = to_convolutional(classifier, WINDOW)
    with torch.no_grad():
        by_crops = scores_by_crops(classifier, level, net.stride, WINDOW, batch=batch, max_pixels=max_pixels)
        by_convolution = scores_by_convolution(net, level, max_pixels=max_pixels)
    assert by_crops.shape == (3, (level_hw[0] - 20) // 4 + 1, (level_hw[1] - 24) // 4 + 1)
    torch.testing.assert_close(by_convolution, by_crops, atol=1e-4, rtol=1e-4)


def test_both_ways_normalize_what_they_look_at(classifier: Classifier) -> None:
    level = torch.randint(0, 255, (3, 50, 60), dtype=torch.uint8)
    net = to_convolutional(classifier, WINDOW, fine=2)
    with torch.no_grad():
        whole = net((level / 255 - 0.5)[None])[0]
        by_convolution = scores_by_convolution(net, level, normalize=lambda part: part / 255 - 0.5, max_pixels=2000)
        by_crops = scores_by_crops(classifier, level, 2, WINDOW, normalize=lambda part: part / 255 - 0.5)
    torch.testing.assert_close(by_convolution, whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(by_crops, whole, atol=1e-4, rtol=1e-4)


def test_levels_of_several_pictures_go_through_together(classifier: Classifier) -> None:
    pictures = torch.randn(2, 3, 50, 60)
    net = to_convolutional(classifier, WINDOW)
    with torch.no_grad():
        together = scores_by_convolution(net, pictures, max_pixels=2000)
        apart = torch.stack([scores_by_convolution(net, picture) for picture in pictures])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)
