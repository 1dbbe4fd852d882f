"""Running one part of a stream beside the next, with a bounded queue between them. Torch-free."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END = object()
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0
# Enough that a slow item does not leave the other threads idle.
_AHEAD_PER_WORKER = 4


def map_ahead(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map` by several threads, in order, only so far ahead that memory stays bounded.

    Example:
        >>> list(map_ahead(abs, range(-3, 1), workers=2))
        [3, 2, 1, 0]
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, "cvtl-map") as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= _AHEAD_PER_WORKER * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def ahead(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Draw from `items` in a thread of its own, at most `depth` items ahead of whoever uses them.

    The thread ends when the block is left, however it is left; an error in `items` is raised at its place.

    Example:
        >>> with ahead(iter("abc"), 2) as letters:
        ...     "".join(letters)
        'abc'
    """
    waiting: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue

    def fill() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:
            put(_Failure(error))

    def drain() -> Iterator[T]:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]

    thread = threading.Thread(target=fill, name="cvtl-read", daemon=True)
    thread.start()
    try:
        yield drain()
    finally:
        stop.set()
        # It may be waiting for a line of standard input that never comes.
        thread.join(_PATIENCE_SECONDS)


class Behind(Generic[T]):
    """Handles items in a thread of its own, in order, at most `depth` items behind.

    Args:
        handle: called with each item; its first error is raised by the next `put` or by `close`.
        depth: how many items may wait.
    """

    def __init__(self, handle: Callable[[T], None], depth: int) -> None:
        self._handle = handle
        self._waiting: queue.Queue[object] = queue.Queue(maxsize=depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="cvtl-write", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over an item; waits while the queue is full."""
        self._raise()
        self._waiting.put(item)

    def close(self) -> None:
        """Wait until everything that was handed over is done."""
        self._finish()
        self._raise()

    def __enter__(self) -> Behind[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._finish()
        if error is None:
            self._raise()

    def _finish(self) -> None:
        self._waiting.put(_END)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._waiting.get()) is not _END:
            if self._error is None:
                try:
                    self._handle(item)  # type: ignore[arg-type]
                except BaseException as error:
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error
