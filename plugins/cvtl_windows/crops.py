"""What the window classifier learns from: crops in class folders, or windows cut from pictures with boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cvtl.background import map_ahead
from cvtl.boxes import iou
from cvtl.data import BoxesTarget, ClassTarget, Dataset, UInt8Image
from cvtl.errors import DataError
from cvtl.preprocessing import InputSpec, resize

# Windows that overlap an object less than this are background (R-CNN, Girshick et al. 2014, section 2.3).
BACKGROUND_IOU = 0.3

# Half a scale step and half a stride of the windows that will be slid, roughly: what a detector has to put up with.
_SCALE_JITTER = 0.15
_SHIFT_JITTER = 0.12
_TRIES = 20
# Of one picture: early weights call nearly everything an object.
_MOST_MINED = 30
_READERS = 4

_BACKGROUND_NAMES = ("background", "negative", "negatives", "none", "nothing", "_background_")


@dataclass(frozen=True)
class WindowTarget:
    """What a window shows.

    Attributes:
        label: class index; the number of classes stands for background.
        offset: how the object's box lies in the window (`offsets_to_boxes`), if a box is known.
    """

    label: int
    offset: tuple[float, float, float, float] | None = None


FindObjects = Callable[[UInt8Image], Tensor]
"""A picture (H, W, 3) to the windows (N, 4) that look like objects in it, best first."""


def object_classes(classes: Sequence[str], background: str | None) -> tuple[str, ...]:
    """The classes without background.

    Args:
        classes: of the data set.
        background: the class that holds no objects; None: the one with a telling name, if there is one.

    Raises:
        DataError: there is no such class.

    Example:
        >>> object_classes(["non-vehicles", "vehicles"], None)
        ('vehicles',)
    """
    if background is not None and background not in classes:
        raise DataError(f"there is no class '{background}'", hint=f"--background is one of {', '.join(classes)}")
    telling = [name for name in classes if name.lower() in _BACKGROUND_NAMES or name.lower().startswith("non-")]
    left_out = [background] if background is not None else telling[:1]
    return tuple(name for name in classes if name not in left_out)


class CropSamples(Sequence[tuple[Tensor, WindowTarget]]):
    """The crops of class folders, each brought to the window's size."""

    def __init__(self, data: Dataset, classes: Sequence[str], input: InputSpec) -> None:
        self.data = data
        self.input = input
        self._label_of = {index: _label(name, classes) for index, name in enumerate(data.classes)}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, WindowTarget]:  # type: ignore[override]
        sample = self.data[index]
        assert isinstance(sample.target, ClassTarget)
        image = torch.from_numpy(sample.read()).permute(2, 0, 1)
        return resize(image, self.input), WindowTarget(self._label_of[sample.target.label])


class CutWindows(Sequence[tuple[Tensor, WindowTarget]]):
    """Windows cut from pictures with boxes: shifted round each object, away from objects, and false alarms.

    Every picture is decoded once, when this is made; the windows (3 bytes a pixel) are kept in memory.

    Args:
        data: pictures with boxes.
        classes: the model's classes.
        input: size of the window.
        seed: windows are a function of the data and this alone.
        windows_per_object: windows round each object.
        negatives_per_picture: windows away from objects in each picture.
        aspects: widths of the windows in terms of their height.
        object_size: smallest and largest size (square root of the area) of windows away from objects, in pixels.
        mine: finds windows that look like objects; those that hit none become negatives.
        mining_pictures: how many pictures are searched for them.
    """

    def __init__(
        self,
        data: Dataset,
        classes: Sequence[str],
        input: InputSpec,
        *,
        seed: Sequence[int],
        windows_per_object: int,
        negatives_per_picture: int,
        aspects: Sequence[float],
        object_size: tuple[float, float | None],
        mine: FindObjects | None = None,
        mining_pictures: int = 0,
    ) -> None:
        self.input = input
        self._label_of = {index: _label(name, classes) for index, name in enumerate(data.classes)}
        self._background = len(classes)
        self._windows: list[Tensor] = []
        self._targets: list[WindowTarget] = []
        order = np.random.default_rng([*seed, len(data)]).permutation(len(data))
        searched = set(order[:mining_pictures].tolist()) if mine else set()
        for index, image in enumerate(map_ahead(lambda sample: sample.read(), data, _READERS)):
            rng = np.random.default_rng([*seed, index])
            target = data[index].target
            assert isinstance(target, BoxesTarget)
            tensor = torch.from_numpy(image).permute(2, 0, 1)
            self._cut_objects(tensor, target, rng, windows_per_object, aspects)
            away = _windows_away(target, image.shape[:2], rng, negatives_per_picture, aspects, object_size)
            self._cut_background(tensor, away)
            if mine and index in searched:
                self._cut_background(tensor, _false_alarms(mine(image), target)[:_MOST_MINED])

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> tuple[Tensor, WindowTarget]:  # type: ignore[override]
        return self._windows[index], self._targets[index]

    def _cut_objects(
        self, image: Tensor, target: BoxesTarget, rng: np.random.Generator, count: int, aspects: Sequence[float]
    ) -> None:
        for box, label, crowd in zip(target.boxes, target.labels, target.crowd, strict=True):
            if crowd or self._label_of[int(label)] == self._background:
                continue
            for window in _windows_round(box, rng, count, aspects):
                offset = boxes_to_offsets(torch.from_numpy(box)[None], window[None])[0]
                self._add(image, window, WindowTarget(self._label_of[int(label)], tuple(offset.tolist())))

    def _cut_background(self, image: Tensor, windows: Tensor) -> None:
        for window in windows:
            self._add(image, window, WindowTarget(self._background))

    def _add(self, image: Tensor, window: Tensor, target: WindowTarget) -> None:
        self._windows.append(resize(cut(image, window), self.input))
        self._targets.append(target)


