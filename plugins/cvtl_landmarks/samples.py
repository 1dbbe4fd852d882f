"""What a network for points trains and is validated on: one sample for each object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cvtl.augmentation import Variation, View, draw_view
from cvtl.data import Dataset, PointsTarget
from cvtl.errors import DataError
from cvtl.preprocessing import InputSpec
from cvtl.training.memory import at_size
from cvtl_landmarks.options import LandmarksOptions
from cvtl_landmarks.regions import Region, look, region_of, view_of, whole

Floats = npt.NDArray[np.float64]

# By how much pictures are larger than the input before a view is taken of them.
_LARGER = 1.5


@dataclass(frozen=True, eq=False)
class PlacedPoints:
    """The points of one object as its network sees them.

    Attributes:
        places: float32 (K, 2), fractions of the input's width and height; nothing is meant where a point is missing.
        visible: bool (K,), whether a point is there and in the input.
    """

    places: Tensor
    visible: Tensor


class PointSamples(Sequence[tuple[Tensor, PlacedPoints]]):
    """Every object of a data set, brought to the network's size when it is asked for.

    Args:
        data: whose targets are points; from `cvtl.training.memory.in_memory` with `sample_spec`, or not: the samples
            are the same to the bit.
        input: the network's.
        options: settled ones: whether objects are cut out of their boxes, and how views vary.
        seed: what random views depend on, beside the index; None: each object is seen as in prediction.
    """

    def __init__(
        self, data: Dataset, input: InputSpec, options: LandmarksOptions, seed: tuple[int, ...] | None
    ) -> None:
        self._data = data
        self._in_boxes = options.crop == "box"
        self._objects = objects_of(data, in_boxes=self._in_boxes)
        self._input = input
        self._spec = input if seed is None else sample_spec(input, variation_of(options))
        self._options = options
        self._seed = seed

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, index: int) -> tuple[Tensor, PlacedPoints]:  # type: ignore[override]
        image, region, points, visible = self._object(*self._objects[index])
        if self._seed is None:
            view, seen = view_of(region, self._input), look(image, region, self._input).contiguous()
        else:
            random = np.random.default_rng((*self._seed, index))
            view = draw_view(region, self._input, variation_of(self._options), random)
            seen = view.show(image.permute(1, 2, 0).numpy())
        return seen, placed(points, visible, view, self._options.flip_pairs or ())

    def _object(self, number: int, instance: int | None) -> tuple[Tensor, Region, Floats, npt.NDArray[np.bool_]]:
        """A picture, the part of it that shows the object, its points there, and which of them are there."""
        sample = self._data[number]
        if self._in_boxes:
            image, target = torch.from_numpy(sample.read()).permute(2, 0, 1), sample.target
        else:
            image, target = at_size(sample, self._spec)
        assert isinstance(target, PointsTarget)
        region = whole((image.shape[1], image.shape[2]))
        if instance is None:
            count = len(self._data.classes)
            return image, region, np.zeros((count, 2)), np.zeros(count, bool)
        if self._in_boxes:
            assert target.boxes is not None
            region = region_of(target.boxes[instance].tolist(), self._options.margin)
        return image, region, target.points[instance], target.visible[instance]


def sample_spec(input: InputSpec, variation: Variation) -> InputSpec:
    """How whole pictures are brought to the size that views are taken of; the input's where nothing is moved.

    Example:
        >>> sample_spec(InputSpec(size_hw=(128, 128)), Variation(rotation=15)).size_hw
        (192, 192)
    """
    if (variation.rotation, variation.scale, variation.shift) == (0, 1, 0):
        return input
    height, width = (round(side * _LARGER) for side in input.size_hw)
    return input.model_copy(update={"size_hw": (height, width)})


def objects_of(data: Dataset, *, in_boxes: bool) -> list[tuple[int, int | None]]:
    """The objects of a data set, in order: the number of the sample, and which of its objects it is.

    Where each picture is one object, one without any counts, too: as None.

    Raises:
        DataError: a sample has no points, an object has no box, a picture that is to be one object shows several, or
            not one point is there in all the data.
    """
    found: list[tuple[int, int | None]] = []
    for number, sample in enumerate(data):
        target = sample.target
        if not isinstance(target, PointsTarget):
            raise DataError(
                f"the landmarks plugin learns from pictures with points, which '{sample.name}' is not",
                hint="Give landmark CSV, COCO keypoints or another format of points",
            )
        if in_boxes:
            found += [(number, instance) for instance in _in_boxes(sample.name, target)]
        else:
            found.append((number, _alone(sample.name, target)))
    if not any(isinstance(sample.target, PointsTarget) and sample.target.visible.any() for sample in data):
        raise DataError(f"not one point is there in the {len(data)} pictures", hint="Check the annotations")
    return found


def _in_boxes(name: str, target: PointsTarget) -> list[int]:
    if target.boxes is None and len(target.points):
        raise DataError(
            f"'{name}' shows an object without a box", hint="Add boxes, or learn from whole pictures: --crop picture"
        )
    return np.flatnonzero(target.visible.any(axis=1)).tolist()


def _alone(name: str, target: PointsTarget) -> int | None:
    if len(target.points) > 1:
        raise DataError(
            f"'{name}' shows {len(target.points)} objects, and each picture is to be one",
            hint="Add boxes to the data and say --crop box, or cut the objects out",
        )
    return 0 if len(target.points) else None


def placed(
    points: npt.NDArray[np.float64],
    visible: npt.NDArray[np.bool_],
    view: View,
    flip_pairs: Sequence[tuple[int, int]],
) -> PlacedPoints:
    """Points as a view shows them; in a mirrored one, what was the left eye is the right one.

    Args:
        points: (K, 2) in pixels of the picture.
        visible: (K,).
        view: of the picture.
        flip_pairs: points that change places in a mirror.

    Example:
        >>> from cvtl.augmentation import View
        >>> mirror = View(np.array([[-1.0, 0, 100], [0, 1, 0]]), (100, 100), mirrored=True)
        >>> eyes = placed(np.array([[20.0, 50], [70, 50]]), np.array([True, False]), mirror, [(0, 1)])
        >>> eyes.places[1], eyes.visible
        (tensor([0.8000, 0.5000]), tensor([False,  True]))
    """
    height, width = view.size_hw
    places = view.points(points) / [width, height]
    inside = visible & (places >= 0).all(axis=1) & (places <= 1).all(axis=1)
    if view.mirrored:
        order = mirrored_order(len(points), flip_pairs)
        places, inside = places[order], inside[order]
    return PlacedPoints(torch.from_numpy(places).float(), torch.from_numpy(inside))


def mirrored_order(count: int, flip_pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Which point each of `count` points is in a mirror.

    Example:
        >>> mirrored_order(4, [(0, 2)])
        [2, 1, 0, 3]
    """
    order = list(range(count))
    for a, b in flip_pairs:
        order[a], order[b] = b, a
    return order


def variation_of(options: LandmarksOptions) -> Variation:
    """How views vary; nothing is mirrored unless it is known which points change places."""
    return Variation(
        flip=options.flip and options.flip_pairs is not None,
        rotation=options.rotation,
        scale=options.scale,
        shift=options.shift,
    )
