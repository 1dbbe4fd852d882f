"""Class folders with boxes: DATA/CLASS/picture.jpg as in `folders`, and DATA/boxes.csv that says where the objects lie.

    name,x1,y1,x2,y2
    cat/1.jpg,34,20,180,164
    dog/day2/7.jpg,0,12.5,96,140

- A name is a picture's path below DATA (with the split's folder, if there are splits), its class the folder's.
- Corners are absolute pixels of the upright picture. A picture may have several rows, and columns may stand in any
  order, among others.
- A picture without a row shows no object. A folder of which no picture has a row is no class: one called `nothing`,
  say, is a good place for pictures without an object.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cvtl.data import BoxesTarget, Dataset, DatasetFormat, Problem, Sample
from cvtl.errors import DataError
from cvtl_datasets.annotation_files import MALFORMED, NO_PICTURE, Mistake, check_box, relative_name
from cvtl_datasets.folders import SplitFolder, pictures_by_folder
from cvtl_datasets.reading import read_text, relative

format_ = DatasetFormat(
    name="folder-boxes",
    summary="class folders with a boxes.csv beside them: name,x1,y1,x2,y2",
    tasks=("localize", "detect"),
    recognizes="cvtl_datasets.folder_boxes:recognizes",
    load="cvtl_datasets.folder_boxes:load",
    refines="folders",
)

FILE_NAME = "boxes.csv"

Box = tuple[float, float, float, float]

_CORNERS = ("x1", "y1", "x2", "y2")
_COLUMNS = ("name", *_CORNERS)


def recognizes(path: Path) -> bool:
    """Whether there is a `boxes.csv` with the headings that it has to have."""
    file = path / FILE_NAME
    return file.is_file() and not _missing(_reader(file))


def load(path: Path) -> Dataset:
    r"""List the pictures of class folders, and read their boxes; no picture is opened.

    Args:
        path: DATA.

    Returns:
        Samples with a `BoxesTarget`, sorted by name. The classes are the folders that have boxes, sorted by name.

    Raises:
        DataError: there is no such file or a heading is missing, no row is about a picture that is there, or the
            folders cannot be read.

    Example:
        >>> import tempfile
        >>> data = Path(tempfile.mkdtemp())
        >>> for name in ("cat/1.jpg", "nothing/2.jpg"):
        ...     (data / name).parent.mkdir()
        ...     (data / name).touch()
        >>> _ = (data / "boxes.csv").write_text("name,x1,y1,x2,y2\ncat/1.jpg,1,2,30,40\n")
        >>> dataset = load(data)
        >>> dataset.classes, [sample.target.boxes.tolist() for sample in dataset]
        (('cat',), [[[1.0, 2.0, 30.0, 40.0]], []])
    """
    folder_of = {
        relative(file, path): (file, folder) for folder, files in pictures_by_folder(path).items() for file in files
    }
    boxes, problems = _read(path / FILE_NAME, folder_of)
    classes = sorted({folder_of[name][1].path.name for name in boxes})
    label_of = {name: label for label, name in enumerate(classes)}
    samples = []
    for name, (file, folder) in sorted(folder_of.items()):
        found = boxes.get(name, [])
        labels = np.full(len(found), label_of.get(folder.path.name, -1))
        target = BoxesTarget(np.array(found, np.float64), labels)
        samples.append(Sample.of_file(name, file, target, folder.split))
    return Dataset(samples, tuple(classes), format_.name, str(path), tuple(problems))


def _read(file: Path, known: Mapping[str, tuple[str, SplitFolder]]) -> tuple[dict[str, list[Box]], list[Problem]]:
    """The sound boxes of each picture that has rows, and the mistakes in the others."""
    reader = _reader(file)
    if missing := _missing(reader):
        raise DataError(
            f"'{file}' has no column {' and no '.join(missing)}", hint=f"Begin it with {','.join(_COLUMNS)}"
        )
    boxes: dict[str, list[Box]] = defaultdict(list)
    problems = []
    for row in reader:
        name = None
        try:
            name = _name(row, known)
            boxes[name].append(_box(row))
        except Mistake as mistake:
            where = f"{file.name}:{reader.line_num}"
            problems.append(
                Problem(kind=mistake.kind, where=where, what=mistake.what, sample=name, fatal=mistake.fatal)
            )
    if not boxes:
        raise DataError(
            f"no row of '{file}' is about a picture that is there",
            hint="Names are paths below the folder of that file, such as cat/1.jpg",
        )
    return dict(boxes), problems


def _name(row: Mapping[str, str | None], known: Mapping[str, object]) -> str:
    written = (row["name"] or "").strip()
    name = relative_name(written)
    if name not in known:
        raise Mistake(NO_PICTURE, f"there is no picture '{written}'")
    return name


def _box(row: Mapping[str, str | None]) -> Box:
    x1, y1, x2, y2 = (_number(corner, row[corner]) for corner in _CORNERS)
    check_box(x1, y1, x2, y2)
    return x1, y1, x2, y2


def _number(column: str, text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Mistake(MALFORMED, f"{column} is '{text or ''}', not a number")
    return number


def _reader(file: Path) -> csv.DictReader[str]:
    reader = csv.DictReader(io.StringIO(read_text(file)))
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    return reader


def _missing(reader: csv.DictReader[str]) -> list[str]:
    return [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
