"""The way of a picture through `run`: sources -> decode -> batch -> device -> predict -> write, all overlapping.

Here a run is put together of what was asked for; `cvtl.run_loop` does the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvtl.addresses import is_address, public_address, without_secrets
from cvtl.answering import Request
from cvtl.engines.start import engine_blocks, require_engine
from cvtl.errors import UsageError
from cvtl.live import LiveSettings, split_inputs
from cvtl.progress import Progress
from cvtl.run_folder import RunFolder
from cvtl.run_loop import RunLoop, RunReport
from cvtl.run_settings import DetectorSettings, ExplainSettings, RunSettings, TilingSettings
from cvtl.screen import with_display
from cvtl.sharding import require_shardable, sharded
from cvtl.sources import Item, open_sources
from cvtl.tracking import FollowSettings, followers_for

if TYPE_CHECKING:
    from cvtl.results import UInt8Image


def run(
    inputs: Sequence[str | Path | int | UInt8Image],
    weights: str | Path | Sequence[str | Path] | None,
    out: str | Path,
    *,
    task: str | None = None,
    settings: RunSettings | None = None,
    predict: Mapping[str, Any] | None = None,
    explain: ExplainSettings | None = None,
    detector: DetectorSettings | None = None,
    tiling: TilingSettings | None = None,
    reading: Mapping[str, Any] | None = None,
    making: Mapping[str, Any] | None = None,
    live: LiveSettings | None = None,
    follow: FollowSettings | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> RunReport:
    """Run a model over pictures and write one row for each of them.

    Args:
        inputs: files, folders, globs, lists, archives, `-`, or arrays (H, W, 3) RGB uint8; videos, of which each frame
            counts; cameras' numbers and addresses of streams, whose newest frames are looked at until something
            ends the run.
        weights: a weights file, or several that classify: their probabilities are averaged. None for a model that the
            task's plugin makes of `making`.
        out: the run's folder.
        task: refuse weights made for another task.
        settings: how to run; what was not set in it is as the options of `making` have it (`Options.run_defaults`).
        predict: changes to the plugin's prediction options.
        explain: have weights that classify show where the evidence lies, too.
        detector: have weights that detect find the objects that the others look at.
        tiling: have weights that detect look at large pictures tile by tile; `settings.batch_size` is then of tiles.
        reading: what to know of other tools' weights that they do not say themselves (`cvtl.weights.read_header`).
        making: options of the plugin that makes a model for `task` (`cvtl.making`), where no weights are given.
        live: how to look at cameras and streams, and when to stop.
        follow: what to follow from frame to frame of videos.
        resume: go on with an interrupted run in `out`.
        progress: is told how it gets on.
        command: is written into run.json.

    Raises:
        CvtlError: anything a user can cause; bad pictures are rows, not errors.
    """
    request = Request(
        weights=_files(weights),
        task=task,
        predict=predict or {},
        explain=explain,
        detector=detector or DetectorSettings(),
        tiling=tiling or TilingSettings(),
        reading=reading,
        making=making or {},
    )
    progress = progress or Progress()
    watched, stored = split_inputs(inputs)
    settings = with_display(settings or RunSettings(), progress.note)
    follow = follow or FollowSettings()
    require_shardable(settings, live=bool(watched), follows=follow.follows)
    require_engine(settings, inputs, live=bool(watched), made=weights is None, follows=follow.follows)
    answering = request.load(settings)
    followers = followers_for(
        follow,
        answering.task,
        answering.predictor.model.classes,
        in_boxes=request.detector.detector is not None,
        interleaved=bool(watched),
        tell=progress.note,
    )
    identity = {**answering.identity, **follow.identity(), "inputs": [_named(each) for each in inputs]}
    about = {"command": without_secrets(command), **answering.about}
    folder: RunFolder | None = None
    if resume:
        # What is made of a frame of these depends on the frames before it.
        whole_videos = answering.settings.save_video or followers is not None
        folder = _earlier_run(Path(out), identity, inputs, about, block=answering.block, whole_videos=whole_videos)
    items = _started(_opened(stored, answering.settings)) if stored or not watched else iter(())
    folder = folder or RunFolder.create(Path(out), identity, about)
    items = sharded(items, answering.settings, answering.block, folder.write_down)
    one = RunLoop(answering, folder, progress, followers)
    if answering.settings.engine != "local":
        return one.over_engine(partial(engine_blocks, request, answering, list(map(str, stored))), items)
    return one.over_live(watched, items, live or LiveSettings()) if watched else one.over(items)


def _files(weights: str | Path | Sequence[str | Path] | None) -> tuple[str, ...] | None:
    if weights is None:
        return None
    return tuple(str(path) for path in ([weights] if isinstance(weights, (str, Path)) else weights))


def _named(given: str | Path | int | UInt8Image) -> str:
    """An input as run.json names it."""
    if isinstance(given, np.ndarray):
        return "array"
    text = str(given)
    return public_address(text) if is_address(text) else str(Path(text))


def _earlier_run(
    out: Path,
    identity: Mapping[str, Any],
    inputs: Sequence[Any],
    about: Mapping[str, Any],
    *,
    block: int,
    whole_videos: bool,
) -> RunFolder | None:
    if split_inputs(inputs)[0]:
        raise UsageError("a run over cameras or streams cannot go on", hint="Begin another one in another folder")
    if any(not isinstance(each, (str, Path)) or str(each) == "-" for each in inputs):
        raise UsageError("a run over standard input or arrays cannot go on", hint="Give files, folders or a list file")
    return RunFolder.resume(out, identity, block=block, about=about, whole_videos=whole_videos)


def _opened(inputs: Sequence[Any], settings: RunSettings) -> Iterator[Item]:
    return open_sources(inputs, include=settings.include, exclude=settings.exclude, max_pixels=settings.max_pixels)


def _started(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the first of them fetched: a wrong path is found before the output folder is made."""
    first = list(islice(items, 1))
    return chain(first, items)
