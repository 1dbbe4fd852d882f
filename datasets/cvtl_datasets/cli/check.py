"""`cvtl data check PATH`: everything that is wrong with a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cvtl.cli.parser import VerbParser
from cvtl.data import Dataset, load_data
from cvtl.errors import ExitCode, UsageError
from cvtl.splits import compile_pattern
from cvtl.terminal import print_json, printable, terminal
from cvtl.terminal_progress import choose_progress
from cvtl_datasets.checks import KINDS, SEVERITIES, Finding, check


def main(arguments: list[str]) -> int:
    """Run the action; `arguments` are the words behind it."""
    options = _parser().parse(arguments)
    if options["path"] is None:
        raise UsageError("no data set was named", hint="For example: cvtl data check photos/")
    pattern = None if options["group_by"] is None else compile_pattern(options["group_by"])
    dataset = load_data(options["path"], format=options["format"], strict=False)
    ignored = _ignored(options["ignore"], dataset)
    progress = choose_progress(len(dataset), quiet=options["quiet"] or options["json"])
    progress.start(0)
    try:
        findings = check(dataset, group_by=pattern, advance=progress.advance)
    finally:
        progress.finish()
    findings = [each for each in findings if each.kind not in ignored]
    if options["json"]:
        print_json(_as_json(dataset, findings))
    elif not options["quiet"]:
        _print(dataset, findings, options["max_listed"])
    # Last: where it cannot be written, at least the findings have been said.
    if options["html"] is not None:
        _write_page(Path(options["html"]), dataset, findings)
    return ExitCode.SOME_BAD_INPUTS if any(each.severity != "note" for each in findings) else ExitCode.OK


def _parser() -> VerbParser:
    parser = VerbParser(
        "data check",
        "Find everything that is wrong with a data set: broken pictures, wrong boxes and points, duplicates, leaks.\n"
        "Exit code 3 if there are errors or warnings; notes are good to know, and leave it 0.",
        [
            ("cvtl data check photos/", "what is wrong, and the first cases of each kind"),
            ("cvtl data check photos/ --html check.html", "a page that shows the pictures, for any browser"),
            ("cvtl data check faces/ --group-by '([^/]+)_\\d+'", "ann_1.jpg and ann_2.jpg must be in the same split"),
            ("cvtl data check photos/ --ignore near-duplicates", "what is known and meant need not be told"),
            ("cvtl data check photos/ --json | jq '.findings[].samples[]'", "all findings, for programs"),
        ],
        operands="PATH",
    )
    parser.add_operand("path", help="the data set: a folder or a file")
    parser.add_option("format", str | None, help="its format, if it should not be guessed")
    parser.add_option(
        "group_by",
        str | None,
        metavar="REGEX",
        help="what of a picture's name says which person, clip or place it belongs to",
    )
    parser.add_option("html", str | None, metavar="FILE", help="write a page with the findings and their pictures")
    parser.add_option("ignore", list[str], default=[], metavar="KIND,...", help="kinds not to report")
    parser.add_option(
        "max_listed", Annotated[int, Field(ge=0)], default=5, metavar="N", help="how many to print of each kind"
    )
    parser.add_flag("json", help="print all findings as JSON, and nothing else")
    parser.add_flag("quiet", help="print nothing but errors: the exit code tells")
    parser.add_listing("kinds", {severity: ", ".join(_kinds(severity)) for severity in SEVERITIES})
    return parser


def _kinds(severity: str) -> list[str]:
    return [_slug(name) for name, kind in KINDS.items() if kind.severity == severity]


def _ignored(names: Sequence[str], dataset: Dataset) -> set[str]:
    known = {_slug(kind): kind for kind in [*KINDS, *(problem.kind for problem in dataset.problems)]}
    for name in names:
        if _slug(name) not in known:
            raise UsageError(f"--ignore: there is no kind '{name}'", hint=f"The kinds are {', '.join(sorted(known))}")
    return {known[_slug(name)] for name in names}


def _slug(kind: str) -> str:
    return kind.replace(" ", "-").lower()


def _as_json(dataset: Dataset, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        **_facts(dataset),
        "counts": Counter(each.kind for each in findings),
        "findings": [{**asdict(each), "advice": each.advice} for each in findings],
    }


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"data": dataset.root, "format": dataset.format, "pictures": len(dataset)}


def _write_page(path: Path, dataset: Dataset, findings: Sequence[Finding]) -> None:
    from cvtl.reporting.page import write_page
    from cvtl_datasets.checks.page import sections

    facts = {name: str(value) for name, value in _facts(dataset).items()}
    write_page(
        path, f"Check of {dataset.root}", [], sections(dataset, findings), [_verdict(dataset, findings)], facts=facts
    )


def _print(dataset: Dataset, findings: Sequence[Finding], most: int) -> None:
    from cvtl.reporting.terminal import print_section
    from cvtl_datasets.checks.page import by_kind, summary

    console = terminal()
    for kind, same in by_kind(findings).items():
        console.print(f"{same[0].severity}: {kind}", style="bold")
        for each in same[:most]:
            console.print(printable(f"  {each.where}: {each.what}"), soft_wrap=True)
        if len(same) > most:
            console.print(f"  and {len(same) - most} more")
    if findings:
        print_section(console, summary(findings))
    console.print(printable(_verdict(dataset, findings)))


def _verdict(dataset: Dataset, findings: Sequence[Finding]) -> str:
    counts = Counter(each.severity for each in findings)
    listed = ", ".join(f"{counts[each]} {each}{'s' * (counts[each] != 1)}" for each in SEVERITIES if counts[each])
    pictures = f"{len(dataset)} picture{'s' * (len(dataset) != 1)}"
    return f"{pictures} in '{dataset.root}' ({dataset.format}): {listed or 'nothing found'}"
