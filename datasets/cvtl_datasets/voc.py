"""Pascal VOC: a folder of XML annotations, one for each picture, and lists that say which split it is in.

- Annotations: `Annotations/*.xml` (or `annotations/`, and folders in it), or XML files beside the pictures, in DATA
  itself or in its `train`, `val` and `test`. DATA may be a folder that holds nothing but one such folder.
- Pictures: in `JPEGImages/` or `images/`, else anywhere in DATA. An annotation's picture has the annotation's name, or
  else the name in `<filename>`, whose suffix may be wrong.
- Splits: `train.txt`, `val.txt` (or `valid.txt`) and `test.txt` in `ImageSets/Main`, in `ImageSets` or in DATA, with an
  annotation or a picture on each line, with or without folders and suffix; what stands behind it does not count.
  `trainval.txt` and lists of single classes are passed over.
- Classes: `classes.txt` or `labels.txt` in DATA or beside the annotations, one on each line, in that order; without
  them the names that occur, sorted.
- Coordinates are taken as they are written. VOC's own count pixels from 1 and include the last; most tools write and
  read edges counted from 0, and so does this.
- Of an object, its name, box and `difficult` are held. Other fields that say something are counted in `unheld`.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvtl.data import BoxesTarget, Dataset, DatasetFormat, Problem, Sample, Split
from cvtl.errors import DataError
from cvtl_datasets.annotation_files import (
    DUPLICATE,
    MALFORMED,
    NO_LABEL,
    NO_PICTURE,
    UNKNOWN_CLASS,
    Mistake,
    check_box,
    split_of,
)
from cvtl_datasets.reading import files_below, is_picture_suffix, read_names, relative
from cvtl_datasets.voc_lists import SplitLists
from cvtl_datasets.voc_xml import Annotation, Box, MalformedError, VocObject, lines_of_objects, parse

format_ = DatasetFormat(
    name="voc",
    summary="Pascal VOC: one XML file for each picture",
    tasks=("detect", "localize"),
    recognizes="cvtl_datasets.voc:recognizes",
    load="cvtl_datasets.voc:load",
    save="cvtl_datasets.voc_writing:save",
)

ANNOTATIONS, PICTURES = "Annotations", "JPEGImages"
CLASSES = "classes.txt"

# A kind of problem: what an annotation says of its picture's name does not fit.
OTHER_PICTURE = "filename of another picture"

_DEVKIT = "VOCdevkit"
_CLASS_FILES = (CLASSES, "labels.txt")
_PICTURE_FOLDERS = {"jpegimages", "images"}
# How many XML files are looked into for an annotation.
_GLANCE = 20
_ROOT_ELEMENT = re.compile(rb"<annotation[\s/>]")


def recognizes(path: Path) -> bool:
    """Whether there are XML files where annotations belong, of which one of the first is an `<annotation>`."""
    if not path.is_dir():
        return False
    few = (xml for part in _parts(_home(path)) for xml in islice(_xmls(part), _GLANCE))
    return any(_is_annotation(f"{folder}/{stem}{suffix}") for folder, stem, suffix in few)


def load(path: Path) -> Dataset:
    """Read all annotations; no picture is opened before it is asked for.

    Args:
        path: DATA.

    Returns:
        Samples with a `BoxesTarget`, sorted by name, which is the picture's path below DATA. A sample whose picture is
        not there is kept where the annotation states the picture's size.

    Raises:
        DataError: it is no folder or cannot be listed, has no annotations, or holds several sets.

    Example:
        >>> import tempfile
        >>> data = Path(tempfile.mkdtemp())
        >>> box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
        >>> xml = f"<annotation><object><name>cat</name>{box}</object></annotation>"
        >>> (data / "1.jpg").touch()
        >>> (data / "1.xml").write_text(xml) > 0
        True
        >>> dataset = load(data)
        >>> dataset.classes, dataset[0].name, dataset[0].target.boxes
        (('cat',), '1.jpg', array([[1., 2., 3., 4.]]))
    """
    if not path.is_dir():
        raise DataError(f"'{path}' is not a folder", hint="Give the folder that holds the annotations and pictures")
    path = _home(path)
    parts = _parts(path)
    if not parts:
        raise DataError(f"there are no XML annotations in '{path}'", hint=f"They belong into '{path / ANNOTATIONS}'")
    unsplit = [part.root for part in parts if part.split is None]
    if len(unsplit) > 1:
        names = ", ".join(f"'{root.name}'" for root in unsplit)
        raise DataError(f"'{path}' holds several data sets: {names}", hint="Name one of them")
    reading = _Reading(path)
    for part in parts:
        reading.read(part)
    return reading.dataset(_named_classes(path, parts))


class _Part(NamedTuple):
    """A folder that holds annotations and their pictures.

    Attributes:
        root: the folder.
        annotations: where in it the annotations are; the folder itself where they lie beside the pictures.
        split: that the folder's name speaks of.
    """

    root: Path
    annotations: Path
    split: Split | None = None


@dataclass
class _Record:
    """An annotation file and its picture.

    Attributes:
        file: the annotation, relative to DATA.
        id: its name without folder and suffix.
        annotation: what it says.
        picture: the picture's path, whether it is there or not.
        exists: whether it is there.
        own_name: whether the picture has the annotation's name.
        split: of the picture.
    """

    file: str
    id: str
    annotation: Annotation
    picture: str
    exists: bool
    own_name: bool
    split: Split | None


@dataclass
class _Reading:
    """What has been read so far of the data set at `path`."""

    path: Path
    records: list[_Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unheld: Counter[str] = field(default_factory=Counter)

    def read(self, part: _Part) -> None:
        """Read a part's annotations."""
        pictures = _Pictures(part)
        xmls = list(_xmls(part))
        annotated = {stem for _, stem, _ in xmls}
        lists = SplitLists(
            part.root, self.path, annotated | {_inner_id(part, folder, stem) for folder, stem, _ in xmls}
        )
        for folder, stem, suffix in xmls:
            file = relative(f"{folder}/{stem}{suffix}", self.path)
            try:
                with open(f"{folder}/{stem}{suffix}", "rb") as stream:
                    annotation = parse(stream.read())
            except MalformedError as error:
                self.report(MALFORMED, f"{file}:{error.line}", error.what, fatal=True)
                continue
            except OSError as error:
                self.report(MALFORMED, file, f"it cannot be opened: {error.strerror}", fatal=True)
                continue
            inner = os.path.relpath(folder, part.annotations)
            picture, exists = pictures.of(inner, stem, annotation.filename)
            listed = lists.split_of.get(_inner_id(part, folder, stem)) or lists.split_of.get(stem)
            split = listed or part.split or split_of(Path(inner).parts[0] if inner != "." else "")
            own_name = _stem(picture) == stem
            self.records.append(_Record(file, stem, annotation, picture, exists, own_name, split))
            self._check_filename(file, annotation.filename, picture, pictures)
        self.problems += lists.problems
        self._report_unlabelled(pictures, annotated | lists.split_of.keys())

    def _check_filename(self, file: str, filename: str, picture: str, pictures: _Pictures) -> None:
        stem, _ = os.path.splitext(filename)
        if stem in pictures.by_stem and _stem(picture) != stem:
            what = f"<filename> says '{filename}', which is another picture; taken for '{os.path.basename(picture)}'"
            self.report(OTHER_PICTURE, file, what, relative(picture, self.path))

    def _report_unlabelled(self, pictures: _Pictures, known: set[str]) -> None:
        used = {record.picture for record in self.records}
        for stem, files in pictures.by_stem.items():
            for file in files:
                if file not in used and stem not in known:
                    name = relative(file, self.path)
                    self.report(NO_LABEL, name, "there is no annotation of this picture", name)

    def dataset(self, classes: Sequence[str] | None) -> Dataset:
        """Make samples of what was read; `classes` are the names in their order, or None for those that occur."""
        if classes is None:
            classes = sorted({each.name for record in self.records for each in record.annotation.objects if each.name})
        label_of = {name: label for label, name in enumerate(classes)}
        samples: dict[str, Sample] = {}
        first: dict[str, str] = {}
        # Those named like their picture have the first claim to it.
        for record in sorted(self.records, key=lambda record: not record.own_name):
            name = relative(record.picture, self.path)
            if name in samples:
                what = f"'{name}' is annotated in '{first[name]}' already"
                self.report(DUPLICATE, record.file, what, name)
                continue
            if not record.exists:
                what = f"there is no picture '{record.annotation.filename or record.id}'"
                self.report(NO_PICTURE, record.file, what, name)
                if record.annotation.size_wh is None:
                    continue
            target = self._target(record, label_of, name)
            size = record.annotation.size_wh
            samples[name] = Sample.of_file(name, record.picture, target, record.split, annotated_wh=size)
            first[name] = record.file
            self.unheld.update(record.annotation.unheld)
        ordered = [samples[name] for name in sorted(samples)]
        return Dataset(ordered, tuple(classes), format_.name, str(self.path), tuple(self.problems), self.unheld)

    def _target(self, record: _Record, label_of: Mapping[str, int], name: str) -> BoxesTarget:
        boxes, labels, difficult = [], [], []
        for index, each in enumerate(record.annotation.objects):
            try:
                boxes.append(_checked_box(each, label_of))
            except Mistake as mistake:
                where = self._where(record, index)
                self.report(mistake.kind, where, mistake.what, name, fatal=mistake.fatal)
            else:
                labels.append(label_of[each.name])
                difficult.append(each.difficult)
        return BoxesTarget(np.array(boxes, np.float64), np.array(labels, np.int64), difficult=np.array(difficult, bool))

    def _where(self, record: _Record, index: int) -> str:
        content = (self.path / record.file).read_bytes()
        return f"{record.file}:{lines_of_objects(content)[index]}"

    def report(self, kind: str, where: str, what: str, sample: str | None = None, *, fatal: bool = False) -> None:
        """Note a mistake."""
        self.problems.append(Problem(kind=kind, where=where, what=what, sample=sample, fatal=fatal))


