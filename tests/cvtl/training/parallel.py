"""The processes of a training as threads of one, which is enough for what they compute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from cvtl.training.processes import Processes
from cvtl.training.whole_batch import Part, computing, part_of

T = TypeVar("T")
_SECONDS = 60


class Threads(Processes):
    """One of several threads that talk through a list."""

    def __init__(self, number: int, said: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(number, len(said))
        self._said, self._barrier = said, barrier

    def gather(self, value: T) -> list[T]:
        self._said[self.number] = value
        self._barrier.wait(_SECONDS)
        found = list(self._said)
        self._barrier.wait(_SECONDS)
        return found

    def lead(self, decide: Callable[[], T]) -> T:
        return self.gather(decide() if self.leads else None)[0]  # type: ignore[return-value]

    def stack(self, values: Tensor) -> Tensor:
        return torch.stack(self.gather(values))

    def add(self, values: Tensor) -> Tensor:
        return self.stack(values).sum(0)


def in_threads(count: int, work: Callable[[Threads], T]) -> list[T]:
    """What each of so many processes comes to."""
    said, barrier = [None] * count, threading.Barrier(count)

    def run(number: int) -> T:
        try:
            return work(Threads(number, said, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(run, number) for number in range(count)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    # Who waits for one that has failed has nothing to say.
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]


def in_parts(total: int, count: int, work: Callable[[slice, Part], T]) -> list[T]:
    """What each of so many processes comes to with its part of a batch: called with where it lies, and what it is."""

    def compute(processes: Threads) -> T:
        part = part_of(total, processes.number, count)
        # What has no pictures computes one that does not count.
        at = slice(part.first, part.first + part.count) if part.count else slice(0, 1)
        with computing(part, processes):
            return work(at, part)

    return in_threads(count, compute)
