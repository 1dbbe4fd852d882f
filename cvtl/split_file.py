"""A division of a data set that its user made: a CSV file of names and splits, which replaces the published one.

Nothing else of the data set is touched. The file lies in the data set's folder, or beside its file:

    photos/                       photos/cvtl-splits.csv
    photos/instances.json         photos/instances.json.cvtl-splits.csv
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

from cvtl.data import Dataset, Split
from cvtl.errors import DataError
from cvtl.files import write_atomically
from cvtl.splits import SPLITS

# No format takes a file of this name for its own.
FILE_NAME = "cvtl-splits.csv"
_HEADER = ["name", "split"]
_LONGEST_EXCERPT = 100


def split_file_of(path: str | Path) -> Path:
    """Where the division of the data set at `path` lies, if there is one.

    Example:
        >>> split_file_of("photos/instances.json").as_posix()
        'photos/instances.json.cvtl-splits.csv'
    """
    path = Path(path)
    return path / FILE_NAME if path.is_dir() else path.with_name(f"{path.name}.{FILE_NAME}")


def write_split_file(path: str | Path, parts: Mapping[Split, Dataset]) -> None:
    """Write who is in which part, sorted by name.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO()
    plain, quoted = (
        csv.writer(text, lineterminator="\n", quoting=quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    plain.writerow(_HEADER)
    for name, split in sorted((sample.name, split) for split, part in parts.items() for sample in part):
        # Where carriage returns do not end lines the module does not quote them, but takes them for ends in reading.
        (quoted if "\r" in name else plain).writerow((name, split))
    # File names on POSIX need not be UTF-8.
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"))


def with_split_file(dataset: Dataset, path: str | Path) -> Dataset:
    """The data set, divided as the file says.

    Raises:
        DataError: the file cannot be read or does not fit the data set; the message names file and line.
    """
    split_of = _read(Path(path))
    names = {sample.name for sample in dataset}
    for odd, what in ((names - split_of.keys(), "lacks"), (split_of.keys() - names, "is not of this data set: it has")):
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise DataError(
                f"the split file '{path}' {what} '{min(odd)}'{more}",
                hint="Divide anew with `cvtl data split --replace`, or remove the file",
            )
    return replace(dataset, samples=[replace(sample, split=split_of[sample.name]) for sample in dataset])


def _read(path: Path) -> dict[str, Split]:
    split_of: dict[str, Split] = {}
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            # Some languages' spreadsheets write semicolons.
            delimiter = ";" if ";" in stream.readline() else ","
            stream.seek(0)
            rows = csv.reader(stream, delimiter=delimiter)
            if next(rows, None) != _HEADER:
                raise _malformed(path, 1, f"the header is not {','.join(_HEADER)}")
            for row in filter(None, rows):
                if len(row) != 2 or row[1] not in SPLITS:
                    found = shorten(delimiter.join(row), _LONGEST_EXCERPT)
                    raise _malformed(path, rows.line_num, f"{found!r} is not a name and train, val or test")
                if split_of.setdefault(row[0], row[1]) != row[1]:
                    raise _malformed(path, rows.line_num, f"'{row[0]}' is in two splits")
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read the split file '{path}': {error}", hint="Check that it is there") from error
    return split_of


def _malformed(path: Path, line: int, what: str) -> DataError:
    return DataError(f"{path}:{line}: {what}", hint="Correct the line, or divide anew with `cvtl data split --replace`")
