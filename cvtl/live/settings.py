"""How live sources are looked at. Torch-free: the command line shows these fields."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cvtl.options import Options


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
