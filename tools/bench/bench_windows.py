"""The convolutional sliding window against crops: the same windows, in pairs in one process.

Run: python tools/bench/bench_windows.py [--rounds N]. The ratio counts: the two ways take turns, and medians are
compared, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision import models

from cvtl_windows.classifier import Classifier, map_shape
from cvtl_windows.convolutional import to_convolutional
from cvtl_windows.sliding import scores_by_convolution, scores_by_crops

IMAGE_HW = (480, 640)
WINDOW_HW = (64, 64)
BATCHES = (64, 128, 256)


@dataclass(frozen=True)
class Case:
    """One network and the speed-up it is held to."""

    name: str
    classifier: Classifier
    stride: int
    bar: float


def lenet5_sized() -> Classifier:
    """LeNet-5's layers with one more stage, for a window of 64 pixels and a stride of 8; no padding."""
    features = nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
    )
    channels, height, width = map_shape(features, WINDOW_HW)
    head = (nn.Linear(channels * height * width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 11))
    return Classifier(features, "flatten", nn.Sequential(*head)).eval()


def squeezenet_with_linear_head() -> Classifier:
    """SqueezeNet 1.1's features, average pooling and one fully-connected layer, as for transfer learning."""
    features = models.squeezenet1_1(weights=None).features
    return Classifier(features, "average", nn.Sequential(nn.Linear(512, 6))).eval()


def seconds(run: Callable[[], Tensor]) -> float:
    """How long one call takes."""
    start = perf_counter()
    run()
    return perf_counter() - start


def compare(case: Case, rounds: int) -> list[str]:
    """Time a case in alternation; crops with the batch size that suits them best."""
    level = torch.randn(3, *IMAGE_HW)
    net = to_convolutional(case.classifier, WINDOW_HW)
    assert net.stride == case.stride

    def by_crops(batch: int) -> Tensor:
        return scores_by_crops(case.classifier, level, net.stride, WINDOW_HW, batch=batch)

    def by_convolution() -> Tensor:
        return scores_by_convolution(net, level)

    windows = by_convolution().shape[1:]
    best = min(BATCHES, key=lambda batch: min(seconds(lambda: by_crops(batch)) for _ in range(2)))
    assert by_crops(best).shape == by_convolution().shape
    crops, convolution = [], []
    for _ in range(rounds):
        crops.append(seconds(lambda: by_crops(best)))
        convolution.append(seconds(by_convolution))
    ratio = median(crops) / median(convolution)
    return [
        case.name,
        f"{windows[0]} x {windows[1]}",
        str(best),
        f"{median(crops):.4f}",
        f"{median(convolution):.4f}",
        f"{ratio:.1f}x",
        f"{min(crops) / min(convolution):.1f}x",
        f"{case.bar:.0f}x {'ok' if ratio >= case.bar else 'MISSED'}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pairs to time")
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    size = f"{IMAGE_HW[1]} x {IMAGE_HW[0]}, window {WINDOW_HW[0]}"
    table = Table(title=f"{size}, {torch.get_num_threads()} threads, median seconds of {rounds} pairs")
    for column in ("network", "windows", "batch of crops", "crops", "convolution", "ratio", "of the fastest", "bar"):
        table.add_column(column, no_wrap=True)
    with torch.inference_mode():
        table.add_row(*compare(Case("LeNet-5-sized, stride 8", lenet5_sized(), 8, 20), rounds))
        table.add_row(*compare(Case("SqueezeNet 1.1, stride 16", squeezenet_with_linear_head(), 16, 8), rounds))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
