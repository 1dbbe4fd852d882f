"""Going through folders of pictures and annotations, and reading lists."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cvtl.errors import DataError
from cvtl.sources import PICTURE_SUFFIXES

# A kind of problem: a picture would be trained on and tested with.
TWO_SPLITS = "picture in two splits"

_LINE_WIDTH = 120


def files_below(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Every file that is not hidden, each folder's by name: the folder's path, the file's stem and its suffix.

    Links to folders are followed, unless they lead back to where the walk is.

    Raises:
        DataError: the folder cannot be listed.
    """

    def give_up(error: OSError) -> None:
        raise DataError(f"cannot list '{error.filename}': {error.strerror}", hint="Check its permissions") from error

    # The real paths of the folders that each folder is reached through.
    above = {os.fspath(folder): frozenset({os.path.realpath(folder)})}
    for parent, folders, files in os.walk(folder, onerror=give_up, followlinks=True):
        here = above.pop(parent)
        real_paths = {name: os.path.realpath(os.path.join(parent, name)) for name in sorted(folders)}
        folders[:] = [
            name
            for name, real in real_paths.items()
            if not name.startswith(".") and name != "__MACOSX" and real not in here
        ]
        above |= {os.path.join(parent, name): here | {real_paths[name]} for name in folders}
        for name in sorted(files):
            if not name.startswith("."):
                yield parent, *os.path.splitext(name)


def is_picture_suffix(suffix: str) -> bool:
    """Whether files that end so are pictures: `.JPG` is."""
    return suffix.lower() in PICTURE_SUFFIXES


def relative(path: str | Path, root: Path) -> str:
    """A path below `root` as names of samples and messages have it: relative, with forward slashes.

    Example:
        >>> relative("data/images/1.jpg", Path("data")), relative("labels/1.txt", Path("data"))
        ('images/1.jpg', '../labels/1.txt')
    """
    text, prefix = os.fspath(path), f"{root}{os.sep}"
    # Much faster where there are many.
    below = text.removeprefix(prefix) if text.startswith(prefix) else os.path.relpath(text, root)
    return below.replace(os.sep, "/")


def read_text(path: Path) -> str:
    """A text file, UTF-8 with or without a mark; bytes that are not UTF-8 become question marks.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        return path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}", hint="Check its permissions") from error


def read_names(path: Path) -> list[str]:
    """Class names, one on each line."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


_RESOLVERS = {"n": [("tag:yaml.org,2002:null", re.compile("null$"))]}


class _Loader(yaml.SafeLoader):
    """Leaves scalars as they are written: `no` is a name, `010` too, and an impossible date harms nobody."""

    yaml_implicit_resolvers = _RESOLVERS


class _Dumper(yaml.SafeDumper):
    """Writes no quotes that `_Loader` can do without."""

    yaml_implicit_resolvers = _RESOLVERS


def read_yaml(path: Path) -> Any:
    """What a YAML file holds: lists, dicts, and text, for numbers too are left as they are written.

    Raises:
        DataError: it cannot be opened or is no YAML; the message names the line.
    """
    try:
        return yaml.load(read_text(path), _Loader)
    except RecursionError as error:
        raise DataError(f"'{path}' is nested too deeply", hint="Correct it") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise DataError(f"'{where}' is no YAML: {getattr(error, 'problem', error)}", hint="Correct it") from error


def yaml_text(content: Any) -> str:
    r"""Lists, dicts and text as YAML that `read_yaml` reads back, lists of plain values on a line.

    Example:
        >>> yaml_text({"pairs": [["0", "no"]], "names": ["a: b"]})
        "pairs:\n- [0, no]\nnames: ['a: b']\n"
    """
    ways: dict[str, Any] = {"default_flow_style": None, "sort_keys": False, "width": _LINE_WIDTH}
    text: str = yaml.dump(content, Dumper=_Dumper, allow_unicode=True, **ways)
    # The library leaves some line ends as they are, and reads them as spaces.
    is_plain = text.replace("\n", "").isprintable()
    return text if is_plain else yaml.dump(content, Dumper=_Dumper, allow_unicode=False, **ways)


def box_fault(x1: float, y1: float, x2: float, y2: float) -> str | None:
    """The kind of problem with a box, if any.

    Example:
        >>> box_fault(1, 2, 1, 4), box_fault(3, 2, 1, 2), box_fault(1, 2, 3, 4)
        ('zero-area box', 'inverted box', None)
    """
    if x2 < x1 or y2 < y1:
        return "inverted box"
    return "zero-area box" if x1 == x2 or y1 == y2 else None
