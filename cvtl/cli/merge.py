"""`cvtl merge`: the shards of a run as one."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from cvtl.cli.parser import VerbParser
from cvtl.errors import ExitCode, UsageError
from cvtl.merging import MergeReport, count_rows, merge
from cvtl.run_folder import ROWS_NAME
from cvtl.terminal import print_json, printable, terminal


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = VerbParser(
        "merge",
        "Join the shards of a run: exactly the rows that it would have written as a whole.",
        [
            ("cvtl run detect photos/ --weights w.safetensors --shard 1/2 --out s1", "on one machine"),
            ("cvtl run detect photos/ --weights w.safetensors --shard 2/2 --out s2", "on another one"),
            ("cvtl merge s1 s2 --out whole", "once both are done"),
            ("cvtl merge shards/* --out whole --json", "in any order; a summary for programs"),
        ],
        operands="FOLDERS ...",
    )
    parser.add_operand("folders", many=True, help="what every shard was written to with --out, in any order")
    parser.add_option("out", str | None, help="folder to write the whole to", metavar="FOLDER")
    parser.add_flag("quiet", help="print nothing but errors")
    parser.add_flag("json", help="print the summary as JSON, and nothing else")
    options = parser.parse(arguments)
    if not options["folders"]:
        raise UsageError("no folders were named behind `cvtl merge`", hint="Name those of all shards of a run")
    if options["out"] is None:
        raise UsageError("`cvtl merge` needs --out", hint="Name a folder for the whole run")
    report = _merge(options)
    if options["json"]:
        print_json({"out": str(report.out), "shards": report.shards, "inputs": report.inputs, "counts": report.counts})
    elif not options["quiet"]:
        _print(report)
    return ExitCode.SOME_BAD_INPUTS if report.bad else ExitCode.OK


def _merge(options: dict[str, Any]) -> MergeReport:
    from cvtl.terminal_progress import choose_progress

    quiet = options["quiet"] or options["json"]
    progress = choose_progress(None if quiet else count_rows(options["folders"]), quiet=quiet, noun="rows")
    command = shlex.join(["cvtl", *sys.argv[1:]])
    return merge(options["folders"], options["out"], progress=progress, command=command)


def _print(report: MergeReport) -> None:
    console = terminal()
    counts = ", ".join(f"{count} {status}" for status, count in sorted(report.counts.items()))
    console.print(f"{report.shards} shard{'s' * (report.shards != 1)}, {report.inputs} inputs: {counts}")
    console.print(printable(f"rows: {report.out / ROWS_NAME}"), soft_wrap=True)
