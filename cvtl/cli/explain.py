"""`cvtl explain WEIGHTS PICTURES`: where in a picture the evidence for a class lies, as a heat map over it."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl.cli.parser import VerbParser
from cvtl.cli.report import print_report, rows_of, summary_of
from cvtl.errors import ExitCode, UsageError
from cvtl.run_folder import PICTURES_FOLDER, ROWS_NAME, next_free_folder
from cvtl.run_settings import ExplainSettings, RunSettings
from cvtl.terminal import print_json
from cvtl.weights import read_headers

if TYPE_CHECKING:
    from cvtl.run_loop import RunReport

RUNS_FOLDER = Path("cvtl-runs")
_TASK = "classify"
# `class` is no name that Python takes.
_OPTIONS = {"class": "class_name", "top": "top", "alpha": "alpha"}


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = _parser()
    options = parser.parse(arguments)
    if len(options["paths"]) < 2:
        problem = "no pictures were given" if options["paths"] else "no weights were named"
        raise UsageError(problem, hint="For example: cvtl explain w.safetensors photo.jpg")
    if {"class", "top"} <= parser.said:
        raise UsageError("--class and --top exclude each other", hint="Name a class, or say how many of the best")
    if options["resume"] and options["out"] is None:
        raise UsageError("--resume needs --out", hint="Name the folder of the run that should go on")
    weights, *inputs = options["paths"]
    read_headers([weights], _TASK)
    report = _explain(weights, inputs, options)
    if options["json"]:
        print_json({**summary_of(report, _TASK), "pictures": list(rows_of(report))})
    elif not options["quiet"]:
        print_report(report, task=_TASK, as_json=False, profile=False)
    return ExitCode.SOME_BAD_INPUTS if report.bad else ExitCode.OK


def _parser() -> VerbParser:
    parser = VerbParser(
        "explain",
        "Show where in a picture the evidence for a class lies: a class activation map, laid over the picture.\n"
        f"Writes each picture with its heat maps to OUT/{PICTURES_FOLDER}/, and OUT/{ROWS_NAME}.",
        [
            ("cvtl explain w.safetensors photo.jpg", "for the most probable class"),
            ("cvtl explain w.safetensors photos/ --top 3", "for the three most probable ones, side by side"),
            ("cvtl explain w.safetensors photo.jpg --class rose", "what speaks for a rose, whatever it is"),
        ],
        operands="WEIGHTS PICTURES ...",
    )
    parser.add_operand("paths", many=True, help="weights file, then pictures in any form that `cvtl run` takes")
    for option, name in _OPTIONS.items():
        field = ExplainSettings.model_fields[name]
        parser.add_option(option, field, field.description or "", default=field.default)
    parser.add_option("out", str | None, help=f"folder to write to; {RUNS_FOLDER}/explain, with a number, if unset")
    parser.add_flag("resume", help="go on with the interrupted run in --out")
    parser.add_option("device", str, default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_flag("quiet", help="print nothing but errors")
    parser.add_flag("json", help="print what was found as JSON, and nothing else")
    return parser


def _explain(weights: str, inputs: Sequence[str], options: Mapping[str, Any]) -> RunReport:
    from cvtl.pipeline import run
    from cvtl.sources import count_sources
    from cvtl.terminal_progress import choose_progress

    # Class names may be in scripts that Matplotlib's font lacks.
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    quiet = options["quiet"] or options["json"]
    return run(
        inputs,
        weights,
        options["out"] or next_free_folder(RUNS_FOLDER, "explain"),
        task=_TASK,
        settings=RunSettings(device=options["device"], save_images=True),
        explain=ExplainSettings(**{name: options[option] for option, name in _OPTIONS.items()}),
        resume=options["resume"],
        progress=choose_progress(None if quiet else count_sources(inputs), quiet=quiet),
        command=shlex.join(["cvtl", *sys.argv[1:]]),
    )
