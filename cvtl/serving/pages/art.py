"""The Art Generator: a picture, a style, and a picture painted while one looks on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import gradio as gr

from cvtl.errors import OptionsError
from cvtl.images import Decoded, encode
from cvtl.serving.answering import Order, OrderJob
from cvtl.serving.choices import Choice
from cvtl.serving.pages import page
from cvtl.serving.service import Service
from cvtl.workplace import Step

_TITLE = "Art Generator"
_HEIGHT = 360
# Between two pictures of what there is so far.
_PREVIEW_SECONDS = 1.0


def art_page(service: Service) -> page.Page:
    """Pictures in, a painting out."""
    asks = service.answers.takes_style
    subtitle = "Your picture, painted in the style of another." if asks else "Your picture, as a painting."
    with page.blocks(_TITLE, service, subtitle) as made:
        parts = _laid_out(service)
        outputs = [parts.work, parts.create, parts.cancel, parts.download, parts.art, parts.status]
        inputs = [parts.picture, parts.style, *parts.controls]
        parts.create.click(_painting(service, parts), inputs, outputs, **page.listening())
        parts.cancel.click(_cancel, parts.work, None, **page.listening())
    return page.page_of(_TITLE, made)


@dataclass(frozen=True)
class _Parts:
    """What is on the page; `work` holds the visitor's job."""

    picture: gr.Image
    style: gr.Image
    art: gr.Image
    create: gr.Button
    cancel: gr.Button
    download: gr.DownloadButton
    status: gr.HTML
    controls: list[Any]
    work: gr.State


def _laid_out(service: Service) -> _Parts:
    answers = service.answers
    # The style sheet says where each lies, which is not the same on a phone.
    with gr.Column(elem_classes="cvtl-art"):
        picture = page.picture_input("Picture", "picture", height=_HEIGHT)
        style = page.picture_input("Style", "style", height=_HEIGHT, visible=answers.takes_style)
        _offer_styles(service, style)
        with gr.Row(elem_classes="cvtl-buttons"):
            create = gr.Button("Create art!", variant="primary", size="lg", elem_id="create")
            cancel = gr.Button("Cancel", variant="stop", size="lg", visible=False, elem_id="cancel")
            download = gr.DownloadButton("Download", size="lg", visible=False, elem_id="download")
        status = page.html("", "status")
        art = gr.Image(
            label="Art",
            interactive=False,
            height=_HEIGHT,
            elem_id="art",
            buttons=["fullscreen"],
            alt_text="The painted picture",
        )
        controls = _settings(answers.choices)
    return _Parts(picture, style, art, create, cancel, download, status, controls, gr.State(None))


def _painting(service: Service, parts: _Parts) -> Callable[..., AsyncIterator[dict[Any, Any]]]:
    """What the button does."""
    names = [choice.name for choice in service.answers.choices]

    async def paint(request: gr.Request, sent: Any, sent_style: Any, *chosen: Any) -> AsyncIterator[dict[Any, Any]]:
        arrived = time.monotonic()
        decoded = await page.opened(service, sent, "a picture")
        order = await _order(service, decoded, sent_style, dict(zip(names, chosen, strict=True)))
        job = page.submitted(service, order, request)
        yield {
            parts.work: job,
            parts.create: gr.update(interactive=False),
            parts.cancel: gr.update(visible=True),
            parts.download: gr.update(visible=False),
            parts.art: None,
            parts.status: page.status(page.waiting_text(service, job), tone="busy"),
        }
        preview = _Preview(service, job)
        async for _ in page.looked_at(job):
            shown = await preview.next()
            yield {parts.status: _told(service, job)} | ({} if shown is None else {parts.art: shown})
        yield await _ended(service, parts, decoded, job, arrived)
        preview.drop()

    return paint


async def _ended(service: Service, parts: _Parts, decoded: Decoded, job: OrderJob, arrived: float) -> dict[Any, Any]:
    """How the page looks when a job is over."""
    over = {parts.work: None, parts.create: gr.update(interactive=True), parts.cancel: gr.update(visible=False)}
    outcome = await page.outcome_of(service, decoded, job, arrived)
    if isinstance(outcome, str):
        return over | {parts.status: page.status(outcome, tone="bad")}
    assert outcome.row.result is not None
    path = str(service.store.find(PurePosixPath(outcome.row.result["picture"]).name))
    return over | {
        parts.art: path,
        parts.download: gr.update(visible=True, value=path),
        parts.status: page.status(f"Done in {page.seconds_since(arrived)}", tone="done"),
    }


class _Preview:
    """Pictures of what there is so far, each for as long as the page may ask for it."""

    def __init__(self, service: Service, job: OrderJob) -> None:
        self._service = service
        self._job = job
        self._last: Step | None = None
        self._due = 0.0
        self._kept: list[Path] = []

    async def next(self) -> str | None:
        """A newer one, if there is and it is time."""
        step = self._job.step
        if step is None or step is self._last or time.monotonic() < self._due:
            return None
        self._last = step
        path = await self._service.apart(lambda: self._service.store.keep(encode(step.picture(), ".jpg"), ".jpg"))
        self._due = time.monotonic() + _PREVIEW_SECONDS
        self._kept.append(path)
        # The page may still be loading the one before.
        while len(self._kept) > 2:
            self._service.store.drop(self._kept.pop(0))
        return str(path)

    def drop(self) -> None:
        """Remove all but the last, which the page may still be loading."""
        while len(self._kept) > 1:
            self._service.store.drop(self._kept.pop(0))


def _offer_styles(service: Service, style: gr.Image) -> None:
    """The styles that are there, to choose from with a click."""
    if not service.answers.styles:
        return
    kept = [
        (str(service.store.keep(encode(image, ".jpg"), ".jpg", forever=True)), name)
        for name, image in service.answers.styles.items()
    ]
    gallery = gr.Gallery(
        kept,
        label="Or choose a style",
        columns=5,
        height="auto",
        allow_preview=False,
        object_fit="cover",
        interactive=False,
        buttons=[],
        elem_id="styles",
    )

    def choose(event: gr.SelectData) -> str:
        return kept[int(event.index)][0]

    gallery.select(choose, None, style, **page.listening())


def _settings(choices: Sequence[Choice]) -> list[Any]:
    if not choices:
        return []
    with gr.Accordion("Settings", open=False, elem_id="settings"), gr.Row():
        return [_control(choice) for choice in choices]


def _control(choice: Choice) -> Any:
    about: dict[str, Any] = {
        "label": choice.label,
        "info": choice.help,
        "value": choice.default,
        "min_width": 260,
        "interactive": True,
    }
    if choice.words:
        return gr.Dropdown(list(choice.words), **about)
    if choice.least is None or choice.most is None:
        return gr.Textbox(**about)
    return gr.Slider(choice.least, choice.most, step=choice.step, **about)


async def _order(service: Service, decoded: Decoded, sent_style: Any, chosen: dict[str, Any]) -> Order:
    assert decoded.image is not None
    style = (await page.opened(service, sent_style, "a style")).image if service.answers.takes_style else None
    order = Order(decoded.image, style=style, chosen=chosen)
    try:
        service.answers.check(order)
    except OptionsError as error:
        raise page.complaint(str(error)) from error
    return order


def _told(service: Service, job: OrderJob) -> str:
    if job.begun is None:
        return page.status(page.waiting_text(service, job), tone="busy")
    if job.step is None:
        return page.status("Looking at the style", 0.0, tone="busy")
    return page.status(f"Painting: {job.step.note}", job.step.part, tone="busy")


def _cancel(job: OrderJob | None) -> None:
    if job is not None:
        job.cancel()
