"""From samples to batches, and the seeds of everything random in a training."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from cvtl.errors import CvtlError, DataError
from cvtl.training.whole_batch import Part, part_of

Sample = tuple[Tensor, Any]
Batch = tuple[Tensor, list[Any]]


class RandomStream(IntEnum):
    """What a random number is for; streams of one seed are independent of one another."""

    STEP = 1
    TRAIN_SAMPLES = 2
    TRAIN_SAMPLE = 3
    VAL_STEP = 4
    VAL_SAMPLES = 5
    VAL_SAMPLE = 6


def seed_all(seed: int, *path: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices).

    Args:
        seed: the training's.
        path: for which of its parts: a `RandomStream`, then epoch, step or index. Nothing: before the model is made.
    """
    word = int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])
    random.seed(word)
    np.random.seed(word)
    # torch.manual_seed takes a millisecond where CUDA is not in use: it keeps a formatted traceback for later.
    torch.default_generator.manual_seed(word)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(word)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(word)


@dataclass(frozen=True)
class Loading:
    """How samples are put into batches.

    Attributes:
        batch_size: samples in a batch, of which there is a part in each process of the training.
        workers: processes that prepare samples; 0 does it in this one.
        pin: put batches into pinned memory, from which copying to a CUDA device runs beside computing.
        process: this one's number in the training.
        processes: how many the training has.
    """

    batch_size: int
    workers: int
    pin: bool
    process: int = 0
    processes: int = 1


class Batches:
    """The batches of one pass, as Lightning's loops take them in place of a `DataLoader`.

    Worker processes start when the first batch is asked for, and end with the last one. Lightning would start them
    twice an epoch, and leave ending them to the garbage collector, which takes five seconds for each.

    Attributes:
        parts: what this process has of each batch. Of a batch without any for it there is a sample that does not count.
    """

    def __init__(self, loader: DataLoader[Sample], parts: Sequence[Part]) -> None:
        self._loader = loader
        self.parts = parts
        self._pass: Iterator[Any] | None = None

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        self._pass = iter(self._loader)
        for number in range(1, len(self) + 1):
            batch = next(self._pass)
            if number == len(self):
                self.close()
            if isinstance(batch, CvtlError):
                raise batch
            yield batch

    def close(self) -> None:
        """End the worker processes of an unfinished pass."""
        self._pass = None


def training_batches(samples: Sequence[Sample], loading: Loading, *, seed: int, epoch: int) -> Batches:
    """This process's parts of shuffled batches; the order and every sample depend on nothing but the arguments.

    The last batch may be smaller, but a single sample left over is dropped: batch normalisation cannot train on it.

    Args:
        samples: of this epoch.
        loading: how to batch them.
        seed: the training's.
        epoch: from 0.

    Raises:
        DataError: there are no samples.
    """
    seeded = _Seeded(samples, seed, RandomStream.TRAIN_SAMPLE, epoch)
    sampler: DistributedSampler[Any] = DistributedSampler(seeded, num_replicas=1, rank=0, seed=seed)
    sampler.set_epoch(epoch)
    whole = _cut(list(iter(sampler)), loading.batch_size)
    if len(whole) > 1 and len(whole[-1]) == 1 < loading.batch_size:
        del whole[-1]
    parts = [part_of(len(batch), loading.process, loading.processes) for batch in whole]
    own = [batch[part.first : part.first + part.count] or batch[:1] for batch, part in zip(whole, parts, strict=True)]
    return Batches(_loader(seeded, loading, own), parts)


def validation_batches(samples: Sequence[Sample], loading: Loading, *, seed: int) -> Batches:
    """Batches in order, the same at every pass: whole ones, of which each process has every so many-th.

    Raises:
        DataError: there are no samples.
    """
    seeded = _Seeded(samples, seed, RandomStream.VAL_SAMPLE)
    own = _cut(list(range(len(seeded))), loading.batch_size)[loading.process :: loading.processes]
    return Batches(_loader(seeded, loading, own), [Part(0, len(batch), len(batch)) for batch in own])


def _cut(indices: list[int], size: int) -> list[list[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


class _Seeded(Dataset[Any]):
    """Samples whose random parts depend on the seed and the index, not on which worker makes them after which."""

    def __init__(self, samples: Sequence[Sample], seed: int, *path: int) -> None:
        if len(samples) == 0:
            kind = "train" if RandomStream.TRAIN_SAMPLE in path else "validate"
            raise DataError(f"the data hold no samples to {kind} on", hint="Add pictures, or check their labels")
        self._samples = samples
        self._seed = (seed, *path)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample | CvtlError:
        seed_all(*self._seed, index)
        try:
            return self._samples[index]
        except CvtlError as error:
            # Raised in a worker process, it would arrive as a page of traceback.
            return error


def _loader(samples: _Seeded, loading: Loading, batches: list[list[int]]) -> DataLoader[Any]:
    # A single batch is made in the time that it takes to start processes.
    workers = loading.workers if len(samples) > loading.batch_size else 0
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=loading.pin,
        worker_init_fn=_start_worker,
        # Forking takes 0.2 s a worker and epoch, Python 3.14's default 4 s.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )


def _collate(samples: list[Sample | CvtlError]) -> Batch | CvtlError:
    images, targets = [], []
    for sample in samples:
        if isinstance(sample, CvtlError):
            return sample
        images.append(sample[0])
        targets.append(sample[1])
    return torch.stack(images), targets


def _start_worker(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the main one ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # OpenCV's own threads do not survive a fork, and waiting for them would never end.
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
