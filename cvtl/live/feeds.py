"""Live sources, each supervised by a thread of its own: absent, connected, lost, opened anew. Torch-free."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from cvtl.images import Decoded
from cvtl.live.captures import Capture, CaptureError, Load, open_capture
from cvtl.live.sources import LiveSource
from cvtl.run_settings import DEFAULT_MAX_PIXELS, LiveSettings

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before a source is tried again: twice as many after each failure, until a frame comes."""

_WAITING_FRAMES = 2
_PATIENCE_SECONDS = 2.0

State = Literal["absent", "connected", "lost", "given up"]
Open = Callable[[LiveSource, float, int], Capture]


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame that a live source gave.

    Attributes:
        source: the source's name.
        number: of the frame among all that the source gave, from 0; those that were dropped are counted.
        time: when it came, in seconds since the feeds began.
        arrived: the same on the clock of `time.perf_counter`.
        load: decodes it.
    """

    source: str
    number: int
    time: float
    arrived: float
    load: Load


@dataclass(frozen=True)
class FeedReport:
    """How a source did.

    Attributes:
        frames: that came.
        taken: of them, by whoever looked.
        dropped: of them, because they were stale.
        drop: what was to become of stale frames, as the settings say.
        connections: how often it was opened.
        state: in the end.
        error: what was last wrong with it.
    """

    frames: int
    taken: int
    dropped: int
    drop: Literal["stale", "never"]
    connections: int
    state: State
    error: str | None = None


class Feed:
    """One live source and the thread that keeps it open.

    Args:
        source: what to open.
        settings: what to do with stale frames, and when to call it lost.
        tell: is told in a line when the source comes, goes or changes its size.
        began: when time is zero, on the clock of `time.perf_counter`.
        changed: notified when there is a frame or a new state.
        open: opens the source.
        max_pixels: larger frames are not decoded.
    """

    def __init__(
        self,
        source: LiveSource,
        settings: LiveSettings,
        *,
        tell: Callable[[str], None],
        began: float,
        changed: threading.Condition,
        open: Open = open_capture,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self.source = source
        self._settings = settings
        self._tell = tell
        self._began = began
        self._changed = changed
        self._open = open
        self._max_pixels = max_pixels
        self._waiting: deque[LiveFrame] = deque()
        self._stop = threading.Event()
        self._frames = self._taken = self._dropped = self._connections = 0
        self._state: State = "absent"
        self._error: str | None = None
        self._last_seen = began
        self._thread = threading.Thread(target=self._supervise, name=f"cvtl-live-{source.name}", daemon=True)

    def start(self) -> None:
        """Begin to look for the source."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of the source; its thread may hang in a driver for a while, and is not waited for long."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def join(self) -> None:
        """Wait a moment for the thread to end."""
        self._thread.join(_PATIENCE_SECONDS)

    @property
    def ended(self) -> bool:
        """Whether nothing will come from it any more."""
        return self._state == "given up" and not self._waiting

    def take(self) -> LiveFrame | None:
        """The next frame, if there is one; the caller holds the condition."""
        if not self._waiting:
            return None
        self._taken += 1
        frame = self._waiting.popleft()
        self._changed.notify_all()
        return frame

    def report(self) -> FeedReport:
        """How it did so far."""
        counts = (self._frames, self._taken, self._dropped, self._settings.drop)
        return FeedReport(*counts, self._connections, self._state, self._error)

    def _supervise(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            before = self._frames
            try:
                with closing(self._open(self.source, self._settings.lost_after, self._max_pixels)) as capture:
                    self._draw(capture)
            except CaptureError as error:
                reason = str(error)
            except Exception as error:  # a driver's or library's own: this source's loss stops no other
                reason = f"{type(error).__name__}: {error}"
            else:
                return
            pause = FIRST_PAUSE if self._frames > before else pause
            wait = self._lost(reason, pause)
            if wait is None or self._stop.wait(wait):
                return
            pause = min(2 * pause, LONGEST_PAUSE)

    def _draw(self, capture: Capture) -> None:
        self._connections += 1
        first = True
        for load in capture.frames():
            if self._stop.is_set():
                return
            if first:
                first = False
                self._enter("connected", None)
                self._tell(f"{self.source.name}: connected" + " again" * (self._connections > 1))
            self._received(load)
        raise CaptureError("no frames come any more")

    def _received(self, load: Load) -> None:
        arrived = time.perf_counter()
        frame = LiveFrame(self.source.name, self._frames, round(arrived - self._began, 3), arrived, load)
        with self._changed:
            self._last_seen = arrived
            self._frames += 1
            if self._settings.drop == "stale":
                self._dropped += len(self._waiting)
                self._waiting.clear()
            while len(self._waiting) >= _WAITING_FRAMES and not self._stop.is_set():
                self._changed.wait()
            self._waiting.append(frame)
            self._changed.notify_all()

    def _lost(self, reason: str, pause: float) -> float | None:
        """Note that the source is not there; seconds until the next try, None if it is given up."""
        patience = self._settings.give_up_after
        away = time.perf_counter() - self._last_seen
        if patience is not None and away >= patience:
            self._tell(f"{self.source.name}: {reason}; given up")
            self._enter("given up", reason)
            return None
        wait = pause if patience is None else min(pause, max(patience - away, 0.01))
        self._tell(f"{self.source.name}: {reason}; trying again in {wait:.2g} s")
        self._enter("lost" if self._frames else "absent", reason)
        return wait

    def _enter(self, state: State, error: str | None) -> None:
        with self._changed:
            self._state = state
            self._error = error or self._error
            self._changed.notify_all()


class Feeds:
    """Several live sources at once; the loss of one stops no other.

    Args:
        sources: what to open.
        settings: how to look at them.
        tell: is told in a line when a source comes or goes.
        open: opens a source.
        max_pixels: larger frames are not decoded.

    Example:
        >>> with Feeds([LiveSource("camera/99", 99)], LiveSettings(give_up_after=0)) as feeds:
        ...     list(feeds.frames())
        []
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        settings: LiveSettings | None = None,
        *,
        tell: Callable[[str], None] = lambda text: None,
        open: Open = open_capture,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self.settings = settings or LiveSettings()
        self.began = time.perf_counter()
        self._changed = threading.Condition()
        self._feeds = [
            Feed(
                source,
                self.settings,
                tell=tell,
                began=self.began,
                changed=self._changed,
                open=open,
                max_pixels=max_pixels,
            )
            for source in sources
        ]
        self._next = 0

    def __enter__(self) -> Feeds:
        for feed in self._feeds:
            feed.start()
        return self

    def __exit__(self, *error: object) -> None:
        for feed in self._feeds:
            feed.stop()
        for feed in self._feeds:
            feed.join()

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more: all sources are given up, or the settings' limits are reached."""
        taken = sum(feed.report().taken for feed in self._feeds)
        most, seconds = self.settings.max_frames, self.settings.max_seconds
        return (
            all(feed.ended for feed in self._feeds)
            or (most is not None and taken >= most)
            or (seconds is not None and time.perf_counter() - self.began >= seconds)
        )

    def take(self, most: int = 1, *, timeout: float = 0.05) -> list[LiveFrame]:
        """At most `most` frames, in turn from each source that has one; may be none when the time is over.

        Args:
            most: frames at once; of each source at most one.
            timeout: seconds to wait for the first.
        """
        taken = sum(feed.report().taken for feed in self._feeds)
        if self.settings.max_frames is not None:
            most = min(most, self.settings.max_frames - taken)
        with self._changed:
            frames = self._take(most)
            if not frames and most > 0:
                self._changed.wait(timeout)
                frames = self._take(most)
        return frames

    def frames(self) -> Iterator[LiveFrame]:
        """Frames one after the other, until there will be no more."""
        while not self.ended:
            yield from self.take()

    def report(self) -> dict[str, FeedReport]:
        """How each source did, by name."""
        return {feed.source.name: feed.report() for feed in self._feeds}

    def _take(self, most: int) -> list[LiveFrame]:
        found: list[LiveFrame] = []
        count = len(self._feeds)
        for step in range(count):
            if len(found) >= most:
                break
            feed = self._feeds[(self._next + step) % count]
            if (frame := feed.take()) is not None:
                found.append(frame)
                last = (self._next + step) % count
        if found:
            self._next = (last + 1) % count
        return found


def load(frame: LiveFrame) -> Decoded:
    """Decode a frame; what a decoder raises makes it unreadable."""
    try:
        return frame.load()
    except Exception as error:
        return Decoded(None, "unreadable", f"the frame cannot be decoded ({type(error).__name__})")


def never_seen(feeds: Feeds) -> list[tuple[str, str]]:
    """Sources that gave no frame at all, and what was wrong with them."""
    reports = feeds.report().items()
    return [(name, report.error or "no frame came") for name, report in reports if not report.frames]
