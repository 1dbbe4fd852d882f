"""`cvtl advise DATA`: how much of a network to keep for a data set, measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cvtl.cli.parser import VerbParser
from cvtl.cli.train import RUNS_FOLDER
from cvtl.data import Dataset, load_data
from cvtl.errors import ExitCode, UsageError
from cvtl.files import write_atomically
from cvtl.options import make_options
from cvtl.run_folder import make_result_folder, next_free_folder
from cvtl.terminal import print_json, printable, terminal
from cvtl.terminal_progress import shown_progress
from cvtl.training.settings import TrainSettings
from cvtl_classify.options import ClassifyOptions

if TYPE_CHECKING:
    from cvtl_classify.advice.report import Advice

ADVICE_NAME = "advice.json"
PICTURE_NAME = "advice.png"
REPORT_NAME = "report.html"

_OPTIONS = ("backbone", "weights", "size", "resize", "cache")
_SETTINGS = ("seed", "device", "group_by", "near_duplicates")


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = _parser()
    said = parser.parse(arguments)
    if said["data"] is None:
        raise UsageError("no data set was named", hint="For example: cvtl advise photos/ --weights imagenet")
    # What is not said is open, and may be chosen.
    options = make_options(ClassifyOptions, {name: said[name] for name in _OPTIONS if name in parser.said})
    settings = make_options(TrainSettings, {name: said[name] for name in _SETTINGS if name in parser.said})
    data = load_data(said["data"], "classify", format=said["format"], splits=said["splits"] or True)
    out = Path(said["out"] or next_free_folder(RUNS_FOLDER, "advise"))
    make_result_folder(out, (ADVICE_NAME, PICTURE_NAME, REPORT_NAME))
    advice = _advise(data, options, settings, said)
    _write(advice, out, said)
    found = _as_json(advice, data)
    write_atomically(out / ADVICE_NAME, json.dumps(found, indent=2) + "\n")
    if said["json"]:
        print_json(found)
    elif not said["quiet"]:
        _print(advice, data, out)
    return ExitCode.SOME_BAD_INPUTS if advice.measurements.material.unreadable else ExitCode.OK


def _parser() -> VerbParser:
    parser = VerbParser(
        "advise",
        "Measure how much of a network to keep for a data set, and recommend how to train.\n"
        f"Writes OUT/{REPORT_NAME}, OUT/{PICTURE_NAME} and OUT/{ADVICE_NAME} with the same for programs.\n"
        "Exit code 3 if there are pictures that cannot be read; they are left out.",
        [
            ("cvtl advise photos/ --weights imagenet", "a folder of class folders, or any other known format"),
            ("cvtl advise photos/ --backbone resnet18 --weights imagenet", "with another network"),
            ("cvtl advise photos/ --weights squeezenet.pth --finetune=false", "weights from a file; heads only"),
            ("cvtl advise faces/ --weights w.pth --group-by '([^/]+)_\\d+'", "nobody is both learnt from and judged"),
            ("cvtl advise photos/ --weights w.pth --json | jq -r .command", "the recommended command line"),
        ],
        operands="DATA",
        config=True,
    )
    parser.add_operand("data", help="folder or file of a data set in any known format")
    for name in _OPTIONS:
        _add_field(parser, ClassifyOptions, name)
    parser.add_option(
        "folds", Annotated[int, Field(ge=2)], default=5, metavar="N", help="of the cross-validation, at most"
    )
    parser.add_option(
        "pictures",
        Annotated[int, Field(ge=20)],
        default=5000,
        metavar="N",
        help="to measure on, at most (but five of each class); chosen by chance, each class by its share",
    )
    parser.add_option("finetune", bool, default=True, help="measure a short fine-tune, where it could pay")
    for name in _SETTINGS:
        _add_field(parser, TrainSettings, name)
    parser.add_option("format", str | None, help="format of the data, if it should not be guessed")
    parser.add_option(
        "splits", str | None, metavar="FILE", help="split file to divide the data by; the data's own if unset"
    )
    parser.add_option("out", str | None, help=f"folder to write to; {RUNS_FOLDER}/advise, with a number, if unset")
    parser.add_flag("quiet", help="print nothing but errors")
    parser.add_flag("json", help="print what was measured as JSON, and nothing else")
    return parser


def _add_field(parser: VerbParser, options: type[ClassifyOptions | TrainSettings], name: str) -> None:
    field = options.model_fields[name]
    parser.add_option(name, field, field.description or "", default=field.get_default(call_default_factory=True))


def _advise(data: Dataset, options: ClassifyOptions, settings: TrainSettings, said: Mapping[str, Any]) -> Advice:
    from cvtl.devices import choose_device
    from cvtl.features import FeatureSpace, extract
    from cvtl_classify.advice.choosing import decide
    from cvtl_classify.advice.measuring import Limits, measure
    from cvtl_classify.advice.report import Advice, command_line
    from cvtl_classify.advice.similarity import distances, reference_samples
    from cvtl_classify.model import ClassifyModel, input_spec

    device = choose_device(settings.device)
    backbone = ClassifyModel.initialize(options, data.classes).classifier.backbone.to(device).eval()
    quiet = said["quiet"] or said["json"]
    measurements = measure(
        data,
        options,
        settings,
        backbone,
        limits=Limits(pictures=said["pictures"], folds=said["folds"], finetune=said["finetune"]),
        show=lambda total, noun: shown_progress(total, quiet=quiet, noun=noun),
        device=device,
    )
    spaces = [FeatureSpace(stage.name) for stage in backbone.stages]
    reference = extract(backbone, reference_samples(), spaces, input=input_spec(backbone, options), device=device)
    decision = decide(measurements, options)
    return Advice(
        backbone=backbone,
        measurements=measurements,
        distances=distances(measurements.features, reference, spaces),
        decision=decision,
        command=command_line(said["data"], decision.options, settings) + _reading(said),
    )


def _reading(said: Mapping[str, Any]) -> str:
    """How the data are to be read, for the command line."""
    import shlex

    return "".join(f" --{name} {shlex.quote(said[name])}" for name in ("format", "splits") if said[name])


def _as_json(advice: Advice, data: Dataset) -> dict[str, Any]:
    from cvtl.weights import installed_versions
    from cvtl_classify.advice.report import as_json

    material = advice.measurements.material
    return {
        **as_json(advice),
        "data": {"path": data.root, "format": data.format, "digest": data.digest(), "pictures": len(material.labels)},
        "versions": installed_versions(),
    }


def _write(advice: Advice, out: Path, said: Mapping[str, Any]) -> None:
    from cvtl.reporting.page import write_page
    from cvtl_classify.advice.report import conclusion, figures, sections, write_picture

    write_picture(advice, out / PICTURE_NAME)
    facts = {
        "data": said["data"],
        "pictures": str(len(advice.measurements.material.labels)),
        "backbone": advice.backbone.name,
        "weights": advice.decision.options.weights,
        "recommended": advice.command,
    }
    notes = [*conclusion(advice), *advice.measurements.notes]
    write_page(
        out / REPORT_NAME,
        f"Advice for {Path(said['data']).name}",
        figures(advice),
        sections(advice),
        notes,
        facts=facts,
    )


def _print(advice: Advice, data: Dataset, out: Path) -> None:
    from cvtl.reporting.terminal import print_figures, print_section
    from cvtl_classify.advice.report import conclusion, figures, sections

    console = terminal()
    say = partial(console.print, soft_wrap=True)
    say(printable(f"{advice.backbone.name} on '{data.root}' ({data.format})"))
    for section in sections(advice):
        print_section(console, section)
    print_figures(console, figures(advice))
    for note in advice.measurements.notes:
        say(printable(f"note: {note}"), style="yellow")
    for sentence in conclusion(advice):
        say(printable(sentence))
    say("recommended:", style="bold")
    say(printable(f"  {advice.command}"))
    say(printable(f"report: {out / REPORT_NAME}"))
