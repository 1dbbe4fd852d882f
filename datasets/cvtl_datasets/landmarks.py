"""Landmark CSV: one row for each picture, two columns for each point.

- The path is a CSV file, or a folder with such files in it. Several files are several splits by their names
  (training_frames_keypoints.csv), and have the same points.
- The first column holds the pictures' names, whatever its heading. The others come in pairs, headed `x0,y0`, `0_x,0_y`,
  `left_eye_x,left_eye_y` and the like, or numbered 0, 1, 2, ... throughout.
- Before them there may be the object's box: box_x1, box_y1, box_x2, box_y2. Or its centre: center_x, center_y
  (centre_x, centre_y); the box is then the square about it that reaches the farthest point, or, if a column `scale`
  follows as in MPII, the square with sides of 200 times the scale.
- A point is missing where its cells are empty or nan, or both are -1. A row without any point is a picture without an
  object.
- Columns are divided by commas, semicolons (the decimal sign may then be a comma) or tabs.
- Pictures are found as `annotation_files.find_pictures` says.
- A file `points.yaml` (`points_file`) may say more of the points.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cvtl.data import Dataset, DatasetFormat, PointsTarget, Problem, Sample, Split
from cvtl.errors import DataError
from cvtl_datasets.annotation_files import (
    DUPLICATE,
    MALFORMED,
    NO_PICTURE,
    Mistake,
    PictureFolders,
    PicturePlace,
    check_box,
    distinct_prefixes,
    find_pictures,
    relative_name,
    split_of,
)
from cvtl_datasets.points_file import with_points_file
from cvtl_datasets.reading import is_picture_suffix, relative
from cvtl_datasets.tables import MOST_FILES, csv_files, numbers_of, open_table, table_reader, visible_points

if TYPE_CHECKING:
    from _csv import Reader

format_ = DatasetFormat(
    name="landmarks",
    summary="landmark CSV: a picture's name and x, y of each of its points in each row",
    tasks=("landmarks",),
    recognizes="cvtl_datasets.landmarks:recognizes",
    load="cvtl_datasets.landmarks:load",
    save="cvtl_datasets.landmarks_writing:save",
)

BOX_HEADINGS = ("box_x1", "box_y1", "box_x2", "box_y2")
Floats = npt.NDArray[np.float64]
Place = Literal["box", "scaled centre", "centre"]
_PLACE_HEADINGS: dict[Place, tuple[str, ...]] = {
    "box": BOX_HEADINGS,
    "scaled centre": ("center_x", "center_y", "scale"),
    "centre": ("center_x", "center_y"),
}
# MPII's scale is a person's height in units of 200 pixels.
_SIDE_OF_SCALE_1 = 200
# Headings that boxes have, too: they alone do not tell that a file is of points.
_BOX_LIKE = re.compile(r"[xy][_ ]?(\d|min|max)?")
# How many characters of a file are read to recognise it: headings and a row of thousands of points.
_GLANCE = 1 << 18


def recognizes(path: Path) -> bool:
    """Whether there is a CSV file whose first column holds names of pictures and the others pairs of coordinates."""
    return bool(_landmark_files(path))


def load(path: Path) -> Dataset:
    r"""Read landmark CSV; no picture is opened.

    Args:
        path: the CSV file, or the folder.

    Returns:
        Samples with a `PointsTarget` of one object or none, in the files' order. The classes are the points' names;
        points without names are called "0", "1", ... unless a `points.yaml` names them. The samples' names are the
        pictures' names in the file, with the split before them where two files have one in common.

    Raises:
        DataError: a file cannot be read, has other headings than these, or other points than another file, or
            `points.yaml` does not fit.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "eyes.csv")
        >>> _ = file.write_text("image,left_x,left_y,right_x,right_y\na.jpg,10,20.5,30,\n")
        >>> load(file).problems[0].what
        "the point 'right' has only one coordinate"
        >>> _ = file.write_text("image,left_x,left_y,right_x,right_y\na.jpg,10,20.5,,\n")
        >>> dataset = load(file)
        >>> dataset.classes, dataset[0].target.points[0, 0].tolist(), dataset[0].target.visible.tolist()
        (('left', 'right'), [10.0, 20.5], [[True, False]])
    """
    files = [_read_file(file, path) for file in _landmark_files(path) or csv_files(path)]
    if not files:
        raise DataError(f"there is no CSV file in '{path}'", hint="Give the file, or the folder that it lies in")
    names = files[0].layout.names
    for file in files:
        if file.layout.names != names:
            raise DataError(f"'{files[0].path}' and '{file.path}' have different points", hint="Open one of them")
    prefixes = distinct_prefixes(
        [[relative_name(row.picture) for row in file.rows] for file in files],
        [file.split for file in files],
        [file.name for file in files],
    )
    folders = PictureFolders()
    samples = [
        sample for file, prefix in zip(files, prefixes, strict=True) for sample in _samples(file, prefix, folders)
    ]
    problems = [problem for file in files for problem in file.problems]
    if path.is_dir():  # one file of several does not tell what belongs to the others
        problems += folders.unlabelled(path)
    return with_points_file(Dataset(samples, names, format_.name, str(path), tuple(problems)), path)


class Layout(NamedTuple):
    """What the columns of a file are.

    Attributes:
        names: the points' names.
        place: what the columns before them say of where the object is, if there are any.
    """

    names: tuple[str, ...]
    place: Place | None


class _Row(NamedTuple):
    line: int
    picture: str
    target: PointsTarget


@dataclass
class _File:
    path: Path
    name: str
    split: Split | None
    layout: Layout
    rows: list[_Row]
    problems: list[Problem]

    def report(self, line: int, mistake: Mistake, sample: str | None = None) -> None:
        where = f"{self.name}:{line}"
        self.problems.append(
            Problem(kind=mistake.kind, where=where, what=mistake.what, sample=sample, fatal=mistake.fatal)
        )


def _samples(file: _File, prefix: str, folders: PictureFolders) -> Iterator[Sample]:
    place = find_pictures([row.picture for row in file.rows], file.path)
    for row in file.rows:
        name = prefix + relative_name(row.picture)
        picture = (place or PicturePlace(file.path.parent)).file(row.picture)
        if place and not folders.has(picture):
            file.report(row.line, Mistake(NO_PICTURE, f"the picture '{row.picture}' is not there"), name)
        else:
            yield Sample.of_file(name, picture, row.target, file.split)


def _landmark_files(path: Path) -> list[Path]:
    files = csv_files(path)
    return [file for file in files if _holds_landmarks(file)] if len(files) <= MOST_FILES else []


def _holds_landmarks(file: Path) -> bool:
    if file.suffix.lower() != ".csv":
        return False
    with open_table(file) as stream:
        rows = filter(any, table_reader(io.StringIO(stream.read(_GLANCE), newline="")))
    try:
        headings, first = next(rows, []), next(rows, [])
    except csv.Error:
        return False
    if not first or len(first) != len(headings) or not is_picture_suffix(Path(first[0].strip()).suffix):
        return False
    like_a_box = len(headings) == 5 and all(_BOX_LIKE.fullmatch(heading.strip().lower()) for heading in headings[1:])
    return read_layout(headings) is not None and not like_a_box


def read_layout(headings: Sequence[str]) -> Layout | None:
    """What columns with these headings are; None where they are none of landmarks."""
    headings = [heading.strip() for heading in headings[1:]]
    plain = tuple(heading.lower().replace("centre", "center") for heading in headings)
    fitting = (each for each, first in _PLACE_HEADINGS.items() if plain[: len(first)] == first and plain != first)
    place = next(fitting, None)
    if place:
        headings = headings[len(_PLACE_HEADINGS[place]) :]
    if headings == [str(number) for number in range(len(headings))]:
        names = headings[: len(headings) // 2]
    else:
        names = [_point_name(x, y) or "" for x, y in zip(headings[::2], headings[1::2], strict=False)]
    if len(headings) % 2 or not names or "" in names or len(set(names)) < len(names) or not _is_text("".join(names)):
        return None
    return Layout(tuple(names), place)


def _is_text(names: str) -> bool:
    """Whether no bytes are among the letters that are not UTF-8."""
    return not re.search("[\ud800-\udfff]", names)


def _point_name(x: str, y: str) -> str | None:
    """What the headings of two columns call a point, if they are those of its x and y."""
    for pattern in (r"(.+?)[_. -]?{}", r"{}[_. -]?(.*)"):
        found_x = re.fullmatch(pattern.format("x"), x, re.IGNORECASE)
        found_y = re.fullmatch(pattern.format("y"), y, re.IGNORECASE)
        if found_x and found_y and found_x[1] == found_y[1]:
            return found_x[1] or "0"
    return None


def _read_file(path: Path, root: Path) -> _File:
    name = path.name if path == root else relative(path, root)
    try:
        with open_table(path) as stream:
            reader = table_reader(stream)
            headings = next(reader, [])
            layout = read_layout(headings)
            if layout is None:
                raise DataError(
                    f"'{path}:1': these are no headings of landmarks",
                    hint="They are: image,x0,y0,... or image,nose_x,nose_y,... in UTF-8, no two points of one name",
                )
            file = _File(path, name, split_of(path.stem), layout, [], [])
            _read_rows(file, reader, len(headings))
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read '{path}': {error}", hint="Check that it is a CSV file") from error
    return file


def _read_rows(file: _File, reader: Reader, columns: int) -> None:
    lines: dict[str, int] = {}
    for cells in reader:
        if not any(cells):
            continue
        try:
            if len(cells) != columns:
                raise Mistake(MALFORMED, f"there are {len(cells)} cells under {columns} headings")
            picture = cells[0].strip()
            sample = relative_name(picture)
            if not sample:
                raise Mistake(MALFORMED, "the first cell names no picture")
            if sample in lines:
                raise Mistake(DUPLICATE, f"the picture '{picture}' has a row already, in line {lines[sample]}")
            lines[sample] = reader.line_num
            target = _target(numbers_of(cells[1:], reader), file.layout)
        except Mistake as mistake:
            file.report(reader.line_num, mistake)
        else:
            file.rows.append(_Row(reader.line_num, picture, target))


def _target(numbers: list[float], layout: Layout) -> PointsTarget:
    first = len(_PLACE_HEADINGS[layout.place]) if layout.place else 0
    place, coordinates = numbers[:first], np.array(numbers[first:]).reshape(-1, 2)
    absent = (coordinates == -1).all(axis=1, keepdims=True)
    points, visible = visible_points(np.where(absent, np.nan, coordinates).ravel().tolist(), layout.names)
    box = _box(place) if layout.place == "box" else _square(place, points[visible])
    if not visible.any():
        return PointsTarget(np.zeros((0, *points.shape)), np.zeros((0, len(points)), bool))
    return PointsTarget(points, visible, box)


def _box(place: list[float]) -> Floats | None:
    if all(map(math.isnan, place)):
        return None
    if any(map(math.isnan, place)):
        raise Mistake(MALFORMED, "the box has fewer than four numbers")
    check_box(*place)
    return np.array(place)


def _square(place: list[float], points: Floats) -> Floats | None:
    """The square about a centre; None where there is no centre, or the only point is where it is."""
    centre, scale = np.array(place[:2]), place[2] if len(place) > 2 else math.nan
    if np.isnan(centre).all():
        return None
    if np.isnan(centre).any():
        raise Mistake(MALFORMED, "the centre has only one coordinate")
    if scale <= 0:
        raise Mistake(MALFORMED, f"the scale {scale:g} is no size")
    half = abs(points - centre).max(initial=0) if math.isnan(scale) else scale * _SIDE_OF_SCALE_1 / 2
    return np.array([*(centre - half), *(centre + half)]) if half else None
