"""What a run is over: the inputs as it names them, from the first one that it has no row for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvtl.addresses import is_address, public_address
from cvtl.errors import UsageError
from cvtl.live import split_inputs
from cvtl.run_folder import RunFolder
from cvtl.run_settings import RunSettings
from cvtl.sources import Item, open_sources

if TYPE_CHECKING:
    from cvtl.data import UInt8Image


def named(given: str | Path | int | UInt8Image) -> str:
    """An input as run.json names it."""
    if isinstance(given, np.ndarray):
        return "array"
    text = str(given)
    return public_address(text) if is_address(text) else str(Path(text))


def earlier_run(
    out: Path,
    identity: Mapping[str, Any],
    inputs: Sequence[Any],
    about: Mapping[str, Any],
    *,
    block: int,
    whole_videos: bool,
) -> RunFolder | None:
    """The run in a folder that is to go on (`RunFolder.resume`); None where there is none.

    Raises:
        UsageError: it was another one, or one whose inputs cannot be had again.
    """
    if split_inputs(inputs)[0]:
        raise UsageError("a run over cameras or streams cannot go on", hint="Begin another one in another folder")
    if any(not isinstance(each, (str, Path)) or str(each) == "-" for each in inputs):
        raise UsageError("a run over standard input or arrays cannot go on", hint="Give files, folders or a list file")
    return RunFolder.resume(out, identity, block=block, about=about, whole_videos=whole_videos)


def after_kept(items: Iterator[Item], folder: RunFolder) -> Iterator[Item]:
    """Pass over the inputs that have their rows.

    Raises:
        UsageError: they are not the same any more.
    """
    for source, frame in folder.kept_sources():
        item = next(items, None)
        if item is None or (item.source, item.frame) != (source, frame):
            found = "nothing" if item is None else f"'{item.source}'"
            raise UsageError(
                f"the inputs have changed since the run in '{folder.path}' began: where '{source}' was, now is {found}",
                hint="Start anew in another folder with --out",
            )
    return items


def started(inputs: Sequence[str | Path | UInt8Image], settings: RunSettings) -> Iterator[Item]:
    """A run's inputs, the first of them fetched: a wrong path is found before the output folder is made."""
    items = open_sources(inputs, include=settings.include, exclude=settings.exclude, max_pixels=settings.max_pixels)
    first = list(islice(items, 1))
    return chain(first, items)
