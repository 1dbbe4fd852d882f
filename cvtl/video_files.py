"""Writing videos. Torch-free."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from cvtl.data import UInt8Image
from cvtl.errors import OutputError
from cvtl.files import output_error

VIDEO_SUFFIX = ".mp4"
USUAL_RATE = 25.0
"""Frames a second of a video that does not say its own."""

LIVE_RATE = 20.0
"""Frames a second of the videos of live sources."""

# MPEG-4 Part 2: the one codec for .mp4 that OpenCV's wheels can write everywhere.
_CODEC = "mp4v"
_UNFINISHED = ".unfinished"
# Longer gaps are left out: hours of one picture help nobody.
_LONGEST_STILL_SECONDS = 10.0


class VideoFile:
    """A video that is written frame by frame; under its name it is whole.

    Until it is finished it lies beside its place, with `.unfinished` before the suffix. Where frames change their size,
    another file goes on, numbered.

    Args:
        path: of the file; its suffix is `VIDEO_SUFFIX`.
        rate: frames a second.
        live: whether a live source's frames go into it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     video = VideoFile(Path(folder) / "a.mp4", rate=10)
        ...     video.write(np.zeros((48, 64, 3), np.uint8))
        ...     [path.name for path in video.finish()]
        ['a.mp4']
    """

    def __init__(self, path: Path, rate: float = USUAL_RATE, *, live: bool = False) -> None:
        self.path = path
        self.rate = rate
        self.live = live
        self.finished: list[Path] = []
        self._writer: cv2.VideoWriter | None = None
        self._size_wh: tuple[int, int] | None = None
        self._written = 0
        self._parts = 0
        self._begun: float | None = None
        self._last: UInt8Image | None = None

    def write(self, image: UInt8Image, time: float | None = None) -> None:
        """Add a frame.

        Args:
            image: (H, W, 3) RGB.
            time: of the frame in seconds, where frames come irregularly: the last one is repeated until then, and what
                comes sooner than the rate has room for is left out. By default frames follow each other at the rate.

        Raises:
            OutputError: the file cannot be written.
        """
        size_wh = (image.shape[1], image.shape[0])
        if self._writer is None or size_wh != self._size_wh:
            self._finish_part()
            self._begin_part(size_wh, time)
        bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        if time is None:
            self._put(bgr)
            return
        assert self._begun is not None, "set when the part begins"
        due = round((time - self._begun) * self.rate)
        if due - self._written > _LONGEST_STILL_SECONDS * self.rate:
            self._begun, due = time - self._written / self.rate, self._written
        while self._last is not None and self._written < due:
            self._put(self._last)
        if self._written <= due:
            self._put(bgr)
        self._last = bgr

    def finish(self) -> list[Path]:
        """Close the file and put it in its place; the files that were written.

        Raises:
            OutputError: it is not whole, because the disk is full, say.
        """
        self._finish_part()
        return self.finished

    def abandon(self) -> None:
        """Close the file where it is, because the work on it is interrupted."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def _begin_part(self, size_wh: tuple[int, int], time: float | None) -> None:
        path = self._unfinished_path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from error
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*_CODEC), self.rate, size_wh)
        if not self._writer.isOpened():
            self._writer = None
            what = f"cannot write a video with frames of {size_wh[0]} x {size_wh[1]} pixels to '{path}'"
            raise OutputError(what, hint="Check the folder's permissions and the disk; very small frames have no codec")
        self._size_wh, self._written, self._begun, self._last = size_wh, 0, time, None

    def _put(self, bgr: UInt8Image) -> None:
        assert self._writer is not None, "a part has begun"
        self._writer.write(bgr)
        self._written += 1

    def _finish_part(self) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        unfinished, path = self._unfinished_path(), self._part_path()
        # OpenCV does not say when it cannot write.
        if _frames_in(unfinished) < self._written:
            raise OutputError(f"the video '{unfinished}' is not whole", hint="Is the disk full?")
        os.replace(unfinished, path)
        self.finished.append(path)
        self._parts += 1

    def _part_path(self) -> Path:
        number = f"-{self._parts + 1}" if self._parts else ""
        return self.path.with_name(f"{self.path.stem}{number}{self.path.suffix}")

    def _unfinished_path(self) -> Path:
        path = self._part_path()
        return path.with_name(f"{path.stem}{_UNFINISHED}{path.suffix}")


def _frames_in(path: Path) -> int:
    video = cv2.VideoCapture(str(path))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    return count
