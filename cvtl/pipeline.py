"""The way of a picture through `run`: sources -> decode -> batch -> device -> predict -> write, all overlapping.

A batch is a block of the input order, and a bad input leaves a hole in it; so a resumed run computes the same batches
and writes the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from cvtl.addresses import is_address, public_address, without_secrets
from cvtl.answering import Answering, Request
from cvtl.background import Behind, ahead
from cvtl.block_work import Block, BlockWork
from cvtl.engines.start import engine_blocks, require_engine
from cvtl.engines.units import WalkEnd
from cvtl.errors import OutputError, TooManyFailuresError, UsageError
from cvtl.live import FeedReport, Feeds, LiveSettings, LiveSource, never_seen, rounds, split_inputs
from cvtl.profiling import Profile
from cvtl.progress import Progress
from cvtl.results import Row
from cvtl.run_folder import SAVED_FOLDER, RunFolder
from cvtl.run_settings import DetectorSettings, ExplainSettings, RunSettings, TilingSettings
from cvtl.screen import Screen, threshold_of, with_display
from cvtl.sharding import require_shardable, sharded
from cvtl.sources import Item, open_sources
from cvtl.workplace import Workplace, clear_all
from cvtl.writers import Outcome, Rendered, Writer, output_name

if TYPE_CHECKING:
    from cvtl.results import UInt8Image

EngineBlocks = AbstractContextManager[Iterator[list[Rendered] | WalkEnd]]


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        out: its folder.
        counts: inputs per status.
        resumed: inputs that an earlier run had done.
        seconds: it took, without loading the weights.
        profile: where the time went.
        live: how the live sources did, by name.
        interrupted: whether Ctrl-C ended it; only where there are live sources, which have no end of their own.
    """

    out: Path
    counts: Mapping[str, int]
    resumed: int
    seconds: float
    profile: Profile
    live: Mapping[str, FeedReport] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def inputs(self) -> int:
        """Inputs in all."""
        return sum(self.counts.values())

    @property
    def bad(self) -> int:
        """Inputs without a result."""
        return self.inputs - self.counts.get("ok", 0)


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
    require_shardable(settings, live=bool(watched))
    require_engine(settings, inputs, live=bool(watched), made=weights is None)
    answering = request.load(settings)
    identity = {**answering.identity, "inputs": [_named(each) for each in inputs]}
    about = {"command": without_secrets(command), **answering.about}
    folder = _earlier_run(Path(out), identity, inputs, answering, about) if resume else None
    items = _started(_opened(stored, answering.settings)) if stored or not watched else iter(())
    folder = folder or RunFolder.create(Path(out), identity, about)
    items = sharded(items, answering.settings, answering.block, folder.write_down)
    one = _Run(answering, folder, progress)
    if answering.settings.engine != "local":
        return one.over_engine(partial(engine_blocks, request, answering, list(map(str, stored))), items)
    return one.over_live(watched, items, live or LiveSettings()) if watched else one.over(items)


