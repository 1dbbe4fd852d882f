"""Work that waits its turn: a bounded queue before one thread that works. Torch-free.

A job's future decides what became of it: whoever sets it first wins, be it the worker, the time limit, or somebody who
cancels. What the worker finds out later about a job that is over is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from cvtl.errors import CvtlError
from cvtl.workplace import Step

R = TypeVar("R")
A = TypeVar("A")

# A client that was sent away should come back after about this many seconds.
RETRY_SECONDS = 5


class RefusedError(CvtlError):
    """There is no room for a job now.

    Args:
        what: why.
        everyone: whether any client would be refused, not only this one.
    """

    def __init__(self, what: str, *, everyone: bool) -> None:
        super().__init__(what, hint="Try again in a moment")
        self.everyone = everyone


class CancelledError(CvtlError):
    """Somebody cancelled the job."""


class TimeLimitError(CvtlError):
    """The work took longer than it may."""


@dataclass(eq=False)
class Job(Generic[R, A]):
    """Something to be worked out.

    Attributes:
        request: what.
        client: for whom.
        together: jobs in which this is equal may be worked on together; None for one that is worked on by itself.
        future: gets the answer, or the error that stands for it.
        begun: when the work on it began, by `time.monotonic`; None while it waits.
        step: how far the work has come, where that is told.
    """

    request: R
    client: str
    together: Hashable = None
    future: Future[A] = field(default_factory=Future)
    begun: float | None = None
    step: Step | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is known what became of it."""
        return self.future.done()

    def end(self, outcome: A | Exception) -> None:
        """Say what became of it, unless that is known already."""
        try:
            if isinstance(outcome, Exception):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)
        except InvalidStateError:
            pass

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self.end(CancelledError("it was cancelled"))

    def watch(self, step: Step) -> None:
        """Take note of how far the work has come.

        Raises:
            CancelledError: nobody wants the answer any more.
        """
        if self.is_over:
            raise CancelledError("it is no longer wanted")
        self.step = step


class Jobs(Generic[R, A]):
    """The queue, and the thread that works it off.

    Args:
        work: gives an answer, or the error that stands for it, for each of some jobs.
        batch_size: jobs that are worked on together at most.
        room: jobs that may wait.
        per_client: jobs that one client may have waiting or in work.
        time_limit: seconds that the work on a job may take.

    Example:
        >>> with Jobs(lambda jobs: [job.request + 1 for job in jobs]) as jobs:
        ...     jobs.submit(1, client="me").future.result()
        2
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job[R, A]]], Sequence[A | Exception]],
        *,
        batch_size: int = 1,
        room: int = 32,
        per_client: int = 8,
        time_limit: float = 600,
    ) -> None:
        self._work = work
        self._batch_size = batch_size
        self._room = room
        self._per_client = per_client
        self._time_limit = time_limit
        self._waiting: list[Job[R, A]] = []
        self._working: list[Job[R, A]] = []
        self._open: Counter[str] = Counter()
        self._closed = False
        self._overdue = False
        self._refusing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="cvtl-serve", daemon=True)
        self._thread.start()

    def __enter__(self) -> Jobs[R, A]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def working(self) -> int:
        """How many are in work."""
        return len(self._working)

    @property
    def refusing(self) -> bool:
        """Whether no more are taken, because the work is to end."""
        return self._refusing

    @property
    def is_overdue(self) -> bool:
        """Whether the thread is still busy with what has been given up because of its time."""
        return self._overdue

    def submit(self, request: R, *, client: str, together: Hashable = None) -> Job[R, A]:
        """Put a job at the end of the queue.

        Raises:
            RefusedError: the queue is full, the client has enough in it, or the work is to end.
        """
        job = Job[R, A](request, client, together)
        with self._changed:
            if self._refusing:
                raise RefusedError("the server is about to stop", everyone=True)
            if self._open[client] >= self._per_client:
                raise RefusedError(f"{self._per_client} of your pictures are waiting or in work", everyone=False)
            if len(self._waiting) >= self._room:
                raise RefusedError(f"{len(self._waiting)} pictures are waiting, and no more may", everyone=True)
            self._open[client] += 1
            self._waiting.append(job)
            self._changed.notify_all()
        # Not of the job itself: the two would hold one another, and the picture, until Python looks for such circles.
        job.future.add_done_callback(partial(self._forget, client))
        return job

    def position(self, job: Job[R, A]) -> int:
        """How many jobs come before one that waits, 0 for the next; of those in work counts one."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + bool(self._working)

    def drain(self, seconds: float) -> bool:
        """Take no more, and wait until all is done.

        Returns:
            Whether it was done in time; what was not is cancelled.
        """
        with self._changed:
            self._refusing = True
            done = self._changed.wait_for(lambda: not (self._waiting or self._working), timeout=seconds)
            left = [*self._waiting, *self._working]
        for job in left:
            job.cancel()
        return done

    def close(self) -> None:
        """Cancel what is left, and end the thread as soon as the work in hand lets it."""
        self.drain(0)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=RETRY_SECONDS)

    def _forget(self, client: str, future: Future[A]) -> None:
        with self._changed:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
            self._waiting = [job for job in self._waiting if job.future is not future]
            self._changed.notify_all()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                self._working = self._next_batch()
            self._work_on(self._working)
            with self._changed:
                self._working = []
                self._changed.notify_all()

    def _work_on(self, batch: Sequence[Job[R, A]]) -> None:
        limit = threading.Timer(self._time_limit, self._give_up, [batch])
        limit.daemon = True
        limit.start()
        outcomes: Sequence[A | Exception]
        try:
            outcomes = self._work(batch)
        except Exception as error:
            outcomes = [error] * len(batch)
        limit.cancel()
        self._overdue = False
        for job, outcome in zip(batch, outcomes, strict=True):
            job.end(outcome)

    def _next_batch(self) -> list[Job[R, A]]:
        first = self._waiting[0]
        batch = [first]
        if first.together is not None:
            batch = [job for job in self._waiting if job.together == first.together][: self._batch_size]
            batch = batch[: _even(len(batch), self._batch_size)]
        self._waiting = [job for job in self._waiting if job not in batch]
        for job in batch:
            job.begun = time.monotonic()
        return batch

    def _give_up(self, batch: Sequence[Job[R, A]]) -> None:
        self._overdue = True
        for job in batch:
            job.end(TimeLimitError(f"it took longer than {self._time_limit:g} seconds", hint="Try a smaller picture"))


def _even(count: int, most: int) -> int:
    """How many of some jobs to work on: all sizes would be many, and a network keeps memory for each it has seen.

    Example:
        >>> [_even(count, 6) for count in range(1, 7)]
        [1, 2, 2, 4, 4, 6]
    """
    return most if count == most else 1 << (count.bit_length() - 1)
