"""The frames of a video file, all of them and in order. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from cvtl.data import UInt8Image
from cvtl.images import Decoded, of_array
from cvtl.run_settings import DEFAULT_MAX_PIXELS

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv", ".mts", ".m2ts")

# Containers that do not know how many frames they hold are estimated by their duration.
_MISSED_PART, _MISSED_FRAMES = 0.02, 2


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        decoded: the upright picture, or what is wrong from here on.
        number: from 0.
        time: in seconds from the video's start.
        rate: frames a second, as the video says; None if it does not.
    """

    decoded: Decoded
    number: int
    time: float
    rate: float | None = None


def names_video(name: str) -> bool:
    """Whether a file's name is that of a video.

    Example:
        >>> names_video("a/Clip.MP4"), names_video("a.jpg")
        (True, False)
    """
    return name.lower().endswith(VIDEO_SUFFIXES)


def read_frames(path: str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Iterator[Frame]:
    """The frames of a video, decoded one after the other.

    A video that cannot be opened, is too large, or ends before its header says has a last frame that tells so.

    Args:
        path: of the file.
        max_pixels: videos with larger frames are not decoded.
    """
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        why = "it is not there" if not os.path.exists(path) else "it cannot be opened"
        yield Frame(Decoded(None, "unreadable", why), 0, 0.0)
        return
    video = cv2.VideoCapture(path)
    try:
        yield from _frames_of(video, max_pixels)
    finally:
        video.release()


def _frames_of(video: cv2.VideoCapture, max_pixels: int) -> Iterator[Frame]:
    width, height = (int(video.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > max_pixels:
        what = f"its frames have {width * height} pixels, more than the limit of {max_pixels}"
        yield Frame(Decoded(None, "too_large", what, width, height), 0, 0.0)
        return
    number, time = 0, 0.0
    rate = video.get(cv2.CAP_PROP_FPS) or None
    while (image := _next_image(video)) is not None:
        time = round(video.get(cv2.CAP_PROP_POS_MSEC) / 1000, 3)
        yield Frame(of_array(image), number, time, rate)
        number += 1
    promised = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    if number == 0:
        yield Frame(Decoded(None, "unreadable", "it is not a video, or of a kind that cannot be read"), 0, 0.0)
    elif promised - number > max(_MISSED_FRAMES, _MISSED_PART * promised):
        what = f"the video ends early: {number} of {promised} frames can be read"
        yield Frame(Decoded(None, "truncated", what, width, height), number, time, rate)


def _next_image(video: cv2.VideoCapture) -> UInt8Image | None:
    there, image = video.read()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8) if there else None
