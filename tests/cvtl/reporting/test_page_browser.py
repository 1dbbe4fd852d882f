"""The page in a real browser, as its reader opens it: from the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvtl.data import Sample
from cvtl.reporting.page import write_page
from cvtl.reporting.sections import Bars, Cell, Curves, Figure, Gallery, Marks, Matrix, Table, Thumbnail

Visiting = Callable[..., Any]

PHONE_WH, DESKTOP_WH = (390, 844), (1280, 900)
WIDE_ROW: tuple[Cell, ...] = ("n", *[0.5] * 29)
ROWS = (("b", 0.5, 10), ("c", float("nan"), 9), ("a", -0.25, 100), ("d", 0.75, None))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "pagé with spaces.html"
    x = np.linspace(0, 1, 50)
    names = tuple(f"a class with a long name {i}" for i in range(30))
    random = np.random.default_rng(0)
    boxes = np.array([[10.0, 10, 60, 50]])
    samples = [Sample(f"{i}.jpg", lambda: random.integers(0, 256, (90, 120, 3), np.uint8)) for i in range(12)]
    marks = (Marks(role="true", boxes=boxes), Marks(role="wrong", boxes=boxes + 9, captions=("cat 0.93",)))
    missing = Sample.of_file("gone.jpg", path.parent / "gone.jpg", annotated_wh=(640, 480))
    thumbnails = [Thumbnail(sample=each, caption="cat, 0.93", marks=marks) for each in [*samples, missing]]
    counts = random.poisson(1, (30, 30)).astype(float)
    write_page(
        path,
        "A page",
        [Figure(name=f"AP{i}", value=0.5, low=0.4, high=0.6) for i in range(7)],
        [
            Table(title="Per class", columns=("class", "AP", "boxes"), rows=ROWS),
            Table(title="Wide", columns=tuple(f"column {i}" for i in range(30)), rows=(WIDE_ROW,) * 50),
            Curves(title="PR", x_label="recall", y_label="precision", lines={"cat": (x, 1 - x), "dog": (x, x)}),
            Bars(title="Costs", label="AP lost", values={name: i / 30 for i, name in enumerate(names)}),
            Matrix(title="M", row_label="true", column_label="found", rows=names, columns=names, values=counts),
            Gallery(title="Worst", thumbnails=tuple(thumbnails)),
        ],
        ["A note."],
        facts={"data": "x" * 90},
    )
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size_wh", [PHONE_WH, DESKTOP_WH])
def test_it_opens_without_complaint_and_without_loading_anything(
    visit: Visiting, page: Path, size_wh: tuple[int, int], dark: bool
) -> None:
    seen = visit(page, size_wh, dark=dark)
    seen.page.mouse.wheel(0, 100_000)
    assert seen.complaints == []
    assert {address.partition(":")[0] for address in seen.addresses} <= {"file", "data"}
    assert len([address for address in seen.addresses if address.startswith("file:")]) == 1
    assert seen.page.title() == "A page"


@pytest.mark.parametrize("size_wh", [PHONE_WH, (320, 600), (768, 1000), DESKTOP_WH, (2560, 1440)])
def test_nothing_is_wider_than_the_window(visit: Visiting, page: Path, size_wh: tuple[int, int]) -> None:
    assert visit(page, size_wh).overflow <= 0


def test_it_has_headings_landmarks_figures_and_pictures(visit: Visiting, page: Path) -> None:
    shown = visit(page).page
    assert shown.get_by_role("heading", level=1).inner_text() == "A page"
    assert shown.get_by_role("main").count() == 1
    assert shown.get_by_role("navigation", name="Contents").get_by_role("link").count() == 6
    assert shown.get_by_text("AP3").locator("xpath=..").locator("strong").inner_text() == "0.5000"
    pictures = shown.locator(".thumbnails img")
    assert pictures.count() == 13
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def first_column(shown: Any) -> list[str]:
    return [each.inner_text() for each in shown.locator("#section-1 tbody th").all()]


@pytest.mark.parametrize(
    ("column", "clicks", "order"),
    [
        ("class", 1, "abcd"),
        ("class", 2, "dcba"),
        ("AP", 1, "dbac"),
        ("AP", 2, "abdc"),
        ("boxes", 1, "abcd"),
        ("boxes", 2, "cbad"),
    ],
)
def test_tables_are_sorted_by_a_click_with_dashes_last(
    visit: Visiting, page: Path, column: str, clicks: int, order: str
) -> None:
    shown = visit(page).page
    for _ in range(clicks):
        shown.locator("#section-1").get_by_role("button", name=column).click()
    assert "".join(first_column(shown)) == order
    assert shown.locator("#section-1 th[aria-sort]").count() == 1


def test_tables_are_sorted_from_the_keyboard(visit: Visiting, page: Path) -> None:
    shown = visit(page).page
    shown.locator("#section-1").get_by_role("button", name="class").focus()
    shown.keyboard.press("Enter")
    assert first_column(shown) == list("abcd")


def test_a_picture_is_enlarged_by_a_click_and_from_the_keyboard(visit: Visiting, page: Path) -> None:
    shown = visit(page).page
    picture = shown.locator(".thumbnails img").first
    small = picture.bounding_box()
    picture.click()
    large = picture.bounding_box()
    assert large["width"] > 2 * small["width"]
    assert large["height"] > small["height"]
    shown.locator(".thumbnails summary").first.focus()
    shown.keyboard.press("Enter")
    assert picture.bounding_box()["width"] == small["width"]


def test_it_is_whole_without_javascript(visit: Visiting, page: Path) -> None:
    seen = visit(page, script=False)
    assert first_column(seen.page) == list("bcad")
    assert seen.page.locator(".thumbnails img").count() == 13


def test_a_wide_table_can_be_scrolled_from_the_keyboard(visit: Visiting, page: Path) -> None:
    box = visit(page, PHONE_WH).page.locator("#section-2 .scroll")
    box.focus()
    for _ in range(5):
        box.press("ArrowRight")
    box.evaluate("box => new Promise(done => box.scrollLeft ? done() : box.addEventListener('scroll', done))")
    assert box.evaluate("box => box.scrollLeft") > 0


def test_an_injected_script_is_not_run(visit: Visiting, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = page.read_text(encoding="utf-8")
    broken.write_text(text.replace("<h1>", "<script>document.title = 'taken over'</script><h1>"), encoding="utf-8")
    seen = visit(broken)
    assert seen.page.title() == "A page"
    assert any("Content Security Policy" in complaint for complaint in seen.complaints)