def cut(image: Tensor, window: Tensor) -> Tensor:
    """The part of a picture under a window, to whole pixels; what lies outside repeats the edge.

    Args:
        image: uint8 (3, H, W).
        window: xyxy, (4,).
    """
    x1, y1, x2, y2 = (round(value) for value in window.tolist())
    x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    height, width = image.shape[-2:]
    if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        return image[:, y1:y2, x1:x2]
    rows = torch.arange(y1, y2).clamp(0, height - 1)
    columns = torch.arange(x1, x2).clamp(0, width - 1)
    return image[:, rows][:, :, columns]


def boxes_to_offsets(boxes: Tensor, windows: Tensor) -> Tensor:
    """How boxes lie in their windows: shift of the centre in window sizes, logarithm of the size's ratio.

    The box regression targets of R-CNN (Girshick et al., arXiv 1311.2524, appendix C), xyxy (N, 4) in, (N, 4) out.
    """
    sizes, window_sizes = boxes[:, 2:] - boxes[:, :2], windows[:, 2:] - windows[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - windows[:, :2] - windows[:, 2:]) / (2 * window_sizes)
    return torch.cat([shift, torch.log(sizes.clamp(min=1e-3) / window_sizes)], dim=1)


def offsets_to_boxes(offsets: Tensor, windows: Tensor) -> Tensor:
    """The inverse of `boxes_to_offsets`.

    Example:
        >>> window = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> offsets_to_boxes(torch.tensor([[0.1, 0.0, 0.0, 0.0]]), window)
        tensor([[ 1.,  0., 11., 10.]])
    """
    window_sizes = windows[:, 2:] - windows[:, :2]
    centres = (windows[:, :2] + windows[:, 2:]) / 2 + offsets[:, :2] * window_sizes
    # Windows are at most a few times as large as their object: more would be an untrained network speaking.
    halves = window_sizes * torch.exp(offsets[:, 2:].clamp(-3, 3)) / 2
    return torch.cat([centres - halves, centres + halves], dim=1)


def _label(name: str, classes: Sequence[str]) -> int:
    return classes.index(name) if name in classes else len(classes)


def _windows_round(
    box: npt.NDArray[np.float64], rng: np.random.Generator, count: int, aspects: Sequence[float]
) -> Tensor:
    """Windows (M, 4) that hit a box: of its area and the fittest aspect, shifted and scaled a little."""
    x1, y1, x2, y2 = box.tolist()
    centre, size = np.array([x1 + x2, y1 + y2]) / 2, np.array([x2 - x1, y2 - y1])
    if min(size) <= 0:
        return torch.zeros(0, 4)
    aspect = min(aspects, key=lambda each: abs(np.log(size[0] / size[1] / each)))
    scale = np.exp(rng.uniform(-_SCALE_JITTER, _SCALE_JITTER, (count, 1)))
    half = np.sqrt(size.prod()) * np.array([aspect**0.5, aspect**-0.5]) * scale / 2
    middle = centre + rng.uniform(-_SHIFT_JITTER, _SHIFT_JITTER, (count, 2)) * 2 * half
    return torch.from_numpy(np.concatenate([middle - half, middle + half], axis=1)).float()


def _windows_away(
    target: BoxesTarget,
    image_hw: tuple[int, ...],
    rng: np.random.Generator,
    count: int,
    aspects: Sequence[float],
    object_size: tuple[float, float | None],
) -> Tensor:
    """Up to `count` windows (M, 4) inside the picture that hit no box, of all the heights that will be slid."""
    height, width = image_hw[:2]
    tries = _TRIES * count
    aspect = rng.choice(np.asarray(aspects), tries) ** 0.5
    largest = min(object_size[1] or np.inf, height * min(aspects) ** 0.5, width / max(aspects) ** 0.5)
    smallest = min(object_size[0], largest)
    sizes = np.exp(rng.uniform(np.log(smallest), np.log(largest), tries))
    widths, heights = sizes * aspect, sizes / aspect
    corner = rng.uniform(0, 1, (tries, 2)) * np.stack([width - widths, height - heights], 1).clip(0)
    windows = torch.from_numpy(np.concatenate([corner, corner + np.stack([widths, heights], 1)], 1)).float()
    return _false_alarms(windows, target)[:count]


def _false_alarms(windows: Tensor, target: BoxesTarget) -> Tensor:
    """Those of the windows (N, 4) that hit no box."""
    if not len(target.boxes) or not len(windows):
        return windows
    best = iou(windows, torch.from_numpy(target.boxes)).amax(dim=1)
    return windows[best < BACKGROUND_IOU]
