"""Lines and zones as a user writes them: a YAML file, checked with file and key. Torch-free."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cvtl.errors import UsageError

Anchor = Literal[
    "top_left",
    "top_center",
    "top_right",
    "center_left",
    "center",
    "center_right",
    "bottom_left",
    "bottom_center",
    "bottom_right",
]
# Zones are painted as large as their largest coordinate.
_MOST_PIXELS = 16384
Coordinate = Annotated[float, Field(ge=0, le=_MOST_PIXELS, allow_inf_nan=False)]
XY = tuple[Coordinate, Coordinate]
_EXAMPLE = "For example: lines: {gate: {points: [[0, 300], [640, 300]]}}"


class Place(BaseModel):
    """What lines and zones have in common.

    Attributes:
        points: corners, in pixels or as fractions of the frame.
        classes: count only objects of these classes; of all where there are none.
        per_class: count those of each class, too.
        source: only in sources whose name, or its last part, fits this pattern.
        anchor: the point of an object's box that counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: tuple[XY, ...]
    classes: tuple[str, ...] = ()
    per_class: bool = False
    source: str | None = None
    anchor: Anchor = "bottom_center"

    def is_in(self, source: str) -> bool:
        """Whether it is a place of this source's frames.

        Example:
            >>> Line(points=((0, 0), (1, 1)), source="gate*").is_in("day1/gate-north.mp4")
            True
        """
        names = (source, posixpath.basename(source))
        return self.source is None or any(fnmatchcase(name, self.source) for name in names)


class Line(Place):
    """Objects that cross it are counted: `in` to the left of who walks from its first point to its second, `out` back.

    Attributes:
        frames: an object counts when it was beyond the line for so many frames; more keeps out trembling boxes.
    """

    points: tuple[XY, XY]
    frames: int = Field(1, ge=1, le=100)

    @field_validator("points")
    @classmethod
    def _has_length(cls, points: tuple[XY, XY]) -> tuple[XY, XY]:
        if points[0] == points[1]:
            raise ValueError("the two points are one")
        return points


class Zone(Place):
    """Objects in this polygon are counted: those `inside` now, and those that `entered` so far."""

    points: tuple[XY, ...] = Field(min_length=3)


class Places(BaseModel):
    """A file of lines and zones.

    Attributes:
        units: of the coordinates: pixels of the upright frame, or fractions of its width and height.
        lines: by name.
        zones: by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Literal["pixels", "fractions"] = "pixels"
    lines: Mapping[str, Line] = Field(default_factory=dict)
    zones: Mapping[str, Zone] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if not self.all():
            raise ValueError("it has neither lines nor zones")
        twice = self.lines.keys() & self.zones.keys()
        if twice:
            raise ValueError(f"'{min(twice)}' is the name of a line and of a zone")
        return self

    @model_validator(mode="after")
    def _coordinates_fit_the_units(self) -> Self:
        for name, place in self.all().items():
            largest = max(coordinate for point in place.points for coordinate in point)
            if self.units == "fractions" and largest > 1:
                raise ValueError(f"'{name}' has the coordinate {largest:g}, and fractions lie between 0 and 1")
            if self.units == "pixels" and largest <= 1:
                raise ValueError(f"'{name}' is one pixel large: for fractions of the frame write 'units: fractions'")
        return self

    def all(self) -> dict[str, Line | Zone]:
        """Lines, then zones, by name."""
        return {**self.lines, **self.zones}

    def require_classes(self, known: Sequence[str], path: str) -> None:
        """Check the classes that are named.

        Raises:
            UsageError: one is not known.
        """
        for name, place in self.all().items():
            for each in place.classes:
                if each not in known:
                    similar = get_close_matches(each, known) or known[:10]
                    hint = f"Known are {', '.join(similar)}" if known else "What is followed has no classes"
                    raise UsageError(f"zones '{path}': {name}.classes: there is no class '{each}'", hint=hint)


def read_places(path: str) -> Places:
    """Read and check a file of lines and zones.

    Raises:
        UsageError: it cannot be read, is no YAML, or says something that it may not; file and key are named.
    """
    try:
        content = yaml.safe_load(_content(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(
            f"zones '{path}' is not YAML: {where}{getattr(error, 'problem', None) or error}", hint=_EXAMPLE
        ) from error
    if not isinstance(content, dict):
        raise UsageError(f"zones '{path}' holds neither lines nor zones", hint=_EXAMPLE)
    try:
        return Places.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"zones '{path}': {'; '.join(map(_problem, error.errors()))}", hint=_EXAMPLE) from None


def digest(path: str) -> str:
    """SHA-256 of a file of lines and zones.

    Raises:
        UsageError: it cannot be read.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the zones '{path}': {error.strerror}", hint="Check --zones") from error


def _problem(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message[:1].lower()}{message[1:]}" if key else message
