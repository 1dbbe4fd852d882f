"""Class names of ONNX files. Torch-free."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from cvtl.errors import UsageError, WeightsError
from cvtl_onnx.layouts import OPEN


def class_names(path: Path, metadata: Mapping[str, str], named: str | None, count: int) -> tuple[str, ...]:
    """The names of a network's classes, in label order.

    They stand in the named file; or else in the metadata, where Ultralytics writes them; or else in a file
    `*classes*.txt` beside the weights that has as many as the network gives. Where they stand nowhere, the classes are
    called by their numbers.

    Args:
        path: of the ONNX file.
        metadata: the exporter's.
        named: a text file with a name in each line.
        count: of the classes; `OPEN` if only the names can tell.

    Raises:
        UsageError: the named file cannot be read or has another number of names.
        WeightsError: only names could tell how many classes there are, or several files beside the weights fit.
    """
    if named is not None:
        names = _from_named_file(Path(named))
        if count not in (OPEN, len(names)):
            raise UsageError(
                f"'{named}' names {len(names)} classes, but '{path}' gives {count}",
                hint="Name the file that belongs to these weights with --classes",
            )
        return names
    names = _from_metadata(metadata)
    if names and count in (OPEN, len(names)):
        return names
    beside = _from_beside(path, count)
    if beside:
        return beside
    if count == OPEN:
        raise WeightsError(
            f"'{path}' does not say which classes it knows",
            hint="Name a text file with one in each line: --classes FILE",
        )
    return tuple(map(str, range(count)))


def _from_named_file(file: Path) -> tuple[str, ...]:
    try:
        return _lines(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(
            f"cannot read the class names in '{file}': {reason}",
            hint="--classes takes a text file, a name in each line",
        ) from None


def _from_metadata(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What Ultralytics writes: a Python dictionary of numbers and names, or a list; nothing if it is neither."""
    try:
        found = ast.literal_eval(metadata.get("names", "()"))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    if isinstance(found, dict):
        found = [found.get(index) for index in range(len(found))]
    if not isinstance(found, (list, tuple)) or not all(isinstance(name, str) for name in found):
        return ()
    return tuple(found)


def _from_beside(path: Path, count: int) -> tuple[str, ...]:
    """The names in the one file beside the weights that fits; one that is called like them goes before others."""
    files = sorted(file for file in path.absolute().parent.glob("*.txt") if "classes" in file.name.lower())
    fitting = {}
    for file in files:
        try:
            names = _lines(file)
        except (OSError, UnicodeDecodeError):
            continue
        if names and count in (OPEN, len(names)):
            fitting[file] = names
    own = {file: names for file, names in fitting.items() if file.name.startswith(path.stem)}
    chosen = own or fitting
    if len(set(chosen.values())) > 1:
        raise WeightsError(
            f"the classes of '{path}' may be those in {' or '.join(file.name for file in chosen)}",
            hint="Say which with --classes",
        )
    return next(iter(chosen.values()), ())


def _lines(file: Path) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, file.read_text(encoding="utf-8-sig").splitlines())))
