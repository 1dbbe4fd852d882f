"""Work that can be sent to another process: a few blocks of inputs, and the walk that gives them. Torch-free."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from cvtl.errors import CvtlError
from cvtl.run_settings import RunSettings
from cvtl.sharding import sharded
from cvtl.sources import Item, open_sources

# Enough pictures that handing them over costs little, few enough that all workers have some.
_UNIT_INPUTS = 128
# Where pictures come back with the rows.
_UNIT_PICTURES = 32


@dataclass(frozen=True)
class Unit:
    """Consecutive blocks of the input order; their items hold no open file and no lock."""

    blocks: list[list[Item]]


@dataclass(frozen=True)
class WalkEnd:
    """Behind the last unit: what the walk has seen, or what ended it.

    Attributes:
        about: what run.json should say of it.
        error: what ended it before its time.
    """

    about: dict[str, Any]
    error: CvtlError | None = None


@dataclass(frozen=True)
class Walk:
    """A walk over a run's inputs, which can be sent to another process of the same machine.

    Attributes:
        inputs: as the run has them; no arrays, and not standard input.
        folder: what relative paths are relative to.
        settings: of the run.
        block: inputs that are looked at together.
        skip: inputs that have their rows already.
    """

    inputs: tuple[str, ...]
    folder: str
    settings: RunSettings
    block: int
    skip: int

    def __iter__(self) -> Iterator[Unit | WalkEnd]:
        """The units, and what is to be said when there are no more; always the same ones."""
        about: dict[str, Any] = {}
        try:
            yield from self._units(about)
        except CvtlError as error:
            yield WalkEnd(about, error)
        else:
            yield WalkEnd(about)

    def _units(self, about: dict[str, Any]) -> Iterator[Unit]:
        settings = self.settings
        opened = open_sources(
            self.inputs, include=settings.include, exclude=settings.exclude, max_pixels=settings.max_pixels
        )
        items = sharded(opened, settings, self.block, about.update)
        items = islice(items, self.skip, None)
        blocks = max(1, (_UNIT_PICTURES if settings.draws else _UNIT_INPUTS) // self.block)
        while unit := [block for _ in range(blocks) if (block := list(islice(items, self.block)))]:
            yield Unit([list(map(portable, block)) for block in unit])


def portable(item: Item) -> Item:
    """An item that can be sent: by its path where it has one, with its content where it is inside an archive.

    Example:
        >>> item = Item("a.jpg", read=lambda: b"content")
        >>> pickle.loads(pickle.dumps(portable(item))).read()
        b'content'
    """
    try:
        pickle.dumps(item.read)
        return item
    except (TypeError, AttributeError, pickle.PicklingError):
        assert item.read is not None, "without it there is nothing that cannot be sent"
    try:
        return replace(item, read=partial(bytes, item.read()))
    except (OSError, ValueError) as error:
        return replace(item, read=partial(_refuse, error))


def _refuse(error: OSError | ValueError) -> bytes:
    raise error
