"""The queue: order, limits, cancelling, and the end of the work."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from cvtl.serving.jobs import CancelledError, Job, Jobs, RefusedError, TimeLimitError
from cvtl.workplace import Step

PATIENCE = 20


class Work:
    """Work that is held up until the test lets it go on."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, jobs: Sequence[Job[str, str]]) -> list[str | Exception]:
        self.batches.append([job.request for job in jobs])
        self.begun.set()
        assert self.go.wait(PATIENCE)
        return [ValueError("bad") if job.request == "bad" else job.request.upper() for job in jobs]


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.go.set()


def first_in_work(jobs: Jobs[str, str], work: Work) -> Job[str, str]:
    job = jobs.submit("first", client="a")
    assert work.begun.wait(PATIENCE)
    return job


def test_jobs_are_answered_in_order(work: Work) -> None:
    with Jobs(work) as jobs:
        made = [jobs.submit(name, client="a") for name in "abc"]
        work.go.set()
        assert [job.future.result(PATIENCE) for job in made] == ["A", "B", "C"]
    assert work.batches == [["a"], ["b"], ["c"]]


def test_waiting_jobs_of_a_kind_are_worked_on_together_up_to_the_batch_size(work: Work) -> None:
    with Jobs(work, batch_size=3) as jobs:
        first_in_work(jobs, work)
        made = [jobs.submit(name, client="b", together=kind) for name, kind in zip("abcdef", "xyxxxn", strict=True)]
        work.go.set()
        assert [job.future.result(PATIENCE) for job in made] == list("ABCDEF")
    assert work.batches == [["first"], ["a", "c", "d"], ["b"], ["e"], ["f"]]


def test_batches_that_are_not_full_have_few_sizes(work: Work) -> None:
    with Jobs(work, batch_size=8) as jobs:
        first_in_work(jobs, work)
        made = [jobs.submit(name, client="b", together=1) for name in "abcdefg"]
        work.go.set()
        assert [job.future.result(PATIENCE) for job in made] == list("ABCDEFG")
    assert [len(batch) for batch in work.batches] == [1, 4, 2, 1]


def test_an_error_is_its_own_jobs_alone(work: Work) -> None:
    work.go.set()
    with Jobs(work, batch_size=2) as jobs:
        bad, good = (jobs.submit(name, client="a", together=1) for name in ("bad", "good"))
        with pytest.raises(ValueError, match="bad"):
            bad.future.result(PATIENCE)
        assert good.future.result(PATIENCE) == "GOOD"


def test_work_that_fails_as_a_whole_does_not_end_the_thread() -> None:
    def work(jobs: Sequence[Job[str, str]]) -> list[str | Exception]:
        if jobs[0].request == "bad":
            raise RuntimeError("the device is gone")
        return ["fine"]

    with Jobs(work) as jobs:
        with pytest.raises(RuntimeError, match="the device is gone"):
            jobs.submit("bad", client="a").future.result(PATIENCE)
        assert jobs.submit("good", client="a").future.result(PATIENCE) == "fine"


def test_a_job_knows_how_many_come_before_it(work: Work) -> None:
    with Jobs(work) as jobs:
        first = first_in_work(jobs, work)
        second, third = jobs.submit("second", client="b"), jobs.submit("third", client="c")
        assert [jobs.position(job) for job in (first, second, third)] == [0, 1, 2]
        second.cancel()
        assert jobs.position(third) == 1
        work.go.set()


def test_a_full_queue_refuses_everyone(work: Work) -> None:
    with Jobs(work, room=2) as jobs:
        first_in_work(jobs, work)
        for client in "bc":
            jobs.submit("waits", client=client)
        with pytest.raises(RefusedError, match="2 pictures are waiting, and no more may") as refused:
            jobs.submit("more", client="d")
        assert refused.value.everyone
        work.go.set()


def test_a_client_with_enough_jobs_is_refused_and_others_are_not(work: Work) -> None:
    with Jobs(work, per_client=2) as jobs:
        first_in_work(jobs, work)
        waiting = jobs.submit("second", client="a")
        with pytest.raises(RefusedError, match="2 of your pictures are waiting or in work") as refused:
            jobs.submit("third", client="a")
        assert not refused.value.everyone
        jobs.submit("other", client="b")
        waiting.cancel()
        jobs.submit("third", client="a")
        work.go.set()


def test_a_job_that_is_cancelled_while_it_waits_is_never_worked_on(work: Work) -> None:
    with Jobs(work) as jobs:
        first_in_work(jobs, work)
        second = jobs.submit("second", client="a")
        second.cancel()
        work.go.set()
        with pytest.raises(CancelledError):
            second.future.result(PATIENCE)
        assert jobs.submit("third", client="a").future.result(PATIENCE) == "THIRD"
    assert work.batches == [["first"], ["third"]]


def test_a_job_that_is_cancelled_in_work_ends_at_its_next_step() -> None:
    ended = threading.Event()
    step = Step("", 0.5, lambda: np.zeros((1, 1, 3), np.uint8))

    def work(jobs: Sequence[Job[str, str]]) -> list[str | Exception]:
        try:
            while True:
                jobs[0].watch(step)
                time.sleep(0.001)
        finally:
            ended.set()

    with Jobs(work) as jobs:
        job = jobs.submit("long", client="a")
        while job.step is None:
            time.sleep(0.001)
        job.cancel()
        assert ended.wait(PATIENCE)
        with pytest.raises(CancelledError):
            job.future.result(PATIENCE)


def test_work_that_takes_too_long_is_given_up_and_the_next_goes_on(work: Work) -> None:
    with Jobs(work, time_limit=0.05) as jobs:
        job = first_in_work(jobs, work)
        with pytest.raises(TimeLimitError, match=r"longer than 0.05 seconds"):
            job.future.result(PATIENCE)
        assert jobs.is_overdue
        work.go.set()
        while jobs.is_overdue:
            time.sleep(0.001)


def test_draining_finishes_what_waits_and_refuses_what_comes(work: Work) -> None:
    with Jobs(work) as jobs:
        first, second = first_in_work(jobs, work), jobs.submit("second", client="a")
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(jobs.drain(PATIENCE)))
        thread.start()
        while not jobs.refusing:
            time.sleep(0.001)
        with pytest.raises(RefusedError, match="about to stop"):
            jobs.submit("third", client="a")
        work.go.set()
        thread.join(PATIENCE)
        assert drained == [True]
        assert [job.future.result(0) for job in (first, second)] == ["FIRST", "SECOND"]


def test_what_is_not_done_when_draining_is_over_is_cancelled(work: Work) -> None:
    with Jobs(work) as jobs:
        made = [first_in_work(jobs, work), jobs.submit("second", client="a")]
        assert not jobs.drain(0.01)
        for job in made:
            with pytest.raises(CancelledError):
                job.future.result(0)
        work.go.set()


def test_what_was_asked_for_is_forgotten_as_soon_as_it_is_answered() -> None:
    class Large:
        pass

    large = Large()
    alive = weakref.ref(large)
    gc.disable()
    try:
        with Jobs[Large, str](lambda jobs: ["answer"] * len(jobs)) as jobs:
            job = jobs.submit(large, client="a")
            assert job.future.result(PATIENCE) == "answer"
            del job, large
            end = time.monotonic() + PATIENCE
            while alive() is not None:
                assert time.monotonic() < end, "only a search for circles would free it"
                time.sleep(0.001)
    finally:
        gc.enable()
