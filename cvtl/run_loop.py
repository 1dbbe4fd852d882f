"""What goes on while a run runs: decode, predict and write beside each other, and end well however it ends.

A batch is a block of the input order, and a bad input leaves a hole in it; so a resumed run computes the same batches
and writes the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from cvtl.answering import Answering
from cvtl.background import Behind, ahead
from cvtl.block_work import Block, BlockWork
from cvtl.engines.units import WalkEnd
from cvtl.errors import OutputError, TooManyFailuresError, UsageError
from cvtl.images import Decoded
from cvtl.live import FeedReport, Feeds, LiveSettings, LiveSource, never_seen, rounds
from cvtl.profiling import Profile
from cvtl.progress import Progress
from cvtl.results import Row
from cvtl.run_folder import SAVED_FOLDER, RunFolder
from cvtl.screen import Screen, threshold_of
from cvtl.sources import Item
from cvtl.tracking import Followers
from cvtl.tracking.totals import totals_of
from cvtl.workplace import Workplace, clear_all
from cvtl.writers import Outcome, Rendered, Writer, output_name

if TYPE_CHECKING:
    from cvtl.results import Result

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
        followed: what was followed in all (`cvtl.tracking.totals.Totals.to_dict`), where something was to be.
    """

    out: Path
    counts: Mapping[str, int]
    resumed: int
    seconds: float
    profile: Profile
    live: Mapping[str, FeedReport] = field(default_factory=dict)
    interrupted: bool = False
    followed: Mapping[str, Any] | None = None

    @property
    def inputs(self) -> int:
        """Inputs in all."""
        return sum(self.counts.values())

    @property
    def bad(self) -> int:
        """Inputs without a result."""
        return self.inputs - self.counts.get("ok", 0)


class RunLoop:
    """One run's moving parts.

    Args:
        answering: what answers.
        folder: of the run.
        progress: is told how it gets on.
        followers: what follows objects over frames, if they are to be followed.
    """

    def __init__(
        self, answering: Answering, folder: RunFolder, progress: Progress, followers: Followers | None = None
    ) -> None:
        self.folder = folder
        self.followers = followers
        self.followed: Mapping[str, Any] | None = None
        self.settings = settings = answering.settings
        self.block = answering.block
        self.predictor = answering.predictor
        self.progress = progress
        self.profile = Profile()
        self.task = answering.task
        self.work = BlockWork(answering, self.profile, place=self._place, follow=self._followed)
        self.writer = Writer(
            folder,
            save_images=settings.save_images,
            save_heatmaps=settings.save_heatmaps,
            save_video=settings.save_video,
        )
        self.screen: Screen | None = None

    def over(self, items: Iterator[Item]) -> RunReport:
        """Answer every input, and write it."""
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
        counts = dict(self.folder.counts)
        kept, followed = self.folder.kept, self._totals()
        return RunReport(self.folder.path, counts, kept, seconds, self.profile, followed=followed)

    def _totals(self) -> Mapping[str, Any] | None:
        """What was followed in all."""
        if self.followers is not None and self.followed is None:
            self.followed = totals_of(self.folder.rows_path).to_dict()
            if not self.followed["sources"]:
                self.progress.note("Nothing was followed: what is followed are frames of videos, and there were none")
        return self.followed

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
                    self.folder.write_down(live=live)
                if self.followers is not None and (state == "done" or feeds is not None):
                    self.folder.write_down(followed=self._totals())
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

    def _followed(self, item: Item, decoded: Decoded, result: Result) -> Result:
        """What earlier frames say of it, too. Items come in order, whatever the batches."""
        if self.followers is None or decoded.width is None or decoded.height is None:
            return result
        size_wh = (decoded.width, decoded.height)
        with self.profile.measure("follow"):
            return self.followers.follow(item.source, item.frame, item.time, result, size_wh=size_wh)

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


def _timed(blocks: Iterator[Block], profile: Profile, stage: Any) -> Iterator[Block]:
    while True:
        with profile.measure(stage):
            block = next(blocks, None)
        if block is None:
            return
        yield block
