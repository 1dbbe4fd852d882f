"""`cvtl plugins`: what is installed, and in what state."""

from __future__ import annotations

from cvtl.cli.parser import VerbParser
from cvtl.errors import ExitCode
from cvtl.registry import Listing, PluginSpec, plugins
from cvtl.terminal import print_json, printable, table, terminal

_STYLES = {"ok": "green", "broken": "red", "disabled": "dim"}


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = VerbParser(
        "plugins",
        "List the plugins: name, task, version, distribution and state.",
        [
            ("cvtl plugins", "a table"),
            ("cvtl plugins --json", "the same for programs"),
            ("CVTL_DISABLE_PLUGINS=a,b cvtl plugins", "without some of them, as with any verb"),
        ],
    )
    parser.add_flag("json", help="print JSON")
    options = parser.parse(arguments)
    rows = [_row(listing) for listing in plugins().listings()]
    if options["json"]:
        print_json(rows)
        return ExitCode.OK
    shown = table("name", "task", "version", "distribution", "state", "about")
    for row in rows:
        shown.add_row(*map(printable, row.values()), style=_STYLES[row["state"]])
    terminal().print(shown)
    return ExitCode.OK


def _row(listing: Listing[PluginSpec]) -> dict[str, str]:
    spec = listing.spec
    return {
        "name": listing.name,
        "task": spec.task if spec else "",
        "version": listing.version,
        "distribution": listing.distribution,
        "state": listing.state,
        "about": spec.summary if spec else listing.reason,
    }
