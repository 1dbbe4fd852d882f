"""Supervised live sources: absent, connected, lost, opened anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cameras import Wait

from cvtl.images import Decoded, of_array
from cvtl.live import Capture, CaptureError, Feeds, LiveSettings, LiveSource, VideoAsCamera
from cvtl.live.captures import Load
from cvtl.live.feeds import FIRST_PAUSE, load, never_seen

SOURCE = LiveSource("camera/0", 0)
OTHER = LiveSource("camera/1", 1)
# More frames than a test looks at, so that nothing ends before it should.
FAST = 500.0


def shade(value: int, size_wh: tuple[int, int] = (4, 3)) -> Decoded:
    return of_array(np.full((size_wh[1], size_wh[0], 3), value, np.uint8))


class Script(Capture):
    """Gives some frames, and then is lost, or waits."""

    def __init__(self, *frames: Decoded, then: Callable[[], None] | None = None) -> None:
        self.given = frames
        self.then = then
        self.closed = False

    def frames(self) -> Iterator[Load]:
        for frame in self.given:
            yield partial(lambda same: same, frame)
        if self.then is not None:
            self.then()
        raise CaptureError("unplugged")

    def close(self) -> None:
        self.closed = True


def opener(*captures: Capture | CaptureError) -> Callable[[LiveSource, float, int], Capture]:
    """Opens one after the other; when there are no more, there is no camera."""
    left = list(captures)

    def open_next(source: LiveSource, lost_after: float, max_pixels: int) -> Capture:
        found = left.pop(0) if left else CaptureError("no camera")
        if isinstance(found, CaptureError):
            raise found
        return found

    return open_next


def shades(feeds: Feeds) -> list[int]:
    return [int(decoded.image[0, 0, 0]) for frame in feeds.frames() if (decoded := load(frame)).image is not None]


def test_a_video_as_a_camera_comes_at_its_own_pace_and_repeats(clip: Path) -> None:
    camera = VideoAsCamera(clip, rate=FAST, repeat=True)
    frames = camera.frames()
    begun = time.monotonic()
    values = [next(frames)().image for _ in range(60)]
    camera.close()
    assert time.monotonic() - begun >= 59 / FAST
    assert np.array_equal(np.asarray(values[0]), np.asarray(values[50]))


def test_every_frame_is_seen_by_whoever_makes_the_source_wait(clip: Path) -> None:
    settings = LiveSettings(drop="never", give_up_after=0)
    with Feeds([SOURCE], settings, open=opener(VideoAsCamera(clip, rate=FAST))) as feeds:
        numbers = [frame.number for frame in feeds.frames()]
    assert numbers == list(range(50))
    assert feeds.report()["camera/0"].dropped == 0


def test_whoever_is_slow_sees_the_newest_frame_only(clip: Path, wait_until: Wait) -> None:
    camera = VideoAsCamera(clip, rate=FAST)
    with Feeds([SOURCE], LiveSettings(give_up_after=0), open=opener(camera)) as feeds:
        wait_until(lambda: feeds.report()["camera/0"].frames == 50)
        numbers = [frame.number for frame in feeds.frames()]
    assert numbers == [49]
    report = feeds.report()["camera/0"]
    assert (report.frames, report.taken, report.dropped) == (50, 1, 49)


def test_times_and_numbers_grow(clip: Path) -> None:
    settings = LiveSettings(give_up_after=0)
    with Feeds([SOURCE], settings, open=opener(VideoAsCamera(clip, rate=200))) as feeds:
        frames = list(feeds.frames())
    assert [frame.number for frame in frames] == sorted({frame.number for frame in frames})
    assert [frame.time for frame in frames] == sorted(frame.time for frame in frames)
    assert all(frame.time >= 0 for frame in frames)


def test_a_source_that_is_absent_at_first_is_waited_for(clip: Path) -> None:
    told: list[str] = []
    settings = LiveSettings(max_frames=1)
    opened = opener(CaptureError("no camera"), VideoAsCamera(clip))
    with Feeds([SOURCE], settings, tell=told.append, open=opened) as feeds:
        assert len(list(feeds.frames())) == 1
    assert told[:2] == [f"camera/0: no camera; trying again in {FIRST_PAUSE} s", "camera/0: connected"]


def test_a_lost_source_is_opened_anew_and_its_numbers_go_on() -> None:
    told: list[str] = []
    captures = Script(shade(1), shade(2)), Script(shade(3))
    settings = LiveSettings(drop="never", max_frames=3)
    with Feeds([SOURCE], settings, tell=told.append, open=opener(*captures)) as feeds:
        frames = list(feeds.frames())
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert feeds.report()["camera/0"].connections == 2
    assert "camera/0: unplugged; trying again in 0.5 s" in told
    assert "camera/0: connected again" in told
    assert all(capture.closed for capture in captures)


def test_pauses_grow_while_a_source_stays_away_and_begin_anew_with_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtl.live.feeds.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("cvtl.live.feeds.LONGEST_PAUSE", 0.04)
    told: list[str] = []
    away = CaptureError("no camera")
    opened = opener(away, away, away, away, Script(shade(1)), away, Script(shade(2)))
    with Feeds([SOURCE], LiveSettings(drop="never", max_frames=2), tell=told.append, open=opened) as feeds:
        list(feeds.frames())
    pauses = [line.split()[-2] for line in told if "trying again" in line]
    assert pauses[:6] == ["0.01", "0.02", "0.04", "0.04", "0.01", "0.02"]


def test_a_source_that_stays_away_is_given_up_if_one_says_so() -> None:
    told: list[str] = []
    with Feeds([SOURCE], LiveSettings(give_up_after=0.2), tell=told.append, open=opener()) as feeds:
        assert list(feeds.frames()) == []
        assert never_seen(feeds) == [("camera/0", "no camera")]
    assert told[-1] == "camera/0: no camera; given up"
    assert feeds.report()["camera/0"].state == "given up"


def test_the_loss_of_one_source_stops_no_other(clip: Path) -> None:
    def open_by_name(source: LiveSource, lost_after: float, max_pixels: int) -> Capture:
        if source == SOURCE:
            raise RuntimeError("the driver is broken")
        return VideoAsCamera(clip, rate=FAST, repeat=True)

    with Feeds([SOURCE, OTHER], LiveSettings(max_frames=30), open=open_by_name) as feeds:
        assert {frame.source for frame in feeds.frames()} == {"camera/1"}
        assert feeds.report()["camera/0"].error == "RuntimeError: the driver is broken"


def test_sources_take_turns(clip: Path, wait_until: Wait) -> None:
    def open_clip(source: LiveSource, lost_after: float, max_pixels: int) -> Capture:
        return VideoAsCamera(clip, rate=100, repeat=True)

    sources = [LiveSource(f"camera/{number}", number) for number in range(3)]
    with Feeds(sources, LiveSettings(), open=open_clip) as feeds:
        wait_until(lambda: all(report.frames for report in feeds.report().values()))
        taken = [frame.source for _ in range(30) for frame in feeds.take(1, timeout=1)]
        wait_until(lambda: len(feeds.take(2)) == 2)
    assert {name: taken.count(name) for name in set(taken)} == {f"camera/{number}": 10 for number in range(3)}


def test_a_change_of_size_is_passed_on() -> None:
    settings = LiveSettings(drop="never", give_up_after=0)
    with Feeds([SOURCE], settings, open=opener(Script(shade(1, (4, 3)), shade(2, (8, 6))))) as feeds:
        assert [(load(frame).width, load(frame).height) for frame in feeds.frames()] == [(4, 3), (8, 6)]


def test_leaving_the_block_lets_go_of_a_source_that_still_gives(clip: Path) -> None:
    camera = Script(*[shade(1)] * 3)
    with Feeds([SOURCE], LiveSettings(drop="never"), open=opener(camera)) as feeds:
        assert feeds.take(1, timeout=5)
    assert camera.closed


def test_a_limit_of_seconds_ends_the_frames(clip: Path) -> None:
    camera = VideoAsCamera(clip, repeat=True)
    begun = time.monotonic()
    with Feeds([SOURCE], LiveSettings(max_seconds=0.5), open=opener(camera)) as feeds:
        assert list(feeds.frames())
    assert time.monotonic() - begun >= 0.5


def test_a_frame_that_cannot_be_decoded_says_so(clip: Path) -> None:
    def broken() -> Decoded:
        raise ValueError("no frame")

    class Broken(Script):
        def frames(self) -> Iterator[Load]:
            yield broken
            raise CaptureError("unplugged")

    with Feeds([SOURCE], LiveSettings(give_up_after=0), open=opener(Broken())) as feeds:
        (frame,) = feeds.frames()
    assert load(frame).status == "unreadable"
