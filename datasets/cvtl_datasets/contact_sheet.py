"""One picture of many: samples of a data set in a grid, with their targets drawn by the `supervision` library."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, UInt8Image
from cvtl.errors import DataError
from cvtl.terminal import printable

if TYPE_CHECKING:
    import supervision

_TILE_WH = (320, 240)
_GAP = 4
_CAPTION_HEIGHT = 18
_CHARACTER_WIDTH = 7
_BACKGROUND = 32
_TEXT_SCALE = 0.4
_MOST_CAPTIONS = 12


def contact_sheet(dataset: Dataset, *, columns: int, rows: int, seed: int) -> UInt8Image:
    """Draw a random choice of samples.

    Boxes have the colours of their classes, which are named below the sheet; where a picture has few boxes these are
    captioned, too. Points are joined by the data set's edges. A picture that cannot be read is a tile that says why.

    Args:
        dataset: any; its pictures are decoded one at a time.
        columns: how many pictures stand beside one another.
        rows: how many at most stand below one another.
        seed: of the choice. The same seed chooses the same samples, which are shown in the data set's order.

    Returns:
        RGB uint8 (H, W, 3).

    Example:
        >>> grey = Sample("grey", lambda: np.full((100, 100, 3), 128, np.uint8), ClassTarget(0))
        >>> contact_sheet(Dataset([grey] * 5, ("cat",), "example"), columns=2, rows=2, seed=0).shape
        (528, 652, 3)
    """
    count = min(columns * rows, len(dataset))
    chosen = np.sort(np.random.default_rng(seed).choice(len(dataset), count, replace=False))
    samples = [dataset[int(index)] for index in chosen]
    width, height = _TILE_WH[0] + _GAP, _TILE_WH[1] + _CAPTION_HEIGHT + _GAP
    sheet_hw = (height * max(1, -(-count // columns)) + _GAP, width * columns + _GAP)
    sheet = np.full((*sheet_hw, 3), _BACKGROUND, np.uint8)
    for number, sample in enumerate(samples):
        top, left = height * (number // columns) + _GAP, width * (number % columns) + _GAP
        sheet[top : top + height - _GAP, left : left + width - _GAP] = _tile(sample, dataset)
    legend = _legend(samples, dataset.classes, sheet.shape[1])
    return np.ascontiguousarray(np.vstack([sheet, *legend])[..., ::-1])


def _tile(sample: Sample, dataset: Dataset) -> UInt8Image:
    """A sample's picture and name, BGR."""
    tile_width, tile_height = _TILE_WH
    tile = np.full((tile_height + _CAPTION_HEIGHT, tile_width, 3), _BACKGROUND, np.uint8)
    try:
        image = sample.read()
    except DataError as error:
        reason = printable(error.what.removeprefix(f"cannot read the picture '{sample.file}': "))
        for number, line in enumerate(wrap(reason, tile_width // _CHARACTER_WIDTH)):
            _write(tile, line, 0, _CAPTION_HEIGHT * number)
    else:
        height, width = image.shape[:2]
        scale = min(tile_width / width, tile_height / height)
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        scene = np.asarray(cv2.resize(image[..., ::-1], size_wh, interpolation=method), np.uint8)
        top, left = (tile_height - size_wh[1]) // 2, (tile_width - size_wh[0]) // 2
        tile[top : top + size_wh[1], left : left + size_wh[0]] = _draw(scene, sample, dataset, scale)
    _write(tile, _end_of(sample.name, tile_width), 0, tile_height)
    return tile


def _draw(scene: UInt8Image, sample: Sample, dataset: Dataset, scale: float) -> UInt8Image:
    target = sample.target
    if isinstance(target, ClassTarget):
        return _draw_boxes(scene, [[0, 0, *scene.shape[1::-1]]], [target.label], dataset.classes, outline=False)
    if isinstance(target, BoxesTarget):
        return _draw_boxes(scene, (target.boxes * scale).tolist(), target.labels.tolist(), dataset.classes)
    return scene if target is None else _draw_points(scene, target, dataset.edges, scale)


def _draw_boxes(
    scene: UInt8Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    classes: Sequence[str],
    *,
    outline: bool = True,
) -> UInt8Image:
    import supervision

    # OpenCV counts in 32 bits; what lies outside stays outside.
    reach = 2 * max(scene.shape)
    xyxy = np.array(boxes, np.float64).reshape(-1, 4).clip(-reach, reach)
    found = supervision.Detections(xyxy=xyxy, class_id=np.array(labels, int))
    if outline:
        scene = supervision.BoxAnnotator(thickness=2).annotate(scene, found)
    if len(found) > _MOST_CAPTIONS:
        return scene
    writer = supervision.LabelAnnotator(text_scale=_TEXT_SCALE, text_padding=2, smart_position=True)
    captioned: UInt8Image = writer.annotate(scene, found, labels=[printable(classes[label]) for label in labels])
    return captioned


def _draw_points(scene: UInt8Image, target: PointsTarget, edges: Sequence[tuple[int, int]], scale: float) -> UInt8Image:
    import supervision

    reach = 2 * max(scene.shape)
    # The annotators pass over points at the origin.
    points = np.where(target.visible[..., None], target.points * scale, 0).clip(-reach, reach)
    found = supervision.KeyPoints(xy=points)
    if edges:
        one_based = [(a + 1, b + 1) for a, b in edges]
        scene = supervision.EdgeAnnotator(supervision.Color.GREEN, 1, one_based).annotate(scene, found)
    if target.boxes is not None:
        xyxy = (target.boxes * scale).clip(-reach, reach)
        boxes = supervision.Detections(xyxy=xyxy, class_id=np.zeros(len(xyxy), int))
        scene = supervision.BoxAnnotator(supervision.Color.WHITE, 1).annotate(scene, boxes)
    drawn: UInt8Image = supervision.VertexAnnotator(supervision.Color.RED, 2).annotate(scene, found)
    return drawn


def _legend(samples: Sequence[Sample], classes: Sequence[str], width: int) -> list[UInt8Image]:
    """Strips, BGR, that name the classes of the boxes in their colours."""
    from supervision import Color, ColorPalette

    targets = [sample.target for sample in samples]
    shown = sorted({label for each in targets if isinstance(each, BoxesTarget) for label in each.labels.tolist()})
    strips: list[UInt8Image] = []
    left = width
    for label in shown:
        text = _end_of(classes[label], width - _GAP)
        wide = (len(text) + 2) * _CHARACTER_WIDTH
        if left + wide > width:
            strips.append(np.full((_CAPTION_HEIGHT + _GAP, width, 3), _BACKGROUND, np.uint8))
            left = _GAP
        _write(strips[-1], text, left, 0, Color.WHITE, ColorPalette.DEFAULT.by_idx(label))
        left += wide
    return strips


def _end_of(text: str, width: int) -> str:
    """As much of the end of a text as fits a width in pixels."""
    return printable(text)[-(width // _CHARACTER_WIDTH) :]


def _write(
    scene: UInt8Image,
    text: str,
    left: int,
    top: int,
    colour: supervision.Color | None = None,
    background: supervision.Color | None = None,
) -> None:
    """Write a line of text into a BGR picture, its corner at a place."""
    from supervision import Color, Point, draw_text

    (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _TEXT_SCALE, 1)
    anchor = Point(x=left + 4 + text_width / 2, y=top + _CAPTION_HEIGHT / 2)
    draw_text(scene, text, anchor, colour or Color.WHITE, _TEXT_SCALE, text_padding=3, background_color=background)
