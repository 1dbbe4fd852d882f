"""`cvtl data points PATH`: which points change places in a mirror, for people to look at, correct and keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cvtl.cli.parser import VerbParser
from cvtl.data import Dataset, PointsTarget, load_data
from cvtl.errors import ExitCode, OutputError, UsageError
from cvtl.files import write_atomically
from cvtl.reporting.sections import Table
from cvtl.run_folder import next_free_folder
from cvtl.terminal import print_json, printable, terminal
from cvtl_datasets.points_file import FILE_NAME, find_points_file, points_file_of, points_text
from cvtl_datasets.symmetry import dataset_mean_shape, guess_flip_pairs

_PICTURES = Path("cvtl-runs")
_NO_PICTURE = "none"


@dataclass(frozen=True)
class _Points:
    """A data set with flip pairs, if there are any, and where they come from: a file, a kind of guess, nowhere."""

    dataset: Dataset
    source: str | None
    sentence: str


def main(arguments: list[str]) -> int:
    """Run the action; `arguments` are the words behind it."""
    options = _parser().parse(arguments)
    if options["path"] is None:
        raise UsageError("no data set was named", hint="For example: cvtl data points faces/")
    path = Path(options["path"])
    out = _place_of_file(path, options)
    points = _with_pairs(load_data(path, "landmarks", format=options["format"], strict=False), path)
    dataset = points.dataset
    table = _table(dataset)
    is_shown = not (options["quiet"] or options["json"])
    if is_shown:
        _print(points, table)
    picture = _write_picture(dataset, options)
    if out is not None:
        write_atomically(out, _file_text(points))
    if options["json"]:
        print_json(_as_json(points, table, out, picture))
    elif is_shown:
        _print_files(out, picture, points, path)
    return ExitCode.OK


def _parser() -> VerbParser:
    parser = VerbParser(
        "data points",
        "Show the points of a data set, and which change places in a mirror, as left and right eye do.\n"
        f"Where no {FILE_NAME} says it, it is guessed: from names, a convention, or the mean shape.\n"
        "Look at the picture before you keep a guess.",
        [
            ("cvtl data points faces/", "a table, and a picture of the mean shape in a new folder"),
            ("cvtl data points faces/ --write", f"keep it in faces/{FILE_NAME}, to be corrected by hand"),
            ("cvtl data points faces.csv --out my.yaml --picture pairs.png", "elsewhere"),
            ("cvtl data points faces/ --picture none --json", "for programs"),
        ],
        operands="PATH",
    )
    parser.add_operand("path", help="the data set: a folder or a file")
    parser.add_option("format", str | None, help="its format, if it should not be guessed")
    parser.add_flag("write", help=f"write {FILE_NAME} beside the data, where every cvtl command finds it")
    parser.add_option("out", str | None, metavar="FILE.yaml", help="write it there instead")
    parser.add_flag("replace", help="overwrite such a file")
    parser.add_option(
        "picture",
        str | None,
        metavar="FILE.png",
        help=f"where to draw the mean shape; {_NO_PICTURE} for nowhere; {_PICTURES}/data-points/points.png, with a "
        "number behind the folder's name, if unset",
    )
    parser.add_flag("json", help="print JSON, and nothing else")
    parser.add_flag("quiet", help="print nothing but errors")
    return parser


def _place_of_file(path: Path, options: Mapping[str, Any]) -> Path | None:
    """Where to write the points file, if anywhere."""
    if options["write"] and options["out"]:
        raise UsageError("--write and --out name two places", hint="Leave one of them out")
    if not options["write"] and not options["out"]:
        return None
    out = Path(options["out"]) if options["out"] else find_points_file(path) or points_file_of(path)
    if out.exists() and not options["replace"]:
        raise OutputError(f"'{out}' is there already", hint="Overwrite it with --replace, or correct it by hand")
    return out


def _with_pairs(dataset: Dataset, path: Path) -> _Points:
    if dataset.flip_pairs is not None:
        return _Points(dataset, "file", f"they are those of '{find_points_file(path) or path}'")
    guess = guess_flip_pairs(dataset)
    if guess is None:
        return _Points(dataset, None, "neither names nor the mean shape tell them")
    return _Points(replace(dataset, flip_pairs=guess.pairs), guess.source, guess.sentence)


def _table(dataset: Dataset) -> Table:
    partner = {point: other for pair in dataset.flip_pairs or () for point, other in (pair, pair[::-1])}
    names = dataset.classes
    return Table(
        title="Points",
        columns=("", "point", "visible", "partner"),
        rows=tuple(
            (number, name, share, names[partner[number]] if number in partner else None)
            for number, (name, share) in enumerate(zip(names, _visible(dataset).tolist(), strict=True))
        ),
        note="visible: share of the objects that have the point. partner: what it changes places with in a mirror.",
    )


def _visible(dataset: Dataset) -> npt.NDArray[np.float64]:
    """The share of the objects that have each point (K,); NaN without objects."""
    visible = [sample.target.visible for sample in dataset if isinstance(sample.target, PointsTarget)]
    stacked = np.concatenate([np.zeros((0, len(dataset.classes)), bool), *visible])
    return stacked.mean(axis=0) if len(stacked) else np.full(len(dataset.classes), np.nan)


def _write_picture(dataset: Dataset, options: Mapping[str, Any]) -> Path | None:
    if options["picture"] == _NO_PICTURE:
        return None
    path = Path(options["picture"] or next_free_folder(_PICTURES, "data-points") / "points.png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--picture: '{path}' is no name of a PNG file", hint="For example: --picture points.png")
    from cvtl_datasets.points_picture import points_picture

    return write_atomically(path, points_picture(dataset, dataset_mean_shape(dataset)))


def _file_text(points: _Points) -> str:
    return (
        f"# Points of {printable(points.dataset.root)}. Flip pairs: {printable(points.sentence)}.\n"
        "# points: their names, in the data's order.\n"
        "# flip_pairs: change places where a picture is mirrored; [] if none do.\n"
        "# edges: are joined in drawings. eyes: the two whose distance errors are measured by.\n"
    ) + points_text(points.dataset, with_names=True)


def _as_json(points: _Points, table: Table, out: Path | None, picture: Path | None) -> dict[str, Any]:
    from cvtl.reporting.values import to_json

    dataset = points.dataset
    (shown,) = to_json([], [table])["sections"]
    return {
        "data": dataset.root,
        "format": dataset.format,
        "points": [dict(zip(("number", "name", "visible", "partner"), row, strict=True)) for row in shown["rows"]],
        "pairs_from": points.source,
        "flip_pairs": None if dataset.flip_pairs is None else _named(dataset.flip_pairs, dataset),
        "edges": _named(dataset.edges, dataset),
        "eyes": _named([dataset.eyes], dataset)[0] if dataset.eyes else None,
        "file": None if out is None else str(out),
        "picture": None if picture is None else str(picture),
    }


def _named(pairs: Any, dataset: Dataset) -> list[list[str]]:
    return [[dataset.classes[point] for point in pair] for pair in pairs]


def _print(points: _Points, table: Table) -> None:
    from cvtl.reporting.terminal import print_section

    console = terminal()
    print_section(console, table, most_rows=len(table.rows))
    pairs = points.dataset.flip_pairs
    count = "unknown" if pairs is None else "none" if not pairs else str(len(pairs))
    console.print(printable(f"Pairs: {count}; {points.sentence}."), soft_wrap=True)
    if points.dataset.problems:
        console.print(printable(points.dataset.describe_problems()), soft_wrap=True)


def _print_files(out: Path | None, picture: Path | None, points: _Points, path: Path) -> None:
    console = terminal()
    if picture is not None:
        console.print(printable(f"Picture: {picture}"), soft_wrap=True)
    if out is not None:
        console.print(printable(f"Written: {out}; correct it by hand where it is wrong."), soft_wrap=True)
    elif points.source != "file":
        advice = "If the picture is right, keep them" if points.source else "Say so in a file"
        console.print(printable(f"{advice}: cvtl data points {path} --write"), soft_wrap=True)
