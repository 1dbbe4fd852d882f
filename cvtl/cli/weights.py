"""`cvtl weights convert SOURCE TARGET`: weights that another tool made, as one of cvtl's own files."""

from __future__ import annotations

from pathlib import Path

from cvtl.cli.foreign import add_reading_options, reading_of
from cvtl.cli.parser import VerbParser
from cvtl.errors import ExitCode, UsageError
from cvtl.terminal import print_json, printable, terminal

_CONVERT = "convert"
_EXAMPLE = "cvtl weights convert yolo11n.pt yolo11n.safetensors"


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = VerbParser(
        "weights",
        "Write weights that another tool made as one of cvtl's own files: one that cannot run code, loads faster, and "
        "needs to be understood only once.",
        [
            (_EXAMPLE, "once; from then on yolo11n.safetensors stands for it"),
            ("cvtl info yolo11n.safetensors", "what is in it"),
        ],
        operands="convert SOURCE TARGET",
    )
    parser.add_operand("words", many=True, help="convert; the file of another tool; the .safetensors file to write")
    parser.add_flag("json", help="print what was written as JSON, and nothing else")
    add_reading_options(parser, arguments)
    options = parser.parse(arguments)
    words = options["words"]
    if words[:1] != [_CONVERT] or len(words) != 3:
        raise UsageError("`cvtl weights` needs to know what to do", hint=f"For example: {_EXAMPLE}")
    source, target = map(Path, words[1:])
    _convert(source, target, reading_of([source], options), as_json=options["json"])
    return ExitCode.OK


def _convert(source: Path, target: Path, reading: dict[str, object], *, as_json: bool) -> None:
    from cvtl.weights import convert, digest, read_header

    written = convert(source, target, reading)
    header = read_header(written)
    if as_json:
        print_json({"weights": str(written), "sha256": digest(written), "plugin": header.plugin, "task": header.task})
        return
    name = printable(str(written))
    console = terminal()
    console.print(f"'{printable(str(source))}' is in '{name}' now.", soft_wrap=True)
    if header.licence:
        console.print(f"licence: {printable(header.licence)}", soft_wrap=True)
    console.print(f"use them: cvtl run {header.task} --weights {name} PICTURES", soft_wrap=True)
