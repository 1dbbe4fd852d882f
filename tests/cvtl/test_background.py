"""One part of a stream beside the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from cvtl.background import Behind, ahead, map_ahead


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


@pytest.mark.parametrize("count", [0, 1, 7, 50])
def test_mapping_ahead_keeps_the_order(count: int) -> None:
    def slowly_at_first(item: int) -> int:
        time.sleep(0.01 if item % 5 == 0 else 0)
        return item * item

    assert list(map_ahead(slowly_at_first, range(count), 3)) == [item * item for item in range(count)]


def test_mapping_ahead_draws_only_a_few_items_ahead() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn

    results = map_ahead(abs, items(), 2)
    assert next(results) == 1
    assert drawn <= 8
    results.close()  # type: ignore[attr-defined]


def test_an_error_in_mapping_ahead_is_raised_at_its_place() -> None:
    results = map_ahead(lambda item: 1 // item, [1, 1, 0, 1], 2)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
