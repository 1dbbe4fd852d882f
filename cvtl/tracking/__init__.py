"""What moves: identities, counts and smoothing over the frames of videos and live sources.

    settings.py    what a user may set
    following.py   `Followers`: what is carried from frame to frame, for each source by itself
    trackers.py    numbers for objects, class by class
    zone_file.py   lines and zones as a user writes them
    counting.py    who crosses a line, who is inside a zone
    smoothing.py   the One Euro filter
    motion.py      what is known of a frame besides its result, and drawing it
    totals.py      what a run found in all

Nothing here knows where frames come from: runs over files, live sources and programs use it alike. What is carried
depends only on the frames' results, numbers and times, so that a run that is repeated says the same.

Importing this package imports neither torch nor supervision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvtl._lazy import resolve
from cvtl.tracking.settings import FollowSettings

if TYPE_CHECKING:
    from cvtl.tracking.following import Followers, followers_for
    from cvtl.tracking.smoothing import OneEuro

__all__ = ["FollowSettings", "Followers", "OneEuro", "followers_for"]

_LAZY = {
    "Followers": "cvtl.tracking.following:Followers",
    "followers_for": "cvtl.tracking.following:followers_for",
    "OneEuro": "cvtl.tracking.smoothing:OneEuro",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return resolve(_LAZY[name])
    raise AttributeError(f"module 'cvtl.tracking' has no attribute '{name}'")
