r"""DeepLabCut's labels: CSV with three rows of headings, or four where there are several animals.

    scorer,Ann,Ann,Ann,Ann
    bodyparts,snout,snout,tail,tail
    coords,x,y,x,y
    labeled-data/video1/img001.png,10.5,20,,

- The path is such a file; a folder with some in it (one video's, CollectedData_*.csv before others); `labeled-data`; or
  the project that this lies in. Several files have the same body parts.
- A row `individuals` above `bodyparts` makes each individual of it an instance; body parts that only some have are
  missing in the others.
- Empty cells are missing points. A third column `likelihood`, as machines write it, is passed over.
- The picture's name may be divided among the first three columns. Pictures are found as
  `annotation_files.find_pictures` says, in effect beside the file, wherever the project was moved to.
- The samples' names are the pictures' paths below the data set, so that the folder of each says which video it is from.
- Edges are the `skeleton` of the project's config.yaml. A file `points.yaml` (`points_file`) may say more.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cvtl.data import Dataset, DatasetFormat, PointsTarget, Problem, Sample
from cvtl.errors import DataError
from cvtl_datasets.annotation_files import (
    DUPLICATE,
    MALFORMED,
    NO_PICTURE,
    Mistake,
    PictureFolders,
    PicturePlace,
    find_pictures,
    relative_name,
)
from cvtl_datasets.points_file import with_points_file
from cvtl_datasets.reading import is_picture_suffix, read_yaml, relative
from cvtl_datasets.tables import MOST_FILES, csv_files, numbers_of, open_table, table_reader, visible_points

if TYPE_CHECKING:
    from _csv import Reader

format_ = DatasetFormat(
    name="deeplabcut",
    summary="DeepLabCut's CSV with rows scorer, bodyparts, coords; one file, a video's folder, or the project",
    tasks=("landmarks",),
    recognizes="cvtl_datasets.deeplabcut:recognizes",
    load="cvtl_datasets.deeplabcut:load",
    save="cvtl_datasets.deeplabcut_writing:save",
    # Videos' folders of pictures look like classes.
    refines="folders",
)

_LABELS_FOLDER = "labeled-data"
_LABELS = "CollectedData_*.csv"
_HEADINGS = (["scorer", "bodyparts", "coords"], ["scorer", "individuals", "bodyparts", "coords"])
# How much of a line is searched for its first word.
_GLANCE = 100
_HINT = f"They are {', '.join(_HEADINGS[0])}, or {', '.join(_HEADINGS[1])}, with x and y of each body part"


def recognizes(path: Path) -> bool:
    """Whether there is a CSV file with DeepLabCut's rows of headings. Only these are read."""
    return bool(_label_files(path))


def load(path: Path) -> Dataset:
    r"""Read DeepLabCut's labels; no picture is opened.

    Args:
        path: the CSV file, a folder of some, `labeled-data`, or the project.

    Returns:
        Samples with a `PointsTarget` of as many instances as there are individuals with a point. The classes are the
        body parts, in the order of the first file.

    Raises:
        DataError: a file cannot be read, has other headings, other body parts than another file, or numbers of frames
            for pictures; or `points.yaml` or the project's configuration does not fit.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "CollectedData_Ann.csv")
        >>> _ = file.write_text(
        ...     "scorer,Ann,Ann,Ann,Ann\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\nlabeled-data/v/1.png,3,4,,\n"
        ... )
        >>> dataset = load(file)
        >>> dataset.classes, dataset[0].target.points[0, 0].tolist(), dataset[0].target.visible.tolist()
        (('nose', 'tail'), [3.0, 4.0], [[True, False]])
    """
    files = [_read_file(file, path) for file in _label_files(path) or csv_files(path)]
    if not files:
        raise DataError(f"there are no labels of DeepLabCut in '{path}'", hint="Give the CSV file, or the project")
    names = files[0].columns.names
    for file in files:
        if set(file.columns.names) != set(names):
            raise DataError(f"'{files[0].path}' and '{file.path}' have different body parts", hint="Open one of them")
    folders = PictureFolders()
    samples = list(_samples(files, names, path, folders))
    problems = [problem for file in files for problem in file.problems]
    if path.is_dir():  # one file of several does not tell what belongs to the others
        problems += folders.unlabelled(path)
    dataset = Dataset(samples, names, format_.name, str(path), tuple(problems), edges=_skeleton(path, names))
    return with_points_file(dataset, path)


class _Columns(NamedTuple):
    """What the columns of a file are.

    Attributes:
        first: how many of them hold the picture's name.
        width: how many there are.
        names: the body parts, in the order of their first appearance.
        places: for each individual the numbers of the columns of x and y of each body part it has.
    """

    first: int
    width: int
    names: tuple[str, ...]
    places: dict[str, dict[str, tuple[int, int]]]


class _Row(NamedTuple):
    line: int
    picture: str
    target: PointsTarget


@dataclass
class _File:
    path: Path
    name: str
    columns: _Columns
    rows: list[_Row]
    problems: list[Problem]

    def report(self, line: int, mistake: Mistake, sample: str | None = None) -> None:
        where = f"{self.name}:{line}"
        self.problems.append(
            Problem(kind=mistake.kind, where=where, what=mistake.what, sample=sample, fatal=mistake.fatal)
        )


def _label_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix.lower() == ".csv" and _has_headings(path) else []
    videos = path if path.name == _LABELS_FOLDER else path / _LABELS_FOLDER
    # Beside what people collected lie copies and what machines found.
    collected = sorted(path.glob(_LABELS)) or sorted(videos.glob(f"*/{_LABELS}"))
    others = csv_files(path)
    return list(filter(_has_headings, collected or (others if len(others) <= MOST_FILES else [])))


