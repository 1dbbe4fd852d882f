"""A process that holds the model and answers units of work; it knows nothing of who sends them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from cvtl.answering import Answering, Request
from cvtl.block_work import BlockWork
from cvtl.engines.units import Unit
from cvtl.errors import EngineError
from cvtl.profiling import Profile
from cvtl.run_settings import RunSettings
from cvtl.writers import Rendered, render


@dataclass(frozen=True)
class Job:
    """What every worker of a run needs to know.

    Attributes:
        request: what should answer.
        settings: of the run.
        identity: what rows depend on, as the process that began the run found it.
        versions: of the libraries there.
        threads: that torch computes with there: last digits may depend on it.
        folder: that relative paths are relative to.
    """

    request: Request
    settings: RunSettings
    identity: Mapping[str, Any]
    versions: Mapping[str, str]
    threads: int
    folder: str

    @classmethod
    def of(cls, request: Request, answering: Answering) -> Job:
        """The job of a run that this process has begun."""
        # Every worker has to compute on the same kind of device.
        settings = answering.settings.model_copy(update={"device": str(answering.identity["device"])})
        versions = answering.about["versions"]
        return cls(request, settings, answering.identity, versions, torch.get_num_threads(), os.getcwd())


class Worker:
    """Holds the model.

    Args:
        job: of the run.

    Raises:
        CvtlError: the weights are not here, or something here would give other rows.
    """

    def __init__(self, job: Job) -> None:
        _enter(job.folder)
        torch.set_num_threads(job.threads)
        answering = job.request.load(job.settings)
        _require_same("versions", job.versions, answering.about["versions"])
        _require_same("identity", job.identity, answering.identity)
        self.work = BlockWork(answering, Profile())
        self.settings = answering.settings

    def answer(self, unit: Unit) -> list[list[Rendered]]:
        """The rows, and pictures, of each block of a unit."""
        items = [item for block in unit.blocks for item in block]
        save = {"save_images": self.settings.save_images, "save_heatmaps": self.settings.save_heatmaps}
        with ThreadPoolExecutor(self.settings.readers, "cvtl-decode") as pool:
            return [
                [render(outcome, **save) for outcome in self.work.answer(block)]
                for block in self.work.blocks(items, pool)
            ]


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise EngineError(
            f"the folder '{folder}' is not on the machine '{socket.gethostname()}'",
            hint="Workers look for inputs and weights where you do: mount them in the same place, or give addresses",
        ) from error


def _require_same(what: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    other = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if other:
        said = ", ".join(f"{key} is {found.get(key)!r} and should be {wanted.get(key)!r}" for key in other)
        raise EngineError(
            f"the machine '{socket.gethostname()}' would give other rows ({what}): {said}",
            hint="Have the same weights and the same versions on all machines",
        )
