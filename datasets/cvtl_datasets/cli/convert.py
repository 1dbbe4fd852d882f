"""`cvtl data convert PATH OUT --to FORMAT`: a data set in another format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from cvtl.cli.parser import VerbParser
from cvtl.data import Dataset, formats, load_data
from cvtl.errors import ExitCode, Interrupted, UsageError
from cvtl.registry import plugins
from cvtl.terminal import print_json, printable, table, terminal
from cvtl.terminal_progress import choose_progress
from cvtl_datasets.conversion import Conversion, convert, writable_formats

_EXAMPLE = "cvtl data convert photos/ coco/ --to coco"
_MOST_NOTES = 20


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    options = _parser().parse(arguments)
    if len(options["paths"]) != 2 or options["to"] is None:
        missing = "no format to convert to was named" if options["to"] is None else "PATH and OUT are needed, no more"
        raise UsageError(missing, hint=f"For example: {_EXAMPLE}")
    path, out = map(Path, options["paths"])
    dataset = load_data(path, format=options["format"], strict=not options["lenient"])
    try:
        conversion = _convert(dataset, out, options)
    except (KeyboardInterrupt, SystemExit) as stop:
        code = ExitCode.INTERRUPTED if isinstance(stop, KeyboardInterrupt) else ExitCode.TERMINATED
        raise Interrupted(f"the conversion was interrupted; nothing of it is in '{out}'", exit_code=code) from None
    if options["json"]:
        print_json(asdict(conversion) | {"complete": conversion.complete})
    elif not options["quiet"]:
        _print(conversion)
    return ExitCode.OK if conversion.complete else ExitCode.SOME_BAD_INPUTS


def _parser() -> VerbParser:
    parser = VerbParser(
        "data convert",
        "Write a data set in another format, and say everything that is lost or changed by it.\n"
        "The exit code is 3 where pictures or annotations had to be left out.",
        [
            (_EXAMPLE, "COCO JSON with the pictures beside it"),
            ("cvtl data convert voc/ crops/ --to folders", "every object cut out; add background to train windows"),
            ("cvtl data convert instances.json yolo/ --to yolo --lenient", "go on where annotations are broken"),
        ],
        operands="PATH OUT --to FORMAT",
    )
    parser.add_operand("paths", many=True, help="the data set, then the new or empty folder to write")
    parser.add_option("to", str | None, metavar="FORMAT", help="format to write, one of those below")
    parser.add_option("format", str | None, help="format to read, where it should not be guessed")
    parser.add_flag("lenient", help="leave out annotations that cannot be understood, instead of refusing them all")
    parser.add_flag("quiet", help="print nothing but errors")
    parser.add_flag("json", help="print the account as JSON, and nothing else")
    parser.add_listing("formats to write", {each.name: each.summary for each in writable_formats()})
    return parser


def _convert(dataset: Dataset, out: Path, options: dict[str, Any]) -> Conversion:
    progress = choose_progress(len(dataset), quiet=options["quiet"] or options["json"])
    progress.start(0)
    try:
        return convert(dataset, out, options["to"], progress.advance)
    finally:
        progress.finish()


def _print(conversion: Conversion) -> None:
    console = terminal()
    written = conversion.pictures - conversion.unreadable
    console.print(
        f"{written} of {conversion.pictures} pictures of '{printable(conversion.source)}' "
        f"({conversion.source_format}) are in '{printable(conversion.out)}' ({conversion.format}) now."
    )
    rows = [
        *(("cvtl has no place for", *each) for each in conversion.unread.items()),
        *(("mistake, left out", *each) for each in conversion.mistakes.items()),
        *((f"{conversion.format} has no place for", *each) for each in conversion.unheld.items()),
        *(("changed", *each) for each in conversion.changed.items()),
    ]
    if rows:
        grid = table("", "what", "how often")
        for row in rows:
            grid.add_row(*map(printable, map(str, row)))
        console.print(grid)
    else:
        console.print("Nothing was lost.")
    _print_notes(console, conversion.notes)
    if conversion.fault:
        console.print(f"It cannot be used as it is: {printable(conversion.fault)}")
    else:
        _print_uses(console, conversion)


def _print_notes(console: Console, notes: tuple[str, ...]) -> None:
    for note in notes[:_MOST_NOTES]:
        console.print(f"- {printable(note)}")
    if len(notes) > _MOST_NOTES:
        console.print(f"- and {len(notes) - _MOST_NOTES} more, which --json lists")


def _print_uses(console: Console, conversion: Conversion) -> None:
    tasks = formats().get(conversion.format).tasks
    able: Iterable[str] = (spec.name for spec in plugins().usable() if spec.task in tasks)
    uses = ["data info", "data check", *(f"train {name}" for name in able)]
    console.print("Go on with " + ", ".join(f"`cvtl {use} {printable(conversion.out)}`" for use in uses))
