"""The corruptions: what is done to a picture, and how much of it at each of five strengths. Torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cvtl.data import UInt8Image
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.corruptions.settings import KINDS, Kind
from cvtl.tasks import TaskName

Apply = Callable[[UInt8Image, float, np.random.Generator], UInt8Image]

STRENGTHS = (1, 2, 3, 4, 5)

# Of a wider Gaussian a smaller picture holds all there is, and takes a fraction of the time.
_WIDEST_KERNEL = 8.0


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One way to make a picture worse.

    Attributes:
        unit: what the amounts are.
        amounts: at strengths 1 to 5.
        apply: picture (H, W, 3), amount and a source of chance to another picture of the same size.
        moves: whether what is seen changes its place, so that boxes and points would be wrong.
    """

    unit: str
    amounts: tuple[float, float, float, float, float]
    apply: Apply
    moves: bool = False


def corrupt(image: UInt8Image, kind: Kind, strength: int, *, seed: int, name: str) -> UInt8Image:
    """Corrupt a picture.

    Chance (which way, which grains of noise) depends on seed, name and kind alone: a greater strength does more of the
    same.

    Args:
        image: RGB (H, W, 3); is left as it is.
        kind: what to do.
        strength: 1 to 5, or 0 for nothing.
        seed: of chance.
        name: of the picture.

    Returns:
        RGB (H, W, 3) of the same size.

    Raises:
        DataError: a JPEG cannot hold the picture.

    Example:
        >>> image = np.full((4, 6, 3), 100, np.uint8)
        >>> corrupt(image, "contrast", 5, seed=0, name="a.jpg")[0, 0].tolist()
        [100, 100, 100]
    """
    if strength == 0:
        return image
    corruption = CORRUPTIONS[kind]
    # Names of files need not be text.
    state = hashlib.sha256(f"{seed}\0{kind}\0{name}".encode(errors="surrogatepass"))
    random = np.random.default_rng(int.from_bytes(state.digest()))
    return corruption.apply(image, corruption.amounts[strength - 1], random)


def _rotate(image: UInt8Image, degrees: float, random: np.random.Generator) -> UInt8Image:
    angle = np.deg2rad(degrees) * _either_way(random)
    cos, sin = np.cos(angle), np.sin(angle)
    return _warp(image, np.array([[cos, -sin], [sin, cos]]), np.zeros(2))


def _shift(image: UInt8Image, part: float, random: np.random.Generator) -> UInt8Image:
    angle = random.uniform(0, 2 * np.pi)
    height, width = image.shape[:2]
    return _warp(image, np.eye(2), part * np.array([width * np.cos(angle), height * np.sin(angle)]))


def _scale(image: UInt8Image, factor: float, random: np.random.Generator) -> UInt8Image:
    return _warp(image, np.eye(2) * factor ** _either_way(random), np.zeros(2))


def _warp(image: UInt8Image, matrix: npt.NDArray[np.float64], shift: npt.NDArray[np.float64]) -> UInt8Image:
    """Move every point to `matrix @ (point - centre) + centre + shift`; what lies outside is a mirror image."""
    height, width = image.shape[:2]
    # OpenCV counts from the middle of the first pixel.
    centre = np.array([width - 1, height - 1]) / 2
    affine = np.column_stack([matrix, centre + shift - matrix @ centre])
    warped = cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)


def _blur(image: UInt8Image, part: float, random: np.random.Generator) -> UInt8Image:
    height, width = image.shape[:2]
    sigma = part * min(height, width)
    shrink = max(1, int(2 * sigma / _WIDEST_KERNEL))
    if shrink > 1:
        size_wh = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        small = cv2.GaussianBlur(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), (0, 0), sigma / shrink)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _add_noise(image: UInt8Image, deviation: float, random: np.random.Generator) -> UInt8Image:
    height, width = image.shape[:2]
    # A grey picture comes from a camera without colours, whose noise has none either.
    channels = 1 if (image == image[..., :1]).all() else 3
    noise = random.standard_normal((height, width, channels), np.float32) * np.float32(255 * deviation)
    return _to_uint8(image + noise)


def _brighten(image: UInt8Image, part: float, random: np.random.Generator) -> UInt8Image:
    return _look_up(image, np.arange(256) + 255 * part * _either_way(random))


def _reduce_contrast(image: UInt8Image, factor: float, random: np.random.Generator) -> UInt8Image:
    means = np.array(cv2.mean(image)[:3])
    return _look_up(image, means + (np.arange(256)[:, None] - means) * factor)


def _look_up(image: UInt8Image, values: npt.NDArray[np.floating]) -> UInt8Image:
    """Replace every shade by its value in a table, (256,) or (256, 3) for each channel."""
    return np.asarray(cv2.LUT(image, _to_uint8(values)[None]), np.uint8)


def _compress(image: UInt8Image, quality: float, random: np.random.Generator) -> UInt8Image:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        height, width = image.shape[:2]
        raise DataError(f"a JPEG cannot hold {width} x {height} pixels")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def _either_way(random: np.random.Generator) -> int:
    return 1 if random.random() < 0.5 else -1


def _to_uint8(values: npt.NDArray[np.floating]) -> UInt8Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


CORRUPTIONS: Mapping[Kind, Corruption] = {
    "rotation": Corruption(unit="degrees, either way", amounts=(5, 10, 20, 30, 45), apply=_rotate, moves=True),
    "shift": Corruption(
        unit="part of the side, in any direction", amounts=(0.05, 0.1, 0.15, 0.2, 0.25), apply=_shift, moves=True
    ),
    "scale": Corruption(unit="times as large or as small", amounts=(1.1, 1.2, 1.3, 1.4, 1.5), apply=_scale, moves=True),
    "blur": Corruption(
        unit="Gaussian's deviation as a part of the shorter side", amounts=(0.005, 0.01, 0.015, 0.02, 0.03), apply=_blur
    ),
    "noise": Corruption(
        unit="Gaussian's deviation, 1 being white", amounts=(0.08, 0.12, 0.18, 0.26, 0.38), apply=_add_noise
    ),
    "brightness": Corruption(
        unit="added or taken away, 1 being white", amounts=(0.1, 0.2, 0.3, 0.4, 0.5), apply=_brighten
    ),
    "contrast": Corruption(unit="what is left of it", amounts=(0.4, 0.3, 0.2, 0.1, 0.05), apply=_reduce_contrast),
    "jpeg": Corruption(unit="JPEG quality", amounts=(25, 18, 15, 10, 7), apply=_compress),
}


def fitting_kinds(named: Sequence[Kind] | None, task: TaskName) -> tuple[Kind, ...]:
    """The kinds that leave the truth of a task's pictures true: those named, or all that do.

    Raises:
        UsageError: one of those named does not.

    Example:
        >>> fitting_kinds(None, "detect")
        ('blur', 'noise', 'brightness', 'contrast', 'jpeg')
    """
    fitting = tuple(kind for kind in KINDS if task == "classify" or not CORRUPTIONS[kind].moves)
    wrong = [kind for kind in named or () if kind not in fitting]
    if wrong:
        raise UsageError(
            f"the corruption '{wrong[0]}' would move what the task '{task}' has to find",
            hint=f"Those that fit are {', '.join(fitting)}",
        )
    return tuple(dict.fromkeys(named or fitting))
