"""The way of a picture through `run`: sources -> decode -> batch -> device -> predict -> write, all overlapping.

A batch is a block of the input order, and a bad input leaves a hole in it; so a resumed run computes the same batches
and writes the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from cvtl import ensemble
from cvtl import weights as weights_file
from cvtl.background import Behind, ahead
from cvtl.cascade import with_detector
from cvtl.devices import Predictor, Upload, Uploader, choose_device
from cvtl.errors import CvtlError, OptionsError, OutputError, TooManyFailuresError, UsageError
from cvtl.explanation import Explainer
from cvtl.foreign import is_foreign
from cvtl.images import Decoded
from cvtl.making import make
from cvtl.options import Options
from cvtl.profiling import Profile
from cvtl.progress import Progress
from cvtl.results import Picture, Row
from cvtl.run_folder import RunFolder
from cvtl.run_settings import DetectorSettings, ExplainSettings, RunSettings, TilingSettings
from cvtl.sources import Item, open_sources
from cvtl.tiling import Tiled, with_tiling
from cvtl.workplace import Workplace, clear_all
from cvtl.writers import Outcome, Writer, output_name

if TYPE_CHECKING:
    import torch

    from cvtl.model import Model
    from cvtl.results import Result, UInt8Image
    from cvtl.weights import Header

_LONGEST_ERROR = 300


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        out: its folder.
        counts: inputs per status.
        resumed: inputs that an earlier run had done.
        seconds: it took, without loading the weights.
        profile: where the time went.
    """

    out: Path
    counts: Mapping[str, int]
    resumed: int
    seconds: float
    profile: Profile

    @property
    def inputs(self) -> int:
        """Inputs in all."""
        return sum(self.counts.values())

    @property
    def bad(self) -> int:
        """Inputs without a result."""
        return self.inputs - self.counts.get("ok", 0)


@dataclass(frozen=True)
class Block:
    """A batch's worth of the input order.

    Attributes:
        items: the inputs.
        decoded: what became of each; without a picture where it is bad.
        upload: the good pictures, on their way to the device.
    """

    items: list[Item]
    decoded: list[Decoded]
    upload: Upload


