"""The pages, in a real browser."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image
from processes import PATIENCE, ServerProcess, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("gradio", reason="gradio is not installed")

MILLISECONDS = PATIENCE * 1000
PHONE_WH = (390, 844)
Open = Callable[..., "Opened"]


class Opened:
    """A page of a server, and what went on while it was looked at."""

    def __init__(self, page: Page, server: ServerProcess) -> None:
        self.page = page
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(MILLISECONDS)
        local = (server.address, "data:", "blob:")
        page.on("request", lambda sent: None if sent.url.startswith(local) else self.elsewhere.append(sent.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(server.address)
        page.get_by_role("heading", level=1).wait_for()

    def upload(self, label: str, *, name: str, content: bytes) -> None:
        """Put a file into the input of that label."""
        block = self.page.locator(".block", has=self.page.get_by_text(label, exact=True)).first
        block.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})

    def status(self, text: str) -> None:
        """Wait until the status line says so."""
        self.page.get_by_role("status").filter(has_text=text).wait_for()

    def picture(self, label: str) -> np.ndarray[Any, Any]:
        """The picture in the card of that label, RGB."""
        address = self.page.get_by_role("img", name=label, exact=True).get_attribute("src")
        assert address is not None
        content = self.page.request.get(address).body()
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open a server's page in a browser of its own, as another visitor would; nothing may come from elsewhere."""
    opened = []

    def open_(server: ServerProcess, size_wh: tuple[int, int] = (1280, 900)) -> Opened:
        context = browser.new_context(viewport={"width": size_wh[0], "height": size_wh[1]})
        opened.append((context, Opened(context.new_page(), server)))
        return opened[-1][1]

    yield open_
    for context, each in opened:
        context.close()
        assert each.elsewhere == []
        assert each.errors == []


