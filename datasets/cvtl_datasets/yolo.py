"""YOLO: a text file for each picture, with a line `class cx cy width height` for each object.

- The numbers are shares of the picture's width and height when upright; classes count from 0.
- Labels: in a folder `labels` in the place of `images` in the picture's path (the last one), or else beside the
  picture. A picture without a text file, or with an empty one, shows no objects.
- `data.yaml`, or another YAML file in DATA, says what the classes are called (`names`) and where pictures are: `train`,
  `val` and `test`, each a folder, a text file with a path on each line, or a list of these. Splits in the same place
  are no splits. Places that do not exist are reported; if none does, pictures are looked for as they are without such
  a file.
- Darknet's `*.data`, in DATA or in its folder `data`, says the same.
- Without either: all pictures in `images`, or in DATA; folders like `train` or `images/val2017` are splits. The classes
  are called as a file `classes.txt`, `*.names` or `_darknet.labels` says, or by their numbers.
- A sixth number is a confidence, and is not held. Of polygons (`class x y x y x y ...`) and of boxes with keypoints
  (`kpt_shape` in data.yaml) the box alone is held.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from cvtl.data import BoxesTarget, Dataset, DatasetFormat, Problem, Sample
from cvtl.errors import DataError
from cvtl.picture_header import read_header
from cvtl_datasets.annotation_files import MALFORMED, NO_PICTURE
from cvtl_datasets.reading import read_text, relative
from cvtl_datasets.yolo_config import CONFIG_SUFFIXES, find_config
from cvtl_datasets.yolo_labels import Labels, Lines, looks_like_label, parse
from cvtl_datasets.yolo_pictures import LabelFinder, Picture, class_names, pictures_anywhere, pictures_named

format_ = DatasetFormat(
    name="yolo",
    summary="YOLO: one text file for each picture, with or without data.yaml",
    tasks=("detect", "localize"),
    recognizes="cvtl_datasets.yolo:recognizes",
    load="cvtl_datasets.yolo:load",
    save="cvtl_datasets.yolo_writing:save",
)

# A kind of problem: what labels say in shares of the picture's size, nobody knows in pixels.
UNREADABLE = "unreadable picture"

# Where classes have no names, their numbers must be believable.
_MOST_CLASSES = 10_000
# How many pictures are looked at in search of a label.
_GLANCE = 1000


def recognizes(path: Path) -> bool:
    """Whether there is a YAML file of names and places, or labels lie where those of the first pictures belong."""
    if path.is_file():
        return path.suffix.lower() in CONFIG_SUFFIXES
    with suppress(DataError):
        config = find_config(path)
        if config and config.places:
            return True
    labels = LabelFinder()
    few = islice(pictures_anywhere(path), _GLANCE)
    return any(_looks_like_label(file) for picture in few if (file := labels.label_of(picture)))


def load(path: Path) -> Dataset:
    """Read all labels, and the headers of the pictures that have any.

    Args:
        path: DATA, or its YAML file.

    Returns:
        Samples with a `BoxesTarget`, sorted by name, which is the picture's path below DATA (below the deepest folder
        that holds all pictures, where the YAML file names pictures outside).

    Raises:
        DataError: there are no pictures, or the YAML file cannot be understood.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> data = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (200, 100)).save(data / "1.jpg")
        >>> (data / "1.txt").write_text("3 0.5 0.5 0.1 0.25") > 0
        True
        >>> dataset = load(data)
        >>> dataset.classes, dataset[0].target.boxes
        (('0', '1', '2', '3'), array([[ 90. , 37.5, 110. , 62.5]]))
    """
    root = Path(os.path.abspath(path.parent if path.is_file() else path))
    config = find_config(path)
    problems: list[Problem] = []
    pictures = (pictures_named(config, problems) if config else []) or list(pictures_anywhere(root))
    if not pictures:
        raise DataError(f"there are no pictures in '{path}'", hint="Check the paths in its YAML file, if it has one")
    folders = sorted({picture.folder for picture in pictures})
    base = Path(os.path.commonpath([root, *folders]))
    labels = LabelFinder()
    names = (config and config.names) or class_names(root, map(labels.folder_of, folders))
    lines = Lines(len(names) if names else _MOST_CLASSES, config.keypoint_numbers if config else 0)
    reading = _Reading(base, labels, lines, problems)
    samples = [sample for picture in pictures if (sample := reading.sample(picture))]
    reading.report_lonely_labels(root)
    classes = names or tuple(map(str, range(reading.largest_class + 1)))
    ordered = sorted(samples, key=lambda sample: sample.name)
    return Dataset(ordered, classes, format_.name, str(path), tuple(problems), reading.unheld)


@dataclass
class _Reading:
    """The labels read so far.

    Attributes:
        base: what names and messages are relative to.
        finder: of labels.
        lines: how to understand them.
        problems: what is wrong with them.
        unheld: what has no place.
        largest_class: the largest number of a class; -1 if there is none.
    """

    base: Path
    finder: LabelFinder
    lines: Lines
    problems: list[Problem]
    unheld: Counter[str] = field(default_factory=Counter)
    largest_class: int = -1

    def sample(self, picture: Picture) -> Sample | None:
        """A picture and its boxes; None where they cannot be known."""
        name = relative(picture.file, self.base)
        file = self.finder.label_of(picture)
        text = self._text(file, name) if file else ""
        labels = Labels()
        if file and text.strip():
            header = read_header(picture.file)
            if header is None:
                self._report(UNREADABLE, name, "without its size its boxes cannot be known", name)
                return None
            labels = parse(text, header.upright_wh, self.lines)
            where = relative(file, self.base)
            for number, mistake in labels.mistakes:
                self._report(mistake.kind, f"{where}:{number}", mistake.what, name, fatal=mistake.fatal)
        self.unheld.update(labels.unheld)
        self.largest_class = max(self.largest_class, *labels.classes, -1)
        target = BoxesTarget(np.array(labels.boxes, np.float64), np.array(labels.classes, np.int64))
        return Sample.of_file(name, picture.file, target, picture.split)

    def report_lonely_labels(self, root: Path) -> None:
        """Note the labels whose pictures are missing."""
        for file in self.finder.lonely(root):
            if _looks_like_label(file):
                self._report(NO_PICTURE, relative(file, self.base), "there is no picture of this name")

    def _text(self, file: str, name: str) -> str:
        try:
            return read_text(Path(file))
        except DataError as error:
            self._report(MALFORMED, relative(file, self.base), error.what, name, fatal=True)
            return ""

    def _report(self, kind: str, where: str, what: str, sample: str | None = None, *, fatal: bool = False) -> None:
        self.problems.append(Problem(kind=kind, where=where, what=what, sample=sample, fatal=fatal))


def _looks_like_label(file: str) -> bool:
    with open(file, encoding="utf-8-sig", errors="replace") as stream:
        first = next((line for line in stream if line.strip()), "")
    return looks_like_label(first)
