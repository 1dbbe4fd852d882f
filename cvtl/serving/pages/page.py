"""What the pages share: their look, and following a picture from the upload to its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import gradio as gr

from cvtl.errors import CvtlError
from cvtl.images import Decoded
from cvtl.serving.answering import Order, OrderJob
from cvtl.serving.jobs import CancelledError
from cvtl.serving.pages import look
from cvtl.serving.service import Outcome, Service

_LOOK_SECONDS = 0.25
SOURCES: list[Literal["upload", "webcam", "clipboard"]] = ["upload", "webcam", "clipboard"]


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
    head: str = look.HEAD


@contextmanager
def blocks(title: str, service: Service, subtitle: str) -> Iterator[gr.Blocks]:
    """An empty page with its head and foot."""
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=False) as page:
        html(f'<header class="cvtl-head"><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>')
        yield page
        html(
            f'<footer class="cvtl-foot">Answers by {escape(service.answers.name)}. For programs: '
            f'<a href="docs"><code>POST /api/v1/{service.task}</code></a></footer>'
        )


def page_of(title: str, made: gr.Blocks) -> Page:
    """The page with the look that all share."""
    return Page(title, made, look.theme(), look.css())


def html(value: str, elem_id: str | None = None) -> gr.HTML:
    """A part of the page that is ours."""
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=None, padding=False)


def picture_input(label: str, elem_id: str, **more: Any) -> gr.Image:
    """Where to put a picture."""
    return gr.Image(
        label=label, type="filepath", sources=SOURCES, elem_id=elem_id, buttons=["fullscreen"], alt_text=label, **more
    )


def listening(**more: Any) -> dict[str, Any]:
    """How handlers are attached: not for programs, beside one another, and given what the page sends as it is.

    Pictures wait in our own queue, which knows the clients, and not in gradio's. Gradio would open pictures itself, and
    by the names that the page gives them.
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
        raise complaint(f"Upload {what} again: it is no longer there" if sent else f"Upload {what} first")
    decoded = await service.apart(lambda: service.decode(found.read_bytes()))
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


async def outcome_of(service: Service, decoded: Decoded, job: OrderJob, arrived: float) -> Outcome | str:
    """What became of a job that is over; a line for the visitor where there is no result."""
    try:
        outcome = await service.apart(service.answered, "upload", decoded, job, arrived)
    except CancelledError:
        return "Cancelled"
    except CvtlError as error:
        return str(error)
    return outcome if outcome.result is not None else f"The picture could not be worked on: {outcome.row.error}"


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
    return "You are next" if before == 0 else f"In the queue: {before} before you"


def seconds_since(arrived: float) -> str:
    """How long it took, for people."""
    seconds = time.monotonic() - arrived
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def table(head: list[str], rows: list[list[str]], empty: str) -> str:
    """A table of texts, each escaped; the first column is of names, the others of numbers."""
    if not rows:
        return f'<p class="cvtl-empty">{escape(empty)}</p>'
    heads = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f'<div class="cvtl-table"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
