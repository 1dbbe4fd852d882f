"""Motion JPEG over HTTP: `multipart/x-mixed-replace` (RFC 2046, section 5.1), as cameras send it. Torch-free."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

_LONGEST_LINE = 4096
_MOST_LINES = 100
_LARGEST_PART = 64 * 2**20
_CHUNK = 65536
_JPEG_END = b"\xff\xd9"


class MjpegError(Exception):
    """The server does not answer, or not so; says why in a few words."""


class Stream(Protocol):
    """What bytes are read from."""

    def read(self, count: int, /) -> bytes:
        """At most `count` bytes; fewer only at the end."""

    def readline(self, limit: int, /) -> bytes:
        """A line with its end, cut at `limit` bytes; empty at the end."""


def open_mjpeg(address: str, timeout: float) -> tuple[Any, bytes] | None:
    """Ask for a stream.

    Args:
        address: http:// or https://; user and password in it are sent as basic authentication.
        timeout: seconds without a byte after which reading fails.

    Returns:
        The open response and the boundary between parts; None if the server sends something else than Motion JPEG.

    Raises:
        MjpegError: it does not answer, or with an error.
    """
    manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    bare, user, password = _credentials(address)
    if user is not None:
        manager.add_password(None, bare, user, password or "")
    opener = urllib.request.build_opener(
        urllib.request.HTTPBasicAuthHandler(manager), urllib.request.HTTPDigestAuthHandler(manager)
    )
    try:
        response = opener.open(bare, timeout=timeout)
    except HTTPError as error:
        raise MjpegError(f"the server answers {error.code} {error.reason}") from None
    except (URLError, OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise MjpegError(f"the server does not answer ({getattr(reason, 'strerror', None) or reason})") from None
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    boundary = header.get_param("boundary")
    if header.get_content_maintype() != "multipart" or not isinstance(boundary, str):
        response.close()
        return None
    # Many cameras write the dashes into the boundary, too.
    return response, boundary.strip().lstrip("-").encode("latin-1", "replace")


def parts(stream: Stream, boundary: bytes) -> Iterator[bytes]:
    r"""The contents of the parts of a multipart stream, until it ends.

    Args:
        stream: its body.
        boundary: between parts, without dashes at its beginning.

    Raises:
        MjpegError: it is no such stream, or a part is larger than any frame.
        OSError: reading failed.

    Example:
        >>> import io
        >>> body = b"--b\r\nContent-Length: 2\r\n\r\nhi\r\n--b\r\n\r\nyou\xff\xd9\r\n--b--"
        >>> list(parts(io.BytesIO(body), b"b"))
        [b'hi', b'you\xff\xd9']
    """
    while _find_boundary(stream, boundary):
        length = _read_header(stream)
        if length is None:
            content = _read_to_end_of_jpeg(stream)
        elif length > _LARGEST_PART:
            raise MjpegError("the stream has a part that is too large for a frame")
        else:
            content = _read_exactly(stream, length)
        if content is None:
            return
        if content:
            yield content


def _find_boundary(stream: Stream, boundary: bytes) -> bool:
    for _ in range(_MOST_LINES):
        line = stream.readline(_LONGEST_LINE)
        if not line:
            return False
        bare = line.strip()
        if bare.startswith(b"--") and bare.lstrip(b"-").startswith(boundary):
            return not (bare.endswith(b"--") and not boundary.endswith(b"--"))
    raise MjpegError("it is no Motion JPEG stream")


def _read_header(stream: Stream) -> int | None:
    """The part's length, if it is said."""
    length = None
    for _ in range(_MOST_LINES):
        line = stream.readline(_LONGEST_LINE).strip()
        if not line:
            return length
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    raise MjpegError("it is no Motion JPEG stream")


def _read_exactly(stream: Stream, length: int) -> bytes | None:
    content = bytearray()
    while len(content) < length:
        piece = stream.read(min(_CHUNK, length - len(content)))
        if not piece:
            return None
        content += piece
    return bytes(content)


def _read_to_end_of_jpeg(stream: Stream) -> bytes | None:
    """A part of unknown length: up to the line that ends with a JPEG's last bytes."""
    content = bytearray()
    while len(content) <= _LARGEST_PART:
        line = stream.readline(_CHUNK)
        if not line:
            return None
        content += line
        if content.rstrip(b"\r\n").endswith(_JPEG_END):
            return bytes(content.rstrip(b"\r\n"))
    raise MjpegError("the stream has a part that is too large for a frame")


def _credentials(address: str) -> tuple[str, str | None, str | None]:
    """The address without user and password, and these."""
    split = urlsplit(address)
    host = split.netloc.rpartition("@")[2]
    bare = urlunsplit((split.scheme, host, split.path or "/", split.query, ""))
    user, password = split.username, split.password
    return bare, None if user is None else unquote(user), None if password is None else unquote(password)
