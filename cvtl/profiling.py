"""Where the time of a run went, and what bounds it. Torch-free."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Stage = Literal["read", "decode", "copy", "predict", "follow", "write", "wait for pictures", "wait for the writer"]

_WORK: tuple[Stage, ...] = ("read", "decode", "copy", "predict", "follow", "write")


class Profile:
    """Adds up the seconds that each stage of a run takes, over all its threads.

    Example:
        >>> profile = Profile()
        >>> with profile.measure("decode"):
        ...     pass
        >>> profile.seconds["decode"] >= 0
        True
    """

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Count the time spent inside as this stage's."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] += elapsed

    def table(self) -> list[tuple[Stage, float]]:
        """Seconds of work for each stage; stages run beside each other, so they may add up to more than the run."""
        return [(stage, self.seconds[stage]) for stage in _WORK if stage != "follow" or self.seconds[stage]]

    def bound(self) -> str:
        """What to speed up first: the stage that the others waited for."""
        starved, blocked = self.seconds["wait for pictures"], self.seconds["wait for the writer"]
        if self.seconds["predict"] >= max(starved, blocked):
            return "the network: a faster device, a smaller backbone or mixed precision would help"
        if blocked > starved:
            return "writing: fewer saved pictures or a faster disk would help"
        before: tuple[Stage, ...] = ("read", "decode", "copy")
        slowest = max(before, key=lambda stage: self.seconds[stage])
        advice: dict[Stage, str] = {
            "read": "reading the files: a faster disk or a local copy would help",
            "decode": "decoding: more readers or smaller pictures would help",
            "copy": "copying to the device: smaller pictures would help",
        }
        return advice[slowest]
