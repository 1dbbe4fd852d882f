"""The page for weights that classify: the best classes with bars, and where the evidence lies."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from cvtl.explanation import Explanation
from cvtl.images import encode
from cvtl.results import Classification, UInt8Image
from cvtl.serving.answering import Order
from cvtl.serving.pages import page
from cvtl.serving.service import Service
from cvtl.writers import overlay

_TITLE = "What does it show?"
_SUBTITLE = "Upload a picture, paste one, or take one with the webcam."
_TOP = 5


def classify_page(service: Service) -> page.Page:
    """A picture in, classes out."""
    with page.blocks(_TITLE, service, _SUBTITLE) as made:
        with gr.Row(equal_height=False):
            with gr.Column():
                picture = page.picture_input("Picture", "picture", height=380)
                status = page.html(page.status("Waiting for a picture"), "status")
            with gr.Column():
                label = gr.Label(label="Best classes", num_top_classes=_TOP, elem_id="classes")
                heatmap = gr.Image(
                    label="Where the evidence for the best class lies",
                    interactive=False,
                    elem_id="heatmap",
                    buttons=["download", "fullscreen"],
                    height=300,
                    visible=service.answers.explains,
                    alt_text="The picture with a heat map over it",
                )

        async def classify(sent: Any, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
            if not sent:
                yield {label: None, heatmap: None, status: page.status("Waiting for a picture")}
                return
            arrived = time.monotonic()
            decoded = await page.opened(service, sent, "a picture")
            assert decoded.image is not None
            job = page.submitted(service, Order(decoded.image, explain=service.answers.explains), request)
            async for _ in page.looked_at(job):
                text = "Looking at it" if job.begun else page.waiting_text(service, job)
                yield {status: page.status(text, tone="busy")}
            outcome = await page.outcome_of(service, decoded, job, arrived)
            if isinstance(outcome, str):
                yield {label: None, heatmap: None, status: page.status(outcome, tone="bad")}
                return
            assert isinstance(outcome.result, Classification)
            shown = await service.apart(_heatmap, service, decoded.image, outcome.result)
            yield {
                label: dict(outcome.result.top(_TOP)),
                heatmap: shown,
                status: page.status(f"Done in {page.seconds_since(arrived)}", tone="done"),
            }

        picture.input(classify, picture, [label, heatmap, status], **page.listening(trigger_mode="always_last"))
    return page.page_of(_TITLE, made)


def _heatmap(service: Service, image: UInt8Image, result: Classification) -> str | None:
    if not isinstance(result, Explanation) or not result.evidence:
        return None
    return str(service.store.keep(encode(overlay(image, result.evidence[0].heatmap.numpy()), ".jpg"), ".jpg"))
