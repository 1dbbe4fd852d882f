"""Motion JPEG as cameras really send it."""

from __future__ import annotations

import io
import random

import pytest
from cameras import WebCamera

from cvtl.live.mjpeg import MjpegError, open_mjpeg, parts

END = b"\xff\xd9"


def body(*contents: bytes, length: bool = True, boundary: bytes = b"b", end: bytes = b"\r\n") -> bytes:
    written = b""
    for content in contents:
        header = b"Content-Length: %d%s" % (len(content), end) if length else b""
        written += b"--" + boundary + end + b"Content-Type: image/jpeg" + end + header + end + content + end
    return written


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_parts_come_whole_with_and_without_a_length(length: bool, end: bytes) -> None:
    contents = [random.Random(i).randbytes(3000).replace(END, b"..") + END for i in range(5)]
    assert list(parts(io.BytesIO(body(*contents, length=length, end=end)), b"b")) == contents


def test_a_length_is_believed_even_if_the_content_looks_like_a_boundary() -> None:
    content = b"\r\n--b\r\n\r\n" + END + b"more" + END
    assert list(parts(io.BytesIO(body(content, b"next")), b"b")) == [content, b"next"]


def test_the_last_boundary_ends_the_stream() -> None:
    assert list(parts(io.BytesIO(body(b"one") + b"--b--\r\n" + body(b"two")), b"b")) == [b"one"]


def test_what_is_cut_off_is_no_part() -> None:
    written = body(b"one", b"two")
    assert list(parts(io.BytesIO(written[: written.index(b"two") + 1]), b"b")) == [b"one"]
    written = body(b"one" + END, b"two" + END, length=False)
    assert list(parts(io.BytesIO(written[: written.index(b"two") + 2]), b"b")) == [b"one" + END]


def test_a_part_that_promises_gigabytes_is_refused() -> None:
    with pytest.raises(MjpegError, match="too large"):
        list(parts(io.BytesIO(b"--b\r\nContent-Length: 9999999999\r\n\r\n"), b"b"))


def test_something_else_is_told_from_a_stream() -> None:
    with pytest.raises(MjpegError, match="no Motion JPEG"):
        list(parts(io.BytesIO(b"<p>hello</p>\n" * 500), b"b"))
    with pytest.raises(MjpegError, match="no Motion JPEG"):
        list(parts(io.BytesIO(b"--b\r\n" + b"X: y\r\n" * 500), b"b"))


def test_a_server_is_read_whatever_dashes_its_boundary_has(web_camera: WebCamera) -> None:
    web_camera.start("32,24,3")
    for path in ("video", "bare"):
        opened = open_mjpeg(web_camera.url(path), timeout=5)
        assert opened is not None
        response, boundary = opened
        with response:
            assert [jpeg[:2] for jpeg in parts(response, boundary)] == [b"\xff\xd8"] * 3


def test_user_and_password_in_the_address_are_sent(web_camera: WebCamera) -> None:
    web_camera.start()
    with pytest.raises(MjpegError, match="401"):
        open_mjpeg(web_camera.url("secret"), timeout=5)
    opened = open_mjpeg(web_camera.url("secret").replace("//", "//me:hidden@"), timeout=5)
    assert opened is not None
    opened[0].close()


def test_a_page_is_no_stream(web_camera: WebCamera) -> None:
    web_camera.start()
    assert open_mjpeg(web_camera.url("page"), timeout=5) is None


def test_a_server_that_is_not_there_is_an_error_that_says_so(web_camera: WebCamera) -> None:
    with pytest.raises(MjpegError, match="does not answer"):
        open_mjpeg(web_camera.url(), timeout=1)
