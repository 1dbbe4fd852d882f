"""Reading what clients send, and the two of gradio's routes that deal with files, done our way.

Gradio would write uploads as they come, under names that come from the client, and serve files by their paths. Here an
upload is a picture or is refused, gets a name of its own, and nothing else can be had.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from cvtl.images import Decoded
from cvtl.serving.guard import GRADIO
from cvtl.serving.service import Service
from cvtl.serving.store import MEDIA_TYPES

STATUS_CODES = {"unreadable": 415, "truncated": 422, "too_large": 413, "failed": 422}
_MOST_FIELDS = 32


@dataclass(frozen=True)
class Sent:
    """What a client sent.

    Attributes:
        files: what the client calls each, and its content, by field.
        texts: the other fields.
    """

    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


async def read_form(request: Request) -> Sent:
    """Read a form with files.

    Raises:
        HTTPException: it is damaged, or too much.
    """
    sent = Sent()
    async with request.form(max_files=_MOST_FIELDS, max_fields=_MOST_FIELDS) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                sent.files[name] = value.filename or "", await value.read()
            else:
                sent.texts[name] = value
    return sent


def routes(service: Service) -> APIRouter:
    """What stands before gradio's own."""
    router = APIRouter(include_in_schema=False)

    @router.post(f"{GRADIO}/upload")
    async def upload(request: Request) -> Response:
        """Take one picture, and tell the page its path."""
        sent = await read_form(request)
        if len(sent.files) != 1:
            raise HTTPException(400, "one picture at a time")
        ((_, content),) = sent.files.values()
        decoded: Decoded = await service.apart(service.decode, content)
        if decoded.image is None:
            service.metrics.count(decoded.status)
            # Gradio's page shows the text as it comes.
            return PlainTextResponse(f"This cannot be used: {decoded.error}.", STATUS_CODES[decoded.status])
        if len(content) > service.settings.max_bytes:
            raise HTTPException(413, f"the picture is larger than {service.settings.max_upload:g} megabytes")
        return JSONResponse([await service.apart(service.keep, content, decoded)])

    @router.get(f"{GRADIO}/upload_progress")
    def upload_progress() -> Response:
        """Pages show how far an upload has come; ours is told at once that it is over."""
        return PlainTextResponse('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    @router.get(f"{GRADIO}/file={{path:path}}")
    def file(path: str) -> Response:
        """Give a picture that is kept."""
        found = service.store.find_path(path)
        if found is None:
            raise HTTPException(404, "there is no such picture, or no longer")
        return FileResponse(found, media_type=MEDIA_TYPES[found.suffix])

    return router
