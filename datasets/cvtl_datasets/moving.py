"""Generated scenes that move: discs with known identities, and what a detector might say of them. Torch-free.

For tests of tracking, its measurements and the pictures of its documentation. A scene is a function of its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cvtl.data import UInt8Image

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LEAST_VISIBLE = 0.3
_GROUND = (92, 96, 88)
_HUES = 8


@dataclass(frozen=True, eq=False)
class Moment:
    """A frame of a scene, as it is in truth.

    Attributes:
        time: in seconds.
        boxes: (N, 4), xyxy in pixels, of the discs that are at least partly in the frame; they may reach over its edge.
        ids: (N,), which disc each is.
        visible: (N,), how much of each is in the frame and not behind another.
    """

    time: float
    boxes: Floats
    ids: Ints
    visible: Floats


@dataclass(frozen=True)
class Course:
    """The way of a disc: straight on, with a swing across.

    Attributes:
        start: x and y of its middle at `begin`, in pixels.
        velocity: in pixels a second.
        radius: in pixels.
        begin: when it is at its start, in seconds; before it is not there.
        swing: of its middle, up and down, in pixels.
    """

    start: tuple[float, float]
    velocity: tuple[float, float]
    radius: float
    begin: float = 0.0
    swing: float = 0.0

    def at(self, time: float) -> tuple[float, float] | None:
        """Where its middle is."""
        gone = time - self.begin
        if gone < 0:
            return None
        x, y = (start + speed * gone for start, speed in zip(self.start, self.velocity, strict=True))
        return x, y + self.swing * float(np.sin(2 * gone))


def moments(paths: Sequence[Course], frames: int, *, rate: float = 25.0, size_wh: tuple[int, int]) -> Iterator[Moment]:
    """The frames of a scene; a disc hides those named before it.

    Args:
        paths: of the discs; their ids are the places here.
        frames: how many.
        rate: of them a second.
        size_wh: of the frames in pixels.

    Example:
        >>> first = next(moments([Course((20, 20), (50, 0), 10)], 1, size_wh=(64, 48)))
        >>> first.boxes.tolist(), first.ids.tolist(), first.visible.tolist()
        ([[10.0, 10.0, 30.0, 30.0]], [0], [1.0])
    """
    for number in range(frames):
        time = number / rate
        places = [(each, path.at(time), path.radius) for each, path in enumerate(paths)]
        there = [(each, *middle, radius) for each, middle, radius in places if middle is not None]
        boxes = np.array([[x - r, y - r, x + r, y + r] for _, x, y, r in there]).reshape(-1, 4)
        visible = _visible(boxes, size_wh)
        seen = visible > 0
        ids = np.array([each for each, *_ in there], np.int64)
        yield Moment(time, boxes[seen], ids[seen], visible[seen])


def crowd(count: int, seconds: float, *, size_wh: tuple[int, int], seed: int) -> list[Course]:
    """Discs that come in from the left and from the right, pass each other, and leave.

    Args:
        count: of discs, spread over the time.
        seconds: during which they come.
        size_wh: of the frames in pixels.
        seed: of their sizes, speeds and heights.
    """
    random = np.random.default_rng(seed)
    width, height = size_wh
    paths = []
    for number in range(count):
        radius = random.uniform(0.04, 0.08) * height
        rightwards = number % 2 == 0
        start = (-radius if rightwards else width + radius, random.uniform(0.15, 0.85) * height)
        speed = random.uniform(0.12, 0.3) * width * (1 if rightwards else -1)
        begin = random.uniform(0, seconds)
        paths.append(Course(start, (speed, random.uniform(-0.02, 0.02) * height), radius, begin, swing=0.03 * height))
    return paths


def detected(
    moment: Moment, random: np.random.Generator, *, noise: float = 0.03, missed: float = 0.0, false: float = 0.0
) -> tuple[Floats, Floats]:
    """What a detector might say of a moment: it does not see what is mostly hidden, and is less sure of what is partly.

    Args:
        moment: as it is in truth.
        random: the detector's mistakes.
        noise: of the boxes' corners, as a part of their sides.
        missed: probability that an object is not seen.
        false: probability of a box where nothing is.

    Returns:
        Boxes (N, 4), and scores (N,).
    """
    seen = (moment.visible > _LEAST_VISIBLE) & (random.random(len(moment.ids)) >= missed)
    boxes, visible = moment.boxes[seen], moment.visible[seen]
    sides = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1, keepdims=True)
    boxes = boxes + noise * sides * random.standard_normal(boxes.shape)
    scores = np.clip(0.95 * visible + 0.03 * random.standard_normal(len(visible)), 0.05, 0.99)
    if random.random() < false:
        x, y = random.uniform(0, 500, 2)
        boxes = np.concatenate([boxes, [[x, y, x + 40, y + 40]]])
        scores = np.append(scores, random.uniform(0.3, 0.7))
    return boxes, scores


def paint(moment: Moment, size_wh: tuple[int, int]) -> UInt8Image:
    """A picture of a moment, (H, W, 3) RGB."""
    image = np.full((size_wh[1], size_wh[0], 3), _GROUND, np.uint8)
    for box, number in zip(moment.boxes, moment.ids.tolist(), strict=True):
        middle, radius = _circle(box)
        cv2.circle(image, middle, radius, _colour(number), -1, cv2.LINE_AA)
    return image


def _colour(number: int) -> tuple[int, int, int]:
    hue = np.array([[[180 * (number % _HUES) // _HUES, 170, 220]]], np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def _visible(boxes: Floats, size_wh: tuple[int, int]) -> Floats:
    """By counting pixels of discs painted over each other."""
    painted = np.full((size_wh[1], size_wh[0]), -1, np.int32)
    for number, box in enumerate(boxes):
        middle, radius = _circle(box)
        cv2.circle(painted, middle, radius, number, -1)
    visible = np.zeros(len(boxes))
    for number, box in enumerate(boxes):
        _, radius = _circle(box)
        whole = np.zeros((2 * radius + 3, 2 * radius + 3), np.uint8)
        cv2.circle(whole, (radius + 1, radius + 1), radius, 1, -1)
        visible[number] = (painted == number).sum() / whole.sum()
    return visible


def _circle(box: Floats) -> tuple[tuple[int, int], int]:
    x1, y1, x2, y2 = box.tolist()
    return (round((x1 + x2) / 2), round((y1 + y2) / 2)), round((x2 - x1) / 2)
