"""How `cvtl run` runs, whatever the weights. Torch-free: the command line shows these fields."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from cvtl.options import Options
from cvtl.sharding import Shard

DEFAULT_MAX_PIXELS = 178_956_970
"""Where Pillow, too, calls a picture a decompression bomb."""


def default_readers() -> int:
    """Decoding threads: as many as there are cores, up to eight; a network seldom eats more."""
    return min(8, os.cpu_count() or 1)


def _shard(text: str | None) -> str | None:
    if text is not None:
        try:
            Shard.parse(text)
        except ValueError as error:
            raise PydanticCustomError("shard", "Input should " + str(error).removeprefix("it should ")) from None
    return text


class RunSettings(Options):
    """How to run a model over pictures."""

    batch_size: int = Field(8, ge=1, description="pictures that go through the network together")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="the half precisions are faster on most GPUs; scores change in the third digit"
    )
    readers: int = Field(default_factory=default_readers, ge=1, description="threads that read and decode")
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1, description="larger pictures are not decoded but reported")
    include: tuple[str, ...] = Field((), description="only inputs whose name fits one of these patterns, like '*.jpg'")
    exclude: tuple[str, ...] = Field((), description="no inputs whose name fits one of these patterns")
    save_images: bool = Field(False, description="write the pictures with the results drawn into them")
    save_video: bool = Field(
        False, description="write videos and live sources with the results drawn into them, as videos; and pictures"
    )
    save_heatmaps: bool = Field(False, description="write a picture per class that shows where it answers")
    show: bool = Field(
        False,
        description="show the results in a window as they come: q quits, space pauses, s saves the frame, + and - "
        "change the threshold; without a display as with --save-video",
    )
    max_failures: int | None = Field(None, ge=0, description="stop once more inputs than this are bad")
    shard: Annotated[str | None, AfterValidator(_shard)] = Field(
        None,
        description="i/n: look only at every n-th block of inputs, from the i-th on; `cvtl merge` joins the shards",
    )

    engine: Literal["local", "ray"] = Field(
        "local", description="what answers: this process, or workers of a Ray cluster; the rows are the same"
    )
    ray_address: str | None = Field(
        None, description="of the Ray cluster; if unset what RAY_ADDRESS names, or one on this machine for this run"
    )
    ray_workers: int | None = Field(
        None, ge=1, description="processes that hold the model; if unset as many as the cluster has room for"
    )

    @property
    def draws(self) -> bool:
        """Whether pictures are needed behind the model."""
        return self.save_images or self.save_video or self.save_heatmaps or self.show

    def identity(self) -> dict[str, Any]:
        """The settings that rows and pictures depend on: a run goes on only with the same."""
        kept = {"batch_size", "precision", "max_pixels", "include", "exclude", "save_images", "save_heatmaps"}
        said = {name for name in ("save_video", "shard") if getattr(self, name)}
        return self.model_dump(mode="json", include=kept | said)

    def block(self, tiling: TilingSettings | None = None) -> int:
        """How many inputs are looked at together.

        Tiles are of one large picture at a time, so that not several of them have to be in memory.
        """
        return self.batch_size if tiling is None or tiling.tile is None else 1


class LiveSettings(Options):
    """How to look at cameras and streams.

    Example:
        >>> LiveSettings().drop
        'stale'
    """

    drop: Literal["stale", "never"] = Field(
        "stale",
        description="what becomes of a live source's frames while the network is busy: of stale ones only the newest "
        "is kept; never makes the source wait, and what is shown falls behind",
    )
    lost_after: float = Field(
        5.0, gt=0, description="seconds without a frame after which a live source is lost and opened anew"
    )
    give_up_after: float | None = Field(
        None, ge=0, description="seconds without a frame after which a live source is given up; never if unset"
    )
    max_frames: int | None = Field(None, ge=1, description="stop after so many frames of live sources")
    max_seconds: float | None = Field(None, gt=0, description="stop looking at live sources after so many seconds")


class DetectorSettings(Options):
    """Where a picture shows several objects: what finds them."""

    detector: str | None = Field(
        None, description="weights that detect: each object they find is looked at by itself; if unset, the picture is"
    )
    detector_threshold: float | None = Field(
        None, ge=0, le=1, description="least score of an object; as the detector's weights have it if unset"
    )
    detector_classes: tuple[str, ...] = Field((), description="look only at objects of these classes")


class TilingSettings(Options):
    """Pictures with far more pixels than a network's input: how a detector looks at them piece by piece."""

    tile: int | None = Field(
        None,
        ge=32,
        description="side in pixels of the square pieces that large pictures are cut into, each looked at by itself, "
        "so that small objects are found; if unset, pictures are looked at as a whole",
    )
    overlap: float = Field(
        0.2, ge=0, le=0.8, description="least part of a tile that the next one shows again, so that objects are whole"
    )
    tile_whole: bool = Field(
        True, description="look at the whole of a tiled picture, too, for objects that are larger than a tile"
    )


class ExplainSettings(Options):
    """What of an answer to explain, and how to show it."""

    class_name: str | None = Field(None, description="class to explain; the most probable one if unset")
    top: int = Field(1, ge=1, le=20, description="explain the N most probable classes, side by side")
    alpha: float = Field(0.6, ge=0, le=1, description="opacity of the heat map where there is most evidence")
