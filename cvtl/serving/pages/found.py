"""The page for weights that detect, localize or find landmarks: the picture with what was found, and a table."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from cvtl.images import encode
from cvtl.results import Detections, Landmarks, Localization, Result, UInt8Image
from cvtl.serving.answering import Order
from cvtl.serving.pages import page
from cvtl.serving.service import Service

_TITLES = {"detect": "What is in it?", "localize": "Where is it?", "landmarks": "Where are the points?"}
_SUBTITLE = "Upload a picture, paste one, or take one with the webcam."
_MOST_ROWS = 100
_NOTHING = "Nothing was found."
_BOX = ["left", "top", "right", "bottom"]


def found_page(service: Service) -> page.Page:
    """A picture in, what was found out."""
    title = _TITLES[service.task]
    with page.blocks(title, service, _SUBTITLE) as made:
        with gr.Row(equal_height=False):
            with gr.Column():
                picture = page.picture_input("Picture", "picture", height=420)
                status = page.html(page.status("Waiting for a picture"), "status")
            with gr.Column():
                drawn = gr.Image(
                    label="What was found",
                    interactive=False,
                    elem_id="drawn",
                    buttons=["download", "fullscreen"],
                    height=420,
                    alt_text="The picture with what was found drawn into it",
                )
        listed = page.html("", "table")

        async def find(sent: Any, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
            if not sent:
                yield {drawn: None, listed: "", status: page.status("Waiting for a picture")}
                return
            arrived = time.monotonic()
            decoded = await page.opened(service, sent, "a picture")
            assert decoded.image is not None
            job = page.submitted(service, Order(decoded.image), request)
            async for _ in page.looked_at(job):
                text = "Looking at it" if job.begun else page.waiting_text(service, job)
                yield {status: page.status(text, tone="busy")}
            outcome = await page.outcome_of(service, decoded, job, arrived)
            if isinstance(outcome, str):
                yield {drawn: None, listed: "", status: page.status(outcome, tone="bad")}
                return
            assert outcome.result is not None
            yield {
                drawn: await service.apart(_drawn, service, decoded.image, outcome.result),
                listed: _table(outcome.result),
                status: page.status(f"Done in {page.seconds_since(arrived)}", tone="done"),
            }

        picture.input(find, picture, [drawn, listed, status], **page.listening(trigger_mode="always_last"))
    return page.page_of(title, made)


def _drawn(service: Service, image: UInt8Image, result: Result) -> str:
    return str(service.store.keep(encode(result.draw(image), ".jpg"), ".jpg"))


def _table(result: Result) -> str:
    rows = _rows(result)
    more = f'<p class="cvtl-empty">and {len(rows) - _MOST_ROWS} more</p>' if len(rows) > _MOST_ROWS else ""
    return page.table(_head(result), rows[:_MOST_ROWS], _NOTHING) + more


def _head(result: Result) -> list[str]:
    if isinstance(result, Landmarks):
        return ["point", *(["object"] if result.boxes is not None else []), "x", "y", "score"]
    return ["class", "score", *_BOX]


def _rows(result: Result) -> list[list[str]]:
    if isinstance(result, Detections):
        found = result.to_dict()
        columns = zip(found["labels"], found["scores"], found["boxes"], strict=True)
        return [[label, f"{score:.3f}", *_pixels(box)] for label, score, box in columns]
    if isinstance(result, Localization):
        one = result.to_dict()
        return [[one["label"], f"{one['present'] * one['score']:.3f}", *_pixels(one["box"])]] * (result.present >= 0.5)
    assert isinstance(result, Landmarks)
    return [
        [name, *([str(number)] if result.boxes is not None else []), *_pixels(point), f"{score:.3f}"]
        for number, (points, scores) in enumerate(zip(result.points.tolist(), result.visible.tolist(), strict=True), 1)
        for name, point, score in zip(result.names, points, scores, strict=True)
    ]


def _pixels(values: list[float]) -> list[str]:
    return [f"{value:.1f}" for value in values]
