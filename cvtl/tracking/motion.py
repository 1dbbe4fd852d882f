"""What is known of a frame from the ones before it: traces, lines and zones with their counts, and drawing these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cvtl.data import UInt8Image
from cvtl.drawing import line_width, text_scale
from cvtl.tracking.totals import counts_text

_WHITE = (255, 255, 255)
# Length of an arrow in widths of lines.
_ARROW = 12


@dataclass(frozen=True, eq=False)
class Shape:
    """A line or a zone in a frame.

    Attributes:
        name: as its file has it.
        points: float (P, 2), x and y in pixels.
        closed: whether it is a zone.
        counts: so far: `in` and `out`, or `inside` (now) and `entered`; of each class under `classes`.
    """

    name: str
    points: npt.NDArray[np.float64]
    closed: bool
    counts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Motion:
    """What a follower knows of a frame besides its result.

    Attributes:
        shapes: the lines and zones of the source.
        traces: float (T, 2) for each number: where the object was of late, in pixels.
        threshold: objects without a number that are less sure are not drawn; they were there to continue others.
    """

    shapes: tuple[Shape, ...] = ()
    traces: Mapping[int, npt.NDArray[np.float64]] = field(default_factory=dict)
    threshold: float = 0.0

    @property
    def counts(self) -> dict[str, Any]:
        """Of each line and zone, by its name."""
        return {shape.name: dict(shape.counts) for shape in self.shapes}

    def draw(self, scene: UInt8Image) -> UInt8Image:
        """Draw into a picture (H, W, 3) BGR, in place; returns it."""
        import cv2
        import supervision

        thickness = line_width(scene)
        palette = supervision.ColorPalette.DEFAULT
        for number, trace in self.traces.items():
            colour = palette.by_idx(number).as_bgr()
            cv2.polylines(scene, [np.rint(trace).astype(np.int32)], False, colour, thickness, cv2.LINE_AA)
        for shape in self.shapes:
            corners = np.rint(shape.points).astype(np.int32)
            cv2.polylines(scene, [corners], shape.closed, _WHITE, thickness, cv2.LINE_AA)
            if not shape.closed:
                _draw_arrow(scene, shape.points, thickness)
        for shape in self.shapes:
            supervision.draw_text(
                scene,
                counts_text(shape.name, shape.counts),
                supervision.Point(*map(int, shape.points.mean(axis=0))),
                text_color=supervision.Color.BLACK,
                text_scale=text_scale(scene),
                text_thickness=thickness,
                text_padding=3,
                background_color=supervision.Color.WHITE,
            )
        return scene


def _draw_arrow(scene: UInt8Image, line: npt.NDArray[np.float64], thickness: int) -> None:
    """From the line's first quarter to the side that is `in`."""
    import cv2

    start, end = line
    along = end - start
    foot = start + along / 4
    left = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1.0)
    tip = foot + left * _ARROW * thickness
    cv2.arrowedLine(
        scene, np.rint(foot).astype(int), np.rint(tip).astype(int), _WHITE, thickness, cv2.LINE_AA, tipLength=0.4
    )
