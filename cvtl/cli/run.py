"""`cvtl run TASK`: weights over pictures."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl._lazy import resolve
from cvtl.cli.foreign import add_reading_options, peek_reading, reading_of
from cvtl.cli.named_weights import (
    BUILTIN,
    add_predict_options,
    demo_of,
    named_weights,
    said_predict_options,
    weights_files,
    with_weights_joined,
)
from cvtl.cli.parser import VerbParser, values_of
from cvtl.cli.report import print_report
from cvtl.errors import ExitCode, Interrupted, PluginError, UsageError
from cvtl.files import write_atomically
from cvtl.making import is_for_maker, maker
from cvtl.options import Options, make_options
from cvtl.registry import PluginSpec
from cvtl.run_folder import next_free_folder
from cvtl.run_settings import DetectorSettings, LiveSettings, RunSettings, TilingSettings
from cvtl.sharding import Shard
from cvtl.tasks import TASKS, get_task
from cvtl.tracking.settings import FollowSettings
from cvtl.weights import read_headers

if TYPE_CHECKING:
    from cvtl.run_loop import RunReport

RUNS_FOLDER = Path("cvtl-runs")
_TILED = "small objects in a large picture"
_EACH = "points of each object that is found"
_MOST_CLASSES = 20
# Tasks whose results may be of several objects in boxes.
_IN_BOXES = ("landmarks",)
# What of following makes sense for a task.
_FOLLOWED = {
    "detect": ("track", "track_threshold", "track_patience", "zones"),
    "landmarks": ("track", "track_threshold", "track_patience", "zones", "smooth"),
    "localize": ("smooth",),
}
_COUNTED = "numbers for objects, and counts"
_TOGETHER = "several weights, their probabilities averaged"


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    if arguments[:1] in (["-h"], ["--help"]):
        _tasks_parser().print_help()
        return ExitCode.OK
    if not arguments or arguments[0].startswith("-"):
        raise UsageError("no task was named behind `cvtl run`", hint=f"The tasks are {', '.join(TASKS)}")
    task, words = get_task(arguments[0]).name, with_weights_joined(arguments[1:])
    named = named_weights(words)
    if is_for_maker(task, named):
        return _run_made(task, words)
    if not named and {"-h", "--help"} & set(words):
        _parser(task).print_help()
        return ExitCode.OK
    weights = weights_files(task, named)
    header = read_headers(weights, task, peek_reading(words, weights))[0]
    parser = _parser(task)
    add_reading_options(parser, weights)
    add_predict_options(parser, header, weights[0])
    options = parser.parse(words)
    out = _out_folder(task, options)
    if "predict" in options:
        options["predict"] = said_predict_options(parser, options)
    if not options["inputs"]:
        if named not in ([], [BUILTIN]):
            raise UsageError(
                "no pictures were given", hint=f"For example: cvtl run {task} --weights {weights[0]} photos/"
            )
        options["inputs"] = [_demo_picture(task, out)]
    if not named and not (options["quiet"] or options["json"]):
        known = ", ".join(header.classes[:_MOST_CLASSES]) + ", ..." * (len(header.classes) > _MOST_CLASSES)
        sys.stderr.write(f"Using the built-in weights of the plugin '{header.plugin}', which know {known}\n")
    with _resumable(out, options["inputs"]):
        report = _run(task, weights, out, options)
    return _told(report, task, options, point_names=header.classes if task == "landmarks" else ())


def _run_made(task: str, words: list[str]) -> int:
    """Run a model that is made of options alone."""
    spec = maker(task)
    assert spec is not None, "this is asked before"
    kind = spec.making_options_type()
    parser = _parser(task, spec)

    def run_defaults(found: dict[str, Any]) -> Mapping[str, Any]:
        made = make_options(kind, values_of(kind, found))
        return made.run_defaults() if isinstance(made, Options) else {}

    options = parser.parse(words, run_defaults)
    out = _out_folder(task, options)
    if not options["inputs"]:
        raise UsageError("no pictures were given", hint=f"For example: cvtl run {task} {_example(spec)}")
    with _resumable(out, options["inputs"]):
        report = _run(task, None, out, options, making=values_of(kind, options))
    return _told(report, task, options)


def _example(spec: PluginSpec) -> str:
    return (spec.makes and spec.makes.example) or "photos/"


def _out_folder(task: str, options: Mapping[str, Any]) -> Path:
    if options["resume"] and options["out"] is None:
        raise UsageError("--resume needs --out", hint="Name the folder of the run that should go on")
    return Path(options["out"] or next_free_folder(RUNS_FOLDER, task))


def _told(report: RunReport, task: str, options: Mapping[str, Any], *, point_names: Sequence[str] = ()) -> int:
    """Print what came of a run, and give the exit code."""
    if not options["quiet"]:
        print_report(report, task=task, as_json=options["json"], profile=options["profile"], point_names=point_names)
    if report.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.SOME_BAD_INPUTS if report.bad else ExitCode.OK


def _tasks_parser() -> VerbParser:
    parser = VerbParser(
        "run",
        "Run weights over pictures: one row for each of them, whatever is in the file.",
        [
            ("cvtl run detect", "the built-in weights on a built-in picture"),
            ("cvtl run detect --weights w.safetensors photos/", "a folder, with everything in it"),
            ("cvtl run detect --weights w.safetensors --help", "all options, those of the weights' plugin too"),
        ],
        operands="TASK [INPUTS ...]",
    )
    parser.add_listing("tasks", {task.name: task.summary for task in TASKS.values()})
    return parser


def _parser(task: str, making: PluginSpec | None = None) -> VerbParser:
    """The verb's parser; with `making` for models that this plugin makes, without weights of cvtl's."""
    parser = VerbParser(
        f"run {task}",
        f"Run weights over pictures: {TASKS[task].summary}.\n"
        "Writes OUT/rows.jsonl: one row for each input, whatever is in the file.",
        [
            *([(f"cvtl run {task} {_example(making)}", "without any training")] if making else []),
            (f"cvtl run {task} --weights w.safetensors photos/", "a folder, with everything in it"),
            (f"cvtl run {task} --weights w.safetensors photos/ --out o --save-images", "draw the results, too"),
            (f"cvtl run {task} --weights w.safetensors photos/ --out o --resume", "go on after a kill"),
            *(
                [("cvtl run landmarks --weights w.safetensors --detector d.safetensors photos/", _EACH)]
                * (task in _IN_BOXES)
            ),
            *([("cvtl run detect --weights w.safetensors --tile 640 aerial.tif", _TILED)] * (task == "detect")),
            *([("cvtl run detect --weights w.safetensors --zones z.yaml street.mp4", _COUNTED)] * (task == "detect")),
            *([("cvtl run classify --weights a.safetensors b.safetensors photos/", _TOGETHER)] * (task == "classify")),
            (f"cvtl run {task} --weights w.safetensors 0 --show", "the first webcam, in a window"),
            (f"cvtl run {task} --weights w.safetensors clip.mp4 --save-video", "each frame of a video"),
            (
                f"cvtl run {task} --weights w.safetensors photos/ --shard 2/8 --out s2",
                "an eighth of it; see `cvtl merge`",
            ),
            (f"find . -name '*.jpg' | cvtl run {task} --weights w.safetensors -", "a list on standard input"),
            (f"cvtl run {task} --weights w.safetensors photos/ --print-config > r.yaml", "for --config r.yaml"),
        ],
        operands="[INPUTS ...]",
        config=True,
    )
    parser.add_operand(
        "inputs",
        many=True,
        help="files, videos, folders, patterns, .txt lists, zip or tar archives, - for a list on stdin; numbers of "
        "webcams, addresses of streams (rtsp://...)",
    )
    own = making.making_options_type().model_fields if making else {}
    of_maker = own["weights"].description if "weights" in own else ""
    parser.add_option(
        "weights",
        str | tuple[str, ...] | None,
        metavar="FILE",
        help=(f"{of_maker}; or a " if of_maker else "")
        + f"weights file, or '{BUILTIN}'; with it, --help also shows the options of its plugin"
        + ("; of several the probabilities are averaged" if task == "classify" else ""),
    )
    parser.add_option(
        "out", str | None, help=f"folder to write to; {RUNS_FOLDER}/{task}, with a number behind it, if unset"
    )
    parser.add_flag("resume", help="go on with the interrupted run in --out")
    parser.add_flag("quiet", help="print nothing but errors")
    parser.add_flag("json", help="print the summary as JSON, and nothing else")
    parser.add_flag("profile", help="print where the time went and what bounds the run")
    parser.add_fields(RunSettings, "how to run")
    parser.add_fields(LiveSettings, "webcams and streams")
    if task in _IN_BOXES:
        parser.add_fields(DetectorSettings, "pictures with several objects")
    if task == "detect":
        parser.add_fields(TilingSettings, "pictures much larger than the network's input")
    if task in _FOLLOWED:
        others = FollowSettings.model_fields.keys() - set(_FOLLOWED[task])
        parser.add_fields(FollowSettings, "videos: what moves", without=others)
    if making:
        clashes = (own.keys() - {"weights"}) & parser.names
        if clashes:
            raise PluginError(
                f"plugin '{making.name}' has options that `cvtl run` has itself: {', '.join(sorted(clashes))}",
                hint="Its author has to rename them",
            )
        parser.add_fields(making.making_options_type(), f"options of the plugin '{making.name}'", without=("weights",))
    return parser


def _demo_picture(task: str, out: Path) -> str:
    """Write the built-in picture into the run's folder, where it can be looked at."""
    from cvtl.images import encode

    demo = demo_of(task)
    assert demo is not None, "without one there would be no weights"
    return str(write_atomically(out / f"{task}-demo.png", encode(resolve(demo.picture)(), ".png")))


