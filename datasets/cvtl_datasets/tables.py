"""Tables of points in CSV files: what their readers share."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cvtl_datasets.annotation_files import MALFORMED, Mistake

if TYPE_CHECKING:
    from _csv import Reader

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOST_FILES = 50
"""A folder with more CSV files holds one per picture or per person, which none of these formats does."""


def csv_files(path: Path) -> list[Path]:
    """The path itself if it is a file, else the CSV files in the folder, by name."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix.lower() == ".csv" and not file.name.startswith("."))


def open_table(file: Path) -> TextIOWrapper:
    """Open a CSV file; names of pictures in it need not be UTF-8."""
    return file.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def table_reader(stream: IO[str]) -> Reader:
    """The rows of a CSV file, cells divided by what divides its headings."""
    headings = stream.readline()
    stream.seek(0)
    return csv.reader(stream, delimiter=max(",;\t", key=headings.count), skipinitialspace=True)


def numbers_of(cells: Sequence[str], reader: Reader) -> list[float]:
    """The numbers in a row's cells, NaN for empty ones; where semicolons divide, a comma is a decimal sign.

    Raises:
        Mistake: a cell holds no number.
    """
    decimal_sign = "," if reader.dialect.delimiter == ";" else "."
    return [_number(cell, decimal_sign) for cell in cells]


def visible_points(numbers: Sequence[float], names: Sequence[str]) -> tuple[Floats, Bools]:
    """Points (K, 2), 0 where they are missing, and which are there (K,), from x and y of each by turns.

    A point is missing where both are NaN.

    Raises:
        Mistake: only one is.

    Example:
        >>> visible_points([1, 2.5, math.nan, math.nan], ["nose", "chin"])
        (array([[1. , 2.5],
               [0. , 0. ]]), array([ True, False]))
    """
    points = np.array(numbers, np.float64).reshape(-1, 2)
    missing = np.isnan(points)
    visible = np.asarray(~missing.any(axis=1))
    halved = np.flatnonzero(~visible & ~missing.all(axis=1))
    if len(halved):
        raise Mistake(MALFORMED, f"the point '{names[halved[0]]}' has only one coordinate")
    return np.where(missing, 0, points), visible


def _number(cell: str, decimal_sign: str) -> float:
    try:
        number = float(cell.replace(decimal_sign, ".").strip() or "nan")
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise Mistake(MALFORMED, f"'{cell}' is not a number")
    return number
