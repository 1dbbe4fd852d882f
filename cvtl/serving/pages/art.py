"""The Art Generator: a picture, a style, and a picture painted while one looks on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
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
    answers = service.answers
    subtitle = (
        "Your picture, painted in the style of another." if answers.takes_style else "Your picture, as a painting."
    )
    with page.blocks(_TITLE, service, subtitle) as made:
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
        work = gr.State(None)

        async def paint(request: gr.Request, sent: Any, sent_style: Any, *chosen: Any) -> AsyncIterator[dict[Any, Any]]:
            arrived = time.monotonic()
            decoded = await page.opened(service, sent, "a picture")
            order = await _order(service, decoded, sent_style, dict(zip(_names(answers.choices), chosen, strict=True)))
            job = page.submitted(service, order, request)
            yield {
                work: job,
                create: gr.update(interactive=False),
                cancel: gr.update(visible=True),
                download: gr.update(visible=False),
                art: None,
                status: page.status(page.waiting_text(service, job), tone="busy"),
            }
            preview = _Preview(service, job)
            async for _tick in page.looked_at(job):
                shown = await preview.next()
                yield {status: _told(service, job)} | ({} if shown is None else {art: shown})
            over = {work: None, create: gr.update(interactive=True), cancel: gr.update(visible=False)}
            outcome = await page.outcome_of(service, decoded, job, arrived)
            if isinstance(outcome, str):
                yield over | {status: page.status(outcome, tone="bad")}
                return
            assert outcome.row.result is not None
            path = service.store.find(PurePosixPath(outcome.row.result["picture"]).name)
            yield over | {
                art: str(path),
                download: gr.update(visible=True, value=str(path)),
                status: page.status(f"Done in {page.seconds_since(arrived)}", tone="done"),
            }
            preview.drop()

        outputs = [work, create, cancel, download, art, status]
        create.click(paint, [picture, style, *controls], outputs, **page.listening())
        cancel.click(_cancel, work, None, **page.listening())
    return page.page_of(_TITLE, made)


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


def _settings(choices: Any) -> list[Any]:
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


def _names(choices: Any) -> list[str]:
    return [choice.name for choice in choices]


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
