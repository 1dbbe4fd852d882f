"""Writing DeepLabCut's labels."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from cvtl.data import Dataset, PointsTarget, Sample
from cvtl.errors import UsageError
from cvtl_datasets.points_file import save_points_file
from cvtl_datasets.writing import PictureWriter, SafeNames, write_pictures

_SCORER = "cvtl"
_LABELS_FOLDER = "labeled-data"
# Of pictures whose names have no folder.
_NO_VIDEO = "pictures"


def save(dataset: Dataset, out: Path, advance: Callable[[int], None]) -> Mapping[str, int]:
    """Write OUT/labeled-data/VIDEO with pictures and CollectedData_cvtl.csv; VIDEO is the folder in a sample's name.

    Several objects in any picture are individuals called `individual1`, `individual2`, ...; there is no telling which
    is the same in another picture. What else the data set says of its points is written to OUT/points.yaml.

    Args:
        dataset: of points.
        out: a new or empty folder.
        advance: called with 1 after each sample.

    Returns:
        What the format cannot hold, and what happened to pictures: each with its count.

    Raises:
        UsageError: the data set is not of points, or a point has a name that does not do as a heading.
    """
    headings = _headings(dataset)
    width = len(headings[0])
    videos = _Videos()
    writer = PictureWriter(out / _LABELS_FOLDER)
    lost: Counter[str] = Counter()
    with ExitStack() as stack:
        rows: dict[str, Callable[[Sequence[object]], object]] = {}
        for sample, picture in write_pictures(dataset, writer, advance, videos.of):
            video = videos.of(sample)
            if video not in rows:
                path = out / _LABELS_FOLDER / video / f"CollectedData_{_SCORER}.csv"
                stream = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
                rows[video] = csv.writer(stream, lineterminator="\n").writerow
                for heading in headings:
                    rows[video](heading)
            cells = _cells(sample, lost)
            name = f"{_LABELS_FOLDER}/{video}/{picture.name}"
            rows[video]([name, *cells, *[None] * (width - 1 - len(cells))])
    save_points_file(dataset, out)
    return +(lost + writer.counts)


class _Videos:
    """The folders that samples belong into."""

    def __init__(self) -> None:
        self._names = SafeNames()
        self._folders: dict[str, str] = {}

    def of(self, sample: Sample) -> str:
        folder = PurePosixPath(sample.name).parent
        key = str(folder) if folder.name else f"./{sample.split}"
        if key not in self._folders:
            self._folders[key] = self._names.add(folder.name or sample.split or _NO_VIDEO)
        return self._folders[key]


def _headings(dataset: Dataset) -> list[list[str]]:
    """Three rows, or four if a picture shows several objects; raises `UsageError` for what the format cannot hold."""
    names = dataset.classes
    if not all(name and name == name.strip() and name.isprintable() for name in names):
        raise UsageError(f"DeepLabCut's CSV cannot hold the point names {names}", hint="Rename the points")
    individuals = 1
    for sample in dataset:
        if sample.target is None:
            continue
        if not isinstance(sample.target, PointsTarget):
            raise UsageError("DeepLabCut's CSV holds points, and nothing else", hint="Choose another format with --to")
        individuals = max(individuals, len(sample.target.points))
    columns = 2 * len(names)
    headings = [
        ["scorer", *[_SCORER] * columns * individuals],
        ["bodyparts", *[name for name in names for _ in "xy"] * individuals],
        ["coords", *["x", "y"] * len(names) * individuals],
    ]
    if individuals > 1:
        called = [f"individual{number + 1}" for number in range(individuals) for _ in range(columns)]
        headings.insert(1, ["individuals", *called])
    return headings


def _cells(sample: Sample, lost: Counter[str]) -> list[float | None]:
    """The numbers of a row, one object after the other; None for what is missing."""
    target = sample.target
    lost["split"] += sample.split is not None
    if not isinstance(target, PointsTarget):
        lost["picture without a target"] += 1
        return []
    lost["box"] += 0 if target.boxes is None else len(target.boxes)
    lost["object without points"] += int((~target.visible.any(axis=1)).sum())
    points = zip(target.points.reshape(-1, 2).tolist(), target.visible.ravel(), strict=True)
    return [number if visible else None for point, visible in points for number in point]
