"""What there is to look at now, from live sources and from what does not run away. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from cvtl.images import Decoded
from cvtl.live.feeds import Feeds, load
from cvtl.sources import Item

_WAIT_SECONDS = 0.05

Round = list[tuple[Item, Decoded]]


def rounds(
    feeds: Feeds, stored: Iterator[Item], decode: Callable[[Item], Decoded], *, most: int, pool: Executor
) -> Iterator[Round]:
    """Rounds of a frame of each live source that has one, and one of the other inputs, until there are no more.

    Args:
        feeds: the live sources.
        stored: other inputs, all of which are looked at, in order.
        decode: of those.
        most: in one round.
        pool: decodes the live ones beside each other.

    Yields:
        Inputs with their pictures; nothing where none came for a moment, so that the caller can look about.
    """
    other = next(stored, None)
    while other is not None or not feeds.ended:
        frames = [] if feeds.ended else feeds.take(most, timeout=_WAIT_SECONDS * (other is None))
        items = [Item(each.source, frame=each.number, time=each.time, arrived=each.arrived) for each in frames]
        found = list(zip(items, pool.map(load, frames), strict=True))
        if other is not None and len(found) < most:
            found.append((other, decode(other)))
            other = next(stored, None)
        yield found
