"""Opening a camera or a stream and drawing frames from it. Torch-free."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np

from cvtl.images import Decoded, cannot_open, decode, of_array
from cvtl.live.mjpeg import MjpegError, open_mjpeg, parts
from cvtl.live.sources import LiveSource

_MILLISECONDS = 1000
Load = Callable[[], Decoded]


class CaptureError(Exception):
    """A source cannot be opened or gives nothing any more; says why in a few words."""


class Capture(ABC):
    """An open source. One thread uses it."""

    @abstractmethod
    def frames(self) -> Iterator[Load]:
        """Each frame as it comes, to be decoded by whoever wants it.

        Raises:
            CaptureError: the source is lost; also when the frames merely end, for live sources do not.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""


def open_capture(source: LiveSource, lost_after: float, max_pixels: int) -> Capture:
    """Open a camera or a stream; this may take some seconds.

    Args:
        source: what to open.
        lost_after: seconds to wait for an answer or for a frame.
        max_pixels: larger frames are not decoded but reported.

    Raises:
        CaptureError: it is not there.
    """
    address = source.address
    if isinstance(address, str) and address.lower().startswith(("http://", "https://")):
        try:
            opened = open_mjpeg(address, lost_after)
        except MjpegError as error:
            raise CaptureError(str(error)) from None
        if opened is not None:
            return _Mjpeg(*opened, max_pixels=max_pixels)
    return _OpenCv(address, lost_after)


class _OpenCv(Capture):
    """A camera, or a stream in any form that OpenCV's FFmpeg understands."""

    def __init__(self, address: int | str, lost_after: float) -> None:
        _silence()
        camera = isinstance(address, int) or address.startswith("/dev/")
        if camera and sys.platform == "linux" and not os.path.exists(path := _device(address)):
            raise CaptureError(f"there is no camera at {path}")
        self._capture = cv2.VideoCapture()
        opened = self._open(address, lost_after, camera)
        if not opened:
            raise CaptureError("the camera cannot be opened" if camera else "the stream cannot be opened")
        # Otherwise a camera hands out frames that have been waiting in its driver.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def _open(self, address: Any, lost_after: float, camera: bool) -> bool:
        if camera:
            return bool(self._capture.open(address))
        limit = int(lost_after * _MILLISECONDS)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        return bool(self._capture.open(address, cv2.CAP_FFMPEG, limits))

    def frames(self) -> Iterator[Load]:
        while True:
            there, bgr = self._capture.read()
            if not there:
                raise CaptureError("no frames come any more")
            yield partial(of_bgr, bgr)

    def close(self) -> None:
        self._capture.release()


class _Mjpeg(Capture):
    """JPEGs one after the other over HTTP, as most cameras with a web page send them.

    OpenCV would bring frames behind a change of resolution to the size of the first one.
    """

    def __init__(self, response: Any, boundary: bytes, *, max_pixels: int) -> None:
        self._response = response
        self._boundary = boundary
        self._max_pixels = max_pixels

    def frames(self) -> Iterator[Load]:
        try:
            for jpeg in parts(self._response, self._boundary):
                yield partial(decode, jpeg, max_pixels=self._max_pixels)
        except (OSError, MjpegError) as error:
            raise CaptureError(_why(error)) from None
        raise CaptureError("the stream ended")

    def close(self) -> None:
        self._response.close()


def _silence() -> None:
    """A source that is away for an hour should not fill the terminal with OpenCV's and FFmpeg's complaints."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _device(address: int | str) -> str:
    return f"/dev/video{address}" if isinstance(address, int) else address


def of_bgr(bgr: Any) -> Decoded:
    """A frame (H, W, 3) as OpenCV gives it."""
    return of_array(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))


def _why(error: Exception) -> str:
    if isinstance(error, MjpegError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no frames come any more"
    assert isinstance(error, OSError)
    return str(cannot_open(error).error)
