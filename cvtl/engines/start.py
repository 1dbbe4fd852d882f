"""Which runs an engine can take, and how it begins with one."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl.engines.ray_cluster import cluster, require_ray
from cvtl.engines.units import Walk, WalkEnd
from cvtl.errors import UsageError

if TYPE_CHECKING:
    from cvtl.answering import Answering, Request
    from cvtl.run_settings import RunSettings
    from cvtl.writers import Rendered


def require_engine(
    settings: RunSettings, inputs: Sequence[Any], *, live: bool, made: bool, follows: bool = False
) -> None:
    """See to it that the engine that `settings` name is there, and can do what is asked for.

    Args:
        settings: of the run.
        inputs: of the run.
        live: whether there are live sources among them.
        made: whether the model is made of options.
        follows: whether what moves in videos is followed.

    Raises:
        UsageError: the run has to be this process's.
        PluginError: the engine is not installed.
    """
    if settings.engine == "local":
        return
    listed = all(isinstance(each, (str, Path)) and str(each) != "-" for each in inputs)
    reasons = {
        "does not look at cameras and streams": live,
        "takes files, folders, patterns, lists and archives; no standard input, no arrays": not listed,
        "opens no window": settings.show,
        "writes no videos, which need all their frames in turn": settings.save_video,
        "follows nothing, for that needs all frames in turn": follows,
        "takes weights, and no models that are made of options": made,
    }
    for reason, applies in reasons.items():
        if applies:
            raise UsageError(f"--engine ray {reason}", hint="Leave --engine out")
    require_ray()


@contextmanager
def engine_blocks(
    request: Request, answering: Answering, inputs: Sequence[str], *, skip: int
) -> Iterator[Generator[list[Rendered] | WalkEnd]]:
    """What is to be written, block after block in input order, as the engine finds it.

    Args:
        request: what should answer.
        answering: the same, as this process has it.
        inputs: of the run.
        skip: inputs that have their rows already.

    Raises:
        CvtlError: the engine cannot begin; or, later, cannot go on.
    """
    from cvtl.engines.ray_engine import answered
    from cvtl.engines.worker import Job

    settings = answering.settings
    walk = Walk(tuple(inputs), os.getcwd(), settings, answering.block, skip)
    with (
        cluster(settings.ray_address) as capacity,
        closing(answered(Job.of(request, answering), walk, capacity, settings.ray_workers)) as blocks,
    ):
        yield blocks
