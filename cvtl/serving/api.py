"""The interface for programs: a picture in, its row out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from cvtl import __version__
from cvtl.errors import CvtlError, UsageError
from cvtl.images import Decoded
from cvtl.serving import metrics
from cvtl.serving.answering import Order, OrderJob
from cvtl.serving.jobs import RETRY_SECONDS, CancelledError, RefusedError, TimeLimitError
from cvtl.serving.reference import described
from cvtl.serving.service import PICTURES, Outcome, Service
from cvtl.serving.store import MEDIA_TYPES
from cvtl.serving.uploads import STATUS_CODES, Sent, read_form

API = "/api/v1"
_CLIENT_CLOSED = 499


def routes(service: Service) -> APIRouter:
    """The routes of the interface."""
    router = APIRouter()

    @router.post(f"{API}/{service.task}", name=service.task, **described(service))
    async def predict(request: Request) -> Response:
        arrived = time.monotonic()
        sent = await _read(request)
        if "picture" not in sent.files:
            raise HTTPException(400, "there is no picture: send it as the body, or as the file 'picture' of a form")
        source, content = sent.files["picture"]
        decoded = await _decoded(service, content)
        if decoded.image is None:
            return _row_response(service.bad(source, decoded))
        job = service.submit(await _order(service, sent, decoded), _client(request))
        await _wait(job, request)
        return _row_response(service.answered(source, decoded, job, arrived))

    if service.task == "style":

        @router.get(
            f"{API}/{PICTURES}/{{name}}",
            name="picture",
            summary="A picture that was made, for an hour.",
            response_class=FileResponse,
        )
        def picture(name: str) -> Response:
            found = service.store.find(name)
            if found is None:
                raise HTTPException(404, "there is no such picture, or no longer")
            return FileResponse(found, media_type=MEDIA_TYPES[found.suffix])

    @router.get("/health", name="health", summary="Whether the server takes pictures: 200, or 503.")
    def health() -> Response:
        state = "stopping" if service.jobs.refusing else "stuck" if service.jobs.is_overdue else "ok"
        content = {"status": state, "task": service.task, "version": __version__, "waiting": service.jobs.waiting}
        return JSONResponse(content, 200 if state == "ok" else 503)

    @router.get("/metrics", name="metrics", summary="Counts and durations, as Prometheus reads them.")
    def all_metrics() -> Response:
        return PlainTextResponse("\n".join(service.metric_lines()) + "\n", media_type=metrics.MEDIA_TYPE)

    return router


async def error_response(request: Request, error: Exception) -> Response:
    """What to answer in place of a traceback."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    if isinstance(error, RefusedError):
        status, headers = (503 if error.everyone else 429), {"retry-after": str(RETRY_SECONDS)}
    elif isinstance(error, TimeLimitError):
        status = 504
    elif isinstance(error, CancelledError):
        status = _CLIENT_CLOSED
    elif isinstance(error, UsageError):
        status = 422
    else:
        status = 500
    said = str(error) if isinstance(error, CvtlError) else "this should not have happened; the server's log says more"
    return JSONResponse({"error": said}, status, headers)


async def _read(request: Request) -> Sent:
    """A form, or a picture as the body itself."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await read_form(request)
    content = await request.body()
    texts = dict(request.query_params)
    name = texts.pop("source", "")
    return Sent({"picture": (name, content)} if content else {}, texts)


async def _order(service: Service, sent: Sent, decoded: Decoded) -> Order:
    assert decoded.image is not None
    texts = dict(sent.texts)
    style: Any = texts.pop("style", None)
    if "style" in sent.files:
        found = await _decoded(service, sent.files["style"][1])
        if found.image is None:
            raise HTTPException(STATUS_CODES[found.status], f"the style cannot be used: {found.error}")
        style = found.image
    return Order(decoded.image, style=style, chosen=texts)


async def _decoded(service: Service, content: bytes) -> Decoded:
    if len(content) > service.settings.max_bytes:
        raise HTTPException(413, f"the picture is larger than {service.settings.max_upload:g} megabytes")
    return await service.apart(service.decode, content)


async def _wait(job: OrderJob, request: Request) -> None:
    """Until the job is over, or the client has gone."""
    over = asyncio.wrap_future(job.future)
    # Or asyncio would complain of an error that nobody looked at.
    over.add_done_callback(lambda done: done.cancelled() or done.exception())
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((over, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        job.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _client(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _row_response(outcome: Outcome) -> Response:
    status = outcome.row.status
    return Response(
        outcome.row.to_json(), 200 if status == "ok" else STATUS_CODES[status], media_type="application/json"
    )
