"""Layouts: what the outputs of exported networks mean, seen from their shapes. Torch-free.

A layout is told by the shape of the one output (N, ...) for an input of H x W pixels:

- `yolox`: (N, cells, 5 + C), the cells of the grids of strides 8, 16 and 32: Megvii's YOLOX, as it decodes outside.
- `ultralytics`: (N, 4 + C, anchors), decoded to pixels; or end-to-end, (N, K, 6), suppressed, too.
- `fastestdet`: (N, 5 + C, H / 16, W / 16).
- `classifier`: (N, C), or (N, C, 1, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cvtl.tasks import TaskName
from cvtl_onnx.options import LayoutName

STRIDES = (8, 16, 32)
FASTEST_STRIDE = 16
BOX, BOX_AND_OBJECT = 4, 5
END_TO_END = 6
_UNIT = 1 / 255

Size = tuple[int, int]
OPEN = 0
"""The number of classes where the shape leaves it open."""


@dataclass(frozen=True)
class Layout:
    """One way in which networks give their answers, and how their makers feed them.

    Attributes:
        name: as `--layout` has it.
        task: what for.
        about: the output, for messages.
        count: number of classes, from the shape of the output (without N) and the input's H and W; `OPEN` where
            the shape leaves it open, None where it is no such output.
        input: fields of `cvtl.preprocessing.InputSpec`.
        nms_iou: as its makers evaluate with.
    """

    name: LayoutName
    task: TaskName
    about: str
    count: Callable[[tuple[int, ...], Size], int | None]
    input: Mapping[str, Any]
    nms_iou: float = 0.65


def cells(size_hw: Size, strides: tuple[int, ...] = STRIDES) -> int:
    """Cells of the grids of some strides.

    Example:
        >>> cells((416, 416))
        3549
    """
    return sum((size_hw[0] // stride) * (size_hw[1] // stride) for stride in strides)


def is_end_to_end(shape: tuple[int, ...]) -> bool:
    """Whether an Ultralytics output (without N) holds finished boxes: x1, y1, x2, y2, score, class in each row."""
    return len(shape) == 2 and shape[1] == END_TO_END


def _yolox(shape: tuple[int, ...], size_hw: Size) -> int | None:
    fits = len(shape) == 2 and shape[0] == cells(size_hw) and shape[1] > BOX_AND_OBJECT
    return shape[1] - BOX_AND_OBJECT if fits else None


def _ultralytics(shape: tuple[int, ...], size_hw: Size) -> int | None:
    if is_end_to_end(shape):
        return OPEN
    anchors = (cells(size_hw), cells(size_hw, (*STRIDES, 64)))
    return shape[0] - BOX if len(shape) == 2 and shape[0] > BOX and shape[1] in anchors else None


def _fastestdet(shape: tuple[int, ...], size_hw: Size) -> int | None:
    grid = (size_hw[0] // FASTEST_STRIDE, size_hw[1] // FASTEST_STRIDE)
    fits = len(shape) == 3 and shape[1:] == grid and shape[0] > BOX_AND_OBJECT
    return shape[0] - BOX_AND_OBJECT if fits else None


def _classifier(shape: tuple[int, ...], size_hw: Size) -> int | None:
    return shape[0] if shape and shape[0] > 1 and all(size == 1 for size in shape[1:]) else None


LAYOUTS: dict[LayoutName, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="yolox",
            task="detect",
            about="N x cells x (5 + classes), cells of strides 8, 16 and 32",
            count=_yolox,
            # Megvii's `preproc` and `ValTransform`: cv2.INTER_LINEAR, the rest of the input filled with 114.
            input={
                "resize": "letterbox",
                "align": "top-left",
                "channels": "bgr",
                "mean": (0.0, 0.0, 0.0),
                "std": (_UNIT, _UNIT, _UNIT),
                "antialias": False,
            },
        ),
        Layout(
            name="ultralytics",
            task="detect",
            about="N x (4 + classes) x anchors, or end-to-end N x boxes x 6",
            count=_ultralytics,
            # Ultralytics' `LetterBox` and `BasePredictor.preprocess`.
            input={"resize": "letterbox", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "antialias": False},
            nms_iou=0.7,
        ),
        Layout(
            name="fastestdet",
            task="detect",
            about="N x (5 + classes) x H/16 x W/16",
            count=_fastestdet,
            # FastestDet's test.py: cv2.resize to the input, divided by 255.
            input={"channels": "bgr", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "antialias": False},
            nms_iou=0.45,
        ),
        Layout(
            name="classifier",
            task="classify",
            about="N x classes",
            count=_classifier,
            # As torchvision's weights are fed, and most of timm's.
            input={"resize": "crop"},
        ),
    )
}
# Ultralytics' classifiers learn from pictures in [0, 1] as they are.
ULTRALYTICS_CLASSIFIER_INPUT: Mapping[str, Any] = {"resize": "crop", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def recognise(shape: tuple[int, ...], size_hw: Size) -> Layout | None:
    """The layout of an output (without N) for an input of that size, if it is a known one.

    Example:
        >>> recognise((3549, 85), (416, 416)).name
        'yolox'
    """
    return next((layout for layout in LAYOUTS.values() if layout.count(shape, size_hw) is not None), None)
