"""What is counted, as Prometheus reads it (text format 0.0.4). Torch-free."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts pictures by what became of them, and measures how long they took.

    Example:
        >>> metrics = Metrics()
        >>> metrics.count("ok", 0.02)
        >>> print(*[line for line in metrics.lines() if line.startswith("cvtl_pictures")])
        cvtl_pictures_total{status="ok"} 1
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0
        self._begun = time.time()

    def count(self, status: str, seconds: float | None = None) -> None:
        """Take note of a picture.

        Args:
            status: that of its row, or why it has none.
            seconds: from its arrival to the answer, where there is one.
        """
        with self._lock:
            self._counts[status] += 1
            if seconds is not None:
                self._buckets[bisect_left(BOUNDS, seconds)] += 1
                self._seconds += seconds

    def lines(self) -> Iterator[str]:
        """All of it."""
        with self._lock:
            counts, buckets, seconds = dict(self._counts), list(self._buckets), self._seconds
        yield from _head("cvtl_pictures_total", "counter", "Pictures by what became of them.")
        for status, count in sorted(counts.items()):
            yield f'cvtl_pictures_total{{status="{status}"}} {count}'
        yield from _head("cvtl_answer_seconds", "histogram", "From a picture's arrival to its answer.")
        total = 0
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], buckets, strict=True):
            total += count
            yield f'cvtl_answer_seconds_bucket{{le="{bound}"}} {total}'
        yield f"cvtl_answer_seconds_sum {seconds:.6f}"
        yield f"cvtl_answer_seconds_count {total}"
        yield from gauge("process_start_time_seconds", "When the server started.", self._begun)
        memory = resident_bytes()
        if memory is not None:
            yield from gauge("process_resident_memory_bytes", "Memory in use.", memory)


def gauge(name: str, help: str, value: float) -> Iterator[str]:
    """A value that goes up and down."""
    yield from _head(name, "gauge", help)
    yield f"{name} {value}"


def resident_bytes() -> int | None:
    """Memory of this process; None where the system does not tell."""
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
