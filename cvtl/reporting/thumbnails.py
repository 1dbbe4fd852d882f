"""Small pictures of samples with boxes and points in them, drawn by the `supervision` library."""

from __future__ import annotations

import base64
from textwrap import wrap
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cvtl.data import UInt8Image
from cvtl.errors import DataError
from cvtl.reporting.sections import Marks, Role, Thumbnail
from cvtl.terminal import printable

if TYPE_CHECKING:
    import supervision

# Told apart by the colour-blind, too (after Okabe and Ito), and against most photographs.
ROLE_COLOURS: dict[Role, str] = {"true": "#00b483", "found": "#3d9eff", "wrong": "#e8590c"}
_THICKNESS: dict[Role, int] = {"true": 2, "found": 2, "wrong": 3}
_RIM = "#10151c"
_TILE_GREY = 96
_UNKNOWN_HW = (240, 320)
_ROOM = 0.6
_LEAST_ROOM = 12.0
_TEXT_SCALE = 0.4
_CHARACTER_WIDTH = 8
_MOST_CAPTIONS = 8
_LINE_HEIGHT = 16


def thumbnail(item: Thumbnail, longest_side: int) -> UInt8Image:
    """Draw a thumbnail.

    Args:
        item: its sample's picture is read now. Where it cannot be read, the marks are drawn on a grey tile of the
            annotated size that says why.
        longest_side: of the result in pixels; smaller pictures are enlarged.

    Returns:
        RGB uint8 (H, W, 3).

    Example:
        >>> from cvtl.data import Sample
        >>> sample = Sample("grey.png", lambda: np.full((60, 80, 3), 128, np.uint8))
        >>> thumbnail(Thumbnail(sample=sample, caption="", focus=(30, 20, 50, 40)), 320).shape
        (320, 320, 3)
    """
    image, reason = _read(item)
    height, width = image.shape[:2] if image is not None else _tile_hw(item)
    left, top, right, bottom = _part(item, width, height)
    scale = longest_side / max(right - left, bottom - top)
    size_wh = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    if image is None:
        scene = np.full((size_wh[1], size_wh[0], 3), _TILE_GREY, np.uint8)
    else:
        bgr = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2BGR)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scene = np.asarray(cv2.resize(bgr, size_wh, interpolation=method), np.uint8)
    placed = [_placed(marks, left, top, scale, scene) for marks in item.marks]
    for draw in (_draw_boxes, _draw_points, _write_captions):
        for marks in placed:
            scene = draw(scene, marks)
    if reason:
        _write(scene, reason)
    return np.ascontiguousarray(scene[..., ::-1])


def _read(item: Thumbnail) -> tuple[UInt8Image | None, str]:
    """The picture, or None and why there is none."""
    try:
        return item.sample.read(), ""
    except DataError as error:
        return None, error.what.removeprefix(f"cannot read the picture '{item.sample.file}': ")


def _tile_hw(item: Thumbnail) -> tuple[int, int]:
    """The annotated size, where that is one."""
    width, height = item.sample.annotated_wh or (0, 0)
    return (height, width) if min(width, height) > 0 else _UNKNOWN_HW


def data_uri(image: UInt8Image) -> str:
    """A picture as an address that holds it, JPEG inside.

    Example:
        >>> data_uri(np.zeros((8, 8, 3), np.uint8))[:30]
        'data:image/jpeg;base64,/9j/4AA'
    """
    # Full colour resolution: the lines that are drawn are thin.
    how = [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), how)
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _part(item: Thumbnail, width: int, height: int) -> tuple[int, int, int, int]:
    """What to show, xyxy: the focus with room round it; the whole picture where that lies outside."""
    if item.focus is None:
        return 0, 0, width, height
    x1, y1, x2, y2 = item.focus
    room = max(_LEAST_ROOM, _ROOM * max(x2 - x1, y2 - y1))
    left, right = np.clip([np.floor(x1 - room), np.ceil(x2 + room)], 0, width).astype(int).tolist()
    top, bottom = np.clip([np.floor(y1 - room), np.ceil(y2 + room)], 0, height).astype(int).tolist()
    return (left, top, right, bottom) if left < right and top < bottom else (0, 0, width, height)


def _placed(marks: Marks, left: int, top: int, scale: float, scene: UInt8Image) -> Marks:
    """Marks in the scene's pixels, without boxes that lie outside of it."""
    height, width = scene.shape[:2]
    # OpenCV counts in 32 bits; what lies outside stays outside.
    reach = 2 * max(height, width)
    points, boxes, captions = marks.points, marks.boxes, marks.captions
    if points is not None:
        points = ((points - (left, top)) * scale).clip(-reach, reach)
    if boxes is not None:
        boxes = ((boxes - (left, top, left, top)) * scale).clip(-reach, reach)
        seen = np.flatnonzero((boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
        boxes = boxes[seen]
        # OpenCV dies of names that are no text.
        captions = tuple(printable(captions[i]) for i in seen) if captions else ()
    return Marks(role=marks.role, boxes=boxes, points=points, captions=captions)


def _draw_boxes(scene: UInt8Image, marks: Marks) -> UInt8Image:
    from supervision import BoxAnnotator

    for colour, thickness in _strokes(marks.role):
        scene = BoxAnnotator(colour, thickness).annotate(scene, _detections(marks))
    return scene


def _draw_points(scene: UInt8Image, marks: Marks) -> UInt8Image:
    from supervision import KeyPoints, VertexAnnotator

    if marks.points is None:
        return scene
    for colour, thickness in _strokes(marks.role):
        scene = VertexAnnotator(colour, 2 + thickness // 2).annotate(
            scene, KeyPoints(xy=marks.points[None].astype(np.float32))
        )
    return scene


def _write_captions(scene: UInt8Image, marks: Marks) -> UInt8Image:
    from supervision import Color, LabelAnnotator, Position

    if not 0 < len(marks.captions) <= _MOST_CAPTIONS:
        return scene
    writer = LabelAnnotator(
        Color.from_hex(ROLE_COLOURS[marks.role]),
        text_color=Color.BLACK,
        text_scale=_TEXT_SCALE,
        text_padding=2,
        # Below the box, where the caption of what was found there is not.
        text_position=Position.BOTTOM_LEFT if marks.role == "true" else Position.TOP_LEFT,
        smart_position=True,
    )
    annotated: UInt8Image = writer.annotate(scene, _detections(marks), labels=list(marks.captions))
    return annotated


def _detections(marks: Marks) -> supervision.Detections:
    from supervision import Detections

    boxes = np.zeros((0, 4)) if marks.boxes is None else marks.boxes
    return Detections(xyxy=boxes, class_id=np.zeros(len(boxes), int))


def _strokes(role: Role) -> list[tuple[supervision.Color, int]]:
    """Colours and widths to draw over one another: a dark rim shows on light pictures, too."""
    from supervision import Color

    return [(Color.from_hex(_RIM), _THICKNESS[role] + 2), (Color.from_hex(ROLE_COLOURS[role]), _THICKNESS[role])]


def _write(scene: UInt8Image, text: str) -> None:
    """Write text to the bottom of a BGR picture, in as many lines as it takes."""
    from supervision import Color, Point, draw_text

    height, width = scene.shape[:2]
    lines = wrap(printable(text), max(8, width // _CHARACTER_WIDTH))
    for number, line in enumerate(reversed(lines)):
        anchor = Point(x=width / 2, y=height - (number + 0.6) * _LINE_HEIGHT)
        draw_text(scene, line, anchor, Color.WHITE, _TEXT_SCALE, text_padding=3, background_color=Color.BLACK)
