"""`cvtl backbones NAME --filters`: pictures of what a network looks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from cvtl.errors import SourceError, UsageError
from cvtl.files import write_atomically
from cvtl.run_folder import next_free_folder
from cvtl.terminal import print_json, terminal

if TYPE_CHECKING:
    from cvtl.backbones import Backbone
    from cvtl.data import UInt8Image
    from cvtl.inspection.receptive_field import Field as ReceptiveField

RUNS_FOLDER = Path("cvtl-runs")
_SPREAD = 12
_COLUMNS = 6
_FILTER_SIDE = 40
_TILE_SIDE = 192
_READERS = 2
# Smaller pictures hold too few positions to be called a pattern; larger ones take long.
_LEAST_SIDE, _MOST_SIDE = 64, 128


class FilterSettings(BaseModel):
    """What `--filters` shows, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str | None = Field(None, description="look at the end of this stage; the last one if unset")
    channels: list[int] | None = Field(
        None, description=f"look at these channels of its map; if unset, {_SPREAD} spread over all of them"
    )
    pictures: str | None = Field(
        None, description="also show to which parts of these pictures the channels answer most: a folder, file, ..."
    )
    steps: int = Field(128, ge=1, description="of the gradient ascent: more make clearer pictures")
    seed: int = Field(0, ge=0, description="of the noise that the ascent starts from")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    out: str | None = Field(None, description=f"folder to write to; {RUNS_FOLDER}/backbones, with a number, if unset")
    quiet: bool = Field(False, description="print nothing but errors")


def show_filters(backbone: Backbone, settings: FilterSettings, *, random: bool, as_json: bool) -> None:
    """Write the pictures and print where they are.

    Args:
        backbone: cut after the stage to look at.
        settings: what to show.
        random: whether its weights are random ones.
        as_json: print JSON, and nothing else.

    Raises:
        UsageError: the stage has no such channel; there is no such device.
        SourceError: there are no pictures, or none of them can be read.
        OutputError: the pictures cannot be written.
    """
    from cvtl.devices import choose_device

    channels = _channels(backbone, settings.channels)
    backbone.to(choose_device(settings.device))
    out = Path(settings.out or next_free_folder(RUNS_FOLDER, "backbones"))
    written, notes = _write_pictures(backbone, channels, settings, out, quiet=settings.quiet or as_json)
    if random:
        notes.insert(0, "The weights are random, and so is what they look for: give --weights imagenet, or a file")
    if as_json:
        files = {path.stem: str(path) for path in written.values()}
        stage = backbone.stages[-1].name
        print_json({"name": backbone.name, "stage": stage, "channels": channels, "files": files, "notes": notes})
    elif not settings.quiet:
        console = terminal()
        for what, path in written.items():
            console.print(f"{what}: {path}", soft_wrap=True)
        for note in notes:
            console.print(note, style="dim")


def _write_pictures(
    backbone: Backbone, channels: list[int], settings: FilterSettings, out: Path, *, quiet: bool
) -> tuple[dict[str, Path], list[str]]:
    """The files by what they show, and what else there is to say."""
    from cvtl.inspection.filters import first_filters

    stage = backbone.stages[-1].name
    captions = [f"channel {channel}" for channel in channels]
    written: dict[str, Path] = {}
    notes: list[str] = []
    try:
        filters = first_filters(backbone)
        path = out / "first-layer.png"
        written["Filters of the first layer"] = _write(path, filters, math.isqrt(len(filters) - 1) + 1, _FILTER_SIDE)
    except UsageError as error:
        notes.append(f"{error.what[0].upper()}{error.what[1:]}")
    field = _field(backbone)
    if settings.pictures is not None:
        # Before the longer work, which would be lost if there were no pictures.
        patches, unreadable = _patches(backbone, channels, field, settings.pictures, quiet=quiet)
        path = out / f"{stage}-patches.png"
        written[f"Where the channels of '{stage}' answer most"] = _write(path, patches, _COLUMNS, _TILE_SIDE, captions)
        notes += [f"{unreadable} of the pictures could not be read"] * bool(unreadable)
    made = _maximised(backbone, channels, field, settings, quiet=quiet)
    path = out / f"{stage}-maximised.png"
    written[f"What the channels of '{stage}' look for"] = _write(path, made, _COLUMNS, _TILE_SIDE, captions)
    return written, notes


def _channels(backbone: Backbone, wanted: list[int] | None) -> list[int]:
    name, count = backbone.stages[-1].name, backbone.stages[-1].channels
    if wanted is None:
        shown = min(_SPREAD, count)
        return [number * count // shown for number in range(shown)]
    missing = next((channel for channel in wanted if not 0 <= channel < count), None)
    if missing is not None or not wanted:
        problem = "no channels were named" if missing is None else f"stage '{name}' has no channel {missing}"
        raise UsageError(problem, hint=f"Its {count} channels are 0 to {count - 1}")
    return wanted


def _field(backbone: Backbone) -> ReceptiveField | None:
    from cvtl.inspection.layers import stage_layers

    return stage_layers(backbone, backbone.input.size_hw)[-1].field


def _maximised(
    backbone: Backbone, channels: list[int], field: ReceptiveField | None, settings: FilterSettings, *, quiet: bool
) -> list[UInt8Image]:
    from cvtl.inspection.layers import stage_layers
    from cvtl.inspection.maximisation import maximise
    from cvtl.terminal_progress import choose_progress

    size = max(axis.size for axis in field) if field else _MOST_SIDE
    side = int(min(max(size, _LEAST_SIDE), _MOST_SIDE))
    try:
        stage_layers(backbone, (side, side))
    except UsageError:
        # Some networks take pictures of one size, or need larger ones.
        side = max(backbone.input.size_hw)
    progress = choose_progress(settings.steps, quiet=quiet, noun="steps")
    return maximise(backbone, channels, side=side, steps=settings.steps, seed=settings.seed, progress=progress)


def _patches(
    backbone: Backbone, channels: list[int], field: ReceptiveField | None, pictures: str, *, quiet: bool
) -> tuple[list[UInt8Image], int]:
    """A picture for each channel of its strongest patches, and how many files could not be read."""
    from cvtl.background import map_ahead
    from cvtl.inspection.patches import PATCHES, strongest_patches
    from cvtl.inspection.tiles import grid
    from cvtl.sources import Item, count_sources, open_sources
    from cvtl.terminal_progress import choose_progress

    unreadable = 0

    def readable() -> Iterator[UInt8Image]:
        nonlocal unreadable
        for decoded in map_ahead(Item.load, open_sources([pictures]), _READERS):
            if decoded.image is None:
                unreadable += 1
            else:
                yield decoded.image

    progress = choose_progress(count_sources([pictures]), quiet=quiet)
    found = strongest_patches(backbone, channels, field, readable(), progress=progress)
    if not any(found):
        raise SourceError(
            f"no picture of '{pictures}' could be read, or none moves these channels",
            hint="Give other pictures, or other channels with --channels",
        )
    columns = math.isqrt(PATCHES)
    side = _TILE_SIDE // columns
    return [grid([patch.image for patch in patches], columns=columns, side=side) for patches in found], unreadable


def _write(path: Path, pictures: Sequence[UInt8Image], columns: int, side: int, captions: Sequence[str] = ()) -> Path:
    from cvtl.images import encode
    from cvtl.inspection.tiles import grid

    columns = min(columns, len(pictures))
    return write_atomically(path, encode(grid(pictures, columns=columns, side=side, captions=captions), ".png"))
