"""One part of a stream beside the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from cvtl.background import Behind, ahead


def threads() -> int:
    return sum(thread.name.startswith("cvtl-") for thread in threading.enumerate())


def test_items_come_in_order() -> None:
    with ahead(range(100), 3) as items:
        assert list(items) == list(range(100))


def test_no_more_is_drawn_than_may_wait() -> None:
    drawn = []

    def draw() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    with ahead(draw(), 2) as items:
        next(items)
        time.sleep(0.3)
        # One used, two waiting, one in the thread's hand.
        assert len(drawn) == 4


def test_an_error_comes_after_the_items_before_it() -> None:
    def draw() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"), ahead(draw(), 5) as items:
        seen.extend(iter(lambda: next(items), None))
    assert seen == [1]


def test_leaving_early_ends_the_thread() -> None:
    before = threads()
    with ahead(iter(int, 1), 1) as items:
        next(items)
    assert threads() == before


def test_everything_handed_over_is_done_in_order_before_close_returns() -> None:
    done: list[int] = []

    def handle(item: int) -> None:
        time.sleep(0.001)
        done.append(item)

    worker = Behind(handle, depth=2)
    for number in range(20):
        worker.put(number)
    worker.close()
    assert done == list(range(20))


def test_an_error_of_the_worker_reaches_whoever_hands_over_and_nothing_more_is_handled() -> None:
    done: list[int] = []

    def handle(item: int) -> None:
        if item == 3:
            raise OSError("no space")
        done.append(item)

    worker = Behind(handle, depth=1)

    def put_all() -> None:
        for number in range(1000):
            worker.put(number)

    with pytest.raises(OSError, match="no space"):
        put_all()
    with pytest.raises(OSError, match="no space"):
        worker.close()
    assert done == [0, 1, 2]
