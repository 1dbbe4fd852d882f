"""`cvtl cache`: the features of pictures that are kept on disk."""

from __future__ import annotations

from datetime import datetime

from rich.filesize import decimal

from cvtl.cli.parser import VerbParser
from cvtl.errors import ExitCode, UsageError
from cvtl.feature_cache import FOLDER_VARIABLE, LIMIT_VARIABLE, OFF, CacheInfo, FeatureCache
from cvtl.terminal import print_json, printable, table, terminal

_ACTIONS = ("info", "clear")
_HOW = (
    f"{FOLDER_VARIABLE}=FOLDER puts it elsewhere, {FOLDER_VARIABLE}={OFF} does without, {LIMIT_VARIABLE}=NUMBER limits "
    "it; `cvtl cache clear` empties it."
)


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = VerbParser(
        "cache",
        "Show or empty the feature cache: what backbones saw in pictures, kept for whoever needs it again.",
        [
            ("cvtl cache info", "where it is, how large, and what it holds"),
            ("cvtl cache info --json", "the same for programs"),
            ("cvtl cache clear", "empty it; what is needed again is computed again"),
            (f"{FOLDER_VARIABLE}=/fast/disk cvtl train classify photos/", "keep it elsewhere, with any verb"),
            (f"{FOLDER_VARIABLE}={OFF} cvtl train classify photos/", "do without it"),
        ],
        operands="info|clear",
    )
    parser.add_operand("action", help="info: show it; clear: empty it")
    parser.add_flag("json", help="print JSON")
    options = parser.parse(arguments)
    if options["action"] not in _ACTIONS:
        raise UsageError("`cvtl cache` needs to know what to do", hint="Say `cvtl cache info` or `cvtl cache clear`")
    cache = FeatureCache()
    if options["action"] == "clear":
        _clear(cache, as_json=options["json"])
    elif options["json"]:
        print_json(_as_json(cache.info()))
    else:
        _show(cache.info())
    return ExitCode.OK


def _show(info: CacheInfo) -> None:
    console = terminal()
    if info.path is None:
        console.print(f"The feature cache is switched off: {FOLDER_VARIABLE}={OFF}.")
        return
    size = f"{decimal(info.bytes)} of at most {decimal(info.limit_bytes)}"
    console.print(printable(f"{info.path}: {size}"), soft_wrap=True)
    if info.spaces:
        shown = table("backbone", "weights", "stage", "pooling", "input", "vectors", "last used")
        for each in info.spaces:
            space, used = each.space, datetime.fromtimestamp(each.used).isoformat(" ", "minutes")
            row = (space.backbone, space.weights, space.stage, space.pooling, space.input, f"{each.vectors:,}", used)
            shown.add_row(*map(printable, row))
        console.print(shown)
    console.print(_HOW)


def _as_json(info: CacheInfo) -> dict[str, object]:
    return {
        "path": None if info.path is None else str(info.path),
        "bytes": info.bytes,
        "limit_bytes": info.limit_bytes,
        "spaces": [
            {
                "backbone": each.space.backbone,
                "weights": each.space.weights,
                "stage": each.space.stage,
                "pooling": each.space.pooling,
                "input": each.space.input,
                "vectors": each.vectors,
                "used": datetime.fromtimestamp(each.used).astimezone().isoformat(timespec="seconds"),
            }
            for each in info.spaces
        ],
    }


def _clear(cache: FeatureCache, *, as_json: bool) -> None:
    cleared = cache.clear()
    if as_json:
        path = None if cache.path is None else str(cache.path)
        print_json({"path": path, "vectors": cleared.vectors, "freed_bytes": cleared.bytes})
        return
    if cache.path is None:
        _show(cache.info())
        return
    text = f"{cache.path}: dropped {cleared.vectors:,} vectors, which frees {decimal(cleared.bytes)}"
    terminal().print(printable(text), soft_wrap=True)
