"""What drawings of results share. Drawing itself is the `supervision` library's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from cvtl.data import UInt8Image

if TYPE_CHECKING:
    from cvtl.tracking.motion import Motion


def line_width(image: UInt8Image) -> int:
    """Of lines in pixels, for a picture of this size.

    Example:
        >>> line_width(np.zeros((900, 1200, 3), np.uint8))
        3
    """
    shorter_side: int = min(image.shape[:2])
    return max(1, round(shorter_side / 300))


def text_scale(image: UInt8Image) -> float:
    """Of captions, for a picture of this size."""
    shorter_side: int = min(image.shape[:2])
    return max(0.35, shorter_side / 1000)


def draw_boxes(
    image: UInt8Image,
    boxes: npt.NDArray[np.float32],
    captions: Sequence[str],
    colours: Sequence[int | None],
    motion: Motion | None = None,
) -> UInt8Image:
    """Draw boxes and captions into a copy of a picture.

    Args:
        image: (H, W, 3) RGB.
        boxes: (N, 4), xyxy.
        captions: N of them.
        colours: N places in supervision's palette; None for grey.
        motion: what else is known of the frame, to be drawn over it.
    """
    scene = boxes_into(to_bgr(image), boxes, captions, colours)
    drawn = scene if motion is None else motion.draw(scene)
    # In its place: a very large picture should not be in memory once more.
    cv2.cvtColor(drawn, cv2.COLOR_BGR2RGB, dst=drawn)
    return drawn


def boxes_into(
    scene: UInt8Image,
    boxes: npt.NDArray[np.float32],
    captions: Sequence[str],
    colours: Sequence[int | None],
) -> UInt8Image:
    """The same into a BGR picture itself; returns it."""
    import supervision

    known = supervision.ColorPalette.DEFAULT.colors
    palette = supervision.ColorPalette([*known, supervision.Color.GREY])
    places = [len(known) if colour is None else colour % len(known) for colour in colours]
    found = supervision.Detections(xyxy=boxes.reshape(-1, 4), class_id=np.array(places, int).reshape(-1))
    width = line_width(scene)
    outlined = supervision.BoxAnnotator(palette, thickness=width).annotate(scene, found)
    if not any(captions):
        return np.asarray(outlined)
    writer = supervision.LabelAnnotator(palette, text_scale=text_scale(scene), text_padding=2, text_thickness=width)
    return np.asarray(writer.annotate(outlined, found, labels=list(captions)))


def to_bgr(image: UInt8Image) -> UInt8Image:
    """A copy with the colours in OpenCV's order."""
    # Some forty times as fast as a reversed copy by NumPy.
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)


def to_rgb(image: UInt8Image) -> UInt8Image:
    """The way back."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
