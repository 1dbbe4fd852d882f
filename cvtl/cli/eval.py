"""`cvtl eval WEIGHTS DATA`: how good weights or predictions are, with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cvtl.cli.foreign import add_reading_options, reading_of
from cvtl.cli.parser import VerbParser, values_of
from cvtl.data import Dataset, Split, load_data
from cvtl.errors import ExitCode, UsageError
from cvtl.evaluation.corruptions.settings import KINDS, MOST_PICTURES, CorruptionSettings, Kind
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.found import Predictions
from cvtl.evaluation.settings import EvalSettings
from cvtl.files import write_atomically
from cvtl.options import make_options
from cvtl.reporting.sections import Gallery, Section, Table
from cvtl.run_folder import ROWS_NAME, make_result_folder, next_free_folder
from cvtl.run_settings import DetectorSettings, TilingSettings
from cvtl.tasks import TaskName
from cvtl.terminal import print_json, printable, terminal
from cvtl.weights import digest, installed_versions, is_weights_name, read_header

if TYPE_CHECKING:
    from cvtl.model import Model

RUNS_FOLDER = Path("cvtl-runs")
EVALUATION_NAME = "evaluation.json"
REPORT_NAME = "report.html"
_MOST_ROWS = 12
_SPLITS: tuple[Split, ...] = ("test", "val", "train")
_Part = Literal["test", "val", "train", "all"]
_Measured = Literal["classify", "localize", "detect", "landmarks"]
_EXAMPLE = "For example: cvtl eval w.safetensors data/, or cvtl eval --predictions found/rows.jsonl data/"


@dataclass(frozen=True)
class _Contender:
    """Weights or a file of predictions.

    Attributes:
        path: where it lies.
        is_weights: whether a model has to run first.
        rows_name: what its predictions are written to if it does.
    """

    path: Path
    is_weights: bool
    rows_name: str

    def facts(self) -> dict[str, str]:
        """What it is, for the report."""
        file = self.path / ROWS_NAME if self.path.is_dir() else self.path
        return {"path": str(self.path), "sha256": digest(file)}


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = _parser()
    add_reading_options(parser, arguments)
    options = parser.parse(arguments)
    contenders, data = _operands(options)
    reading = reading_of([each.path for each in contenders], options)
    settings = make_options(EvalSettings, values_of(EvalSettings, options))
    task = _task(contenders, options["task"], reading)
    corruptions = _corruptions(options, contenders, task)
    if options["tile"] is not None and (options["predictions"] or task != "detect"):
        raise UsageError("--tile is for weights that detect, and there are none", hint="Leave it out")
    out = Path(options["out"] or next_free_folder(RUNS_FOLDER, "eval"))
    dataset, split = _choose_split(load_data(data, task, format=options["format"]), options["split"])
    rows = (each.rows_name for each in contenders if each.is_weights)
    make_result_folder(out, (EVALUATION_NAME, REPORT_NAME, *rows))
    predictions = [_predictions(each, dataset, task, out, options) for each in contenders]
    evaluation = _evaluate(predictions, dataset, settings, options)
    if corruptions:
        evaluation = _with_corruptions(evaluation, contenders, dataset, settings, corruptions, options)
    found = _as_json(evaluation, contenders, dataset, split, settings, corruptions)
    _write_page(out / REPORT_NAME, evaluation, found, options)
    # Last, for it says that the folder is complete.
    write_atomically(out / EVALUATION_NAME, json.dumps(found, indent=2) + "\n")
    if options["json"]:
        print_json(found)
    elif not options["quiet"]:
        _print(evaluation, found, out)
    complete = all(answer is not None for each in predictions for answer in each.found)
    return ExitCode.OK if complete else ExitCode.SOME_BAD_INPUTS


def _parser() -> VerbParser:
    parser = VerbParser(
        "eval",
        "Measure weights, or predictions from a file, against a data set.\n"
        f"Writes OUT/{REPORT_NAME}, a page for any browser, and OUT/{EVALUATION_NAME} with the same for programs.\n"
        "Exit code 3 if there are pictures without an answer, which counts as nothing found.",
        [
            ("cvtl eval w.safetensors data/", "run the weights over the test pictures and measure"),
            ("cvtl eval --predictions found/rows.jsonl data/", "what `cvtl run` found, or COCO results"),
            ("cvtl eval new.safetensors data/ --against old.safetensors", "is the new one better, or is it chance?"),
            ("cvtl eval w.safetensors data/ --corruptions", "and on blurred, turned, noisy, ... pictures?"),
            ("cvtl eval w.safetensors data/ --json | jq .figures.AP50.value", "one figure, for programs"),
        ],
        operands="[WEIGHTS] DATA",
        config=True,
    )
    parser.add_operand("paths", many=True, help="weights file, unless --predictions is given; then the data set")
    parser.add_option(
        "predictions", str | None, metavar="FILE", help="COCO results, or the rows.jsonl of a run, instead of WEIGHTS"
    )
    parser.add_option(
        "against", str | None, metavar="OTHER", help="compare with these weights or predictions on the same pictures"
    )
    parser.add_option(
        "split",
        _Part | None,
        help="which pictures; if unset, test if there are any, else val, else all",
    )
    parser.add_option("task", _Measured | None, help="where predictions or data leave it open")
    parser.add_option("format", str | None, help="format of the data, if it should not be guessed")
    parser.add_option("out", str | None, help=f"folder to write to; {RUNS_FOLDER}/eval, with a number, if unset")
    parser.add_option("device", str, default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_option(
        "batch_size",
        Annotated[int, Field(ge=1)],
        default=8,
        metavar="N",
        help="pictures that go through the network together",
    )
    parser.add_flag(
        "corruptions",
        help="measure, too, how much is left when pictures are turned, shifted, scaled, blurred, noisy, too bright or "
        "dark, dull, or badly compressed, at five strengths each",
    )
    parser.add_option(
        "corruption_kinds",
        tuple[Kind, ...] | None,
        metavar="KIND,...",
        help=f"these only, of {', '.join(KINDS)}",
    )
    parser.add_option(
        "corruption_pictures",
        Annotated[int, Field(ge=1)],
        default=MOST_PICTURES,
        metavar="N",
        help="corrupt at most so many pictures, chosen by chance, of every class its share",
    )
    parser.add_flag("quiet", help="print nothing but errors")
    parser.add_flag("json", help="print what was measured as JSON, and nothing else")
    parser.add_fields(EvalSettings, "how to evaluate")
    parser.add_fields(DetectorSettings, "landmarks: pictures with several objects")
    parser.add_fields(TilingSettings, "detect: pictures much larger than the network's input")
    return parser


def _operands(options: Mapping[str, Any]) -> tuple[list[_Contender], str]:
    """What to measure, with what to compare it if anything, and the data set."""
    paths, predictions = list(options["paths"]), options["predictions"]
    wanted = 1 if predictions else 2
    if len(paths) > wanted:
        behind = "Behind --predictions only the data set is named" if predictions else _EXAMPLE
        raise UsageError(f"'{paths[wanted]}' is one word too many", hint=behind)
    if len(paths) < wanted:
        problem = f"only '{paths[0]}' was named, but it takes weights and a data set" if paths else "no data were named"
        raise UsageError(problem, hint=_EXAMPLE)
    data = paths.pop()
    contenders = [_contender(predictions or paths[0], "predictions.jsonl")]
    if not predictions and not contenders[0].is_weights:
        raise UsageError(
            f"'{paths[0]}' is not a .safetensors weights file, nor one that an installed plugin reads",
            hint=f"If it holds predictions: cvtl eval --predictions {paths[0]} {data}",
        )
    if options["against"]:
        contenders.append(_contender(options["against"], "predictions-against.jsonl"))
    return contenders, data


def _corruptions(
    options: Mapping[str, Any], contenders: list[_Contender], task: TaskName | None
) -> CorruptionSettings | None:
    """What to do to pictures, if anything, each kind by name."""
    from cvtl.evaluation.corruptions.kinds import fitting_kinds

    if not options["corruptions"]:
        return None
    if options["predictions"]:
        raise UsageError(
            "--corruptions runs a model over corrupted pictures, and --predictions gives none",
            hint="Give the weights instead: cvtl eval w.safetensors data/ --corruptions",
        )
    assert task is not None, "weights say theirs"
    kinds = fitting_kinds(options["corruption_kinds"], task)
    return CorruptionSettings(kinds=kinds, pictures=options["corruption_pictures"])


def _contender(path: str, rows_name: str) -> _Contender:
    return _Contender(Path(path), is_weights_name(path), rows_name)


def _task(contenders: list[_Contender], named: TaskName | None, reading: Mapping[str, Any]) -> TaskName | None:
    """The task of the weights, or else what was named."""
    task = named
    for each in contenders:
        if each.is_weights:
            header = read_header(each.path, reading)
            if header.task == "style":
                raise UsageError(
                    f"'{each.path}' paints pictures in a style, of which none is right or wrong",
                    hint=f"Look at them: cvtl run style --weights {each.path} photos/",
                )
            if task not in (None, header.task):
                raise UsageError(
                    f"'{each.path}' holds weights for the task '{header.task}', not '{task}'",
                    hint="Leave --task out, and compare only what answers the same question",
                )
            task = header.task
    return task


def _choose_split(dataset: Dataset, named: _Part | None) -> tuple[Dataset, _Part]:
    """The pictures to measure on, and what they are called."""
    there = [split for split in _SPLITS if len(dataset.split(split))]
    default: _Part = "test" if "test" in there else "val" if "val" in there else "all"
    part = named or default
    if part == "all":
        return dataset, part
    if part not in there:
        raise UsageError(
            f"'{dataset.root}' has no pictures in the split '{part}'",
            hint=f"Its splits are {', '.join(there)}" if there else "It has no splits: leave --split out",
        )
    return dataset.split(part), part


def _predictions(
    contender: _Contender, dataset: Dataset, task: TaskName | None, out: Path, options: Mapping[str, Any]
) -> Predictions:
    from cvtl.evaluation.predictions import predict, read_predictions, write_rows
    from cvtl.terminal_progress import choose_progress

    if not contender.is_weights:
        return read_predictions(contender.path, dataset, task)
    predictions = predict(
        _model(contender.path, options),
        dataset,
        name=str(contender.path),
        device=options["device"],
        batch_size=options["batch_size"],
        progress=choose_progress(len(dataset), quiet=_is_quiet(options)),
    )
    write_rows(predictions, dataset, out / contender.rows_name)
    return predictions


def _model(path: Path, options: Mapping[str, Any]) -> Model | Path:
    """The weights, or what they are behind a detector that finds objects for them, or looking at tiles."""
    detector = make_options(DetectorSettings, values_of(DetectorSettings, options))
    tiling = make_options(TilingSettings, values_of(TilingSettings, options))
    reading = reading_of([path], options)
    if detector == DetectorSettings() and tiling == TilingSettings() and not reading:
        return path
    from cvtl.cascade import with_detector
    from cvtl.devices import choose_device
    from cvtl.tiling import with_tiling
    from cvtl.weights import load

    device = choose_device(options["device"])
    model = with_detector(load(path, device=device, reading=reading), detector, device=device)
    return with_tiling(model, tiling, batch_size=options["batch_size"])


def _evaluate(
    predictions: list[Predictions], dataset: Dataset, settings: EvalSettings, options: Mapping[str, Any]
) -> Evaluation:
    """The evaluation of the first, with a comparison before everything else where there is a second."""
    from cvtl.evaluation.bootstrap import compare
    from cvtl.evaluation.evaluate import evaluate
    from cvtl.terminal_progress import shown_progress

    # Each is scored on all pictures and on the draws, and once more for the comparison.
    times = {1: 1, 2: 4}[len(predictions)]
    with shown_progress(times * (settings.draws + 1), quiet=_is_quiet(options), noun="draws") as progress:
        first, *others = (evaluate(each, dataset, settings, progress=progress) for each in predictions)
        comparisons = [compare(first, other, settings.draws, settings.seed) for other in others]
    for other, comparison in zip(others, comparisons, strict=True):
        notes = [f"{other.name}: {note}" for note in other.notes if note not in first.notes]
        first = replace(first, sections=[comparison, *first.sections], notes=(*first.notes, *notes))
    return first


def _with_corruptions(
    evaluation: Evaluation,
    contenders: list[_Contender],
    dataset: Dataset,
    settings: EvalSettings,
    corruptions: CorruptionSettings,
    options: Mapping[str, Any],
) -> Evaluation:
    from cvtl.cli.corruptions import add_corruptions

    models = [(str(each.path), _model(each.path, options)) for each in contenders if each.is_weights]
    notes = [
        f"'{each.path}' holds predictions, no weights: it is not compared under corruptions."
        for each in contenders
        if not each.is_weights
    ]
    return add_corruptions(
        replace(evaluation, notes=(*evaluation.notes, *notes)),
        models,
        dataset,
        settings,
        corruptions,
        device=options["device"],
        batch_size=options["batch_size"],
        quiet=_is_quiet(options),
    )


def _as_json(
    evaluation: Evaluation,
    contenders: list[_Contender],
    dataset: Dataset,
    split: _Part,
    settings: EvalSettings,
    corruptions: CorruptionSettings | None,
) -> dict[str, Any]:
    from cvtl.reporting.values import to_json

    described = [each.facts() for each in contenders]
    return {
        "task": evaluation.task,
        "predictions": described[0],
        "against": described[1] if len(described) > 1 else None,
        "data": {
            "path": dataset.root,
            "format": dataset.format,
            "split": split,
            "pictures": evaluation.pictures,
            "digest": dataset.digest(),
        },
        "settings": settings.model_dump(mode="json"),
        "corruptions": asdict(corruptions) if corruptions else None,
        "versions": installed_versions(),
        "notes": list(evaluation.notes),
        **to_json(evaluation.figures, evaluation.sections),
    }


def _write_page(path: Path, evaluation: Evaluation, found: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    from cvtl.reporting.page import write_page
    from cvtl.terminal_progress import shown_progress

    data, contenders = found["data"], {"predictions": found["predictions"], "against": found["against"]}
    facts = {"task": evaluation.task, "data": f"{data['path']} ({data['format']})", "pictures": _pictures(data)}
    for name, contender in contenders.items():
        if contender:
            facts |= {name: contender["path"], f"SHA-256 of {name}": contender["sha256"][:16]}
    title = f"Evaluation of {Path(found['predictions']['path']).name} on {Path(data['path']).name}"
    thumbnails = sum(len(each.thumbnails) for each in evaluation.sections if isinstance(each, Gallery))
    with shown_progress(thumbnails, quiet=_is_quiet(options), noun="thumbnails") as progress:
        write_page(
            path, title, evaluation.figures, evaluation.sections, evaluation.notes, facts=facts, progress=progress
        )


def _is_quiet(options: Mapping[str, Any]) -> bool:
    return bool(options["quiet"] or options["json"])


def _pictures(data: Mapping[str, Any]) -> str:
    return f"{data['pictures']} ({'all of them' if data['split'] == 'all' else 'split ' + data['split']})"


def _print(evaluation: Evaluation, found: Mapping[str, Any], out: Path) -> None:
    from cvtl.reporting.terminal import print_figures, print_section

    console = terminal()
    data = found["data"]
    console.print(
        printable(f"{evaluation.task} on '{data['path']}' ({data['format']}), pictures: {_pictures(data)}"),
        soft_wrap=True,
    )
    print_figures(console, evaluation.figures)
    for section in filter(_is_printed, evaluation.sections):
        print_section(console, section, most_rows=_MOST_ROWS)
    for note in evaluation.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    console.print(printable(f"report: {out / REPORT_NAME}"), soft_wrap=True)


def _is_printed(section: Section) -> bool:
    return isinstance(section, Table)
