"""The YAML file of a YOLO data set: what its classes are called, and where the pictures of each split lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cvtl.data import Split
from cvtl.errors import DataError
from cvtl_datasets.folders import SPLIT_FOLDERS
from cvtl_datasets.reading import read_text

CONFIG_SUFFIXES = (".yaml", ".yml")
# The usual names come before all others.
_USUAL_STEMS = ("data", "dataset")


@dataclass(frozen=True, kw_only=True)
class YoloConfig:
    """What the file says.

    Attributes:
        file: itself.
        names: of the classes.
        base: the folder that places are relative to.
        places: the folders of pictures, or text files that list them, by split, as they are written.
        keypoint_numbers: how many numbers stand behind each box, of keypoints.
    """

    file: Path
    names: tuple[str, ...]
    base: Path
    places: Mapping[Split, tuple[str, ...]]
    keypoint_numbers: int = 0

    def find(self, place: str) -> Path | None:
        """Where a place is, if it is anywhere: relative to `path`, or to the file itself.

        A leading `../` need not be meant: Roboflow writes it, and Ultralytics takes it away where it leads nowhere.
        """
        for base in (self.base, self.file.parent):
            for written in (place, place.removeprefix("../")):
                if (base / written).exists():
                    return base / written
        return None


def find_config(path: Path) -> YoloConfig | None:
    """The configuration of a data set: the file itself, or the first in a folder that has names.

    Raises:
        DataError: the file itself is no configuration, or a folder cannot be listed.
    """
    if path.is_file():
        return read_config(path)
    try:
        files = [file for file in path.iterdir() if file.suffix.lower() in CONFIG_SUFFIXES and file.is_file()]
    except OSError as error:
        raise DataError(f"cannot list '{path}': {error.strerror}", hint="Check its permissions") from error
    for file in sorted(files, key=lambda file: (file.stem not in _USUAL_STEMS, file.name)):
        try:
            return read_config(file)
        except DataError:  # it is about something else, unless its name says that it is not
            if file.stem in _USUAL_STEMS:
                raise
    return None


def read_config(file: Path) -> YoloConfig:
    """Read a configuration.

    Raises:
        DataError: it is no YAML (the line is named), or has no names.
    """
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise DataError(f"'{where}' is no YAML: {getattr(error, 'problem', error)}", hint="Correct it") from error
    if not isinstance(content, dict):
        raise DataError(f"'{file}' is no configuration", hint="Give it `names`, `train` and `val`")
    base = file.parent / str(content.get("path") or "")
    return YoloConfig(
        file=file,
        names=_names(content, file),
        # Ultralytics looks for `path` below a folder of its own.
        base=base if base.is_dir() else file.parent,
        places=dict(_places(content, file)),
        keypoint_numbers=_keypoint_numbers(content.get("kpt_shape")),
    )


def _places(content: Mapping[Any, Any], file: Path) -> Iterator[tuple[Split, tuple[str, ...]]]:
    for key, split in SPLIT_FOLDERS.items():
        value = content.get(key) or []
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise DataError(f"'{file}': `{key}` is no path and no list of paths", hint="Correct it")
        if listed:
            yield split, tuple(listed)


def _names(content: Mapping[Any, Any], file: Path) -> tuple[str, ...]:
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, list):
        return tuple(map(str, names))
    if isinstance(names, dict):
        numbered = {str(number): str(name) for number, name in names.items()}
        if numbered.keys() != {str(number) for number in range(len(names))}:
            raise DataError(f"'{file}': `names` does not number the classes 0, 1, 2, ...", hint="Correct it")
        return tuple(numbered[str(number)] for number in range(len(names)))
    if names is None and isinstance(count, int) and 0 < count < 100_000:
        return tuple(map(str, range(count)))
    raise DataError(f"'{file}' does not say what the classes are called", hint="Give it `names`, a list")


def _keypoint_numbers(shape: Any) -> int:
    """Of `[17, 3]`: 17 points of 3 numbers each."""
    match shape:
        case [int(points), int(numbers)]:
            return points * numbers
    return 0
