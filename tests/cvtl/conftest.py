"""What the tests of pages share: a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP_WH = (1280, 900)


@dataclass
class Visit:
    """A page in a browser, and what went on while it was looked at."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    @property
    def overflow(self) -> int:
        """Pixels that the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


Visiting = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or another one on the path, without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    # Chromium refuses to run as root with its sandbox, as in containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """Open a file as its reader would, from the disk and without a network."""
    pages = []

    def open_(path: Path, size_wh: tuple[int, int] = DESKTOP_WH, *, script: bool = True, dark: bool = False) -> Visit:
        page = browser.new_page(
            viewport={"width": size_wh[0], "height": size_wh[1]},
            java_script_enabled=script,
            color_scheme="dark" if dark else "light",
            offline=True,
        )
        pages.append(page)
        visit = Visit(page)
        page.on("console", lambda message: visit.complaints.append(message.text))
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on("request", lambda request: visit.addresses.append(request.url))
        page.goto(path.as_uri())
        return visit

    yield open_
    for page in pages:
        page.close()