def file_of(seed: int, size_hw: tuple[int, int] = (64, 80)) -> bytes:
    """A picture of blots, as a PNG file."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.imencode(".png", cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_CUBIC))[1].tobytes()


@pytest.fixture(scope="module")
def art(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The Art Generator, with a small network of random weights and two styles."""
    folder = tmp_path_factory.mktemp("art")
    sys.path.insert(0, str(Path(__file__).parents[2] / "cvtl_style"))
    from tiny_style import save_vgg11

    network = save_vgg11(folder / "vgg11.pth", 1)
    styles = []
    for number, name in enumerate(("blue waves", "red-dots")):
        path = folder / f"{name}.png"
        path.write_bytes(file_of(number))
        styles += ["--style", path]
    with serving(
        *("style", "--backbone", "vgg11", "--weights", network, *styles),
        *("--size", "64", "--steps", "6", "--levels", "1", "--tolerance", "0", "--per-client", "3"),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def classifier(shades_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A classifier that explains itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(shades_site))
        from shades import save_weights

        from cvtl.registry import plugins

        plugins.cache_clear()
        weights = save_weights(tmp_path_factory.mktemp("shades") / "w.safetensors", ("bright", "dark", "<i>odd</i>"))
        path = os.pathsep.join([str(shades_site), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        with serving("--weights", weights, environment={"PYTHONPATH": path}) as server:
            yield server
    plugins.cache_clear()


def choose_style(opened: Opened, number: int) -> None:
    opened.page.get_by_role("button", name=f"Thumbnail {number} of 2").click()
    opened.page.get_by_role("img", name="Style", exact=True).wait_for()


def test_a_picture_is_painted_while_the_visitor_looks_on(art: ServerProcess, open_page: Open) -> None:
    opened = open_page(art)
    content = file_of(7)
    opened.upload("Picture", name="../../photo.png", content=content)
    opened.page.get_by_role("img", name="Picture", exact=True).wait_for()
    choose_style(opened, 2)
    opened.page.get_by_role("button", name="Create art!").click()
    opened.status("Done in")
    painted = opened.picture("The painted picture")
    original = np.asarray(Image.open(io.BytesIO(content)))
    assert painted.shape == (51, 64, 3)
    smaller = cv2.resize(original, (64, 51), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(painted - smaller).mean() > 3
    assert np.array_equal(opened.picture("Picture"), original)
    assert np.array_equal(opened.picture("Style").shape, (64, 80, 3))
    with opened.page.expect_download() as downloading:
        opened.page.get_by_role("link", name="Download").or_(
            opened.page.get_by_role("button", name="Download")
        ).first.click()
    downloaded = np.asarray(Image.open(downloading.value.path()).convert("RGB"))
    assert np.array_equal(downloaded, painted)


def test_a_style_can_be_uploaded_and_settings_changed(art: ServerProcess, open_page: Open) -> None:
    opened = open_page(art, PHONE_WH)
    for label, seed in (("Picture", 3), ("Style", 4)):
        opened.upload(label, name="a.png", content=file_of(seed))
        opened.page.get_by_role("img", name=label, exact=True).wait_for()
    settings = opened.page.get_by_role("button", name="Settings")
    assert not opened.page.get_by_label("number input for Size").is_visible()
    settings.click()
    size = opened.page.get_by_label("number input for Size")
    size.fill("128")
    size.blur()
    opened.page.wait_for_function("document.querySelector('[aria-label=\"range slider for Size\"]').value === '128'")
    opened.page.get_by_role("button", name="Create art!").click()
    opened.status("Done in")
    assert max(opened.picture("The painted picture").shape) == 128
    assert opened.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_what_is_no_picture_is_refused_with_a_clear_message(art: ServerProcess, open_page: Open) -> None:
    opened = open_page(art)
    opened.upload("Picture", name="photo.png", content=b"this is no picture")
    opened.page.get_by_text("This cannot be used: it is not a picture, or of a kind that cannot be read.").wait_for()
    opened.page.get_by_role("button", name="Create art!").click()
    opened.page.get_by_text("Upload a picture first").wait_for()
    assert "Traceback" not in art.said


def begin_long_work(opened: Opened, seed: int) -> None:
    opened.upload("Picture", name="a.png", content=file_of(seed, (400, 400)))
    opened.page.get_by_role("img", name="Picture", exact=True).wait_for()
    choose_style(opened, 1)
    opened.page.get_by_role("button", name="Settings").click()
    for label, value in (("Size", "512"), ("Steps", "300")):
        number = opened.page.get_by_label(f"number input for {label}")
        number.fill(value)
        number.blur()
    opened.page.get_by_role("button", name="Create art!").click()


def test_two_visitors_wait_for_one_another_and_one_who_cancels_makes_room(art: ServerProcess, open_page: Open) -> None:
    first, second = open_page(art), open_page(art)
    begin_long_work(first, 1)
    first.status("step")
    first.page.get_by_role("img", name="The painted picture").wait_for()
    second.upload("Picture", name="b.png", content=file_of(2))
    second.page.get_by_role("img", name="Picture", exact=True).wait_for()
    choose_style(second, 1)
    second.page.get_by_role("button", name="Create art!").click()
    second.status("In the queue: 1 before you")
    first.page.get_by_role("button", name="Cancel").click()
    first.status("Cancelled")
    second.status("Done in")
    assert second.picture("The painted picture").shape == (51, 64, 3)
    assert first.page.get_by_role("button", name="Create art!").is_enabled()
    assert not first.page.get_by_role("button", name="Cancel").is_visible()


def test_a_visitor_who_leaves_takes_the_work_along(art: ServerProcess, open_page: Open) -> None:
    first = open_page(art)
    begin_long_work(first, 5)
    first.status("step")
    first.page.close()
    second = open_page(art)
    second.upload("Picture", name="b.png", content=file_of(6))
    second.page.get_by_role("img", name="Picture", exact=True).wait_for()
    choose_style(second, 1)
    second.page.get_by_role("button", name="Create art!").click()
    second.status("Done in")


def test_an_uploaded_picture_is_classified_and_explained(classifier: ServerProcess, open_page: Open) -> None:
    opened = open_page(classifier)
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 255
    opened.upload("Picture", name="a.png", content=cv2.imencode(".png", image)[1].tobytes())
    opened.status("Done in")
    classes = opened.page.locator(".block", has=opened.page.get_by_text("Best classes", exact=True)).first
    for name in ("bright", "dark", "<i>odd</i>"):
        assert classes.get_by_text(name).first.is_visible()
    assert "%" in classes.inner_text()
    heatmap = opened.picture("The picture with a heat map over it")
    assert heatmap.shape == (40, 60, 3)
    assert not np.array_equal(heatmap[..., 0], heatmap[..., 2])


def test_a_picture_that_is_taken_away_takes_its_answer_along(classifier: ServerProcess, open_page: Open) -> None:
    opened = open_page(classifier, PHONE_WH)
    opened.upload("Picture", name="a.png", content=file_of(1))
    opened.status("Done in")
    opened.page.get_by_role("button", name="Remove Image").click()
    opened.status("Waiting for a picture")
    assert opened.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
