"""One HTML page that needs nothing else: no network, no other files, and no JavaScript to be read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cvtl.files import open_atomically
from cvtl.progress import Progress
from cvtl.reporting.plots import LINE_COLOURS, curves_svg
from cvtl.reporting.sections import Bars, Figure, Gallery, Matrix, Role, Section, Thumbnail
from cvtl.reporting.shape_layout import WIDTH, lay_out
from cvtl.reporting.thumbnails import ROLE_COLOURS, data_uri, thumbnail
from cvtl.reporting.values import NOTHING, count, is_number_column, is_right, kind_of, most_confused, show
from cvtl.terminal import printable

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent
_LONGEST_SIDE = 360
_MOST_CONFUSED = 25
_ROLE_NAMES: dict[Role, str] = {"true": "truth", "found": "found", "wrong": "wrong"}


def write_page(
    path: Path,
    title: str,
    figures: Sequence[Figure],
    sections: Sequence[Section],
    notes: Sequence[str] = (),
    *,
    facts: Mapping[str, str] = MappingProxyType({}),
    progress: Progress | None = None,
) -> None:
    """Write figures and sections as one self-contained page; the same input gives the same bytes.

    The page is written as a stream: memory does not grow with the number of thumbnails. It forbids the browser to load
    anything from outside, and every text in it is escaped, wherever it comes from.

    Args:
        path: the file to write.
        title: of the page.
        figures: the headline figures.
        sections: the rest, in the order to show it.
        notes: what a reader has to know, a sentence each.
        facts: what was measured with what, name to value.
        progress: is told of each thumbnail.

    Raises:
        OutputError: the file cannot be written.
    """
    template = _environment(progress or Progress()).get_template("page.html")
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    stream = template.stream(
        title=title,
        figures=figures,
        sections=sections,
        notes=notes,
        facts=facts,
        nothing=NOTHING,
        drawing_width=WIDTH,
        line_colours=LINE_COLOURS,
        script=_as_it_is(script),
        script_hash=_as_it_is(f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"),
    )
    with open_atomically(path) as file:
        stream.dump(file, encoding="utf-8")


def _environment(progress: Progress) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        # File names may hold bytes that are no text, and names of classes anything at all.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {
        "bar_share": _bar_share,
        "has_intervals": lambda figures: any(show(figure.low) != NOTHING for figure in figures),
        "is_number_column": is_number_column,
        "kind": kind_of,
        "layout": lay_out,
        "matrix_rows": _matrix_rows,
        "most_confused": partial(most_confused, most=_MOST_CONFUSED),
        "places": _places,
        "roles": _roles,
        "show": show,
        "svg": lambda curves, prefix: _as_it_is(curves_svg(curves, prefix)),
        "thumbnail": partial(_image, progress=progress),
    }
    return environment


def _as_it_is(text: str) -> str:
    """Text that is not to be escaped: our own."""
    from markupsafe import Markup

    return Markup(text)


def _places(figure: Figure) -> tuple[float, float, float]:
    """Where low end, value and high end lie on a scale from 0 to 100 that stands for [0, 1] or, if need be, more."""
    values = np.array([figure.low, figure.value, figure.high], np.float64)
    start, end = min(0.0, np.nanmin(values)), max(1.0, np.nanmax(values))
    low, value, high = np.round((values - start) / (end - start) * 100, 2).tolist()
    return low, value, high


def _bar_share(bars: Bars, value: float) -> float:
    """A bar's length in per cent of the longest."""
    longest = float(np.nan_to_num(list(bars.values.values())).max())
    return round(max(0.0, value / longest) * 100, 2) if longest > 0 and isfinite(value) else 0.0


class _Cell(NamedTuple):
    text: str
    share: float
    role: str


class _Row(NamedTuple):
    name: str
    cells: list[_Cell]


def _matrix_rows(matrix: Matrix) -> Iterator[_Row]:
    """Cells with the root of their share of the row: rare classes, and what is seldom wrong, show as well."""
    counts = np.nan_to_num(matrix.values)
    shares = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1e-12))
    for name, row, share, right in zip(matrix.rows, counts, shares, is_right(matrix), strict=True):
        cells = zip(row.tolist(), share.tolist(), right.tolist(), strict=True)
        yield _Row(name, [_Cell(show(count(n)), round(s * 100, 1), _cell_role(n, is_right=r)) for n, s, r in cells])


def _cell_role(count: float, *, is_right: bool) -> str:
    return "none" if count == 0 else "right" if is_right else "wrong"


class _LegendEntry(NamedTuple):
    name: str
    colour: str


def _roles(gallery: Gallery) -> list[_LegendEntry]:
    used = {marks.role for item in gallery.thumbnails for marks in item.marks}
    return [_LegendEntry(name, ROLE_COLOURS[role]) for role, name in _ROLE_NAMES.items() if role in used]


class _Image(NamedTuple):
    address: str
    width: int
    height: int


def _image(item: Thumbnail, progress: Progress) -> _Image:
    image = thumbnail(item, _LONGEST_SIDE)
    progress.advance(1)
    return _Image(data_uri(image), image.shape[1], image.shape[0])
