"""`cvtl info WEIGHTS`: what a weights file holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cvtl.cli.config import flat
from cvtl.cli.foreign import add_reading_options, reading_of
from cvtl.cli.parser import VerbParser
from cvtl.errors import ExitCode, UsageError
from cvtl.terminal import print_json, printable, terminal
from cvtl.weights import digest, read_header

if TYPE_CHECKING:
    from cvtl.model import Model

_MOST_LISTED = 100


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = VerbParser(
        "info",
        "Show what a weights file holds: plugin, task, classes, options, preprocessing, metrics, origin, SHA-256.",
        [
            ("cvtl info w.safetensors", "a table"),
            ("cvtl info w.safetensors --json", "the same for programs"),
            ("cvtl info w.safetensors --verify photo.jpg", "measure on a picture what the plugin promises"),
        ],
        operands="WEIGHTS",
    )
    parser.add_operand("weights", help="weights file")
    parser.add_flag("json", help="print JSON")
    parser.add_option("verify", str | None, help="have the plugin check its own promises on this picture")
    add_reading_options(parser, arguments)
    options = parser.parse(arguments)
    if options["weights"] is None:
        raise UsageError("no weights file was named", hint="For example: cvtl info w.safetensors")
    weights = Path(options["weights"])
    reading = reading_of([weights], options)
    facts = _facts(weights, reading)
    if options["verify"] is not None:
        facts["verified"] = _verify(weights, Path(options["verify"]), reading)
    if options["json"]:
        print_json(facts)
    else:
        terminal().print(_table(facts))
    return ExitCode.OK


def _facts(path: Path, reading: Mapping[str, Any]) -> dict[str, Any]:
    header = read_header(path, reading).model_dump(mode="json")
    return {"sha256": digest(path), "bytes": path.stat().st_size, **header}


def _verify(weights: Path, picture: Path, reading: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    from cvtl.images import read_image
    from cvtl.weights import load

    model: Model = load(weights, reading=reading)
    image = torch.from_numpy(read_image(picture)).permute(2, 0, 1)
    with torch.inference_mode():
        found = model.verify(image)
    if not found:
        raise UsageError(f"the plugin '{model.plugin}' has nothing to verify on a picture", hint="Leave --verify out")
    return dict(found)


def _table(facts: Mapping[str, Any]) -> Table:
    grid = Table.grid("name", "value", padding=(0, 2))
    grid.columns[1].overflow = "fold"
    for name, value in facts.items():
        inside = list(flat(value)) if isinstance(value, dict) and value else [("", value)]
        for key, each in inside:
            grid.add_row(name, printable(f"{key}: " * bool(key) + _text(each)))
            name = ""
    return grid


def _text(value: Any) -> str:
    if isinstance(value, list):
        more = f" and {len(value) - _MOST_LISTED} more: --json lists them" if len(value) > _MOST_LISTED else ""
        return ", ".join(map(str, value[:_MOST_LISTED])) + more
    return "-" if value in (None, "", {}) else str(value)