def _checked_box(found: VocObject, label_of: Mapping[str, int]) -> Box:
    if found.box is None:
        raise Mistake(MALFORMED, found.fault)
    if found.name not in label_of:
        raise Mistake(UNKNOWN_CLASS, f"the class '{found.name}' is not among the listed ones")
    check_box(*found.box)
    return found.box


class _Pictures:
    """The pictures of a part, by name without suffix."""

    def __init__(self, part: _Part) -> None:
        named = [each for each in _subfolders(part.root) if each.name.lower() in _PICTURE_FOLDERS]
        self.folders = named or [part.root]
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        for top in self.folders:
            for folder, stem, suffix in files_below(top):
                if is_picture_suffix(suffix):
                    self.by_stem[stem].append(os.path.join(folder, stem + suffix))

    def of(self, inner: str, stem: str, filename: str) -> tuple[str, bool]:
        """Where an annotation's picture is, or would be, and whether it is there.

        Args:
            inner: the annotation's folder, relative to the folder of annotations.
            stem: the annotation's name without suffix.
            filename: the picture's name, as the annotation has it.
        """
        named, suffix = os.path.splitext(filename)
        for wanted in (stem, named):
            if found := self.by_stem.get(wanted):
                # Of several with this name, the one in the same folder, and with the suffix that is written.
                return max(found, key=lambda file: (_in_folder(file, inner), file.endswith(suffix))), True
        return os.path.normpath(self.folders[0] / inner / (stem + (suffix or ".jpg"))), False


