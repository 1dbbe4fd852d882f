"""Generated scenes: handwritten digits inked onto real photographs, with exact boxes.

The digits are the 1797 of scikit-learn (8x8, from the UCI set "Optical Recognition of Handwritten Digits"), the
photographs its `china.jpg` and `flower.jpg`: nothing is fetched. Training and test scenes share neither a digit,
nor a form that a writer filled in, nor a region of a photograph. Scene `i` depends on the arguments and on `i`
alone, and is painted when it is read. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget, Dataset, Sample, UInt8Image
from cvtl.errors import UsageError

Digits = Literal["train", "test"]
Floats = npt.NDArray[np.float32]

CLASSES = tuple("0123456789")
MAX_DIGITS = 6

# The digits come form after form, each filled in by one hand: the order of their classes starts anew every 130 or so.
# A random division would put every hand on both sides. Here the eleventh of fourteen forms begins.
_FIRST_TEST_DIGIT = 1287
_GLYPH_SIDE = 8
# One glyph pixel of margin on every side, so that the ink stays in its cell when it is turned and slanted.
_CELL_SIDE = _GLYPH_SIDE + 2
_GAP = 4
_SAMPLE_SEED = 1402
_PLACING_TRIES = 40
_LEAST_CONTRAST = 80.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def digit_scenes(
    count: int,
    *,
    seed: int,
    size_hw: tuple[int, int] = (240, 320),
    digits: Digits = "train",
    sides: tuple[int, int] = (24, 96),
) -> Dataset:
    """Scenes of one to six handwritten digits on a photograph, made as they are read.

    The box of a digit is its cell: the axis-parallel square that holds the 8x8 glyph with one glyph pixel of margin
    all round, turned and slanted inside it. So the ink is 0.8 of the box high, centred, and never leaves it; boxes
    lie in the picture, do not touch each other, and have whole-number corners.

    Args:
        count: number of scenes.
        seed: not negative. Scene `i` is the same for every `count`.
        size_hw: height and width of the pictures.
        digits: which digits and which halves of the photographs are used: left for training, right for testing. It is
            also the samples' split.
        sides: the smallest and the largest side of a box in pixels; sizes in between are equally likely by ratio.

    Returns:
        A data set of classes "0" to "9" with a `BoxesTarget` for every scene.

    Raises:
        UsageError: a box of the smallest side would not fit the picture.

    Example:
        >>> scene = digit_scenes(3, seed=0)[2]
        >>> scene.name, scene.read().shape, scene.target.boxes.shape
        ('train-0-000002', (240, 320, 3), (4, 4))
    """
    _check_sides(size_hw, sides)
    return Dataset(_Scenes(count, seed, size_hw, digits, sides), CLASSES, "digit scenes")


def localization_scenes(
    count: int,
    *,
    seed: int,
    empty: float = 0.2,
    size_hw: tuple[int, int] = (240, 320),
    digits: Digits = "train",
    sides: tuple[int, int] = (80, 180),
) -> Dataset:
    """Scenes like those of `digit_scenes`, each with one digit or none.

    Args:
        count: number of scenes.
        seed: not negative. Scene `i` is the same for every `count`.
        empty: share of the scenes without a digit, in [0, 1]: photographs with nothing on them.
        size_hw: height and width of the pictures.
        digits: which digits and which halves of the photographs are used, as for `digit_scenes`.
        sides: the smallest and the largest side of a box in pixels; sizes in between are equally likely by ratio.

    Returns:
        A data set of classes "0" to "9" with a `BoxesTarget` of no or one box for every scene.

    Raises:
        UsageError: a box of the smallest side would not fit the picture, or `empty` is no share.

    Example:
        >>> [len(scene.target.boxes) for scene in localization_scenes(8, seed=1)]
        [1, 1, 1, 1, 1, 1, 0, 0]
    """
    if not 0 <= empty <= 1:
        raise UsageError(f"the share of empty scenes is in [0, 1], not {empty}")
    _check_sides(size_hw, sides)
    return Dataset(_Scenes(count, seed, size_hw, digits, sides, 1, empty), CLASSES, "localization scenes")


def sample_scene() -> UInt8Image:
    """The built-in picture of the demo: uint8 (480, 640, 3), always the same.

    Unlike the test scenes it shows a whole photograph, half of which the training scenes have seen; its digits are
    unseen.
    """
    scenes = _Scenes(1, _SAMPLE_SEED, (480, 640), "test", (48, 120))
    china, _ = _photographs()
    return _paint(scenes, 0, _fill(china, (480, 640)), _layout(scenes, 0))


def _check_sides(size_hw: tuple[int, int], sides: tuple[int, int]) -> None:
    if not 0 < sides[0] <= min(*size_hw, sides[1]):
        raise UsageError(f"boxes of {sides[0]} to {sides[1]} pixels do not fit pictures of {size_hw[0]}x{size_hw[1]}")


@dataclass(frozen=True)
class _Glyph:
    """One digit of a scene: what is drawn, where, and how."""

    image: int  # index into scikit-learn's digits
    left: int
    top: int
    side: int
    turn: float  # radians
    slant: float  # horizontal shift per height
    weight: float  # the intensity in [0, 1] from which a glyph pixel is ink: low is bold
    opacity: float
    dark: bool  # darker than the background, where there is room for both
    strength: float  # share of the possible contrast
    hue: tuple[float, float, float]  # RGB in [0, 1]

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + self.side, self.top + self.side


@dataclass(frozen=True)
class _Scenes(Sequence[Sample]):
    """The samples, made when they are asked for."""

    length: int
    seed: int
    size_hw: tuple[int, int]
    digits: Digits
    sides: tuple[int, int]
    most: int = MAX_DIGITS
    empty: float = 0.0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        index = range(self.length)[index]
        glyphs = _layout(self, index)
        _, labels = _handwriting()
        return Sample(
            name=f"{self.digits}-{self.seed}-{index:06d}",
            read=partial(_render, self, index, glyphs),
            target=BoxesTarget(
                boxes=np.array([glyph.box for glyph in glyphs], np.float32),
                labels=labels[[glyph.image for glyph in glyphs]],
            ),
            split=self.digits,
        )

    def random(self, index: int, purpose: Literal["emptiness", "layout", "background", "noise"]) -> np.random.Generator:
        """A stream of its own for everything random in a scene, so that one does not shift the other."""
        key = (self.seed, index, *self.digits.encode(), *purpose.encode())
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _layout(scenes: _Scenes, index: int) -> tuple[_Glyph, ...]:
    """Draw digits without overlap: fewer than drawn where the picture is full. Looks at no pixels."""
    if scenes.empty and scenes.random(index, "emptiness").random() < scenes.empty:
        return ()
    random = scenes.random(index, "layout")
    height, width = scenes.size_hw
    smallest, largest = scenes.sides
    images = range(_FIRST_TEST_DIGIT) if scenes.digits == "train" else range(_FIRST_TEST_DIGIT, len(_handwriting()[1]))
    wanted = random.integers(1, scenes.most + 1)
    glyphs: list[_Glyph] = []
    for _ in range(_PLACING_TRIES):
        side = round(smallest * (min(largest, height, width) / smallest) ** random.random())
        glyph = _Glyph(
            image=int(random.integers(images.start, images.stop)),
            left=int(random.integers(0, width - side + 1)),
            top=int(random.integers(0, height - side + 1)),
            side=side,
            turn=random.uniform(-0.17, 0.17),
            slant=random.uniform(-0.15, 0.15),
            weight=random.uniform(0.35, 0.55),
            opacity=random.uniform(0.85, 1.0),
            dark=bool(random.random() < 0.5),
            strength=random.uniform(0.5, 1.0),
            hue=tuple(random.uniform(0.1, 1.0, 3)),
        )
        if not any(_near(glyph, other) for other in glyphs):
            glyphs.append(glyph)
        if len(glyphs) == wanted:
            break
    return tuple(glyphs)


def _near(a: _Glyph, b: _Glyph) -> bool:
    return (
        max(a.left, b.left) < min(a.left + a.side, b.left + b.side) + _GAP
        and max(a.top, b.top) < min(a.top + a.side, b.top + b.side) + _GAP
    )


def _render(scenes: _Scenes, index: int, glyphs: Sequence[_Glyph]) -> UInt8Image:
    return _paint(scenes, index, _background(scenes, index), glyphs)


def _background(scenes: _Scenes, index: int) -> Floats:
    """A random part of one half of a photograph, as float32 (H, W, 3) in [0, 255]."""
    random = scenes.random(index, "background")
    photograph = _photographs()[random.integers(2)]
    middle = photograph.shape[1] // 2
    half = photograph[:, :middle] if scenes.digits == "train" else photograph[:, middle:]
    height, width = scenes.size_hw
    span = random.uniform(0.4, 1.0) * min(half.shape[0] / height, half.shape[1] / width)
    part_height, part_width = max(1, int(height * span)), max(1, int(width * span))
    top = random.integers(0, half.shape[0] - part_height + 1)
    left = random.integers(0, half.shape[1] - part_width + 1)
    picture = _fill(half[top : top + part_height, left : left + part_width], scenes.size_hw)
    if random.random() < 0.5:
        picture = picture[:, ::-1]
    light = random.uniform(0.85, 1.15, 3).astype(np.float32)
    # Contrast is only ever lowered: a background that spans black to white leaves no ink readable.
    picture = (picture * light - 128) * random.uniform(0.6, 0.95) + 128 + random.uniform(-30, 30)
    return picture.clip(0, 255)


def _fill(photograph: UInt8Image, size_hw: tuple[int, int]) -> Floats:
    """The middle of a photograph, as large as fits, resized to float32 (H, W, 3)."""
    height, width = size_hw
    scale = max(height / photograph.shape[0], width / photograph.shape[1])
    size_wh = (max(width, round(photograph.shape[1] * scale)), max(height, round(photograph.shape[0] * scale)))
    resized = cv2.resize(photograph, size_wh, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    left, top = (size_wh[0] - width) // 2, (size_wh[1] - height) // 2
    return resized[top : top + height, left : left + width].astype(np.float32)


def _paint(scenes: _Scenes, index: int, background: Floats, glyphs: Sequence[_Glyph]) -> UInt8Image:
    """Ink the digits onto a background and add the noise of a sensor."""
    picture = background.copy()
    for glyph in glyphs:
        left, top, right, bottom = glyph.box
        cell = picture[top:bottom, left:right]
        alpha = _ink(glyph)[..., None]
        cell += alpha * (_colour(glyph, cell) - cell)
    random = scenes.random(index, "noise")
    picture += random.uniform(0.5, 5) * random.standard_normal(picture.shape, np.float32)
    return np.clip(picture.round(), 0, 255).astype(np.uint8)


def _ink(glyph: _Glyph) -> Floats:
    """Coverage of every pixel of the cell by ink: float32 (side, side) in [0, 1]."""
    images, _ = _handwriting()
    cell = np.pad(images[glyph.image], (_CELL_SIDE - _GLYPH_SIDE) // 2)
    scale = _CELL_SIDE / glyph.side
    cos, sin = np.cos(glyph.turn) * scale, np.sin(glyph.turn) * scale
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, glyph.slant], [0, 1]])
    middle = (glyph.side - 1) / 2
    offset = (_CELL_SIDE - 1) / 2 - linear @ [middle, middle]
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    smooth = cv2.warpAffine(cell, np.c_[linear, offset], (glyph.side, glyph.side), flags=flags)
    edge = np.clip((smooth - glyph.weight) / 0.35 + 0.5, 0, 1)
    return np.asarray(glyph.opacity * edge * edge * (3 - 2 * edge), np.float32)


def _colour(glyph: _Glyph, cell: Floats) -> Floats:
    """An RGB ink that can be read on this background: float32 (3,) in [0, 255].

    Its luma differs from the background's mean by at least twice the background's standard deviation and
    `_LEAST_CONTRAST`, or is as far off as black and white allow, which is half of the range or more. Opacity takes
    up to 15 % of that.
    """
    luma = cell @ _LUMA
    mean, least = float(luma.mean()), max(_LEAST_CONTRAST, 2 * float(luma.std()))
    both_fit = least <= mean <= 255 - least
    dark = glyph.dark if both_fit else mean > 127.5
    room = mean if dark else 255 - mean
    contrast = min(room, max(least, glyph.strength * room))
    # Scaling a hue keeps it and sets its luma exactly; light inks do the same from white downwards.
    hue = np.array(glyph.hue if dark else [1 - part for part in glyph.hue], np.float32)
    ink = np.minimum(hue * ((room - contrast) / float(hue @ _LUMA)), 255)
    return np.asarray(ink if dark else 255 - ink, np.float32)


@cache
def _handwriting() -> tuple[Floats, npt.NDArray[np.int64]]:
    """The digits: float32 (1797, 8, 8) in [0, 1], and int64 (1797,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)


@cache
def _photographs() -> tuple[UInt8Image, UInt8Image]:
    """China and the flower: uint8 (427, 640, 3) RGB."""
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    return china, flower
