"""How much grey surrounds a letterboxed picture."""

from __future__ import annotations

from dataclasses import dataclass

from cvtl.preprocessing import InputSpec, place


@dataclass(frozen=True)
class Window:
    """A part of the network's usual input, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def tight_window(image_hw: tuple[int, int], spec: InputSpec, stride: int) -> Window:
    """The least part of the input that holds a letterboxed picture and has sides that are multiples of the stride.

    It depends on the picture alone, so that a picture's boxes do not depend on what else is in its batch. Ultralytics
    pads single pictures so (`LetterBox(auto=True)`); of an odd number of grey rows, the lesser half
    is above.

    Args:
        image_hw: of the picture.
        spec: how it is letterboxed into the whole input, whose sides are multiples of the stride.
        stride: the network's largest.

    Example:
        >>> tight_window((1080, 810), InputSpec(size_hw=(640, 640), resize="letterbox"), 32)
        Window(left=80, top=0, width=480, height=640)
    """
    placed = place(image_hw, spec)
    height, width = round(image_hw[0] * placed.scale_y), round(image_hw[1] * placed.scale_x)
    rows, columns = (-(-side // stride) * stride for side in (height, width))
    left, top = int(placed.offset_x) - (columns - width) // 2, int(placed.offset_y) - (rows - height) // 2
    return Window(left, top, columns, rows)


def whole_window(spec: InputSpec) -> Window:
    """All of the input."""
    return Window(0, 0, spec.size_hw[1], spec.size_hw[0])
