"""A window that shows results as they come, and obeys a few keys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cvtl.addresses import address_path
from cvtl.files import write_atomically
from cvtl.images import encode
from cvtl.results import Detections, Landmarks

if TYPE_CHECKING:
    from cvtl.model import Model
    from cvtl.results import Result, UInt8Image
    from cvtl.run_settings import RunSettings

KEYS = "q quits, space pauses, s saves the frame, + and - change the threshold"

_PROBE = "import cv2; cv2.namedWindow('cvtl'); cv2.waitKey(1)"
_PROBE_SECONDS = 20
_LARGEST_WH = (1280, 800)
_OFFSET = 48
_STORED = "pictures"
_PAUSE_MILLISECONDS = 30
_THRESHOLD_STEP = 0.05
_RATE_FRAMES = 30
_ESCAPE = 27


def display_problem() -> str | None:
    """Why no window can be opened; None if one can.

    OpenCV ends the whole process where there is no display, so a child process tries first.
    """
    if not cv2.currentUIFramework():
        return "this OpenCV cannot open windows (is opencv-python-headless installed?)"
    if sys.platform in ("win32", "darwin"):
        return None
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if not display:
        return "there is no display"
    try:
        tried = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"the display '{display}' does not answer"
    return None if tried.returncode == 0 else f"the display '{display}' cannot be opened"


def with_display(settings: RunSettings, tell: Callable[[str], None]) -> RunSettings:
    """The settings as they are; where a window is wanted and cannot be had, with `save_video` instead."""
    problem = display_problem() if settings.show else None
    if problem is None:
        return settings
    tell(f"no window: {problem}; what it would show is written, as with --save-video")
    return settings.model_copy(update={"show": False, "save_video": True})


def threshold_of(model: Model) -> float | None:
    """The least score of what a model finds, if it has such a thing."""
    threshold = getattr(getattr(model.options, "predict", None), "threshold", None)
    return float(threshold) if isinstance(threshold, (int, float)) else None


class Screen:
    """A window for each live source, and one for all others. All calls come from one thread.

    Args:
        folder: where saved frames go.
        tell: is told in a line what a key did.
        threshold: least score of what is drawn, to begin with.
        threshold_changed: is told a new one.

    Attributes:
        quit: whether somebody pressed q, or closed a window.
    """

    def __init__(
        self,
        folder: Path,
        tell: Callable[[str], None],
        *,
        threshold: float | None = None,
        threshold_changed: Callable[[float], None] = lambda threshold: None,
    ) -> None:
        self.quit = False
        self._folder = folder
        self._tell = tell
        self._threshold = threshold
        self._changed = threshold_changed
        self._moved = False
        self._paused = False
        self._shown: dict[str, deque[float]] = {}
        self._last: tuple[str, UInt8Image] | None = None

    def show(
        self, source: str, image: UInt8Image, result: Result | None, *, frame: int | None, arrived: float | None
    ) -> None:
        """Show a frame and do what keys say; while paused it does not return.

        Args:
            source: is written into the window's title.
            image: (H, W, 3) RGB.
            result: to draw.
            frame: its number.
            arrived: when a live source gave it, on the clock of `time.perf_counter`.
        """
        drawn = image if result is None else self._filtered(result).draw(image)
        # A folder's pictures would open thousands of windows.
        window = _STORED if arrived is None else source
        if window not in self._shown:
            self._open(window, image)
        shown = self._shown[window]
        shown.append(perf_counter())
        self._last = (f"{source}-{0 if frame is None else frame:06d}", drawn)
        cv2.imshow(window, _with_text(drawn, self._status(shown, arrived)))
        if window == _STORED:
            cv2.setWindowTitle(window, source)
        self.poll()

    def poll(self) -> None:
        """Do what keys say; wait while paused."""
        if not self._shown:
            return
        self._obey(cv2.waitKey(1))
        while self._paused and not self.quit:
            self._obey(cv2.waitKey(_PAUSE_MILLISECONDS))

    def close(self) -> None:
        """Close the windows."""
        if self._shown:
            cv2.destroyAllWindows()
            cv2.waitKey(1)

    def _open(self, window: str, image: UInt8Image) -> None:
        if not self._shown:
            self._tell(f"keys in the window: {KEYS}")
        offset = _OFFSET * len(self._shown)
        self._shown[window] = deque(maxlen=_RATE_FRAMES)
        cv2.namedWindow(window, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        height, width = image.shape[:2]
        scale = min(1.0, _LARGEST_WH[0] / width, _LARGEST_WH[1] / height)
        cv2.resizeWindow(window, max(1, int(width * scale)), max(1, int(height * scale)))
        if offset:
            cv2.moveWindow(window, offset, offset)

    def _status(self, shown: deque[float], arrived: float | None) -> str:
        parts = []
        if len(shown) > 1:
            parts.append(f"{(len(shown) - 1) / max(shown[-1] - shown[0], 1e-9):.1f} frames/s")
        if arrived is not None:
            parts.append(f"{(perf_counter() - arrived) * 1000:.0f} ms")
        if self._moved:
            parts.append(f"threshold {self._threshold:.2f}")
        return ", ".join(parts)

    def _filtered(self, result: Result) -> Result:
        if self._threshold is None or not self._moved:
            return result
        if isinstance(result, Landmarks):
            return replace(result, threshold=self._threshold)
        if isinstance(result, Detections):
            return result.where(result.scores >= self._threshold)
        return result

    def _obey(self, key: int) -> None:
        key &= 0xFF
        if key in (ord("q"), _ESCAPE) or any(
            cv2.getWindowProperty(name, cv2.WND_PROP_VISIBLE) < 1 for name in self._shown
        ):
            self.quit = True
        elif key == ord(" "):
            self._paused = not self._paused
        elif key == ord("s") and self._last is not None:
            self._save(*self._last)
        elif key in (ord("+"), ord("=")):
            self._move_threshold(_THRESHOLD_STEP)
        elif key in (ord("-"), ord("_")):
            self._move_threshold(-_THRESHOLD_STEP)

    def _move_threshold(self, step: float) -> None:
        if self._threshold is None:
            self._tell("these weights have no threshold")
            return
        self._moved = True
        self._threshold = min(1.0, max(0.0, round(self._threshold + step, 2)))
        self._changed(self._threshold)

    def _save(self, name: str, drawn: UInt8Image) -> None:
        from cvtl.writers import picture_name

        path = write_atomically(self._folder / picture_name(f"{address_path(name)}.png"), encode(drawn, ".png"))
        self._tell(f"saved {path}")


def _with_text(image: UInt8Image, text: str) -> UInt8Image:
    """The picture as OpenCV shows it, with a line of text at its top."""
    bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    scale = max(0.45, min(image.shape[:2]) / 1000)
    x, y = int(12 * scale), int(36 * scale)
    # A shadow, so that it can be read on anything.
    for place, colour in (((x + 1, y + 1), (0, 0, 0)), ((x - 1, y - 1), (0, 0, 0)), ((x, y), (255, 255, 255))):
        cv2.putText(bgr, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return bgr
