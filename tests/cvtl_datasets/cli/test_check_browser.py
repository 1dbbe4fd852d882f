"""The page of `cvtl data check` in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvtl.errors import ExitCode
from cvtl_datasets.cli.check import main

Visiting = Callable[..., Any]

PHONE_WH, DESKTOP_WH = (390, 844), (1280, 900)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of class folders with a picture that is there twice, one that is cut off, and names that look like markup."""
    folder = tmp_path_factory.mktemp("check")
    for number in range(12):
        clouds = np.random.default_rng(number).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        image = cv2.resize(clouds, (64, 48), interpolation=cv2.INTER_CUBIC)
        name = folder / "data" / ("<b>cat", "dog & fox")[number % 2] / f"{number}.jpg"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    cats = folder / "data" / "<b>cat"
    (cats / "<img src=x onerror=alert(1)>.jpg").write_bytes((cats / "0.jpg").read_bytes())
    (cats / "2.jpg").write_bytes((cats / "2.jpg").read_bytes()[:400])
    words = [str(folder / "data"), "--html", str(folder / "check.html"), "--quiet"]
    assert main(words) == ExitCode.SOME_BAD_INPUTS
    return folder / "check.html"


@pytest.mark.parametrize("size_wh", [PHONE_WH, DESKTOP_WH])
def test_it_opens_from_the_disk_without_complaint(visit: Visiting, page: Path, size_wh: tuple[int, int]) -> None:
    seen = visit(page, size_wh)
    assert seen.complaints == []
    assert {address.partition(":")[0] for address in seen.addresses} <= {"file", "data"}
    assert seen.overflow <= 0


def test_it_names_what_was_found(visit: Visiting, page: Path) -> None:
    text = visit(page).page.inner_text("body")
    assert "truncated picture" in text
    assert "exact duplicates" in text


def test_names_that_look_like_markup_are_shown_as_they_are(visit: Visiting, page: Path) -> None:
    shown = visit(page).page
    assert "<img src=x onerror=alert(1)>.jpg" in shown.inner_text("body")
    assert shown.locator("img[src=x]").count() == 0


def test_its_pictures_are_there(visit: Visiting, page: Path) -> None:
    shown = visit(page).page
    pictures = shown.locator("figure img")
    assert pictures.count() >= 3
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("each => each.decode().then(() => each.naturalWidth)") > 0