@contextmanager
def _resumable(out: Path, inputs: list[str]) -> Iterator[None]:
    """Say of an interrupted run how it can go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        code = ExitCode.INTERRUPTED if isinstance(stop, KeyboardInterrupt) else ExitCode.TERMINATED
        hint = "" if "-" in inputs else f"Go on with the same command and --out {out} --resume"
        raise Interrupted(f"the run in '{out}' was interrupted", hint=hint, exit_code=code) from None


def _run(
    task: str,
    weights: list[Path] | None,
    out: Path,
    options: dict[str, Any],
    *,
    making: Mapping[str, Any] | None = None,
) -> RunReport:
    from cvtl.live import split_inputs
    from cvtl.pipeline import run
    from cvtl.sources import count_sources
    from cvtl.terminal_progress import choose_progress

    settings = make_options(RunSettings, values_of(RunSettings, options))
    tiling = make_options(TilingSettings, values_of(TilingSettings, options)) if task == "detect" else None
    inputs = options["inputs"]
    quiet = options["quiet"] or options["json"]
    live, stored = split_inputs(inputs)
    uncounted = quiet or live
    total = None if uncounted else count_sources(stored, include=settings.include, exclude=settings.exclude)
    if total is not None and settings.shard is not None:
        total = Shard.parse(settings.shard).share(total, settings.block(tiling))
    return run(
        inputs,
        weights,
        out,
        task=task,
        settings=settings,
        predict=options.get("predict"),
        reading=reading_of(weights or [], options),
        making=making,
        detector=make_options(DetectorSettings, values_of(DetectorSettings, options)) if task in _IN_BOXES else None,
        tiling=tiling,
        live=make_options(LiveSettings, values_of(LiveSettings, options)),
        follow=make_options(FollowSettings, {name: options[name] for name in _FOLLOWED.get(task, ())}),
        resume=options["resume"],
        progress=choose_progress(total, quiet=quiet),
        command=shlex.join(["cvtl", *sys.argv[1:]]),
    )