def _inner_id(part: _Part, folder: str, stem: str) -> str:
    """An annotation's name with the folders in the folder of annotations that it lies in."""
    return relative(f"{folder}/{stem}", part.annotations)


def _home(path: Path) -> Path:
    """DATA, of which the folder of annotations, or the one round the published archive's, may have been named."""
    if path.name.lower() == ANNOTATIONS.lower():
        return path.parent
    return path / _DEVKIT if (path / _DEVKIT).is_dir() else path


def _parts(path: Path) -> list[_Part]:
    """The folders with annotations: DATA itself, or those in it."""
    if own := _part(path, None):
        return [own]
    inner = [part for folder in _subfolders(path) if (part := _part(folder, split_of(folder.name)))]
    splits = [part for part in inner if part.split]
    return splits or inner


def _part(folder: Path, split: Split | None) -> _Part | None:
    for child in _subfolders(folder):
        part = _Part(folder, child, split)
        if child.name.lower() == ANNOTATIONS.lower() and next(_xmls(part), None):
            return part
    # XML beside pictures may be about something else.
    files = (entry.path for entry in _entries(folder) if entry.name.lower().endswith(".xml"))
    return _Part(folder, folder, split) if any(map(_is_annotation, islice(files, _GLANCE))) else None


def _subfolders(folder: Path) -> list[Path]:
    return sorted(Path(entry) for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith("."))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise DataError(f"cannot list '{folder}': {error.strerror}", hint="Check its permissions") from error


def _xmls(part: _Part) -> Iterator[tuple[str, str, str]]:
    """Each XML file's folder, stem and suffix."""
    return (each for each in files_below(part.annotations) if each[2].lower() == ".xml")


def _is_annotation(file: str) -> bool:
    try:
        with open(file, "rb") as stream:
            return bool(_ROOT_ELEMENT.search(stream.read(4096)))
    except OSError:  # a link that leads nowhere, a folder
        return False


def _stem(file: str) -> str:
    return os.path.splitext(os.path.basename(file))[0]


def _in_folder(file: str, inner: str) -> bool:
    return inner == "." or os.path.dirname(file).endswith(os.sep + inner)


def _named_classes(path: Path, parts: Sequence[_Part]) -> list[str] | None:
    for folder in (path, *(folder for part in parts for folder in (part.root, part.annotations))):
        for name in _CLASS_FILES:
            if (folder / name).is_file() and (names := read_names(folder / name)):
                return list(dict.fromkeys(names))
    return None
