"""Cameras for tests: one with a web page, and the clip that others show."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

FOLDER = Path(__file__).parent
RATE = 25

Wait = Callable[[Callable[[], object]], None]


class WebCamera:
    """A camera with a web page, in a process of its own; it can be killed and started again at its address."""

    server, scheme = "mjpeg_server.py", "http"

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def url(self, path: str = "video") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/{path}"

    def start(self, *stretches: str) -> None:
        """Begin to send stretches `WIDTH,HEIGHT,FRAMES` of frames to whoever asks."""
        command = [sys.executable, str(FOLDER / self.server), str(self.port), *stretches]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


class RtspCamera(WebCamera):
    """One that speaks RTSP; it takes one stretch."""

    server, scheme = "rtsp_server.py", "rtsp"


def write_clip(path: Path, count: int, *, size_wh: tuple[int, int] = (64, 48)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, size_wh)
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((size_wh[1], size_wh[0], 3), 10 + 4 * number % 240, np.uint8))
    writer.release()
    return path
