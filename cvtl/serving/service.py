"""What pages and the interface for programs share: decoding, the queue, rows, and what is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cvtl.errors import CvtlError
from cvtl.images import Decoded, decode, encode
from cvtl.picture_header import kind_of
from cvtl.results import Picture, Result, Row
from cvtl.run_settings import default_readers
from cvtl.serving.answering import Answers, Order, OrderJob
from cvtl.serving.jobs import CancelledError, Jobs, TimeLimitError
from cvtl.serving.metrics import Metrics, gauge
from cvtl.serving.settings import ServeSettings
from cvtl.serving.store import SUFFIXES, Store

T = TypeVar("T")

_LONGEST_ERROR = 300
_LONGEST_NAME = 200
_UNNAMED = "upload"
# Where pictures that were made can be had: below the interface's own address.
PICTURES = "pictures"

log = logging.getLogger("cvtl.serve")


@dataclass(frozen=True)
class Outcome:
    """What is known of a picture that somebody sent.

    Attributes:
        row: as `cvtl run` writes it.
        decoded: the picture, if it is one.
        result: what the model says, if it could.
    """

    row: Row
    decoded: Decoded
    result: Result | None = None


class Service:
    """All that a server has besides its routes.

    Args:
        answers: what answers.
        settings: how to serve.
    """

    def __init__(self, answers: Answers, settings: ServeSettings) -> None:
        self.answers = answers
        self.settings = settings
        self.metrics = Metrics()
        self.store = Store()
        self._threads = ThreadPoolExecutor(default_readers(), "cvtl-apart")
        self.jobs: Jobs[Order, Result] = Jobs(
            answers.work,
            batch_size=settings.batch_size,
            room=settings.queue,
            per_client=settings.per_client,
            time_limit=settings.time_limit,
        )

    @property
    def task(self) -> str:
        """What the server is for."""
        return self.answers.task

    async def apart(self, function: Callable[..., T], *words: Any) -> T:
        """Call a function in one of few threads, so that requests go on meanwhile.

        Few, because pictures that are decoded at the same time are in memory at the same time, and because each thread
        keeps memory of its own.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *words)

    def decode(self, content: bytes) -> Decoded:
        """Decode what was sent; its content says what it is."""
        return decode(content, max_pixels=self.settings.max_pixels)

    def submit(self, order: Order, client: str) -> OrderJob:
        """Put an order at the end of the queue.

        Raises:
            UsageError: it cannot be done.
            RefusedError: there is no room.
        """
        try:
            self.answers.check(order)
            job = self.jobs.submit(order, client=client, together=self.answers.together(order))
        except CvtlError:
            self.metrics.count("refused")
            raise
        job.future.add_done_callback(self._count_lost)
        return job

    def _count_lost(self, future: Future[Result]) -> None:
        if future.cancelled() or isinstance(future.exception(), CancelledError):
            self.metrics.count("cancelled")
        elif isinstance(future.exception(), TimeLimitError):
            self.metrics.count("late")

    def bad(self, source: str, decoded: Decoded) -> Outcome:
        """What to say of a picture that cannot be decoded."""
        self.metrics.count(decoded.status)
        return Outcome(self._row(source, decoded), decoded)

    def answered(self, source: str, decoded: Decoded, job: OrderJob, arrived: float) -> Outcome:
        """What to say of a picture whose job is over.

        Args:
            source: what the picture is called.
            decoded: the picture.
            job: of it.
            arrived: when, by `time.monotonic`.

        Raises:
            CancelledError: nobody wanted it any more.
            TimeLimitError: it took too long.
        """
        error = job.future.exception()
        row = self._row(source, decoded)
        if error is None:
            self.metrics.count("ok", time.monotonic() - arrived)
            result = job.future.result()
            return Outcome(replace(row, result=self._row_form(result, decoded)), decoded, result)
        if isinstance(error, (CancelledError, TimeLimitError)):
            raise error
        self.metrics.count("failed")
        log.error("the model failed on a picture: %s", _described(error))
        return Outcome(replace(row, status="failed", error=_described(error)), decoded)

    def keep(self, content: bytes, decoded: Decoded) -> str:
        """Keep an uploaded picture where pages can show it; gives its path."""
        assert decoded.image is not None
        kind = kind_of(content)[0]
        if kind in SUFFIXES:
            return str(self.store.keep(content, SUFFIXES[kind]))
        return str(self.store.keep(encode(decoded.image, ".png"), ".png"))

    def metric_lines(self) -> Iterator[str]:
        """What /metrics tells."""
        yield from self.metrics.lines()
        yield from gauge("cvtl_waiting", "Pictures in the queue.", self.jobs.waiting)
        yield from gauge("cvtl_working", "Pictures in work.", self.jobs.working)

    def close(self) -> None:
        """End the work, and remove what was kept."""
        self.jobs.close()
        self._threads.shutdown(cancel_futures=True)
        self.store.close()

    def _row(self, source: str, decoded: Decoded) -> Row:
        return Row(
            source=source[:_LONGEST_NAME] or _UNNAMED,
            status=decoded.status,
            error=decoded.error,
            width=decoded.width,
            height=decoded.height,
            task=self.task,
        )

    def _row_form(self, result: Result, decoded: Decoded) -> dict[str, object]:
        if isinstance(result, Picture):
            assert decoded.image is not None
            path = self.store.keep(encode(result.draw(decoded.image), ".png"), ".png")
            return {"picture": f"{PICTURES}/{path.name}"}
        return result.to_dict()


def _described(error: BaseException) -> str:
    text = error.what if isinstance(error, CvtlError) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    return text[:_LONGEST_ERROR]
