"""A model on cameras, streams and videos, frame by frame, for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cvtl import weights as weights_file
from cvtl.background import ahead
from cvtl.devices import Predictor, Uploader, choose_device
from cvtl.live import Feeds, LiveSettings, rounds, split_inputs
from cvtl.model import Model
from cvtl.run_settings import default_readers
from cvtl.screen import Screen, display_problem, threshold_of
from cvtl.sources import Item, open_sources
from cvtl.tracking import Followers, FollowSettings

if TYPE_CHECKING:
    from cvtl.data import UInt8Image
    from cvtl.results import Result

Source = str | Path | int


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture that a model has looked at.

    Attributes:
        image: upright RGB uint8 (H, W, 3).
        source: where it comes from, as rows name it: `camera/0`, `clip.mp4`.
        number: of the frame; gaps are frames that were dropped. None for a picture.
        time: in seconds from the video's start, or since the stream was begun; None for a picture.
    """

    image: UInt8Image
    source: str
    number: int | None
    time: float | None


def stream(
    model: Model | str | Path,
    source: Source | Sequence[Source],
    *,
    show: bool = False,
    live: LiveSettings | None = None,
    follow: FollowSettings | None = None,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> Iterator[tuple[Frame, Result]]:
    """Look at frames as they come.

    Files are read completely and in order. Of cameras and streams only the newest frame is looked at; they may be
    absent at first, and are opened anew when they are lost. Frames that cannot be decoded are passed over.

    Args:
        model: on its device, or a weights file.
        source: a camera's number, the address of a stream, a video, or anything that `cvtl.run` takes; or several.
        show: show frames with their results in a window, if there is a display; q in it ends the stream, space pauses,
            s saves the frame, + and - change the threshold.
        live: how to look at cameras and streams, and when to stop.
        follow: what to follow from frame to frame of videos, cameras and streams.
        device: of a model that is loaded here.
        tell: is told in a line when a source comes or goes; by default such lines go to standard error.

    Yields:
        Frames and results.

    Raises:
        CvtlError: the weights cannot be used, or a file is not there.

    Example:
        >>> import cvtl  # doctest: +SKIP
        >>> for frame, result in cvtl.stream("cars.safetensors", 0, show=True):  # doctest: +SKIP
        ...     print(frame.time, result.to_dict()["labels"])
    """
    if not isinstance(model, Model):
        model = weights_file.load(model, device=choose_device(device))
    given = [source] if isinstance(source, (str, Path, int)) else list(source)
    watched, stored = split_inputs(given)
    items = open_sources(stored) if stored or not watched else iter(())
    tell = tell or _say
    followers = Followers(follow or FollowSettings(), model.classes, interleaved=True, tell=tell)
    screen = _screen(model, tell) if show else None
    with closing(screen) if screen is not None else nullcontext():
        yield from answers(model, Feeds(watched, live, tell=tell), items, screen, followers)


def answers(
    model: Model,
    feeds: Feeds,
    items: Iterator[Item],
    screen: Screen | None,
    followers: Followers | None = None,
) -> Iterator[tuple[Frame, Result]]:
    """Look at what live sources have, and at what does not run away beside it.

    Args:
        model: on its device.
        feeds: the live sources; opened here.
        items: other inputs.
        screen: where to show frames and results.
        followers: what follows from frame to frame.

    Yields:
        As `stream` does.
    """
    predictor, uploader = Predictor(model), Uploader(model.device)
    with feeds, ThreadPoolExecutor(default_readers(), "cvtl-decode") as pool, ahead(items, depth=2) as stored:
        for found in rounds(feeds, stored, Item.load, most=1, pool=pool):
            if screen is not None:
                screen.poll()
            for item, decoded in found:
                if decoded.image is None:
                    continue
                (answer,) = predictor.predict(uploader.upload([decoded.image]).wait())
                if isinstance(answer, Exception):
                    raise answer
                height, width = decoded.image.shape[:2]
                if followers is not None:
                    answer = followers.follow(item.source, item.frame, item.time, answer, size_wh=(width, height))
                frame = Frame(decoded.image, item.source, item.frame, item.time)
                if screen is not None:
                    screen.show(item.source, frame.image, answer, frame=item.frame, arrived=item.arrived)
                yield frame, answer
            if screen is not None and screen.quit:
                return


def _screen(model: Model, tell: Callable[[str], None]) -> Screen | None:
    problem = display_problem()
    if problem is not None:
        tell(f"no window: {problem}")
        return None

    def set_threshold(threshold: float) -> None:
        model.with_predict_options(threshold=threshold)

    return Screen(Path("cvtl-frames"), tell, threshold=threshold_of(model), threshold_changed=set_threshold)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
