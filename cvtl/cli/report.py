"""What `cvtl run` says when it is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cvtl.run_folder import HEATMAPS_FOLDER, PICTURES_FOLDER, ROWS_NAME, VIDEOS_FOLDER
from cvtl.terminal import print_json, printable, table, terminal
from cvtl.terminal_progress import rate_text
from cvtl.tracking.totals import counts_text

if TYPE_CHECKING:
    from cvtl.live import FeedReport
    from cvtl.run_loop import RunReport

_MOST_INPUTS_LISTED = 10
_MOST_RESULTS_LISTED = 20
_MOST_BAD_LISTED = 5
_BOX = "box (x1 y1 x2 y2)"
_WRITTEN = {"rows": ROWS_NAME, "pictures": PICTURES_FOLDER, "videos": VIDEOS_FOLDER, "heat maps": HEATMAPS_FOLDER}
_HEADINGS = {
    "names": "name",
    "ids": "#",
    "labels": "label",
    "scores": "score",
    "boxes": _BOX,
    "box": _BOX,
    "points": "point (x y)",
    "peaks": "most evidence at (x y)",
    "count": "points",
    "picture": "painted",
}


def print_report(
    report: RunReport, *, task: str, as_json: bool, profile: bool, point_names: Sequence[str] = ()
) -> None:
    """Print the summary: as JSON on standard output, or as text with the results of a small run.

    Args:
        report: of the run.
        task: what was run.
        as_json: print JSON, and nothing else.
        profile: say where the time went.
        point_names: of the points that results hold, if they hold some.
    """
    if as_json:
        print_json(summary_of(report, task, profile=profile))
        return
    console = terminal()
    if report.inputs <= _MOST_INPUTS_LISTED and report.counts.get("ok"):
        console.print(result_table([row for row in rows_of(report) if row["status"] == "ok"], point_names))
    _print_bad(report, console)
    for name, feed in report.live.items():
        console.print(printable(f"{name}: {_feed(feed)}"), soft_wrap=True)
    if report.followed:
        console.print(printable(_followed(report.followed)), soft_wrap=True)
    if profile:
        _print_profile(report, console)
    console.print(_counts(report))
    for name, path in (
        ("rows", ROWS_NAME),
        ("pictures", PICTURES_FOLDER),
        ("videos", VIDEOS_FOLDER),
        ("heat maps", HEATMAPS_FOLDER),
    ):
        if (report.out / path).exists():
            console.print(printable(f"{name}: {report.out / path}"), soft_wrap=True)


def result_table(rows: list[dict[str, Any]], point_names: Sequence[str] = ()) -> Table:
    """The results of some rows, the best ones of each picture."""
    found = [(row, _lines(row["result"], point_names)) for row in rows]
    columns = list(dict.fromkeys(name for _, lines in found for line in lines for name in line))
    made = table("picture", *(_HEADINGS.get(name, name) for name in columns))
    for row, lines in found:
        picture = f"{printable(row['source'])} ({row['width']} x {row['height']})"
        if not lines:
            made.add_row(picture, "nothing found")
        for line in lines[:_MOST_RESULTS_LISTED]:
            made.add_row(picture, *(_cell(line[name]) for name in columns))
            picture = ""
        if len(lines) > _MOST_RESULTS_LISTED:
            made.add_row("", f"{len(lines) - _MOST_RESULTS_LISTED} more")
    return made


def _lines(result: dict[str, Any], point_names: Sequence[str]) -> list[dict[str, Any]]:
    """A result as lines of a table, whatever the task."""
    if "instances" in result:
        ids = [{"ids": each["id"]} if "id" in each else {} for each in result["instances"]]
        found = [{"box": each["box"], "count": len(each["points"])} for each in result["instances"]]
        return [{**number, **each} for number, each in zip(ids, found, strict=True)]
    result = result.get("explained", result)
    if "points" in result and point_names:
        result = {"names": point_names, **result}
    names = [name for name in ("names", "ids", "labels", "scores", "boxes", "points", "peaks") if name in result]
    if not names:
        return [result]
    return [dict(zip(names, entry, strict=True)) for entry in zip(*(result[name] for name in names), strict=True)]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{each:6.1f}" for each in value)
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value))


def _print_bad(report: RunReport, console: Console) -> None:
    if not report.bad:
        return
    bad = (row for row in rows_of(report) if row["status"] != "ok")
    for row in islice(bad, _MOST_BAD_LISTED):
        console.print(printable(f"{row['status']}: {row['source']}: {row['error']}"), style="yellow", soft_wrap=True)
    if report.bad > _MOST_BAD_LISTED:
        console.print(f"... and {report.bad - _MOST_BAD_LISTED} more bad inputs: see the rows", style="yellow")


def _print_profile(report: RunReport, console: Console) -> None:
    stages = table("stage", "seconds", "of the run", title="where the time went (stages overlap)")
    for stage, seconds in report.profile.table():
        stages.add_row(stage, f"{seconds:.2f}", f"{seconds / max(report.seconds, 1e-9):.0%}")
    stages.add_row("the whole run", f"{report.seconds:.2f}", "100%")
    console.print(stages)
    console.print(f"bound by {report.profile.bound()}", soft_wrap=True)


def _followed(totals: Mapping[str, Any]) -> str:
    """Example: `followed: 12 objects in 2 videos; gate: 3 in, 1 out`."""
    objects, sources = totals["objects"], totals["sources"]
    found = f"followed: {objects} object{'s' * (objects != 1)} in {sources} video{'s' * (sources != 1)}"
    return "; ".join([found, *(counts_text(name, counts) for name, counts in totals["counts"].items())])


def _feed(feed: FeedReport) -> str:
    again = f", opened {feed.connections} times" * (feed.connections > 1)
    away = f"; {feed.state}: {feed.error}" if feed.state != "connected" else ""
    return f"{feed.frames} frames, {feed.taken} looked at, {feed.dropped} dropped (--drop {feed.drop}){again}{away}"


def _counts(report: RunReport) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(report.counts.items()))
    resumed = f" ({report.resumed} of them from before)" if report.resumed else ""
    rate = (report.inputs - report.resumed) / max(report.seconds, 1e-9)
    return f"{report.inputs} input{'s' * (report.inputs != 1)}{resumed}: {counts}; {rate_text(rate)}"


def summary_of(report: RunReport, task: str, *, profile: bool = False) -> dict[str, Any]:
    """The summary for programs."""
    summary: dict[str, Any] = {
        "task": task,
        "out": str(report.out),
        "inputs": report.inputs,
        "counts": dict(sorted(report.counts.items())),
        "resumed": report.resumed,
        "seconds": round(report.seconds, 3),
    }
    if report.live:
        summary["live"] = {name: asdict(feed) for name, feed in report.live.items()}
    if report.followed is not None:
        summary["followed"] = report.followed
    if profile:
        stages = {stage: round(seconds, 3) for stage, seconds in report.profile.table()}
        summary["profile"] = {"seconds": stages, "bound": report.profile.bound()}
    return summary


def rows_of(report: RunReport) -> Iterator[dict[str, Any]]:
    """The rows, one after the other, from the file."""
    with open(report.out / ROWS_NAME, encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)
