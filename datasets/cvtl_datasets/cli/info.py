"""`cvtl data info PATH`: what is in a data set, in numbers and in a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from rich.console import Console
from rich.table import Table as Grid

from cvtl.cli.parser import VerbParser
from cvtl.data import Dataset, Split, load_data
from cvtl.errors import ExitCode, UsageError
from cvtl.files import write_atomically
from cvtl.reporting.sections import Cell, Table
from cvtl.run_folder import next_free_folder
from cvtl.terminal import print_json, printable, terminal
from cvtl.terminal_progress import choose_progress
from cvtl_datasets.statistics import Statistics, measure

_SHEETS = Path("cvtl-runs")
_NO_SHEET = "none"
_MOST_CLASSES = 30
_MOST_SIZES = 3
_OBJECTS = {"boxes": "boxes", "points": "instances"}
# Numbers of objects in a picture that are shown together end here.
_STEPS = (0, 1, 2, 5, 10, 20, 50, 100)


def main(arguments: list[str]) -> int:
    """Run the action; `arguments` are the words behind it."""
    options = _parser().parse(arguments)
    if options["path"] is None:
        raise UsageError("no data set was named", hint="For example: cvtl data info photos/")
    dataset = load_data(options["path"], format=options["format"], strict=False, splits=options["splits"] or True)
    if options["split"] is not None:
        dataset = _part(dataset, options["split"])
    statistics = _measure(dataset, quiet=options["quiet"] or options["json"])
    is_shown = not (options["quiet"] or options["json"])
    if is_shown:
        _print(dataset, statistics)
    # Last, so that the numbers are there even where no picture can be written.
    sheet = _write_sheet(dataset, options)
    if options["json"]:
        print_json(_facts(dataset) | asdict(statistics) | {"sheet": None if sheet is None else str(sheet)})
    elif is_shown and sheet is not None:
        terminal().print(f"Contact sheet: {printable(str(sheet))}", soft_wrap=True)
    return ExitCode.OK


def _parser() -> VerbParser:
    parser = VerbParser(
        "data info",
        "Show what is in a data set: splits, pictures, sizes, classes, boxes, points; and some of it as a picture.",
        [
            ("cvtl data info photos/", "the numbers, and a contact sheet in a new folder"),
            ("cvtl data info photos/ --split val --sheet val.png --seed 1", "other pictures, of one split"),
            ("cvtl data info instances.json --sheet none --json", "the numbers alone, for programs"),
        ],
        operands="PATH",
    )
    parser.add_operand("path", help="the data set: a folder or a file")
    parser.add_option("format", str | None, help="its format, if it should not be guessed")
    parser.add_option("split", Split | None, help="look at this split alone")
    parser.add_option("splits", str | None, metavar="FILE", help="split file to divide by; the data's own if unset")
    parser.add_option(
        "sheet",
        str | None,
        metavar="FILE.png",
        help=f"where to write the contact sheet; {_NO_SHEET} for nowhere; {_SHEETS}/data-info/sheet.png, with a number "
        "behind the folder's name, if unset",
    )
    parser.add_option("columns", Annotated[int, Field(ge=1, le=40)], default=6, help="pictures beside one another")
    parser.add_option("rows", Annotated[int, Field(ge=1, le=40)], default=4, help="pictures below one another")
    parser.add_option("seed", Annotated[int, Field(ge=0)], default=0, help="chooses the pictures")
    parser.add_flag("json", help="print JSON, and nothing else")
    parser.add_flag("quiet", help="print nothing but errors")
    return parser


def _part(dataset: Dataset, split: Split) -> Dataset:
    part = dataset.split(split)
    if not len(part):
        found = sorted({sample.split for sample in dataset if sample.split})
        hint = f"It has {', '.join(found)}" if found else "It has no splits"
        raise UsageError(f"'{dataset.root}' has no pictures in the split '{split}'", hint=hint)
    return part


def _measure(dataset: Dataset, *, quiet: bool) -> Statistics:
    progress = choose_progress(len(dataset), quiet=quiet)
    progress.start(0)
    try:
        return measure(dataset, progress.advance)
    finally:
        progress.finish()


def _write_sheet(dataset: Dataset, options: Mapping[str, Any]) -> Path | None:
    if options["sheet"] == _NO_SHEET or not len(dataset):
        return None
    path = Path(options["sheet"] or next_free_folder(_SHEETS, "data-info") / "sheet.png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--sheet: '{path}' is no name of a PNG file", hint="For example: --sheet sheet.png")
    from cvtl.images import encode
    from cvtl_datasets.contact_sheet import contact_sheet

    sheet = contact_sheet(dataset, columns=options["columns"], rows=options["rows"], seed=options["seed"])
    return write_atomically(path, encode(sheet, ".png"))


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"data": dataset.root, "format": dataset.format}


def _print(dataset: Dataset, statistics: Statistics) -> None:
    from cvtl.reporting.terminal import print_section

    console = terminal()
    _print_facts(console, {**_facts(dataset), **_in_words(statistics)})
    for section in _tables(statistics):
        print_section(console, section, most_rows=_MOST_CLASSES)
    if statistics.problems:
        console.print(printable(dataset.describe_problems()))


def _print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    grid = Grid.grid("name", "value", padding=(0, 2))
    grid.columns[1].overflow = "fold"
    for name, value in facts.items():
        grid.add_row(name, printable(str(value)))
    console.print(grid)
    console.print()


def _in_words(statistics: Statistics) -> dict[str, str]:
    """The facts that fit on a line."""
    notes = _listed({name: getattr(statistics, name) for name in ("missing", "unreadable", "turned")})
    sizes = list(statistics.sizes.items())
    more = f" and {len(sizes) - _MOST_SIZES} more" * (len(sizes) > _MOST_SIZES)
    objects = _listed({"crowd": statistics.crowd, "difficult": statistics.difficult})
    facts = {
        "pictures": str(statistics.pictures) + f" ({notes})" * bool(notes),
        "splits": _listed(statistics.splits),
        "sizes": _listed(dict(sizes[:_MOST_SIZES])) + more,
        "classes": str(len(statistics.classes)) if statistics.classes else "",
        "points": str(len(statistics.points)) if statistics.points else "",
        _OBJECTS.get(statistics.kind, ""): str(statistics.objects) + f" ({objects})" * bool(objects),
        "not held": _listed(statistics.unheld),
    }
    return {name: text for name, text in facts.items() if name and text}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items() if count)


def _tables(statistics: Statistics) -> Iterator[Table]:
    if statistics.classes:
        yield _class_table(statistics)
    if statistics.quantiles:
        columns = next(iter(statistics.quantiles.values()))
        rows = tuple((name, *map(_plain, shares.values())) for name, shares in statistics.quantiles.items())
        yield Table(title="Sizes in pixels", columns=("", *columns), rows=rows)
    if statistics.per_picture:
        counts = tuple(_in_steps(statistics.per_picture))
        noun = _OBJECTS[statistics.kind]
        yield Table(title=f"{noun.capitalize()} in a picture", columns=(noun, "pictures"), rows=counts)
    if any(statistics.points.values()):
        missing = tuple((name, count) for name, count in statistics.points.items() if count)
        yield Table(title="Missing points", columns=("point", f"missing of {statistics.objects}"), rows=missing)


def _class_table(statistics: Statistics) -> Table:
    splits = [split for split in statistics.splits if len(statistics.splits) > 1]
    classes = list(statistics.classes)
    if len(classes) > _MOST_CLASSES:
        classes.sort(key=lambda each: (-each.boxes, -each.pictures))
    with_boxes = statistics.kind == "boxes"
    return Table(
        title="Classes",
        columns=("class", "pictures", *splits, *(("boxes", "small", "medium", "large") if with_boxes else ())),
        rows=tuple(
            (
                each.name,
                each.pictures,
                *(each.splits.get(split, 0) for split in splits),
                *((each.boxes, each.small, each.medium, each.large) if with_boxes else ()),
            )
            for each in classes
        ),
        note="small: below 32 x 32 pixels, large: from 96 x 96 on" if with_boxes else "",
    )


def _plain(value: float) -> Cell:
    return int(value) if value.is_integer() else value


def _in_steps(per_picture: Mapping[int, int]) -> Iterator[tuple[str, int]]:
    """Numbers of objects, together where they are large, and how many pictures have so many."""
    for low, high in pairwise((-1, *_STEPS, math.inf)):
        count = sum(pictures for number, pictures in per_picture.items() if low < number <= high)
        if count:
            ends = f"over {low}" if high == math.inf else f"{low + 1} to {high}" if high > low + 1 else f"{high}"
            yield ends, count
