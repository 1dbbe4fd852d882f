"""`cvtl diagnose RUN`: what a training suffers from, and what to try next."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl.cli.parser import VerbParser
from cvtl.errors import CvtlError, ExitCode, UsageError
from cvtl.terminal import print_json, printable, table, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from cvtl.training.diagnosis import Diagnosis
    from cvtl.training.diagnosis.curves import Curves, Floats

_PLOT_COLUMNS = 40
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-~=+*#"


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = VerbParser(
        "diagnose",
        "Tell from the curves of a training what it suffers from, and what to try next.",
        [
            ("cvtl diagnose cvtl-runs/train-classify", "the verdict, the figures behind it, and what to change"),
            ("cvtl diagnose cvtl-runs/train-*", "several trainings in a table"),
            ("cvtl diagnose cvtl-runs/train-classify --json", "for programs: a list, an entry for each training"),
        ],
        operands="RUN...",
    )
    parser.add_operand("runs", help="folders that `cvtl train` wrote; a training may still be going on", many=True)
    parser.add_flag("json", help="print JSON")
    options = parser.parse(arguments)
    folders = [Path(each) for each in options["runs"]]
    if not folders:
        raise UsageError("no run folder was named", hint="For example: cvtl diagnose cvtl-runs/train-classify")
    if len(folders) == 1 and not options["json"]:
        _show(folders[0])
        return ExitCode.OK
    found = {folder: _diagnosis(folder) for folder in folders}
    if options["json"]:
        print_json([_as_json(folder, each) for folder, each in found.items()])
    else:
        _compare(found)
    errors = [each for each in found.values() if isinstance(each, CvtlError)]
    if len(errors) == len(found):
        return errors[0].exit_code
    return ExitCode.SOME_BAD_INPUTS if errors else ExitCode.OK


def _diagnosis(folder: Path) -> Diagnosis | CvtlError:
    from cvtl.training.diagnosis import diagnose

    try:
        return diagnose(folder)
    except CvtlError as error:
        return error


def _as_json(folder: Path, found: Diagnosis | CvtlError) -> dict[str, Any]:
    if isinstance(found, CvtlError):
        return {"run": str(folder), "error": str(found)}
    return {"run": str(folder), **_without_nan(found.to_dict())}


def _without_nan(value: Any) -> Any:
    """What JSON has no number for is null."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(folder: Path) -> None:
    from cvtl.training.diagnosis import diagnose_curves
    from cvtl.training.diagnosis.curves import read_curves
    from cvtl.training.folder import CURVES_NAME

    curves = read_curves(folder)
    found = diagnose_curves(curves)
    console = terminal()
    console.print(printable(f"{folder}: {found.verdict.headline}"), style="bold")
    console.print(_progress(found))
    console.print()
    _plot(curves, console)
    for finding, changes in zip(found.findings, found.advice, strict=True):
        console.print()
        if len(found.findings) > 1:
            console.print(finding.verdict.headline, style="bold")
        console.print(f"{finding.text}.")
        if changes:
            console.print("Next, each by itself, with the same command:")
            shown = table()
            shown.show_header, shown.box = False, None
            shown.add_column(min_width=max(len(change.words) for change in changes))
            for change in changes:
                shown.add_row(f"  {change.words}", change.why)
            console.print(shown)
    figures = table("figure", "value")
    for name, value in found.figures.items():
        figures.add_row(name, f"{value:.4g}")
    console.print()
    console.print(figures)
    if (folder / CURVES_NAME).exists():
        console.print(printable(f"curves: {folder / CURVES_NAME}"), soft_wrap=True)


def _progress(found: Diagnosis) -> str:
    over = "" if found.finished else ", not finished"
    best = f"epoch {found.best_epoch} is the best by {found.monitor} ({found.best:.4g})"
    return f"{found.epochs} of {found.planned} epochs{over}; {best}"


def _plot(curves: Curves, console: Console) -> None:
    """A line of blocks for each figure, from its least to its greatest value."""
    blocks = _BLOCKS if "utf" in console.encoding else _ASCII_BLOCKS
    shown = {name: values for name, values in curves.figures.items() if name != "learning_rate"}
    width = max(map(len, shown))
    for name, values in shown.items():
        ends = f"{values[0]:.4g} to {values[-1]:.4g}"
        console.print(f"{printable(name):{width}}  {sparkline(values, blocks)}  {ends}", soft_wrap=True)


def sparkline(values: Floats, blocks: str = _BLOCKS) -> str:
    """Values as blocks of their height, neighbours averaged where they are too many; a space where there is none.

    Example:
        >>> import numpy as np
        >>> sparkline(np.array([1.0, 0.5, np.nan, 0.0]))
        '█▅ ▁'
    """
    import numpy as np

    parts = np.array_split(values, min(len(values), _PLOT_COLUMNS))
    means = [float(part[np.isfinite(part)].mean()) if np.isfinite(part).any() else math.nan for part in parts]
    known = [mean for mean in means if math.isfinite(mean)]
    least, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    steps = len(blocks) - 1
    return "".join(
        " " if math.isnan(mean) else blocks[int((mean - least) / span * steps + 0.5) if span else 0] for mean in means
    )


def _compare(found: dict[Path, Diagnosis | CvtlError]) -> None:
    from cvtl.training.diagnosis import Diagnosis

    console = terminal()
    shown = table("run", "verdict", "epochs", "best", "next")
    for folder, each in found.items():
        if isinstance(each, Diagnosis):
            epochs = f"{each.epochs} of {each.planned}"
            best = f"{each.monitor} {each.best:.4g} in epoch {each.best_epoch}"
            first = each.advice[0][0].words if each.advice[0] else ""
            shown.add_row(printable(str(folder)), each.verdict.replace("_", " "), epochs, best, first)
    if shown.rows:
        console.print(shown)
    for each in found.values():
        if isinstance(each, CvtlError):
            console.print(printable(str(each)), style="yellow", soft_wrap=True)
