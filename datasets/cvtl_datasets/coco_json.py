"""COCO's JSON files as such: telling them from others, finding them in a folder, and reading them entry by entry.

The whole text of a file is held, but of its entries only the fields that are asked for: outlines, which make up nine
tenths of COCO's own files, are counted and dropped as they are met.
"""

from __future__ import annotations

import json
import mmap
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from cvtl.data import Problem, Split
from cvtl.errors import DataError
from cvtl_datasets.annotation_files import MALFORMED, Mistake, split_of

# A folder with more JSON files holds one per picture, which no COCO set does.
_MOST_FILES = 50
# Where the lists of a COCO file usually begin: near its start or its end.
_NEAR = 1 << 16
# Names of points are looked for this near to where the categories begin.
_CATEGORIES_LENGTH = 1 << 20
_OBJECT = re.compile(rb"(\xef\xbb\xbf)?\s*\{")
_POINT_NAMES = re.compile(rb'"keypoints"\s*:\s*\[\s*"')
_SPACE = re.compile(r"[ \t\r\n]*")
# Fields that say nothing.
_EMPTY: tuple[object, ...] = (None, 0, "", [], {})


def coco_files(path: Path) -> list[Path]:
    """The COCO files at a path: itself, or those in the folder, or else in `annotations`, or in `train`, `val`, `test`.

    They are looked into, but not parsed. Lists of results are no COCO files, nor are captions.
    """
    if not path.is_dir():
        return [path] if path.suffix.lower() == ".json" and _is_coco(path) else []
    split_folders = (child for child in sorted(path.iterdir()) if child.is_dir() and split_of(child.name))
    for folders in ([path], [path / "annotations"], split_folders):
        found = [file for folder in folders for file in _json_files(folder) if _is_coco(file)]
        if found:
            return found
    return []


def names_points(file: Path) -> bool:
    """Whether a category of a COCO file says what its keypoints are called."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        start = _find_list(view, "categories")
        return start is not None and bool(_POINT_NAMES.search(view, start, start + _CATEGORIES_LENGTH))


def _json_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))
    return files if len(files) <= _MOST_FILES else []


def _is_coco(file: Path) -> bool:
    if not file.stat().st_size:
        return False
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        lists = ("images", "categories")
        return bool(_OBJECT.match(view)) and all(_find_list(view, name) is not None for name in lists)


def _find_list(view: mmap.mmap, name: str) -> int | None:
    opening = re.compile(rb'"%s"\s*:\s*\[' % name.encode())
    for start, end in ((0, _NEAR), (max(0, len(view) - _NEAR), len(view)), (0, len(view))):
        if match := opening.search(view, start, end):
            return match.start()
    return None


def whole_number(written: object) -> int | None:
    """An id as a number: pandas writes 3.0 for 3.

    Example:
        >>> whole_number(3.0), whole_number(3.5), whole_number("3")
        (3, None, None)
    """
    if isinstance(written, int) or (isinstance(written, float) and written.is_integer()):
        return int(written)
    return None


class Entry(NamedTuple):
    """An image, an annotation or a category as it is written.

    Attributes:
        position: where it begins in the file's text.
        fields: those that were asked for and are there.
    """

    position: int
    fields: Mapping[str, Any]


@dataclass
class CocoFile:
    """What a COCO file says.

    Attributes:
        path: the file.
        name: its path relative to the data set.
        split: the split that its name, or the data set's folder that it lies in, speaks of.
        text: all of it.
        lists: the entries of `images`, `categories` and, unless no pictures are annotated, `annotations`.
        unheld: the fields that were not asked for and how often they occur.
    """

    path: Path
    name: str
    split: Split | None
    text: str
    lists: dict[str, list[Entry]] = field(default_factory=dict)
    unheld: Counter[str] = field(default_factory=Counter)
    _reports: list[tuple[int, Problem]] = field(default_factory=list)

    def report(self, position: int, mistake: Mistake, sample: str | None = None, *, fatal: bool | None = None) -> None:
        """Note a mistake in the entry at a position; it is as fatal as its kind unless told otherwise."""
        fatal = mistake.fatal if fatal is None else fatal
        problem = Problem(kind=mistake.kind, where=self.name, what=mistake.what, sample=sample, fatal=fatal)
        self._reports.append((position, problem))

    def problems(self) -> Iterator[Problem]:
        """The mistakes noted, with their lines, in the order of the file."""
        line, counted = 1, 0
        for position, problem in sorted(self._reports, key=lambda report: report[0]):
            line += self.text.count("\n", counted, position)
            counted = position
            yield replace(problem, where=f"{self.name}:{line}")

    def error(self, position: int, what: str, hint: str) -> DataError:
        """What is wrong with the file as a whole."""
        line = self.text.count("\n", 0, position) + 1
        return DataError(f"'{self.path}:{line}': {what}", hint=hint)


def read_coco(path: Path, root: Path, fields: Mapping[str, Collection[str]]) -> CocoFile:
    """Read a COCO file.

    Args:
        path: the file.
        root: the data set, the file itself or a folder that it lies in.
        fields: which fields to keep of the entries of each list.

    Raises:
        DataError: it cannot be read, is no JSON (file and line are named), or has no images or categories.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}", hint="Check its permissions") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read '{path}': it is not text in UTF-8", hint="Save it as UTF-8") from error
    split = split_of(path.stem)
    if split is None and path.parent.parent == root:
        split = split_of(path.parent.name)
    name = path.name if path == root else path.relative_to(root).as_posix()
    file = CocoFile(path, name, split, text)
    try:
        _read_lists(file, fields)
    except json.JSONDecodeError as error:
        problem = f"'{path}:{error.lineno}': this is no COCO JSON: {error.msg} (column {error.colno})"
        raise DataError(problem, hint="Correct it, or fetch the file again if its end is missing") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise DataError(f"cannot read '{path}': {error}", hint="Check that it is a COCO file") from error
    for needed in ("images", "categories"):
        if needed not in file.lists:
            raise DataError(
                f"'{path}' has no list '{needed}'", hint="COCO files have images, annotations and categories"
            )
    return file


