"""The YAML file of a YOLO data set: what its classes are called, and where the pictures of each split lie.

Darknet's `*.data` says the same in lines of `key = value`; its paths are relative to wherever Darknet is started.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cvtl.data import Split
from cvtl.errors import DataError
from cvtl_datasets.folders import SPLIT_FOLDERS
from cvtl_datasets.reading import read_names, read_text, read_yaml

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

    def find(self, place: str, *beside: Path) -> str | None:
        """Where a place is, if it is anywhere: relative to one of `beside`, to `path`, or to the file itself.

        A leading `../` need not be meant: Roboflow writes it, and Ultralytics takes it away where it leads nowhere.
        Nor need a leading `data/`, with which CVAT writes all its paths.
        """
        for written in dict.fromkeys((place, place.removeprefix("../"), place.removeprefix("data/"))):
            for base in (*beside, self.base, self.file.parent):
                if os.path.exists(found := os.path.join(base, written)):
                    return found
        return None


def find_config(path: Path) -> YoloConfig | None:
    """The configuration of a data set: the file itself, or the first in a folder that has names, or Darknet's.

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
    darknet = map(_read_darknet, sorted([*path.glob("*.data"), *path.glob("data/*.data")]))
    return next(filter(None, darknet), None)


def read_config(file: Path) -> YoloConfig:
    """Read a configuration.

    Raises:
        DataError: it is no YAML (the line is named), or has no names.
    """
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise DataError(f"'{file}' is no configuration", hint="Give it `names`, `train` and `val`")
    path = content.get("path") or ""
    if not isinstance(path, str):
        raise DataError(f"'{file}': `path` is no path", hint="Correct it")
    base = file.parent / path
    return YoloConfig(
        file=file,
        names=_names(content, file),
        # Ultralytics looks for `path` below a folder of its own.
        base=base if base.is_dir() else file.parent,
        places=dict(_places(content, file)),
        keypoint_numbers=_keypoint_numbers(content.get("kpt_shape")),
    )


def _read_darknet(file: Path) -> YoloConfig | None:
    """Read Darknet's configuration; None if it is something else."""
    lines = (line.partition("=") for line in read_text(file).splitlines())
    content = {key.strip(): value.strip() for key, equals, value in lines if equals}
    places = dict(_places(content, file))
    config = YoloConfig(file=file, names=(), base=file.parent.parent, places=places)
    names = config.find(content.get("names", ""))
    return replace(config, names=tuple(read_names(Path(names)))) if places and names and os.path.isfile(names) else None


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
    if isinstance(names, dict):
        if names.keys() != {str(number) for number in range(len(names))}:
            raise DataError(f"'{file}': `names` does not number the classes from 0 on, without gaps", hint="Correct it")
        names = [names[str(number)] for number in range(len(names))]
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    if not names and isinstance(count, str) and count.isdecimal() and 0 < int(count) < 100_000:
        return tuple(map(str, range(int(count))))
    raise DataError(f"'{file}' does not say what the classes are called", hint="Give it `names`, a list")


def _keypoint_numbers(shape: Any) -> int:
    """Of `[17, 3]`: 17 points of 3 numbers each."""
    match shape:
        case [str(points), str(numbers)] if points.isdecimal() and numbers.isdecimal():
            return int(points) * int(numbers)
    return 0
