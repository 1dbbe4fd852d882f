"""Weights that other tools wrote: which plugin reads a file. Torch-free.

The core knows no foreign format. A plugin names the suffixes it reads and two functions (`PluginSpec.reads`); the
functions of `cvtl.weights` ask here, and whoever calls those need not know where weights come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl.errors import WeightsError
from cvtl.options import make_options
from cvtl.registry import ForeignWeights, PluginSpec, plugins

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cvtl.model import Model
    from cvtl.weights import Header


OWN_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ForeignFile:
    """A file that a plugin can read.

    Attributes:
        path: where it lies.
        header: what it says of itself, or what was said of it.
        reader: the plugin.
    """

    path: Path
    header: Header
    reader: PluginSpec

    def load(self) -> Model:
        """The model, on the CPU."""
        reads = _reads(self.reader)
        model: Model = self.reader.resolve("reads.load", reads.load)(self.path, self.header)
        return model


def is_foreign(path: str | Path) -> bool:
    """Whether a plugin reads files whose names end like this one's; the file itself is not looked at.

    Example:
        >>> is_foreign("w.safetensors")
        False
    """
    return bool(_readers_of(path))


def reading_options(path: str | Path) -> type[BaseModel] | None:
    """What a user may say of a file that does not say it itself, as an options class; None for cvtl's own files."""
    readers = _readers_of(path)
    return readers[0].reading_options_type() if readers else None


def read(path: Path, reading: Mapping[str, Any] | None = None) -> ForeignFile:
    """Ask the plugins that read such files: the first that understands this one has it.

    Args:
        path: of a file for which `is_foreign`.
        reading: what a user said of it. Files of several tools may be named together, so each reader is given the
            options that it has; what none of them has is an error.

    Raises:
        WeightsError: no plugin understands it; the error is the first one's.
        OptionsError: there is no such option, or the value does not fit.
    """
    errors = []
    for spec in _readers_of(path):
        options = make_options(spec.reading_options_type(), _meant_for(spec, reading or {}))
        try:
            header = spec.resolve("reads.header", _reads(spec).header)(path, options)
        except WeightsError as error:
            errors.append(error)
        else:
            return ForeignFile(path, header, spec)
    raise errors[0]


def _meant_for(spec: PluginSpec, reading: Mapping[str, Any]) -> dict[str, Any]:
    known = {name for other in _readers() if other is not spec for name in other.reading_options_type().model_fields}
    own = spec.reading_options_type().model_fields
    return {name: value for name, value in reading.items() if name in own or name not in known}


def _readers() -> Iterator[PluginSpec]:
    """Plugins that read files of others, those that share a reader once."""
    seen: list[ForeignWeights] = []
    for spec in plugins().usable():
        if spec.reads is not None and spec.reads not in seen:
            seen.append(spec.reads)
            yield spec


def _readers_of(path: str | Path) -> list[PluginSpec]:
    name = Path(path).name.lower()
    # Own files, and folders, are told without importing any plugin.
    if "." not in name or name.endswith(OWN_SUFFIX):
        return []
    return [spec for spec in _readers() if name.endswith(_reads(spec).suffixes)]


def _reads(spec: PluginSpec) -> ForeignWeights:
    assert spec.reads is not None
    return spec.reads
