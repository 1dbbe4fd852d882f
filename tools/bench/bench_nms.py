"""Suppression of many boxes of many classes: `cvtl.boxes.nms` against torchvision's `batched_nms`, and soft-NMS.

Run: python tools/bench/bench_nms.py [--boxes N] [--classes C] [--rounds N]. The ratio counts: the two take turns, and
medians are compared, so that a busy machine slows both. They do not keep quite the same boxes: torchvision promises no
order among equal scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from cvtl.boxes import nms, soft_nms

IOU = 0.5


def made_boxes(count: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes of up to 60 pixels in 600 x 600, many of them with equal scores."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * 600
    boxes = torch.cat([corners, corners + torch.rand(count, 2, generator=generator) * 60 + 1], dim=1)
    scores = torch.randint(0, 1000, (count,), generator=generator) / 1000
    return boxes, scores, torch.randint(0, classes, (count,), generator=generator)


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    start = perf_counter()
    run()
    return perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    boxes, scores, labels = made_boxes(options.boxes, options.classes)
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(seconds(lambda: nms(boxes, scores, labels, iou_threshold=IOU)))
        theirs.append(seconds(lambda: batched_nms(boxes, scores, labels, IOU)))
    soft = [seconds(lambda: soft_nms(boxes, scores, labels)) for _ in range(3)]
    print(f"{options.boxes} boxes of {options.classes} classes, {torch.get_num_threads()} threads, medians")
    print(f"cvtl.boxes.nms           {1e3 * median(ours):8.1f} ms")
    print(f"torchvision batched_nms  {1e3 * median(theirs):8.1f} ms   ratio {median(ours) / median(theirs):.2f}")
    print(f"cvtl.boxes.soft_nms      {1e3 * median(soft):8.1f} ms")


if __name__ == "__main__":
    main()