class _Run:
    """One run's moving parts."""

    def __init__(self, answering: Answering, folder: RunFolder, progress: Progress) -> None:
        self.folder = folder
        self.settings = settings = answering.settings
        self.block = answering.block
        self.predictor = answering.predictor
        self.progress = progress
        self.profile = Profile()
        self.task = answering.task
        self.work = BlockWork(answering, self.profile, self._place)
        self.writer = Writer(
            folder,
            save_images=settings.save_images,
            save_heatmaps=settings.save_heatmaps,
            save_video=settings.save_video,
        )
        self.screen: Screen | None = None

    def over(self, items: Iterator[Item]) -> RunReport:
        start = perf_counter()
        if not self.folder.finished:
            with self._described(), self._shown():
                self._predict_all(_after_kept(items, self.folder))
            clear_all(self.folder.path)
        return self._report(start)

    def over_engine(self, engine: Callable[..., EngineBlocks], items: Iterator[Item]) -> RunReport:
        """Have others answer, and write what they say."""
        start = perf_counter()
        if not self.folder.finished:
            # The engine walks the inputs itself; here they are held against the rows that there are.
            _after_kept(items, self.folder)
            with self._described(), engine(skip=self.folder.kept) as blocks:
                for block in blocks:
                    if isinstance(block, WalkEnd):
                        self.folder.write_down(**block.about)
                    else:
                        with self.profile.measure("write"):
                            self.writer.put(block)
                        self._count(len(block))
        return self._report(start)

    def over_live(self, sources: Sequence[LiveSource], items: Iterator[Item], settings: LiveSettings) -> RunReport:
        """Look at live sources, and beside them at what does not run away."""
        start = perf_counter()
        interrupted = False
        max_pixels = self.settings.max_pixels
        with Feeds(sources, settings, tell=self.progress.note, max_pixels=max_pixels) as feeds:
            try:
                with self._described(feeds), self._shown(self._set_threshold):
                    self._predict_live(feeds, items)
            except KeyboardInterrupt:
                interrupted = True
            clear_all(self.folder.path)
            return replace(self._report(start), live=feeds.report(), interrupted=interrupted)

    def _report(self, start: float) -> RunReport:
        seconds = perf_counter() - start
        return RunReport(self.folder.path, dict(self.folder.counts), self.folder.kept, seconds, self.profile)

    @contextmanager
    def _shown(self, threshold_changed: Callable[[float], None] = lambda threshold: None) -> Iterator[None]:
        """Have a screen, if one is wanted."""
        if not self.settings.show:
            yield
            return
        self.screen = Screen(
            self.folder.path / SAVED_FOLDER,
            self.progress.note,
            threshold=threshold_of(self.predictor.model),
            threshold_changed=threshold_changed,
        )
        try:
            yield
        finally:
            self.screen.close()

    def _set_threshold(self, threshold: float) -> None:
        """Live sources are seen once, so their rows need not be what another run would give."""
        self.predictor.model.with_predict_options(threshold=threshold)

    @contextmanager
    def _described(self, feeds: Feeds | None = None) -> Iterator[None]:
        """Keep run.json true however the run ends, and have videos finished that have come to their end."""
        state = "failed"
        self.progress.start(self.folder.kept)
        try:
            yield
            state = "done"
        except (KeyboardInterrupt, SystemExit):
            state = "interrupted"
            raise
        finally:
            self.progress.finish()
            # On a full disk this fails, too; what failed first is what the user has to know.
            with contextlib.suppress(OutputError) if state != "done" else nullcontext():
                self.writer.close(whole=state == "done" or feeds is not None)
                self.folder.close()
                if feeds is not None:
                    live = {name: asdict(report) for name, report in feeds.report().items()}
                    self.folder.write_down(live=live, drop=feeds.settings.drop)
                self.folder.describe(state)

    def _predict_all(self, items: Iterable[Item]) -> None:
        with (
            ThreadPoolExecutor(self.settings.readers, "cvtl-decode") as pool,
            Behind(self._write, depth=1) as writer,
            ahead(self.work.blocks(items, pool), depth=1) as blocks,
        ):
            for block in _timed(blocks, self.profile, "wait for pictures"):
                self._answer(block, writer)
                if self.screen is not None and self.screen.quit:
                    raise KeyboardInterrupt

    def _predict_live(self, feeds: Feeds, items: Iterable[Item]) -> None:
        with (
            ThreadPoolExecutor(self.settings.readers, "cvtl-decode") as pool,
            Behind(self._write, depth=1) as writer,
            ahead(items, depth=1) as stored,
        ):
            for found in rounds(feeds, stored, self.work.decode, most=self.block, pool=pool):
                if found:
                    items, decoded = zip(*found, strict=True)
                    self._answer(self.work.block(list(items), list(decoded)), writer)
                if self.screen is not None:
                    self.screen.poll()
                    if self.screen.quit:
                        break
            writer.put(list(map(self._never_seen, never_seen(feeds))))

    def _answer(self, block: Block, writer: Behind[list[Outcome]]) -> None:
        outcomes = self.work.answer(block)
        with self.profile.measure("wait for the writer"):
            writer.put(outcomes)
        if self.screen is not None:
            for each in outcomes:
                if each.image is not None:
                    self.screen.show(
                        each.row.source, each.image, each.result, frame=each.row.frame, arrived=each.arrived
                    )

    def _place(self, item: Item) -> Workplace:
        return Workplace(self.folder.path, output_name(item.source, item.frame), self.progress.note)

    def _never_seen(self, source: tuple[str, str]) -> Outcome:
        """The row of a live source that gave no frame at all."""
        name, error = source
        return Outcome(Row(source=name, status="unreadable", error=error, task=self.task))

    def _write(self, outcomes: list[Outcome]) -> None:
        with self.profile.measure("write"):
            self.writer.write(outcomes)
        for outcome in outcomes:
            Workplace(self.folder.path, output_name(outcome.row.source, outcome.row.frame)).clear()
        self._count(len(outcomes))

    def _count(self, written: int) -> None:
        """Tell of what is written, and stop if too much of it is bad."""
        self.progress.advance(written)
        bad = sum(self.folder.counts.values()) - self.folder.counts["ok"]
        if self.settings.max_failures is not None and bad > self.settings.max_failures:
            raise TooManyFailuresError(
                f"stopped: {bad} inputs are bad, and --max-failures is {self.settings.max_failures}",
                hint=f"'{self.folder.rows_path}' says what is wrong with each; --resume goes on from here",
            )


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
    out: Path, identity: Mapping[str, Any], inputs: Sequence[Any], answering: Answering, about: Mapping[str, Any]
) -> RunFolder | None:
    if split_inputs(inputs)[0]:
        raise UsageError("a run over cameras or streams cannot go on", hint="Begin another one in another folder")
    if any(not isinstance(each, (str, Path)) or str(each) == "-" for each in inputs):
        raise UsageError("a run over standard input or arrays cannot go on", hint="Give files, folders or a list file")
    whole_videos = answering.settings.save_video
    return RunFolder.resume(out, identity, block=answering.block, about=about, whole_videos=whole_videos)


def _after_kept(items: Iterator[Item], folder: RunFolder) -> Iterator[Item]:
    """Pass over the inputs that have their rows; they must still be the same."""
    for source, frame in folder.kept_sources():
        item = next(items, None)
        if item is None or (item.source, item.frame) != (source, frame):
            found = "nothing" if item is None else f"'{item.source}'"
            raise UsageError(
                f"the inputs have changed since the run in '{folder.path}' began: where '{source}' was, now is {found}",
                hint="Start anew in another folder with --out",
            )
    return items


def _opened(inputs: Sequence[Any], settings: RunSettings) -> Iterator[Item]:
    return open_sources(inputs, include=settings.include, exclude=settings.exclude, max_pixels=settings.max_pixels)


def _started(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the first of them fetched: a wrong path is found before the output folder is made."""
    first = list(islice(items, 1))
    return chain(first, items)


def _timed(blocks: Iterator[Block], profile: Profile, stage: Any) -> Iterator[Block]:
    while True:
        with profile.measure(stage):
            block = next(blocks, None)
        if block is None:
            return
        yield block
