"""Many small pictures in one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from cvtl.data import UInt8Image

_GAP = 3
_BACKGROUND = 24
_CAPTION_HEIGHT = 15
_TEXT_SCALE = 0.4
_ENLARGED = 5


def grid(tiles: Sequence[UInt8Image], *, columns: int, side: int, captions: Sequence[str] = ()) -> UInt8Image:
    """Lay pictures out in rows, each scaled into a square; the pixels of tiny ones stay visible as squares.

    Args:
        tiles: RGB uint8 (h, w, 3), of any sizes.
        columns: how many stand beside one another.
        side: of a square in pixels.
        captions: what to write above each, if anything.

    Returns:
        RGB uint8 (H, W, 3).

    Example:
        >>> grid([np.zeros((3, 3, 3), np.uint8)] * 5, columns=3, side=30).shape
        (69, 102, 3)
    """
    caption_height = _CAPTION_HEIGHT if captions else 0
    step_hw = side + caption_height + _GAP, side + _GAP
    rows = max(1, math.ceil(len(tiles) / columns))
    sheet = np.full((rows * step_hw[0] + _GAP, columns * step_hw[1] + _GAP, 3), _BACKGROUND, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * step_hw[0] + _GAP, number % columns * step_hw[1] + _GAP
        if captions:
            place = left, top + caption_height - 4
            cv2.putText(
                sheet, captions[number], place, cv2.FONT_HERSHEY_SIMPLEX, _TEXT_SCALE, (255,) * 3, 1, cv2.LINE_AA
            )
        _paste(sheet[top + caption_height :, left:][:side, :side], tile)
    return sheet


def _paste(square: UInt8Image, tile: UInt8Image) -> None:
    side = square.shape[0]
    scale = side / max(tile.shape[:2])
    width, height = (max(1, round(size * scale)) for size in tile.shape[1::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC if scale < _ENLARGED else cv2.INTER_NEAREST
    scaled = cv2.resize(tile, (width, height), interpolation=method)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = scaled
