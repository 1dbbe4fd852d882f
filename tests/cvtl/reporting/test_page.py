"""One HTML page with everything in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cvtl.data import Sample, UInt8Image
from cvtl.errors import OutputError
from cvtl.reporting.page import write_page
from cvtl.reporting.sections import Bars, Curves, Figure, Gallery, Marks, Matrix, Section, Shape, Table, Thumbnail

HOSTILE = "<script>alert('ü')</script>&\"'\udcff\x00\u202e{{ 7 * 7 }}"
X = np.linspace(0, 1, 5)
VOID = {"meta", "link", "img", "br"}


def noise(seed: int = 0) -> UInt8Image:
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)


def every_kind(name: str = "cat") -> list[Section]:
    """One section of each kind, with a name from the data wherever one may stand."""
    boxes = np.array([[5.0, 5, 40, 30]])
    marks = (Marks(role="true", boxes=boxes), Marks(role="wrong", boxes=boxes + 4, captions=(name,)))
    thumbnail = Thumbnail(sample=Sample(name, noise), caption=name, marks=marks)
    names = (name, "dog")
    return [
        Table(title=f"Table {name}", columns=("class", name), rows=((name, 0.5), ("dog", float("nan"))), note=name),
        Curves(title=f"Curves {name}", x_label="recall", y_label="precision", lines={name: (X, X), "b": (X, 1 - X)}),
        Bars(title=f"Bars {name}", label=name, values={name: 3.0, "none": float("nan"), "less": -1.0}),
        Shape(
            title=f"Shape {name}", label=name, names=names, points=np.eye(2), values=X[:2], edges=((0, 1),), note=name
        ),
        Matrix(title=name, row_label="true", column_label="as", rows=names, columns=names, values=np.eye(2) * 3 + 1),
        Gallery(title=f"Gallery {name}", thumbnails=(thumbnail, thumbnail), note=name),
    ]


def written(path: Path, sections: Sequence[Section], name: str = "cat") -> str:
    figures = [Figure(name=name, value=0.5, low=0.4, high=0.6), Figure(name="none", value=float("nan"))]
    write_page(path / "page.html", f"Page {name}", figures, sections, [name], facts={"data": name})
    return (path / "page.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Keeps the tags, ids, addresses and text of a page, and sees that tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "a", every_kind()) == written(tmp_path / "b", every_kind())


def test_the_page_is_well_formed_and_no_id_is_there_twice(tmp_path: Path) -> None:
    sections = every_kind() + every_kind()
    reader = Reader(written(tmp_path, sections))
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.tags.count("svg") == 4
    assert reader.tags.count("figure") == 4 + 4


def test_names_from_the_data_are_never_markup(tmp_path: Path) -> None:
    plain, hostile = (Reader(written(tmp_path / name[:1], every_kind(name), name)) for name in ("cat", HOSTILE))
    assert hostile.tags == plain.tags
    assert hostile.ids == plain.ids


def test_names_that_are_no_text_are_written_readably(tmp_path: Path) -> None:
    page = written(tmp_path, every_kind(HOSTILE), HOSTILE)
    assert "\\udcff" in page
    assert "\x00" not in page
    assert "\u202e" not in page
    assert "{{ 7 * 7 }}" in page


def test_nothing_is_loaded_from_outside(tmp_path: Path) -> None:
    page = written(tmp_path, every_kind())
    for address in Reader(page).addresses:
        assert address.startswith(("data:", "#"))
    assert set(re.findall(r"https?://[^\"' <]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "default-src 'none'" in page
    assert "@import" not in page


def test_every_section_is_in_the_contents(tmp_path: Path) -> None:
    page = written(tmp_path, every_kind())
    for number, section in enumerate(every_kind(), 1):
        assert f'<a href="#section-{number}">{section.title}</a>' in page
        assert f'id="section-{number}"' in page


def test_pictures_are_written_as_they_are_made(tmp_path: Path) -> None:
    sizes = []

    def read() -> UInt8Image:
        sizes.append(max(path.stat().st_size for path in tmp_path.iterdir()))
        return noise(len(sizes))

    thumbnails = tuple(Thumbnail(sample=Sample(f"{i}.png", read), caption="") for i in range(40))
    write_page(tmp_path / "page.html", "t", [], [Gallery(title="g", thumbnails=thumbnails)])
    assert sizes[-1] > 0.8 * (tmp_path / "page.html").stat().st_size


def test_nothing_half_written_is_left_behind(tmp_path: Path) -> None:
    def fail() -> UInt8Image:
        raise KeyboardInterrupt

    gallery = Gallery(title="g", thumbnails=(Thumbnail(sample=Sample("a", fail), caption=""),))
    with pytest.raises(KeyboardInterrupt):
        write_page(tmp_path / "page.html", "t", [], [gallery])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(OutputError, match=r"cannot write '.*page\.html'"):
        write_page(tmp_path / "page.html", "t", [], [])


def test_an_empty_page_is_a_page(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "Nothing", [], [])
    assert "Nothing" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    "section",
    [
        Table(title="t", columns=(), rows=()),
        Bars(title="b", label="l", values={}),
        Bars(title="b", label="l", values={"zero": 0.0}),
        Matrix(title="m", row_label="r", column_label="c", rows=(), columns=(), values=np.zeros((0, 0))),
        Curves(title="c", x_label="x", y_label="y", lines={}),
        Gallery(title="g", thumbnails=()),
        Shape(title="s", label="l", names=(), points=np.zeros((0, 2)), values=np.zeros(0)),
        Shape(title="s", label="l", names=("a",), points=np.full((1, 2), np.nan), values=np.full(1, np.nan)),
    ],
)
def test_empty_sections_are_written_without_complaint(section: Section, tmp_path: Path) -> None:
    assert f">{section.title}<" in written(tmp_path, [section])


def test_a_large_matrix_is_reduced_and_says_so(tmp_path: Path) -> None:
    names = tuple(f"class {i}" for i in range(1000))
    matrix = Matrix(title="m", row_label="r", column_label="c", rows=names, columns=names, values=np.eye(1000))
    page = written(tmp_path, [matrix])
    assert "The 25 most confused of 1000 are shown." in page
    assert Reader(page).tags.count("tr") == 26


def test_counts_are_whole_numbers_however_large(tmp_path: Path) -> None:
    values = np.array([[12_345_678.0, 0.5], [0, 3]])
    names = ("a", "b")
    matrix = Matrix(title="m", row_label="r", column_label="c", rows=names, columns=names, values=values)
    cells = re.findall(r'<td class="(?:right|wrong|none)"[^>]*>([^<]*)</td>', written(tmp_path, [matrix]))
    assert cells == ["12345678", "0.5000", "0", "3"]


def test_the_legend_names_the_roles_that_are_drawn(tmp_path: Path) -> None:
    *_, gallery = every_kind()
    page = written(tmp_path, [gallery])
    entries = re.findall(r"</i>(\w+)</li>", page)
    assert entries == ["truth", "wrong"]
