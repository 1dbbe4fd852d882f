"""Ray Data as the engine of a run: one walk over the names, workers that hold the model, rows back in input order.

The walk is a single task on the machine that writes the rows. It gives units of work (`cvtl.engines.units`), names and
no pictures, as fast as they are asked for; Ray Data bounds how many of them, and of the answers, are on their way, so
memory stays flat. Each unit goes to one worker. What is lost with a worker or a machine Ray gives to another one.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata

from cvtl.engines.ray_cluster import Capacity
from cvtl.engines.units import Unit, Walk, WalkEnd
from cvtl.engines.worker import Job, Worker
from cvtl.errors import CvtlError, EngineError
from cvtl.writers import Rendered

_COLUMN = "pickled"
# A machine that is lost leaves its workers to the others, which must have room for them.
_RESERVED = 0.5


class WalkSource(Datasource):  # type: ignore[misc]  # mypy does not look into ray
    """The units of a walk, for Ray Data: one task, on the machine that the run was begun on."""

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self._walk = walk

    @property
    def supports_distributed_reads(self) -> bool:
        """One walk is enough, and the machine that it runs on has to outlive it."""
        return False

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows before the end."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """The one task."""
        walk = self._walk

        def read() -> Iterator[pyarrow.Table]:
            os.chdir(walk.folder)
            for each in walk:
                yield pyarrow.table({_COLUMN: [pickle.dumps(each)]})

        return [ReadTask(read, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]


class RayWorker:
    """A worker as Ray Data wants it: called with a batch of one unit."""

    def __init__(self, job: Job) -> None:
        self._worker: Worker | None = None
        self._error: CvtlError | None = None
        try:
            self._worker = Worker(job)
        except CvtlError as error:
            # Ray would wrap it in a traceback, and start the worker anew.
            self._error = error

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a unit; what is no unit passes."""
        (pickled,) = batch[_COLUMN]
        given: Unit | WalkEnd = pickle.loads(pickled)
        answer: Any = given
        if isinstance(given, Unit):
            answer = self._answer(given)
        return {_COLUMN: np.array([pickle.dumps(answer)], dtype=object)}

    def _answer(self, unit: Unit) -> list[list[Rendered]] | WalkEnd:
        if self._worker is None:
            return WalkEnd({}, self._error)
        try:
            return self._worker.answer(unit)
        except CvtlError as error:
            return WalkEnd({}, error)


def answered(job: Job, walk: Walk, capacity: Capacity, workers: int | None) -> Generator[list[Rendered] | WalkEnd]:
    """The answers of a cluster, block after block in input order, and at the end what the walk has seen.

    Args:
        job: of the workers.
        walk: over the inputs.
        capacity: of the cluster that this process is connected to.
        workers: how many; by default as many as there is room for.

    Raises:
        CvtlError: what ended the walk or a worker.
        EngineError: Ray gave up.
    """
    on_gpus = job.identity["device"] == "cuda"
    count = workers or capacity.workers(threads=job.threads, on_gpus=on_gpus)
    with _context():
        units = ray.data.read_datasource(WalkSource(walk), num_cpus=0, override_num_blocks=1)
        answers = units.map_batches(
            RayWorker,
            fn_constructor_args=(job,),
            batch_size=None,
            batch_format="numpy",
            compute=ActorPoolStrategy(size=count),
            num_gpus=1 if on_gpus else None,
            num_cpus=_RESERVED * (1 if on_gpus else min(job.threads, *capacity.cpus)),
        )
    try:
        for batch in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
            for pickled in batch[_COLUMN].to_pylist():
                yield from _blocks(pickle.loads(pickled))
    except ray.exceptions.RayError as error:
        reason = " ".join(str(getattr(error, "cause", error)).strip().split("\n")[-1].split())
        raise EngineError(f"Ray gave up: {reason}", hint="--resume goes on from what is written") from error


def _blocks(answer: list[list[Rendered]] | WalkEnd) -> Iterator[list[Rendered] | WalkEnd]:
    if not isinstance(answer, WalkEnd):
        yield from answer
    elif answer.error is not None:
        raise answer.error
    else:
        yield answer


@contextmanager
def _context() -> Iterator[None]:
    """Ray Data's settings for a data set that is made inside; a program's own come back."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Units are never joined: each is a block by itself.
    context.target_max_block_size = 1
    with DataContext.current(context):
        yield
