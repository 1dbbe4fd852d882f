"""What the options leave open and the data decide: the anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import yaml
from rich.console import Console

from cvtl.augmentation import Floats
from cvtl.errors import OutputError, UsageError
from cvtl.files import write_atomically
from cvtl.training.objects import Seen
from cvtl_yolo.anchors import cluster_sizes, mean_best_iou
from cvtl_yolo.assignment import assign
from cvtl_yolo.grid import Grid, encode
from cvtl_yolo.options import YoloOptions

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun

SETTLED_NAME = "settled.yaml"


def settle(options: YoloOptions, objects: Sequence[Seen], run: TrainRun) -> YoloOptions:
    """The options with anchors, as the run's folder has them if the training goes on.

    Args:
        options: as the user gave them.
        objects: of the training pictures, as they are predicted; not looked at where the options have anchors.
        run: its folder keeps the anchors.

    Raises:
        UsageError: there are not as many anchors as the options say.
        OutputError: what the folder has cannot be read.
    """
    check_anchor_sizes(options)
    path = run.folder / SETTLED_NAME
    if not path.exists():
        sizes = options.anchor_sizes or _sizes(options, objects)
        text = yaml.safe_dump({"anchor_sizes": [list(each) for each in sizes]}, default_flow_style=None)
        write_atomically(path, text)
    try:
        kept = yaml.safe_load(path.read_text(encoding="utf-8"))
        settled = YoloOptions.model_validate(options.model_dump() | kept)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise OutputError(
            f"cannot go on with the training in '{run.folder}': cannot read '{SETTLED_NAME}'",
            hint="Start anew in another folder with --out",
        ) from error
    check_anchor_sizes(settled)
    return settled


def check_anchor_sizes(options: YoloOptions) -> None:
    """Refuse anchors that do not fit the levels.

    Raises:
        UsageError: there are not as many as the options say, or one has no extent.
    """
    sizes, wanted = options.anchor_sizes, options.levels * options.anchors
    if sizes is None:
        return
    if len(sizes) != wanted:
        raise UsageError(
            f"--anchor-sizes has {len(sizes)} sizes, and {options.levels} levels with {options.anchors} anchors each "
            f"need {wanted}"
        )
    if min(side for size in sizes for side in size) <= 0:
        raise UsageError("--anchor-sizes: widths and heights have to be above 0")


def report(objects: Sequence[Seen], grid: Grid, options: YoloOptions, console: Console) -> None:
    """Say how well the anchors fit the objects, and how many objects have no place of their own."""
    sizes = _all_sizes(objects)
    anchors = np.array([anchor for level in grid.levels for anchor in level.anchors])
    listed = ", ".join(f"{width:.0f} x {height:.0f}" for width, height in anchors)
    console.print(
        f"Anchors in pixels of the input: {listed}; mean IoU with the boxes {mean_best_iou(sizes, anchors):.2f}."
    )
    lost = count_lost(objects, grid, options)
    if lost:
        console.print(
            f"{lost} of {len(sizes)} objects are lost: others have their cells and anchors. More --anchors, "
            "more --levels or a larger --size would find them a place."
        )
    else:
        console.print(f"Each of the {len(sizes)} objects has a place in the grid.")


def count_lost(objects: Sequence[Seen], grid: Grid, options: YoloOptions) -> int:
    """How many objects no place of the grid learns, because others want the same ones."""
    if options.loss == "squared":
        return sum(len(encode(seen.boxes, seen.labels, grid)[1]) for seen in objects)
    lost = 0
    for seen in objects:
        pictures = torch.zeros(len(seen.boxes), dtype=torch.int64)
        learnt = assign(seen.boxes, pictures, grid, options.anchor_ratio).objects
        lost += len(seen.boxes) - len(torch.unique(learnt))
    return lost


def _sizes(options: YoloOptions, objects: Sequence[Seen]) -> list[tuple[float, float]]:
    found = cluster_sizes(_all_sizes(objects), options.levels * options.anchors).round(2)
    return [(width, height) for width, height in found.tolist()]


def _all_sizes(objects: Sequence[Seen]) -> Floats:
    """Widths and heights (N, 2)."""
    boxes = torch.cat([seen.boxes for seen in objects]).double().numpy()
    sizes: Floats = boxes[:, 2:] - boxes[:, :2]
    return sizes
