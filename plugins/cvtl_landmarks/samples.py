"""What a network for points trains and is validated on: one sample for each object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cvtl.augmentation import Variation, View, draw_view
from cvtl.data import Dataset, PointsTarget, Sample, UInt8Image
from cvtl.errors import DataError
from cvtl.preprocessing import InputSpec
from cvtl_landmarks.options import LandmarksOptions
from cvtl_landmarks.regions import Region, look, region_of, view_of, whole


@dataclass(frozen=True, eq=False)
class PlacedPoints:
    """The points of one object as its network sees them.

    Attributes:
        places: float32 (K, 2), fractions of the input's width and height; nothing is meant where a point is missing.
        visible: bool (K,), whether a point is there and in the input.
    """

    places: Tensor
    visible: Tensor


@dataclass(frozen=True, eq=False)
class _Object:
    """One object of a data set.

    Attributes:
        sample: whose picture shows it.
        points: float64 (K, 2), in pixels.
        visible: bool (K,).
        box: xyxy; None where the picture is the object.
    """

    sample: Sample
    points: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]
    box: npt.NDArray[np.float64] | None

    def region(self, image: UInt8Image, margin: float) -> Region:
        """Which part of its picture shows it."""
        return whole((image.shape[0], image.shape[1])) if self.box is None else region_of(self.box.tolist(), margin)


class PointSamples(Sequence[tuple[Tensor, PlacedPoints]]):
    """Every object of a data set, cut out and brought to the network's size when it is asked for.

    Args:
        data: whose targets are points.
        input: the network's.
        options: settled ones: whether objects are cut out, and how views vary.
        seed: what random views depend on, beside the index; None: each object is seen as in prediction.
    """

    def __init__(
        self, data: Dataset, input: InputSpec, options: LandmarksOptions, seed: tuple[int, ...] | None
    ) -> None:
        self._objects = objects_of(data, in_boxes=options.crop == "box")
        self._input = input
        self._options = options
        self._seed = seed

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, index: int) -> tuple[Tensor, PlacedPoints]:  # type: ignore[override]
        each = self._objects[index]
        image = each.sample.read()
        region = each.region(image, self._options.margin)
        if self._seed is None:
            view = view_of(region, self._input)
            seen = look(torch.from_numpy(image).permute(2, 0, 1), region, self._input).contiguous()
        else:
            random = np.random.default_rng((*self._seed, index))
            view = draw_view(region, self._input, variation_of(self._options), random)
            seen = view.show(image)
        return seen, placed(each.points, each.visible, view, self._options.flip_pairs or ())


def objects_of(data: Dataset, *, in_boxes: bool) -> list[_Object]:
    """The objects of a data set, in order; where each picture is one object, pictures without any count, too.

    Raises:
        DataError: a sample has no points, an object has no box, or a picture that is to be one object shows several.
    """
    found = []
    for sample in data:
        target = sample.target
        if not isinstance(target, PointsTarget):
            raise DataError(
                f"the landmarks plugin learns from pictures with points, which '{sample.name}' is not",
                hint="Give landmark CSV, COCO keypoints or another format of points",
            )
        if in_boxes:
            found += _in_boxes(sample, target)
        else:
            found.append(_alone(sample, target, len(data.classes)))
    return found


def _in_boxes(sample: Sample, target: PointsTarget) -> list[_Object]:
    if target.boxes is None and len(target.points):
        raise DataError(
            f"'{sample.name}' shows an object without a box",
            hint="Add boxes, or learn from whole pictures: --crop picture",
        )
    boxes = target.boxes if target.boxes is not None else np.zeros((0, 4))
    objects = zip(target.points, target.visible, boxes, strict=True)
    return [_Object(sample, points, visible, box) for points, visible, box in objects if visible.any()]


def _alone(sample: Sample, target: PointsTarget, count: int) -> _Object:
    if len(target.points) > 1:
        raise DataError(
            f"'{sample.name}' shows {len(target.points)} objects, and each picture is to be one",
            hint="Add boxes to the data and say --crop box, or cut the objects out",
        )
    if not len(target.points):
        return _Object(sample, np.zeros((count, 2)), np.zeros(count, bool), None)
    return _Object(sample, target.points[0], target.visible[0], None)


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
