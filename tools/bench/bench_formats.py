"""Opening data sets: 10,000 pictures with 100,000 boxes in each format, after the files were read once.

python tools/bench/bench_formats.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from cvtl.data import BoxesTarget, Dataset, Sample, UInt8Image, load_data
from cvtl_datasets.conversion import convert

PICTURES, BOXES, CLASSES, SIDE = 10_000, 10, 80, 64
BAR_SECONDS = 10.0


def picture() -> UInt8Image:
    """A black one: nobody looks at it."""
    return np.zeros((SIDE, SIDE, 3), np.uint8)


def make_data() -> Dataset:
    """Boxes with fractions of pixels, of all classes."""
    random = np.random.default_rng(0)
    samples = []
    for number in range(PICTURES):
        corners = random.uniform(0, SIDE / 2, (BOXES, 2))
        boxes = np.hstack([corners, corners + random.uniform(1, SIDE / 2, (BOXES, 2))])
        samples.append(Sample(f"{number:05d}.png", picture, BoxesTarget(boxes, random.integers(0, CLASSES, BOXES))))
    return Dataset(samples, tuple(f"class {number}" for number in range(CLASSES)), "generated")


def main() -> None:
    """Print the table."""
    table = Table("format", "seconds to open", "bar", title=f"{PICTURES} pictures, {PICTURES * BOXES} boxes")
    data = make_data()
    with tempfile.TemporaryDirectory() as name:
        for format in ("coco", "voc", "yolo"):
            folder = Path(name) / format
            convert(data, folder, format)
            load_data(folder)
            start = perf_counter()
            count = len(load_data(folder))
            seconds = perf_counter() - start
            assert count == PICTURES
            table.add_row(format, f"{seconds:.2f}", f"{BAR_SECONDS:.0f} {'ok' if seconds < BAR_SECONDS else 'MISSED'}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
