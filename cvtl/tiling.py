"""A detector for pictures with far more pixels than its input: it looks at overlapping tiles, one after the other.

Tiles are views of the picture, so that beside it only a batch of them takes memory. What is found in several of them is
made one by `cvtl.tile_merging`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from time import perf_counter
from typing import Any, Self

import torch
from pydantic import BaseModel, SerializeAsAny
from torch import Tensor, nn

from cvtl.devices import Predictor
from cvtl.errors import UsageError
from cvtl.model import ComposedModel, Model
from cvtl.options import Options
from cvtl.preprocessing import resize_to
from cvtl.results import Detections, Result
from cvtl.run_settings import TilingSettings
from cvtl.tile_merging import merge_tiles
from cvtl.workplace import Workplace

_SECONDS_BETWEEN_NOTES = 10.0


class TiledOptions(Options):
    """The detector's options, and how pictures are cut."""

    detector: SerializeAsAny[BaseModel]
    tiling: TilingSettings


class Tiled(ComposedModel):
    """A detector that is shown large pictures tile by tile, at their full resolution.

    A picture that fits one tile is predicted as ever. Plugin, classes and results are the detector's.

    Args:
        detector: whose results are `Detections`.
        settings: with a `tile`.
        batch_size: tiles that go through the network together; fewer where memory does not suffice.
    """

    options: TiledOptions

    def __init__(self, detector: Model, settings: TilingSettings, *, batch_size: int = 8) -> None:
        super().__init__(TiledOptions(detector=detector.options, tiling=settings), detector.classes, detector.input)
        self.plugin = detector.plugin  # type: ignore[misc]
        self.parts = nn.ModuleList([detector])
        self._predictor = Predictor(detector)
        self._batch_size = batch_size

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The objects of each picture, one result each, whatever tiles they were found in."""
        return [self._predict_one(image) for image in images]

    def predict_in_steps(self, images: Sequence[Tensor], places: Sequence[Workplace]) -> list[Result]:
        """The same, telling every ten seconds how far it is in a picture."""
        return [self._predict_one(image, place) for image, place in zip(images, places, strict=True)]

    def with_predict_options(self, **changes: Any) -> Self:
        """Set prediction options of the detector.

        Raises:
            OptionsError: its plugin has no such option, or the value does not fit.
        """
        detector = self._predictor.model.with_predict_options(**changes)
        self.options = TiledOptions(detector=detector.options, tiling=self.options.tiling)
        return self

    def _predict_one(self, image: Tensor, place: Workplace | None = None) -> Detections:
        tiles = self._tiles((image.shape[1], image.shape[2]))
        told = perf_counter()
        boxes, scores, labels, origins = [], [], [], []
        for number, (placed, found) in enumerate(self._found(image, tiles)):
            boxes.append(placed)
            scores.append(found.scores)
            labels.append(found.labels)
            origins.append(torch.full((len(found),), number))
            if place is not None and perf_counter() - told > _SECONDS_BETWEEN_NOTES:
                told = perf_counter()
                place.note(f"{place.name}: {number + 1} of {len(tiles)} tiles")
        merged = merge_tiles(torch.cat(boxes), torch.cat(scores), torch.cat(labels), torch.cat(origins), tiles)
        return Detections(*merged, self.classes)

    def _tiles(self, image_hw: tuple[int, int]) -> Tensor:
        """int64 (T, 4); the first is the whole picture, if that is looked at, too."""
        settings = self.options.tiling
        assert settings.tile is not None
        tiles = tiles_of(image_hw, settings.tile, settings.overlap)
        if len(tiles) > 1 and settings.tile_whole:
            whole = torch.tensor([[0, 0, image_hw[1], image_hw[0]]])
            tiles = torch.cat([whole, tiles])
        return tiles

    def _found(self, image: Tensor, tiles: Tensor) -> Iterator[tuple[Tensor, Detections]]:
        """What is found in each tile, and its boxes in pixels of the picture."""
        for batch in torch.split(tiles, self._batch_size):
            views = [self._view(image, *tile) for tile in batch.tolist()]
            for tile, view, found in zip(batch, views, self._predictor.predict(views), strict=True):
                if isinstance(found, Exception):
                    raise found
                assert isinstance(found, Detections)
                scale = (tile[2:] - tile[:2]) / torch.tensor([view.shape[2], view.shape[1]])
                yield found.boxes * scale.repeat(2) + tile[:2].repeat(2), found

    def _view(self, image: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
        """A tile at full resolution; the whole picture only as large as a tile or the network's input.

        Models that slide over pictures of any size would need memory for all of it otherwise.
        """
        view = image[:, top:bottom, left:right]
        assert self.options.tiling.tile is not None
        most, longest = max(self.options.tiling.tile, *self.input.size_hw), max(view.shape[1:])
        if longest <= most:
            return view
        return resize_to(view, (_scaled(view.shape[1], most / longest), _scaled(view.shape[2], most / longest)))


def tiles_of(image_hw: tuple[int, int], side: int, overlap: float) -> Tensor:
    """Square tiles that cover a picture, evenly spread, row by row.

    Args:
        image_hw: height and width of the picture.
        side: of a tile; a picture that is smaller in one direction has smaller tiles in that.
        overlap: least part of a tile's side that the next one covers again.

    Returns:
        int64 (T, 4), xyxy.

    Example:
        >>> tiles_of((100, 250), 100, 0.2).tolist()
        [[0, 0, 100, 100], [75, 0, 175, 100], [150, 0, 250, 100]]
    """
    height, width = image_hw
    tops, lefts = _starts(height, side, overlap), _starts(width, side, overlap)
    return torch.tensor(
        [[left, top, min(left + side, width), min(top + side, height)] for top in tops for left in lefts]
    )


def with_tiling(model: Model, settings: TilingSettings, *, batch_size: int = 8) -> Model:
    """A detector that looks at tiles, if the settings have any; else the model itself.

    Args:
        model: on its device.
        settings: how pictures are cut.
        batch_size: tiles that go through the network together.

    Raises:
        UsageError: there are settings for tiles, and no `tile`.
    """
    if settings.tile is None:
        if settings != TilingSettings():
            raise UsageError(
                "--overlap and --tile-whole say how tiles lie, and there are none", hint="Give their size with --tile"
            )
        return model
    return Tiled(model, settings, batch_size=batch_size).eval()


def _scaled(side: int, factor: float) -> int:
    return max(1, round(side * factor))


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Where tiles begin along one direction: the first at 0, the last so that it ends with the picture."""
    if length <= side:
        return [0]
    steps = ceil((length - side) / max(1, int(side * (1 - overlap))))
    return [round(step * (length - side) / steps) for step in range(steps + 1)]