def _read_lists(file: CocoFile, fields: Mapping[str, Collection[str]]) -> None:
    scanner = _Scanner(file.text)
    for key in scanner.members():
        if key not in fields:
            value = scanner.value()
            file.unheld[key] += len(value) if isinstance(value, list) else bool(value)
            continue
        entries = file.lists.setdefault(key, [])
        kept = fields[key]
        for position in scanner.items():
            value = scanner.value()
            if isinstance(value, dict):
                entries.append(Entry(position, {field: value[field] for field in kept if field in value}))
                file.unheld.update(field for field in value if field not in kept and value[field] not in _EMPTY)
            else:
                file.report(position, Mistake(MALFORMED, f"this entry of '{key}' is not an object in braces"))


class _Scanner:
    """Walks over the outermost object of a JSON text; lists in it can be read item by item."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._decode = json.JSONDecoder().raw_decode
        self._skip_space()

    def members(self) -> Iterator[str]:
        """The names of the object's members. Whoever iterates reads each one's value or items."""
        for position in self._sequence("{", "}"):
            if not self._text.startswith('"', position):
                raise self._error("a name in quotes is expected")
            name = self.value()
            self._expect(":")
            yield name

    def items(self) -> Iterator[int]:
        """The positions of a list's items. Whoever iterates reads each one's value."""
        return self._sequence("[", "]")

    def value(self) -> Any:
        """Read a value of any kind."""
        value, self._position = self._decode(self._text, self._position)
        self._skip_space()
        return value

    def _sequence(self, opening: str, closing: str) -> Iterator[int]:
        self._expect(opening)
        if not self._follows(closing):
            yield self._position
            while self._follows(","):
                yield self._position
            self._expect(closing)

    def _follows(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._position):
            return False
        self._position += 1
        self._skip_space()
        return True

    def _expect(self, sign: str) -> None:
        if not self._follows(sign):
            raise self._error(f"'{sign}' is expected")

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._position)
        self._position = match.end() if match else self._position

    def _error(self, what: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(what, self._text, self._position)