def run(
    inputs: Sequence[str | Path | UInt8Image],
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
    resume: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> RunReport:
    """Run a model over pictures and write one row for each of them.

    Args:
        inputs: files, folders, globs, lists, archives, `-`, or arrays (H, W, 3) RGB uint8.
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
        resume: go on with an interrupted run in `out`.
        progress: is told how it gets on.
        command: is written into run.json.

    Raises:
        CvtlError: anything a user can cause; bad pictures are rows, not errors.
    """
    settings, tiling = settings or RunSettings(), tiling or TilingSettings()
    device = choose_device(settings.device)
    if weights is None:
        answering = _made(task or "", making or {}, device)
        settings = _with_defaults(settings, answering.model)
    else:
        paths = [weights] if isinstance(weights, (str, Path)) else list(weights)
        answering = _loaded(paths, task, device, reading)
    model = answering.model
    if settings.save_heatmaps:
        predict = {**(predict or {}), "heatmaps": True}
        _require_heatmaps(model, tiling)
    model = with_detector(model, detector or DetectorSettings(), device=device)
    model = with_tiling(model, tiling, batch_size=settings.batch_size)
    model.with_predict_options(**(predict or {}))
    identity = {
        "task": answering.task,
        **answering.identity,
        "options": model.options.model_dump(mode="json"),
        "inputs": [str(Path(each)) if isinstance(each, (str, Path)) else "array" for each in inputs],
        "device": device.type,
        **settings.identity(),
        **({} if explain is None else {"explain": explain.model_dump(mode="json")}),
        **_detector_identity(detector),
    }
    about = {"command": command, **answering.about}
    precision = settings.precision
    predictor = Predictor(model, precision) if explain is None else Explainer(model, precision, explain)
    # Tiles are of one large picture at a time, so that not several of them have to be in memory.
    block = settings.batch_size if tiling.tile is None else 1
    folder = _earlier_run(Path(out), identity, inputs, block, about) if resume else None
    items = _started(_opened(inputs, settings))
    folder = folder or RunFolder.create(Path(out), identity, about)
    return _Run(predictor, folder, settings, block, progress or Progress()).over(items)


@dataclass(frozen=True)
class _Answering:
    """What answers in a run.

    Attributes:
        model: on its device.
        task: what it is for.
        identity: what of it rows depend on.
        about: what else run.json says of it.
    """

    model: Model
    task: str
    identity: Mapping[str, Any]
    about: Mapping[str, Any]


def _loaded(
    paths: Sequence[str | Path], task: str | None, device: torch.device, reading: Mapping[str, Any] | None
) -> _Answering:
    headers = weights_file.read_headers(paths, task, reading)
    digests = _one_or_all([weights_file.digest(path) for path in paths])
    about = {
        "weights_file": _one_or_all([str(path) for path in paths]),
        "versions": weights_file.installed_versions() | _readers_versions(paths, headers),
    }
    model = ensemble.load(paths, task=task, device=device, reading=reading)
    return _Answering(model, headers[0].task, {"weights": digests, **_read_as(paths, headers)}, about)


def _made(task: str, options: Mapping[str, Any], device: torch.device) -> _Answering:
    made = make(task, options)
    about = {"versions": weights_file.installed_versions()}
    return _Answering(made.model.to(device).eval(), task, {"made_of": dict(made.identity)}, about)


def _with_defaults(settings: RunSettings, model: Model) -> RunSettings:
    defaults = model.options.run_defaults() if isinstance(model.options, Options) else {}
    return settings.model_copy(update={k: v for k, v in defaults.items() if k not in settings.model_fields_set})


class _Run:
    """One run's moving parts."""

    def __init__(
        self, predictor: Predictor, folder: RunFolder, settings: RunSettings, block: int, progress: Progress
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.block = block
        # Pictures that are tiled may be so large that each of them counts.
        self.blocks_ahead = 1 if isinstance(predictor.model, Tiled) else 2
        self.progress = progress
        self.profile = Profile()
        self.task = str(folder.identity["task"])
        self.predictor = predictor
        self.uploader = Uploader(predictor.model.device)
        self.writer = Writer(folder, save_images=settings.save_images, save_heatmaps=settings.save_heatmaps)

    def over(self, items: Iterator[Item]) -> RunReport:
        start = perf_counter()
        if not self.folder.finished:
            with self._described():
                self._predict_all(_after_kept(items, self.folder))
            clear_all(self.folder.path)
        seconds = perf_counter() - start
        return RunReport(self.folder.path, dict(self.folder.counts), self.folder.kept, seconds, self.profile)

    @contextmanager
    def _described(self) -> Iterator[None]:
        """Keep run.json true however the run ends."""
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
                self.folder.close()
                self.folder.describe(state)

    def _predict_all(self, items: Iterable[Item]) -> None:
        with (
            ThreadPoolExecutor(self.settings.readers, "cvtl-decode") as pool,
            Behind(self._write, depth=1) as writer,
            ahead(self._blocks(items, pool), depth=1) as blocks,
        ):
            for block in _timed(blocks, self.profile, "wait for pictures"):
                outcomes = self._predict(block)
                with self.profile.measure("wait for the writer"):
                    writer.put(outcomes)

    def _blocks(self, items: Iterable[Item], pool: ThreadPoolExecutor) -> Iterator[Block]:
        """Decode beside each other, ahead of what is asked for."""
        items = iter(items)
        waiting: deque[list[tuple[Item, Future[Decoded]]]] = deque()
        while True:
            while len(waiting) < self.blocks_ahead and (block := list(islice(items, self.block))):
                waiting.append([(item, pool.submit(self._decode, item)) for item in block])
            if not waiting:
                return
            pairs = waiting.popleft()
            decoded = [future.result() for _, future in pairs]
            with self.profile.measure("copy"):
                upload = self.uploader.upload([each.image for each in decoded if each.image is not None])
            yield Block([item for item, _ in pairs], decoded, upload)

    def _decode(self, item: Item) -> Decoded:
        return item.load(max_pixels=self.settings.max_pixels, profile=self.profile)

    def _predict(self, block: Block) -> list[Outcome]:
        with self.profile.measure("predict"):
            images = block.upload.wait()
            good = [item for item, decoded in zip(block.items, block.decoded, strict=True) if decoded.image is not None]
            answers = iter(self.predictor.predict(images, list(map(self._place, good))) if images else [])
        return [
            self._outcome(item, decoded, None if decoded.image is None else next(answers))
            for item, decoded in zip(block.items, block.decoded, strict=True)
        ]

    def _place(self, item: Item) -> Workplace:
        return Workplace(self.folder.path, output_name(item.source, item.frame), self.progress.note)

    def _outcome(self, item: Item, decoded: Decoded, answer: Result | Exception | None) -> Outcome:
        failed = isinstance(answer, Exception)
        result = None if answer is None or isinstance(answer, Exception) else answer
        row = Row(
            source=item.source,
            frame=item.frame,
            time=item.time,
            status="failed" if failed else decoded.status,
            error=_describe(answer) if isinstance(answer, Exception) else decoded.error,
            width=decoded.width,
            height=decoded.height,
            task=self.task,
            result=None if result is None else result.to_dict(),
        )
        drawn = self.settings.save_images or self.settings.save_heatmaps or isinstance(result, Picture)
        return Outcome(row, decoded.image if drawn else None, result if drawn else None)

    def _write(self, outcomes: list[Outcome]) -> None:
        with self.profile.measure("write"):
            self.writer.write(outcomes)
        for outcome in outcomes:
            Workplace(self.folder.path, output_name(outcome.row.source, outcome.row.frame)).clear()
        self.progress.advance(len(outcomes))
        bad = sum(self.folder.counts.values()) - self.folder.counts["ok"]
        if self.settings.max_failures is not None and bad > self.settings.max_failures:
            raise TooManyFailuresError(
                f"stopped: {bad} inputs are bad, and --max-failures is {self.settings.max_failures}",
                hint=f"'{self.folder.rows_path}' says what is wrong with each; --resume goes on from here",
            )


def _one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _earlier_run(
    out: Path, identity: Mapping[str, Any], inputs: Sequence[Any], block: int, about: Mapping[str, Any]
) -> RunFolder | None:
    if any(not isinstance(each, (str, Path)) or str(each) == "-" for each in inputs):
        raise UsageError("a run over standard input or arrays cannot go on", hint="Give files, folders or a list file")
    return RunFolder.resume(out, identity, block=block, about=about)


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


def _require_heatmaps(model: Model, tiling: TilingSettings) -> None:
    if tiling.tile is not None:
        raise UsageError("--save-heatmaps shows pictures as a whole: it cannot be had with --tile")
    predict = getattr(model.options, "predict", None)
    if not hasattr(predict, "heatmaps"):
        raise OptionsError(f"--save-heatmaps: weights of the plugin '{model.plugin}' give no heat maps")


def _detector_identity(settings: DetectorSettings | None) -> dict[str, Any]:
    """What of a detector rows depend on: its weights by what is in them, not by where they lie."""
    if settings is None or settings.detector is None:
        return {}
    chosen = settings.model_dump(mode="json", exclude={"detector"})
    return {"detector": {"weights": weights_file.digest(settings.detector), **chosen}}


def _read_as(paths: Sequence[str | Path], headers: Sequence[Header]) -> dict[str, Any]:
    """What of other tools' files rows depend on and their bytes do not say: class names, preprocessing."""
    foreign = [each for path, each in zip(paths, headers, strict=True) if is_foreign(path)]
    said = [each.model_dump_json(include={"classes", "input"}) for each in foreign]
    return {"read_as": hashlib.sha256("\n".join(said).encode()).hexdigest()} if said else {}


def _readers_versions(paths: Sequence[str | Path], headers: Sequence[Header]) -> dict[str, str]:
    """Versions of the libraries that run other tools' files."""
    foreign = [each for path, each in zip(paths, headers, strict=True) if is_foreign(path)]
    return {name: version for each in foreign for name, version in each.versions.items()}


def _timed(blocks: Iterator[Block], profile: Profile, stage: Any) -> Iterator[Block]:
    while True:
        with profile.measure(stage):
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _describe(error: Exception) -> str:
    """One short line, the same every time."""
    text = error.what if isinstance(error, CvtlError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_LONGEST_ERROR]
