"""`cvtl backbones`: the networks that plugins can be built on."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from cvtl.cli.backbone_filters import RUNS_FOLDER, FilterSettings, show_filters
from cvtl.cli.backbone_layers import show_layers
from cvtl.cli.parser import VerbParser, values_of
from cvtl.errors import ExitCode, UsageError
from cvtl.options import make_options
from cvtl.terminal import print_json, table, terminal

_BELONGS = {"layers": {"input"}, "filters": set(FilterSettings.model_fields)}


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = _parser()
    options = parser.parse(arguments)
    name = options["name"] or "*"
    _check_together(name, options, parser.said)
    if set("*?[") & set(name):
        _list(name, as_json=options["json"])
    elif options["layers"]:
        _show_layers(name, options)
    elif options["filters"]:
        _show_filters(name, options)
    else:
        _show(name, as_json=options["json"])
    return ExitCode.OK


def _parser() -> VerbParser:
    parser = VerbParser(
        "backbones",
        "List the networks that plugins can be built on, or show what one of them consists of and looks for.",
        [
            ("cvtl backbones", "all of them, by family"),
            ("cvtl backbones 'resnet*'", "those with such names"),
            ("cvtl backbones squeezenet1_1", "its stages: channels and stride"),
            ("cvtl backbones vgg16 --layers", "every layer: shapes, receptive fields, parameters, multiplications"),
            ("cvtl backbones vgg16 --layers --input 480,640", "the same for larger pictures, height first"),
            ("cvtl backbones vgg16 --filters --weights imagenet", "pictures of what it looks for"),
            ("cvtl backbones vgg16 --filters --weights w.pth --stage conv3 --channels 0,5,9", "choose where"),
            ("cvtl backbones vgg16 --filters --weights imagenet --pictures photos/", "and where your pictures have it"),
            ("cvtl backbones --json", "for programs"),
        ],
        operands="[NAME]",
    )
    parser.add_operand("name", help="a name, or a pattern with * and ?")
    parser.add_flag("layers", help="show every layer, and what it costs")
    parser.add_flag("filters", help=f"make pictures of what its filters look for, in {RUNS_FOLDER}/backbones or --out")
    parser.add_option(
        "weights", str | None, help="'imagenet', or a .pth or .safetensors file of the network; random if unset"
    )
    parser.add_flag("json", help="print JSON")
    parser.add_option(
        "input",
        list[int] | None,
        metavar="H,W",
        help="with --layers: height and width of the pictures, or one number for both; the network's own if unset",
    )
    parser.add_fields(FilterSettings, "with --filters")
    return parser


def _check_together(name: str, options: dict[str, Any], said: frozenset[str]) -> None:
    """Refuse options that would have no effect."""
    chosen = [flag for flag in _BELONGS if options[flag]]
    if len(chosen) > 1:
        raise UsageError("--layers and --filters show different things", hint="Give one of them")
    for flag, others in _BELONGS.items():
        lost = sorted(others & said)
        if lost and flag not in chosen:
            raise UsageError(f"--{lost[0]} belongs to --{flag}", hint=f"Add --{flag}, or leave it out")
    if (chosen or options["weights"]) and set("*?[") & set(name):
        flag = chosen[0] if chosen else "weights"
        raise UsageError(f"--{flag} needs the name of one network", hint="`cvtl backbones` lists them")
    if options["weights"] and not chosen:
        raise UsageError("--weights belongs to --filters", hint="Add --filters, or leave it out")


def _show_layers(name: str, options: dict[str, Any]) -> None:
    from cvtl import backbones

    backbone = backbones.load(name, options["weights"])
    sides = options["input"] or list(backbone.input.size_hw)
    if len(sides) > 2 or min(sides) < 1:
        raise UsageError("--input must be one size in pixels, or height and width", hint="For example: --input 480,640")
    show_layers(backbone, (sides[0], sides[-1]), as_json=options["json"])


def _show_filters(name: str, options: dict[str, Any]) -> None:
    from cvtl import backbones

    settings = make_options(FilterSettings, values_of(FilterSettings, options))
    backbone = backbones.load(name, options["weights"], cut=settings.stage)
    show_filters(backbone, settings, random=options["weights"] is None, as_json=options["json"])


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
