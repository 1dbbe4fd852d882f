"""`cvtl train PLUGIN DATA`: a run folder with weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl.cli.parser import VerbParser, values_of
from cvtl.errors import ExitCode, PluginError, UsageError
from cvtl.options import Options, make_options
from cvtl.registry import PluginSpec, plugins
from cvtl.run_folder import next_free_folder
from cvtl.terminal import print_json, printable, terminal
from cvtl.terminal_progress import choose_progress
from cvtl.training.launching import follow_launcher, has_to_launch, launch, leads, own_place
from cvtl.training.settings import TrainSettings

if TYPE_CHECKING:
    from cvtl.training import TrainReport

RUNS_FOLDER = Path("cvtl-runs")


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    if arguments[:1] in (["-h"], ["--help"]):
        _plugins_parser().print_help()
        return ExitCode.OK
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(
            "no plugin was named behind `cvtl train`",
            hint=f"Installed are: {', '.join(_trainable())}",
        )
    spec = _find(arguments[0])
    parser = _parser(spec)
    options = parser.parse(arguments[1:], lambda found: _plugin_options(spec, found).train_defaults())
    if options["data"] is None:
        raise UsageError("no data set was named", hint=f"For example: cvtl train {spec.name} data/")
    if options["resume"] and options["out"] is None:
        raise UsageError("--resume needs --out", hint="Name the folder of the training that should go on")
    settings = make_options(TrainSettings, values_of(TrainSettings, options))
    if has_to_launch(settings):
        return launch(["train", *arguments, *(["--debug"] if "--debug" in sys.argv else [])], options["devices"])
    follow_launcher()
    own_place(settings)
    out = Path(options["out"] or next_free_folder(RUNS_FOLDER, f"train-{spec.name}"))
    report = _train(spec, out, options, parser.said)
    if not leads():
        return ExitCode.OK
    if options["json"]:
        print_json(_summary(report))
    elif not options["quiet"]:
        _print_report(report, spec)
    return ExitCode.OK


def _find(name: str) -> PluginSpec:
    try:
        spec = plugins().get(name)
    except PluginError as error:
        if name in plugins().names():
            raise
        raise UsageError(error.what, hint=error.hint) from error
    if not spec.trains:
        raise UsageError(
            f"the plugin '{name}' only runs what others have trained",
            hint=f"Those that train are {', '.join(_trainable())}",
        )
    return spec


def _trainable() -> dict[str, PluginSpec]:
    """The plugins that can be trained, by name."""
    return {spec.name: spec for spec in plugins().usable() if spec.trains}


def _plugins_parser() -> VerbParser:
    trainable = _trainable()
    name = next(iter(trainable)) if trainable else "PLUGIN"
    parser = VerbParser(
        "train",
        "Train a plugin on a data set and write a run folder with best.safetensors.",
        [
            (f"cvtl train {name} data/", "a folder of class folders, or any other known format"),
            (f"cvtl train {name} --help", "all options, those of the plugin too"),
        ],
        operands="PLUGIN DATA",
    )
    parser.add_listing("plugins", {spec.name: f"{spec.task}: {spec.summary}" for spec in trainable.values()})
    return parser


def _parser(spec: PluginSpec) -> VerbParser:
    name = spec.name
    parser = VerbParser(
        f"train {name}",
        f"Train the plugin '{name}' ({spec.summary})\nand write a run folder with best.safetensors.",
        [
            (f"cvtl train {name} data/", "with what serves most"),
            (f"cvtl train {name} data/ --out run --epochs 30 --seed 1", "the same seed gives the same weights"),
            (f"cvtl train {name} data/ --out run --epochs 30 --seed 1 --resume", "go on after a kill"),
            (f"cvtl train {name} data/ --devices 2", "on two CUDA devices, or in two processes on the CPU"),
            (f"cvtl train {name} data/ --print-config > t.yaml", "all options in a file, for --config t.yaml"),
        ],
        operands="DATA",
        config=True,
    )
    parser.add_operand("data", help="folder or file of a data set in any known format")
    parser.add_option(
        "out", str | None, help=f"run folder; {RUNS_FOLDER}/train-{name}, with a number behind it, if unset"
    )
    parser.add_flag("resume", help="go on with the training in --out")
    parser.add_option("format", str | None, help="format of the data, if it should not be guessed")
    parser.add_option(
        "splits", str | None, metavar="FILE", help="split file to divide the data by; the data's own if unset"
    )
    parser.add_option("licence", str, default="", help="under which the weights may be used, kept in them")
    parser.add_flag("quiet", help="print nothing but errors")
    parser.add_flag("json", help="print the summary as JSON, and nothing else")
    options_type = spec.options_type()
    clashes = options_type.model_fields.keys() & {*parser.names, *TrainSettings.model_fields, "data"}
    if clashes:
        raise PluginError(
            f"plugin '{name}' has options that `cvtl train` has itself: {', '.join(sorted(clashes))}",
            hint="Its author has to rename them",
        )
    parser.add_fields(options_type, f"options of the plugin '{name}'")
    parser.add_fields(TrainSettings, "how to train")
    return parser


def _plugin_options(spec: PluginSpec, options: dict[str, Any]) -> Options:
    made = make_options(spec.options_type(), values_of(spec.options_type(), options))
    # A third party may build its options on pydantic's own base.
    return made if isinstance(made, Options) else Options()


def _train(spec: PluginSpec, out: Path, options: dict[str, Any], said: frozenset[str]) -> TrainReport:
    from cvtl.training.start import train_plugin

    # What was not said is open: options may bring other defaults for settings along, and a plugin may choose.
    named = said | {name.partition(".")[0] for name in said}
    settings, chosen = (
        {name: value for name, value in values_of(kind, options).items() if name in named}
        for kind in (TrainSettings, spec.options_type())
    )
    quiet = options["quiet"] or options["json"] or not leads()
    return train_plugin(
        spec.name,
        options["data"],
        out,
        options=chosen,
        settings=make_options(TrainSettings, settings),
        format=options["format"],
        splits=options["splits"] or True,
        resume=options["resume"],
        quiet=quiet,
        licence=options["licence"],
        progress=choose_progress(None, quiet=quiet),
    )


def _summary(report: TrainReport) -> dict[str, Any]:
    return {
        "weights": str(report.weights),
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "stopped_early": report.stopped_early,
        "metrics": dict(report.metrics),
    }


def _print_report(report: TrainReport, spec: PluginSpec) -> None:
    console = terminal()
    figures = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
    weights = printable(str(report.weights))
    console.print(f"best of {report.epochs} epochs: {report.best_epoch} ({figures})", soft_wrap=True)
    console.print(f"weights: {weights}", soft_wrap=True)
    console.print(f"use them: cvtl run {spec.task} --weights {weights} PICTURES", soft_wrap=True)
