"""`cvtl backbones`: the networks that plugins can be built on."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import groupby

from cvtl.cli.parser import VerbParser
from cvtl.errors import ExitCode, UsageError
from cvtl.terminal import print_json, table, terminal


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = VerbParser(
        "backbones",
        "List the networks that plugins can be built on, or the stages of one.",
        [
            ("cvtl backbones", "all of them, by family"),
            ("cvtl backbones 'resnet*'", "those with such names"),
            ("cvtl backbones squeezenet1_1", "its stages: channels and stride"),
            ("cvtl backbones --json", "for programs"),
        ],
        operands="[NAME]",
    )
    parser.add_operand("name", help="a name, or a pattern with * and ?")
    parser.add_flag("json", help="print JSON")
    options = parser.parse(arguments)
    if options["name"] and not set("*?[") & set(options["name"]):
        _show(options["name"], as_json=options["json"])
    else:
        _list(options["name"] or "*", as_json=options["json"])
    return ExitCode.OK


def _list(pattern: str, *, as_json: bool) -> None:
    from cvtl.backbones import list_backbones

    known = list_backbones()
    infos = [info for info in known if fnmatchcase(info.name, pattern)]
    if not infos:
        similar = get_close_matches(pattern, [info.name for info in known], n=5)
        hint = f"Similar are: {', '.join(similar)}" if similar else "`cvtl backbones` lists them all"
        raise UsageError(f"there is no backbone '{pattern}'", hint=hint)
    if as_json:
        print_json([{"name": i.name, "family": i.family, "source": i.source, "weights": i.weights} for i in infos])
        return
    shown = table("family", "names (* has no published weights)")
    for family, members in groupby(infos, lambda info: info.family):
        shown.add_row(family, " ".join(info.name + "*" * (not info.weights) for info in members))
    terminal().print(shown)


def _show(name: str, *, as_json: bool) -> None:
    from cvtl import backbones

    backbone = backbones.load(name)
    stages = [{"name": s.name, "channels": s.channels, "stride": s.stride} for s in backbone.stages]
    parameters = sum(p.numel() for p in backbone.parameters())
    height, width = backbone.input.size_hw
    if as_json:
        print_json({"name": name, "parameters": parameters, "size_hw": [height, width], "stages": stages})
        return
    shown = table("stage", "channels", "stride")
    for stage in stages:
        shown.add_row(*(str(value) for value in stage.values()))
    console = terminal()
    console.print(f"{name}: {parameters:,} parameters, pictures of {height} x {width}")
    console.print(shown)
