"""What the pages share: their look, and following a picture from the upload to its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.concurrency import run_in_threadpool

from cvtl.errors import CvtlError
from cvtl.images import Decoded
from cvtl.serving.answering import Order, OrderJob
from cvtl.serving.service import Outcome, Service

_FOLDER = Path(__file__).parent
_LOOK_SECONDS = 0.25
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='8' fill='%234f46e5'/%3E"
    "%3Cpath d='M9 9h5M9 9v5M23 9h-5M23 9v5M9 23h5M9 23v-5M23 23h-5M23 23v-5' stroke='white' stroke-width='2.5' "
    "stroke-linecap='round' fill='none'/%3E%3Ccircle cx='16' cy='16' r='3' fill='white'/%3E%3C/svg%3E"
)
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO_FONTS = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")
HEAD = f'<link rel="icon" href="{_ICON}">'
SOURCES = ["upload", "webcam", "clipboard"]


@dataclass(frozen=True)
class Page:
    """A page, and how it looks.

    Attributes:
        title: of it.
        blocks: what is on it.
        theme: of gradio.
        css: besides.
        head: what stands in the page's head.
    """

    title: str
    blocks: gr.Blocks
    theme: gr.themes.Base
    css: str
    head: str = HEAD


@contextmanager
def blocks(title: str, service: Service, subtitle: str) -> Iterator[gr.Blocks]:
    """An empty page with its head and foot."""
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=False) as page:
        gr.HTML(f'<header class="cvtl-head"><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>', padding=False)
        yield page
        gr.HTML(
            f'<footer class="cvtl-foot">Answers by {escape(service.answers.name)}. For programs: '
            f'<a href="docs"><code>POST /api/v1/{service.task}</code></a></footer>',
            padding=False,
        )
    # Each picture waits in our own queue, which knows the clients.
    page.queue(api_open=False, default_concurrency_limit=None)


def page_of(title: str, made: gr.Blocks) -> Page:
    """The page with the look that all share."""
    fonts = [gr.themes.Font(name) for name in _FONTS]
    mono = [gr.themes.Font(name) for name in _MONO_FONTS]
    theme = gr.themes.Base(
        primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", font=fonts, font_mono=mono
    )
    return Page(title, made, theme, (_FOLDER / "page.css").read_text(encoding="utf-8"))


def picture_input(label: str, elem_id: str, **more: Any) -> gr.Image:
    """Where to put a picture."""
    return gr.Image(
        label=label, type="filepath", sources=SOURCES, elem_id=elem_id, buttons=["fullscreen"], alt_text=label, **more
    )


def listening(**more: Any) -> dict[str, Any]:
    """How handlers are attached: not for programs, beside one another, and given what the page sends as it is.

    Gradio would open pictures itself, and by the names that the page gives them.
    """
    return {
        "api_visibility": "private",
        "concurrency_limit": None,
        "show_progress": "hidden",
        "preprocess": False,
        **more,
    }


async def opened(service: Service, sent: Any, what: str) -> Decoded:
    """The picture that a page's input holds.

    Raises:
        gr.Error: there is none.
    """
    found = service.store.find_path(str(sent["path"])) if isinstance(sent, dict) and sent.get("path") else None
    if found is None:
        raise complaint(
            f"{what} is missing, or was uploaded too long ago: upload it again" if sent else f"Upload {what} first"
        )
    decoded = await run_in_threadpool(lambda: service.decode(found.read_bytes()))
    if decoded.image is None:
        raise complaint(f"This cannot be used: {decoded.error}")
    return decoded


def submitted(service: Service, order: Order, request: gr.Request) -> OrderJob:
    """Put an order at the end of the queue.

    Raises:
        gr.Error: it was refused.
    """
    client = request.client.host if request.client else "unknown"
    try:
        return service.submit(order, client)
    except CvtlError as error:
        raise complaint(str(error)) from error


async def looked_at(job: OrderJob) -> AsyncIterator[None]:
    """Some times in a second, until the job is over; a visitor who leaves takes the job along."""
    over = asyncio.wrap_future(job.future)
    over.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        while not over.done():
            await asyncio.wait((over,), timeout=_LOOK_SECONDS)
            if not over.done():
                yield
    finally:
        job.cancel()


async def outcome_of(service: Service, decoded: Decoded, job: OrderJob, arrived: float) -> Outcome:
    """What became of a job that is over.

    Raises:
        gr.Error: the model could not.
        CvtlError: it was cancelled, or took too long.
    """
    outcome = await run_in_threadpool(service.answered, "upload", decoded, job, arrived)
    if outcome.result is None:
        raise complaint(f"The picture could not be worked on: {outcome.row.error}")
    return outcome


def complaint(text: str) -> gr.Error:
    """Something to tell the visitor."""
    return gr.Error(text if text.endswith((".", "!", "?")) else f"{text}.", duration=10, print_exception=False)


def status(text: str, part: float | None = None, *, tone: str = "quiet") -> str:
    """A line on how it gets on, with a bar if it is known how far."""
    bar = "" if part is None else f'<span class="cvtl-bar"><span style="width:{100 * part:.1f}%"></span></span>'
    return (
        f'<div class="cvtl-status cvtl-{tone}" role="status" aria-live="polite"><span>{escape(text)}</span>{bar}</div>'
    )


def waiting_text(service: Service, job: OrderJob) -> str:
    """Where a job stands in the queue."""
    before = service.jobs.position(job)
    if before == 0:
        return "You are next"
    return f"In the queue: {before} before you"


def seconds_since(arrived: float) -> str:
    """How long it took, for people."""
    seconds = time.monotonic() - arrived
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def table(head: list[str], rows: list[list[str]], empty: str) -> str:
    """A table of texts, each escaped; numbers stand on the right."""
    if not rows:
        return f'<p class="cvtl-empty">{escape(empty)}</p>'
    heads = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    lines = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="cvtl-table"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _cell(text: str) -> str:
    kind = ' class="number"' if text.replace(".", "").replace("-", "").isdigit() else ""
    return f"<td{kind}>{escape(text)}</td>"
