"""Where in a picture objects may be, before anybody knows what they are: the nodes of trees of regions.

Selective search (Uijlings et al. 2013, IJCV 104) joins neighbouring regions that are alike, step by step, until the
whole picture is one, and proposes every region that it came by. Here scikit-learn's Ward clustering does the joining,
over the cells of the shrunk picture: it joins what adds least variance, and so, as selective search does, small regions
before large ones. Several trees look at different properties, for what sets one object off may be alike in another.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cvtl.data import UInt8Image

Floats = npt.NDArray[np.floating[Any]]

# Weights of a property against the colour.
_PLACE = 2.0
_TEXTURE = 2.0
_TEXTURE_BLUR = 1.5
# A thinner region, in cells, is an edge rather than an object.
_LEAST_CELLS = 2


def propose(image: UInt8Image, *, most: int = 1000, cells: int = 64) -> npt.NDArray[np.float64]:
    """Boxes that may hold an object, whatever it is.

    Args:
        image: (H, W, 3) RGB.
        most: how many at most; large regions come before small ones.
        cells: of the longer side of the shrunk picture. Objects of less than about four cells are not found.

    Returns:
        float64 (N, 4), xyxy in pixels of the picture, no two of them equal. The first is the whole picture.

    Example:
        >>> image = np.full((60, 80, 3), 40, np.uint8)
        >>> image[10:30, 20:50] = 200
        >>> [20.0, 10.0, 50.0, 30.0] in propose(image, cells=80).tolist()
        True
    """
    height, width = image.shape[:2]
    scale = min(1.0, cells / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    if rows * columns == 1:
        return np.array([[0.0, 0, width, height]])
    small = np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    ranked = [_region_boxes(each) for each in _properties(small)]
    # The first of each tree, then the second of each, and so on.
    together = np.concatenate(ranked)
    together = together[np.concatenate([np.arange(len(boxes)) for boxes in ranked]).argsort(kind="stable")]
    _, first = np.unique(together, axis=0, return_index=True)
    kept: npt.NDArray[np.float64] = together[np.sort(first)[:most]] * ([width / columns, height / rows] * 2)
    return kept


def _properties(small: UInt8Image) -> list[Floats]:
    """What cells are compared by, one array (rows, columns, K) for each tree."""
    rows, columns = small.shape[:2]
    colour = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) / 100
    lightness = np.ascontiguousarray(colour[..., 0])
    slopes = [np.abs(cv2.Sobel(lightness, cv2.CV_32F, *direction)) for direction in ((1, 0), (0, 1))]
    texture = np.stack([cv2.GaussianBlur(slope, (0, 0), _TEXTURE_BLUR) for slope in slopes], axis=-1)
    place = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) / max(rows, columns)
    return [
        colour,
        np.concatenate([colour, _PLACE * place], axis=-1),
        np.concatenate([colour, _TEXTURE * texture], axis=-1),
    ]


def _region_boxes(properties: Floats) -> npt.NDArray[np.float64]:
    """The boxes of a tree's regions in cells, (N, 4), the root's first, each region before its parts."""
    from sklearn.cluster import ward_tree
    from sklearn.feature_extraction.image import grid_to_graph

    rows, columns = properties.shape[:2]
    values = properties.reshape(rows * columns, -1).astype(np.float64)
    joined = ward_tree(values, connectivity=grid_to_graph(rows, columns))[0]
    boxes = [(x, y, x + 1, y + 1) for y in range(rows) for x in range(columns)]
    for one, other in joined.tolist():
        a, b = boxes[one], boxes[other]
        boxes.append((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    regions = np.array(boxes[: rows * columns - 1 : -1], np.float64).reshape(-1, 4)
    sizes = regions[:, 2:] - regions[:, :2]
    wide = (sizes >= np.minimum(_LEAST_CELLS, [columns, rows])).all(axis=1)
    return regions[wide]
