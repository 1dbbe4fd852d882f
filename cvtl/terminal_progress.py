"""How a run shows that it gets on: a bar on a terminal, plain lines elsewhere, nothing if asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from cvtl.progress import Progress
from cvtl.terminal import printable, terminal

_SECONDS_BETWEEN_LINES = 10.0
_SLOW = 0.1


def choose_progress(total: int | None, *, quiet: bool, noun: str = "pictures") -> Progress:
    """The kind of progress that fits where the command runs.

    Args:
        total: inputs in all, if known.
        quiet: show nothing.
        noun: what is counted.
    """
    if quiet:
        return Progress()
    return BarProgress(total, noun) if sys.stderr.isatty() else LineProgress(total, noun)


@contextmanager
def shown_progress(total: int, *, quiet: bool, noun: str) -> Iterator[Progress]:
    """Progress that is started here, and finished however the block is left."""
    progress = choose_progress(total, quiet=quiet, noun=noun)
    progress.start(0)
    try:
        yield progress
    finally:
        progress.finish()


class BarProgress(Progress):
    """A bar with pictures a second."""

    def __init__(self, total: int | None, noun: str = "pictures") -> None:
        self._bar = Bar(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=terminal(stderr=True),
        )
        self._noun = noun
        self._task = self._bar.add_task("", total=total, rate="-")
        self._clock = Rate()

    def start(self, done: int) -> None:
        """Show the bar, `done` inputs filled in."""
        self._bar.start()
        self._bar.advance(self._task, done)
        self._clock = Rate()

    def advance(self, count: int) -> None:
        """Move on by `count` inputs."""
        self._bar.update(self._task, advance=count, rate=rate_text(self._clock.after(count), self._noun))

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(printable(text), soft_wrap=True)

    def finish(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()


class LineProgress(Progress):
    """A line every ten seconds, for logs."""

    def __init__(self, total: int | None, noun: str = "pictures") -> None:
        self._of = f"/{total} {noun}" if total is not None else f" {noun}"
        self._noun = noun
        self._done = 0
        self._clock = Rate()
        self._last = perf_counter()

    def start(self, done: int) -> None:
        """Count from `done` inputs on."""
        self._done = done
        self._clock = Rate()
        self._last = perf_counter()

    def advance(self, count: int) -> None:
        """Print a line if the last one is long ago."""
        self._done += count
        rate = self._clock.after(count)
        if perf_counter() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = perf_counter()
            sys.stderr.write(f"{self._done}{self._of}, {rate_text(rate, self._noun)}\n")

    def note(self, text: str) -> None:
        """Print a line, and none on the pictures for a while."""
        self._last = perf_counter()
        sys.stderr.write(f"{printable(text)}\n")


def rate_text(rate: float, noun: str = "pictures") -> str:
    """How fast work goes, in words; slow work by what one takes.

    Args:
        rate: things a second.
        noun: what they are called, in the plural.

    Example:
        >>> rate_text(12.34), rate_text(0.05), rate_text(3, "rows")
        ('12.3 img/s', '20 s each', '3.0 rows/s')
    """
    if 0 < rate < _SLOW:
        return f"{1 / rate:.0f} s each"
    return f"{rate:.1f} {'img' if noun == 'pictures' else noun}/s"


class Rate:
    """Pictures a second since it was made."""

    def __init__(self) -> None:
        self._start = perf_counter()
        self._count = 0

    def after(self, count: int) -> float:
        """The rate when `count` more are done."""
        self._count += count
        return self._count / max(perf_counter() - self._start, 1e-9)
