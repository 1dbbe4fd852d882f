"""Who may come in, and with what: looks at every request before anything else does.

It asks for the password, refuses foreign host names, requests that other sites send, bodies that are too large, and all
of gradio's routes but those that the pages need. What gradio is told of files has to be a picture that was uploaded.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cvtl.serving.settings import ServeSettings

GRADIO = "/gradio_api"
# What gradio's pages need; the other routes read files, call programs or fetch addresses.
_GRADIO_ROUTES = re.compile(
    rf"(?!.*\.\.)/(theme\.css|manifest\.json|favicon\.ico|config|(assets|static)/[\w./-]+)?"
    rf"|{GRADIO}/(queue/(join|data)|heartbeat/[\w-]+|cancel|reset|startup-events|theme\.css|app_id|upload(_progress)?|file=.*)"
)
_OWN_ROUTES = re.compile(r"/(health|metrics|docs|openapi\.json|api/v1/.*)")
_JSON_BYTES = 2**20
# Of the parts of an upload besides the pictures.
_SLACK_BYTES = 2**16

# Nothing comes from, or goes to, anywhere else. Gradio's pages have scripts in them, and compile templates.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        settings: how to serve.
        pictures: pictures in an upload, at most.
        is_uploaded: whether a path is that of a picture that was uploaded.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, *, pictures: int, is_uploaded: Callable[[str], bool]
    ) -> None:
        self._app = app
        self._credentials = settings.auth
        self._hosts = _known_hosts(settings)
        self._most_bytes = pictures * settings.max_bytes + _SLACK_BYTES
        self._too_large = f"the upload is larger than {settings.max_upload:g} megabytes"
        self._is_uploaded = is_uploaded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused is not None:
            await refused(scope, receive, _with_headers(send))
            return
        if scope["path"] == "/":
            # Gradio would take names of files from it.
            scope["query_string"] = b""
        if scope["path"].startswith(GRADIO) and scope["method"] == "POST" and not scope["path"].endswith("/upload"):
            checked = await self._checked_json(receive)
            if isinstance(checked, Response):
                await checked(scope, receive, _with_headers(send))
                return
            receive = checked
        await self._app(scope, self._counted(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._hosts is not None and _host_of(headers) not in self._hosts:
            return _said(421, "the server is not known by this name: start it with --hosts to allow it")
        if scope["method"] not in ("GET", "HEAD") and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return _said(403, "another site sent this request")
        if not self._is_allowed(headers):
            return _said(
                401, "user and password are needed", {"www-authenticate": 'Basic realm="cvtl", charset="UTF-8"'}
            )
        if not (_OWN_ROUTES.fullmatch(scope["path"]) or _GRADIO_ROUTES.fullmatch(scope["path"])):
            return _said(404, "there is nothing here")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most_bytes:
            return _said(413, self._too_large)
        return None

    def _is_allowed(self, headers: Headers) -> bool:
        if self._credentials is None:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        try:
            said = base64.b64decode(given.strip(), validate=True) if kind.lower() == "basic" else b""
        except binascii.Error:
            return False
        return hmac.compare_digest(said, self._credentials.encode())

    async def _checked_json(self, receive: Receive) -> Receive | Response:
        """What gradio's page sends, once it is seen that it names no files but uploaded ones."""
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            if len(body) > _JSON_BYTES:
                return _said(413, "the request is too long")
            if not message.get("more_body"):
                break
        try:
            content = json.loads(body or b"null")
        except (ValueError, RecursionError):
            return _said(400, "the request is no JSON")
        if not all(map(self._is_harmless, _objects(content))):
            return _said(403, "the request names a file that was not uploaded")
        return _replayed(body, receive)

    def _is_harmless(self, content: dict[str, Any]) -> bool:
        path = content.get("path")
        return path is None or (isinstance(path, str) and self._is_uploaded(path))

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most_bytes:
                # Whoever reads the body has this answered.
                raise HTTPException(413, self._too_large, {"connection": "close"})
            return message

        return counted


def _known_hosts(settings: ServeSettings) -> frozenset[str] | None:
    """The names a browser may call the server by; None for any.

    A page from elsewhere can make its own name point to this machine, and would then be let in by a browser.
    """
    if not settings.is_local and not settings.hosts:
        return None
    return frozenset({"localhost", "127.0.0.1", "[::1]", settings.host.lower(), *map(str.lower, settings.hosts)})


def _host_of(headers: Headers) -> str:
    return re.sub(r":\d+$", "", headers.get("host", "").lower())


def _objects(content: Any) -> Iterable[dict[str, Any]]:
    left = [content]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
            left += each.values()
        elif isinstance(each, list):
            left += each


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _said(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": error}, status, headers)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            extra = [
                (name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in present
            ]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending
