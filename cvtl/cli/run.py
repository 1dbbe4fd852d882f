"""`cvtl run TASK`: weights over pictures."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl._lazy import resolve
from cvtl.cli.config import flat
from cvtl.cli.parser import VerbParser, peek, values_of
from cvtl.cli.report import print_report
from cvtl.errors import ExitCode, Interrupted, UsageError
from cvtl.files import write_atomically
from cvtl.options import make_options
from cvtl.registry import Demo, plugins
from cvtl.run_folder import next_free_folder
from cvtl.run_settings import RunSettings
from cvtl.tasks import TASKS, get_task
from cvtl.weights import Header, check_task, plugin_options, read_header

if TYPE_CHECKING:
    from cvtl.pipeline import RunReport

RUNS_FOLDER = Path("cvtl-runs")
BUILTIN = "builtin"
_MOST_CLASSES = 20


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    if arguments[:1] in (["-h"], ["--help"]):
        _tasks_parser().print_help()
        return ExitCode.OK
    if not arguments or arguments[0].startswith("-"):
        raise UsageError("no task was named behind `cvtl run`", hint=f"The tasks are {', '.join(TASKS)}")
    task, words = get_task(arguments[0]).name, arguments[1:]
    named = peek(words, "weights")
    if named is None and {"-h", "--help"} & set(words):
        _parser(task).print_help()
        return ExitCode.OK
    weights = _weights_file(task, named)
    header = read_header(weights)
    check_task(header, task, weights)
    parser = _parser(task)
    _add_predict_options(parser, header, weights)
    options = parser.parse(words)
    if options["resume"] and options["out"] is None:
        raise UsageError("--resume needs --out", hint="Name the folder of the run that should go on")
    out = Path(options["out"] or next_free_folder(RUNS_FOLDER, task))
    if not options["inputs"]:
        if named not in (None, BUILTIN):
            raise UsageError("no pictures were given", hint=f"For example: cvtl run {task} --weights {weights} photos/")
        options["inputs"] = [_demo_picture(task, out)]
    if named is None and not (options["quiet"] or options["json"]):
        known = ", ".join(header.classes[:_MOST_CLASSES]) + ", ..." * (len(header.classes) > _MOST_CLASSES)
        sys.stderr.write(f"Using the built-in weights of the plugin '{header.plugin}', which know {known}\n")
    with _resumable(out, options["inputs"]):
        report = _run(task, weights, out, options)
    if not options["quiet"]:
        print_report(report, task=task, as_json=options["json"], profile=options["profile"])
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


def _parser(task: str) -> VerbParser:
    parser = VerbParser(
        f"run {task}",
        f"Run weights over pictures: {TASKS[task].summary}.\n"
        "Writes OUT/rows.jsonl: one row for each input, whatever is in the file.",
        [
            (f"cvtl run {task} --weights w.safetensors photos/", "a folder, with everything in it"),
            (f"cvtl run {task} --weights w.safetensors photos/ --out o --save-images", "draw the results, too"),
            (f"cvtl run {task} --weights w.safetensors photos/ --out o --resume", "go on after a kill"),
            (f"find . -name '*.jpg' | cvtl run {task} --weights w.safetensors -", "a list on standard input"),
            (f"cvtl run {task} --weights w.safetensors photos/ --print-config > r.yaml", "for --config r.yaml"),
        ],
        operands="[INPUTS ...]",
        config=True,
    )
    parser.add_operand(
        "inputs", many=True, help="files, folders, patterns, .txt lists, zip or tar archives, or - for a list on stdin"
    )
    parser.add_option(
        "weights",
        str | None,
        help=f"weights file, or '{BUILTIN}'; with it, --help also shows the options of its plugin",
    )
    parser.add_option(
        "out", str | None, help=f"folder to write to; {RUNS_FOLDER}/{task}, with a number behind it, if unset"
    )
    parser.add_flag("resume", help="go on with the interrupted run in --out")
    parser.add_flag("quiet", help="print nothing but errors")
    parser.add_flag("json", help="print the summary as JSON, and nothing else")
    parser.add_flag("profile", help="print where the time went and what bounds the run")
    parser.add_fields(RunSettings, "how to run")
    return parser


def _add_predict_options(parser: VerbParser, header: Header, weights: Path) -> None:
    """The plugin's prediction options, with the weights' own values as defaults."""
    predict = getattr(plugin_options(header, weights), "predict", None)
    if predict is not None:
        parser.add_fields(type(predict), f"prediction options of the plugin '{header.plugin}'", "predict.")
        parser.set_defaults(dict(flat(predict.model_dump(mode="json"), "predict.")))


def _weights_file(task: str, named: str | None) -> Path:
    """The weights that the command names, or the built-in ones where it names none."""
    if named not in (None, BUILTIN):
        return Path(str(named))
    demo = _demo(task)
    if demo is None:
        raise UsageError(
            f"no installed plugin has built-in weights for the task '{task}'",
            hint=f"Name yours: cvtl run {task} --weights w.safetensors photos/",
        )
    path: Path = resolve(demo.weights)()
    return path


def _demo(task: str) -> Demo | None:
    return next((spec.demo for spec in plugins().usable() if spec.task == task and spec.demo), None)


def _demo_picture(task: str, out: Path) -> str:
    """Write the built-in picture into the run's folder, where it can be looked at."""
    from cvtl.images import encode

    demo = _demo(task)
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


def _run(task: str, weights: Path, out: Path, options: dict[str, Any]) -> RunReport:
    from cvtl.cli.progress import choose_progress
    from cvtl.pipeline import run
    from cvtl.sources import count_sources

    settings = make_options(RunSettings, values_of(RunSettings, options))
    inputs = options["inputs"]
    quiet = options["quiet"] or options["json"]
    total = None if quiet else count_sources(inputs, include=settings.include, exclude=settings.exclude)
    return run(
        inputs,
        weights,
        out,
        task=task,
        settings=settings,
        predict=options.get("predict"),
        resume=options["resume"],
        progress=choose_progress(total, quiet=quiet),
        command=shlex.join(["cvtl", *sys.argv[1:]]),
    )
