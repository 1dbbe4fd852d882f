"""`cvtl data split PATH`: a division into train, val and test that does not leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvtl.cli.parser import VerbParser
from cvtl.data import BoxesTarget, ClassTarget, Dataset, Split, load_data
from cvtl.errors import ExitCode, OutputError, UsageError
from cvtl.split_file import split_file_of, write_split_file
from cvtl.splits import SPLITS, Groups, divide, find_groups, too_few
from cvtl.terminal import print_json, printable, table, terminal
from cvtl.terminal_progress import choose_progress


def main(arguments: list[str]) -> int:
    """Run the action; `arguments` are the words behind it."""
    options = _parser().parse(arguments)
    if options["path"] is None:
        raise UsageError("no data set was named", hint="For example: cvtl data split photos/ --val 0.2")
    fractions: dict[Split, float] = {split: options[split] for split in SPLITS[1:]}
    if not any(fractions.values()):
        raise UsageError("there is nothing to set aside", hint="Give a part: --val 0.2, --test 0.1 or both")
    path = Path(options["path"])
    out = Path(options["out"] or split_file_of(path))
    if out.exists() and not options["replace"]:
        raise OutputError(f"there is a split file already: '{out}'", hint="Divide anew with --replace, or keep it")
    dataset = load_data(path, format=options["format"], splits=False)
    groups = _find_groups(dataset, options)
    parts = divide(dataset, fractions, options["seed"], groups.of)
    for split, fraction in fractions.items():
        if fraction and not len(parts[split]):
            raise too_few(dataset, groups, split)
    write_split_file(out, parts)
    if options["json"]:
        print_json(_as_json(dataset, parts, groups, out, options["seed"]))
    elif not options["quiet"]:
        _print(dataset, parts, groups, out, is_found=out == split_file_of(path))
    return ExitCode.OK


def _parser() -> VerbParser:
    parser = VerbParser(
        "data split",
        "Divide a data set into train, val and test: at random but always in the same way,\n"
        "each class by its share, what belongs together in one part.\n"
        "Writes a file that every cvtl command then goes by, and changes nothing else.",
        [
            ("cvtl data split photos/ --val 0.2 --test 0.1", "writes photos/cvtl-splits.csv"),
            ("cvtl data split faces/ --group-by '([^/]+)_\\d+'", "ann_lee_01.jpg and ann_lee_02.jpg in one part"),
            ("cvtl data split photos/ --seed 1 --replace", "another division"),
            ("cvtl data convert photos/ divided/ --to folders", "then moves copies into train, val and test"),
        ],
        operands="PATH",
    )
    parser.add_operand("path", help="the data set: a folder or a file")
    parser.add_option("val", float, default=0.2, help="part for validation, by which the best epoch is chosen")
    parser.add_option("test", float, default=0.0, help="part for the last test")
    parser.add_option("seed", int, default=0, help="another seed, another division")
    parser.add_option(
        "group_by",
        str | None,
        metavar="REGEX",
        help="what of a picture's name says which person, video or place it belongs to: what the first parentheses "
        "match, or else all that matches",
    )
    parser.add_option(
        "near_duplicates",
        bool,
        default=True,
        help="keep pictures together that are nearly the same; false saves a look at all of them",
    )
    parser.add_option("format", str | None, help="the data set's format, if it should not be guessed")
    parser.add_option("out", str | None, metavar="FILE", help="where to write it, if not to the data set")
    parser.add_flag("replace", help="overwrite an earlier division")
    parser.add_flag("json", help="print the account as JSON, and nothing else")
    parser.add_flag("quiet", help="print nothing but errors")
    return parser


def _find_groups(dataset: Dataset, options: Mapping[str, Any]) -> Groups:
    quiet = options["quiet"] or options["json"] or not options["near_duplicates"]
    progress = choose_progress(len(dataset), quiet=quiet)
    progress.start(0)
    try:
        return find_groups(
            dataset,
            group_by=options["group_by"],
            near_duplicates=options["near_duplicates"],
            advance=progress.advance,
        )
    finally:
        progress.finish()


def _as_json(dataset: Dataset, parts: Mapping[Split, Dataset], groups: Groups, out: Path, seed: int) -> dict[str, Any]:
    return {
        "data": dataset.root,
        "format": dataset.format,
        "file": str(out),
        "seed": seed,
        "pictures": {split: len(part) for split, part in parts.items()},
        "objects": {split: _named(_objects(part), dataset) for split, part in parts.items()},
        "groups": groups.named,
        "near_duplicates": groups.duplicates,
        "unmatched": groups.unmatched,
        "published": _published(dataset),
    }


def _print(dataset: Dataset, parts: Mapping[Split, Dataset], groups: Groups, out: Path, *, is_found: bool) -> None:
    console = terminal()
    filled = {split: part for split, part in parts.items() if len(part)}
    grid = table("", *filled)
    grid.add_row("pictures", *(_with_share(len(part), len(dataset)) for part in filled.values()))
    objects = [_objects(part) for part in filled.values()]
    for label, count in sorted(_objects(dataset).items()):
        grid.add_row(printable(dataset.classes[label]), *(_with_share(each[label], count) for each in objects))
    console.print(grid)
    for sentence in (groups.describe(), _describe_published(dataset), dataset.describe_problems().removesuffix(".")):
        if sentence:
            console.print(printable(f"{sentence[0].upper()}{sentence[1:]}."))
    use = "every cvtl command goes by it" if is_found else f"cvtl train PLUGIN {dataset.root} --splits {out}"
    console.print(printable(f"Written: {out}; {use}."), soft_wrap=True)


def _describe_published(dataset: Dataset) -> str:
    published = ", ".join(f"{count} {split}" for split, count in _published(dataset).items())
    return f"the published division ({published}) is overridden" if published else ""


def _published(dataset: Dataset) -> dict[str, int]:
    counts = Counter(sample.split for sample in dataset)
    return {split: counts[split] for split in SPLITS if counts[split]}


def _objects(dataset: Dataset) -> Counter[int]:
    """Pictures of each class, or boxes."""
    counts: Counter[int] = Counter()
    for target in (sample.target for sample in dataset):
        if isinstance(target, ClassTarget):
            counts[target.label] += 1
        elif isinstance(target, BoxesTarget):
            counts.update(target.labels.tolist())
    return counts


def _named(objects: Counter[int], dataset: Dataset) -> dict[str, int]:
    return {dataset.classes[label]: count for label, count in sorted(objects.items())}


def _with_share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})"