def _has_headings(file: Path) -> bool:
    with open_table(file) as stream:
        words = [re.match(r"\W*(\w*)", line[:_GLANCE]) for line in islice(stream, 4)]
    found = [word[1].lower() for word in words if word]
    return any(found[: len(keys)] == keys for keys in _HEADINGS)


def _read_file(path: Path, root: Path) -> _File:
    name = path.name if path == root else relative(path, root)
    try:
        with open_table(path) as stream:
            reader = table_reader(stream)
            file = _File(path, name, _read_columns(reader, path), [], [])
            _read_rows(file, reader)
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read '{path}': {error}", hint="Check that it is a CSV file") from error
    return file


def _read_columns(reader: Reader, path: Path) -> _Columns:
    headings = _read_headings(reader)
    if list(headings) not in _HEADINGS or len(set(map(len, headings.values()))) > 1:
        raise DataError(f"'{path}': these are no headings of DeepLabCut", hint=_HINT)
    coords, parts = headings["coords"], headings["bodyparts"]
    individuals = headings.get("individuals", [""] * len(parts))
    # The newer layout has the picture's name in three columns.
    first = next((column for column, cell in enumerate(coords) if column and cell), len(coords))
    found: dict[tuple[str, str, str], int] = {}
    for column in range(first, len(coords)):
        key = (individuals[column], parts[column], coords[column].lower())
        if key in found or not parts[column]:
            raise DataError(f"'{path}': column {column + 1} has no body part of its own", hint=_HINT)
        found[key] = column
    places: dict[str, dict[str, tuple[int, int]]] = {}
    for individual, part, _ in found:
        x, y = (found.get((individual, part, axis)) for axis in "xy")
        if x is None or y is None:
            raise DataError(f"'{path}': the body part '{part}' lacks x or y", hint=_HINT)
        places.setdefault(individual, {})[part] = (x, y)
    if not places:
        raise DataError(f"'{path}' has no body parts", hint=_HINT)
    return _Columns(first, len(coords), tuple(dict.fromkeys(parts[first:])), places)


def _read_headings(reader: Reader) -> dict[str, list[str]]:
    """The rows down to `coords`, by the word they begin with."""
    headings: dict[str, list[str]] = {}
    for row in islice(filter(any, reader), 4):
        headings[row[0].strip().lower()] = [cell.strip() for cell in row]
        if "coords" in headings:
            break
    return headings


def _read_rows(file: _File, reader: Reader) -> None:
    for cells in filter(any, reader):
        try:
            if len(cells) != file.columns.width:
                raise Mistake(MALFORMED, f"there are {len(cells)} cells under {file.columns.width} headings")
            picture = "/".join(cell.strip() for cell in cells[: file.columns.first])
            if picture.isdecimal():
                raise DataError(
                    f"'{file.path}:{reader.line_num}' has the number of a frame for a picture: '{picture}'",
                    hint="Labels of a video's frames cannot be read; extract the frames, and give the labels of these",
                )
            if not relative_name(picture) or not is_picture_suffix(Path(picture).suffix):
                raise Mistake(MALFORMED, f"'{picture}' is no picture's name")
            target = _target(cells, reader, file.columns)
        except Mistake as mistake:
            file.report(reader.line_num, mistake)
        else:
            file.rows.append(_Row(reader.line_num, picture, target))


def _target(cells: Sequence[str], reader: Reader, columns: _Columns) -> PointsTarget:
    """The individuals of which a point is there."""
    points, visible = [], []
    for places in columns.places.values():
        own = [places.get(name) for name in columns.names]
        written = [cells[column] if pair else "" for pair in own for column in (pair or (0, 0))]
        found, there = visible_points(numbers_of(written, reader), columns.names)
        if there.any():
            points.append(found)
            visible.append(there)
    count = len(columns.names)
    return PointsTarget(np.array(points).reshape(-1, count, 2), np.array(visible, bool).reshape(-1, count))


def _samples(files: Sequence[_File], names: Sequence[str], root: Path, folders: PictureFolders) -> Iterator[Sample]:
    """Samples with the body parts in the order of `names`; a picture that has a row already is a mistake."""
    base = root if root.is_dir() else root.parent
    places: dict[str, str] = {}
    for file in files:
        order = [file.columns.names.index(name) for name in names]
        place = find_pictures([row.picture for row in file.rows], file.path)
        for row in file.rows:
            picture = (place or PicturePlace(file.path.parent)).file(row.picture)
            name = relative_name(relative(picture, base) if place else row.picture)
            here = f"{file.name}:{row.line}"
            if places.setdefault(name, here) != here:
                what = f"the picture '{row.picture}' has a row already, in {places[name]}"
                file.report(row.line, Mistake(DUPLICATE, what), name)
            elif place and not folders.has(picture):
                file.report(row.line, Mistake(NO_PICTURE, f"the picture '{row.picture}' is not there"), name)
            else:
                target = PointsTarget(row.target.points[:, order], row.target.visible[:, order])
                yield Sample.of_file(name, picture, target)


def _skeleton(path: Path, names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The edges in the configuration of the project that a path is or lies in."""
    project = next((each for each in (path, *path.absolute().parents[:3]) if (each / _LABELS_FOLDER).is_dir()), None)
    if project is None or not (project / "config.yaml").is_file():
        return ()
    content = read_yaml(project / "config.yaml")
    written = content.get("skeleton") if isinstance(content, dict) else None
    # A new project's skeleton is an example with body parts that it does not have.
    return tuple(
        (names.index(pair[0]), names.index(pair[1]))
        for pair in (written if isinstance(written, list) else [])
        if isinstance(pair, list) and len(pair) == 2 and all(part in names for part in pair)
    )
