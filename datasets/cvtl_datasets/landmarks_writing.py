"""Writing landmark CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from cvtl.data import Dataset, PointsTarget, Sample
from cvtl.errors import UsageError
from cvtl_datasets.landmarks import BOX_HEADINGS, read_layout
from cvtl_datasets.points_file import save_points_file
from cvtl_datasets.tables import table_reader
from cvtl_datasets.writing import PictureWriter, write_pictures


def save(dataset: Dataset, out: Path, advance: Callable[[int], None]) -> Mapping[str, int]:
    """Write OUT/keypoints.csv and OUT/images, or OUT/SPLIT_keypoints.csv and OUT/images/SPLIT where there are splits.

    Missing points are empty cells, a row of them a picture without an object. Boxes are written where any are known.
    What else the data set says of its points is written to OUT/points.yaml.

    Args:
        dataset: of points, of no more than one object in each picture.
        out: a new or empty folder.
        advance: called with 1 after each sample.

    Returns:
        What the format cannot hold, and what happened to pictures: each with its count.

    Raises:
        UsageError: the data set is not of points, a picture shows several objects, or a point has a name that does not
            do as a heading.
    """
    headings = ["image", *(f"{name}_{axis}" for name in dataset.classes for axis in "xy")]
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(headings)
    layout = read_layout(next(table_reader(io.StringIO(line.getvalue(), newline=""))))
    if layout is None or layout.names != dataset.classes:
        raise UsageError(f"landmark CSV cannot hold the point names {dataset.classes}", hint="Rename the points")
    has_boxes = False
    for sample in dataset:
        has_boxes |= _has_box(sample)
    if has_boxes:
        headings[1:1] = BOX_HEADINGS
    lost: Counter[str] = Counter()
    writer = PictureWriter(out / "images")
    with ExitStack() as stack:
        rows: dict[str, Callable[[list[object]], object]] = {}
        for sample, picture in write_pictures(dataset, writer, advance, _subfolder):
            split = _subfolder(sample)
            if split not in rows:
                path = out / (f"{split}_keypoints.csv" if split else "keypoints.csv")
                stream = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
                rows[split] = csv.writer(stream, lineterminator="\n").writerow
                rows[split](list(headings))
            rows[split]([picture.name, *_cells(sample, len(headings) - 1, lost)])
    save_points_file(dataset, out)
    return +(lost + writer.counts)


def _has_box(sample: Sample) -> bool:
    """Whether a sample has one object with a box; raises `UsageError` for what the format cannot hold."""
    target = sample.target
    if target is None:
        return False
    if not isinstance(target, PointsTarget):
        raise UsageError("landmark CSV holds points, and nothing else", hint="Choose another format with --to")
    if len(target.points) > 1:
        raise UsageError(
            f"landmark CSV holds one object a picture, and '{sample.name}' shows {len(target.points)}",
            hint="Write it with --to coco-keypoints",
        )
    return len(target.points) == 1 and target.boxes is not None


def _cells(sample: Sample, count: int, lost: Counter[str]) -> list[float | None]:
    """The numbers of a row; None for what is missing."""
    target = sample.target
    if not isinstance(target, PointsTarget):
        lost["picture without a target"] += 1
        return [None] * count
    if not target.visible.any():
        lost["object without points"] += len(target.points)
        return [None] * count
    points = [
        point if visible else [None, None]
        for point, visible in zip(target.points[0].tolist(), target.visible[0], strict=True)
    ]
    lost["point at -1, -1"] += points.count([-1, -1])
    box = [None] * 4 if target.boxes is None else target.boxes[0].tolist()
    return [*box, *(number for point in points for number in point)][-count:]


def _subfolder(sample: Sample) -> str:
    return sample.split or ""
