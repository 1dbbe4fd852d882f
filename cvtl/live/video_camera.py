"""A video file in place of a camera, for tests, demonstrations and benchmarks. Torch-free."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial

import cv2

from cvtl.live.captures import Capture, CaptureError, Load, of_bgr


class VideoAsCamera(Capture):
    """A video file that behaves like a camera: frames come at the video's pace, whether somebody looks or not.

    Args:
        path: of the video.
        rate: frames a second; the video's own if unset.
        repeat: begin anew at its end.

    Raises:
        CaptureError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, rate: float | None = None, repeat: bool = False) -> None:
        self._capture = cv2.VideoCapture(os.fspath(path))
        if not self._capture.isOpened():
            raise CaptureError(f"there is no video '{os.fspath(path)}'")
        self._interval = 1 / (rate or self._capture.get(cv2.CAP_PROP_FPS) or 25)
        self._repeat = repeat

    def frames(self) -> Iterator[Load]:
        """Each frame when it is due."""
        due = time.monotonic()
        while True:
            there, bgr = self._capture.read()
            if not there and self._repeat:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                there, bgr = self._capture.read()
            if not there:
                raise CaptureError("the video ended")
            due += self._interval
            time.sleep(max(0.0, due - time.monotonic()))
            yield partial(of_bgr, bgr)

    def close(self) -> None:
        """Close the video."""
        self._capture.release()
