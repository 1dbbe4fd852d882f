"""Which corruptions are measured, and on how many pictures. Torch-free: the command line shows this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["rotation", "shift", "scale", "blur", "noise", "brightness", "contrast", "jpeg"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MOST_PICTURES = 500


@dataclass(frozen=True, kw_only=True)
class CorruptionSettings:
    """What to measure under corruptions.

    Attributes:
        kinds: of corruptions.
        pictures: how many at most, each of which is looked at once clean and five times for each kind.
    """

    kinds: tuple[Kind, ...] = KINDS
    pictures: int = MOST_PICTURES
