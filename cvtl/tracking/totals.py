"""What a followed run found in all, from its rows. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Counts = dict[str, Any]


@dataclass
class Totals:
    """Sums over the videos and cameras that were followed; a few numbers are kept of each.

    Example:
        >>> totals = Totals()
        >>> totals.add("a.mp4", 0, {"ids": [1, None], "counts": {"gate": {"in": 0, "out": 0}}})
        >>> totals.add("a.mp4", 1, {"ids": [2, 1], "counts": {"gate": {"in": 1, "out": 0}}})
        >>> totals.add("b.mp4", 0, {"ids": [1], "counts": {"gate": {"in": 2, "out": 0}}})
        >>> totals.to_dict()
        {'sources': 2, 'objects': 3, 'counts': {'gate': {'in': 3, 'out': 0}}}
    """

    _ended: _Count = field(default_factory=lambda: _Count())
    _running: dict[str, _Count] = field(default_factory=dict)

    def add(self, source: str, frame: int | None, result: Mapping[str, Any] | None) -> None:
        """Add a row: its source, its frame and the row form of its result. Pictures do not count."""
        if frame is None:
            return
        count = self._running.get(source)
        if count is None or frame <= count.frame:
            # A video that is named twice begins anew.
            self._ended.add(count or _Count())
            count = self._running[source] = _Count(sources=1)
        count.frame = frame
        if result is not None:
            count.objects = max([count.objects, *_ids(result)])
            count.counts = result.get("counts", count.counts)

    def to_dict(self) -> dict[str, Any]:
        """For run.json and summaries. Who is inside at some moment has no sum."""
        total = _Count()
        for count in (self._ended, *self._running.values()):
            total.add(count)
        return {"sources": total.sources, "objects": total.objects, "counts": total.counts}


@dataclass
class _Count:
    frame: int = -1
    sources: int = 0
    objects: int = 0
    counts: dict[str, Counts] = field(default_factory=dict)

    def add(self, other: _Count) -> None:
        self.sources += other.sources
        self.objects += other.objects
        self.counts = _summed([self.counts, other.counts])


def totals_of(rows_path: Path) -> Totals:
    """Read what a followed run found from its rows."""
    totals = Totals()
    with open(rows_path, encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            totals.add(row["source"], row["frame"], row["result"])
    return totals


def counts_text(name: str, counts: Mapping[str, Any]) -> str:
    """Counts of a line or a zone in words.

    Example:
        >>> counts_text("gate", {"in": 3, "out": 1, "classes": {"car": {"in": 3, "out": 1}}})
        'gate: 3 in, 1 out'
    """
    return f"{name}: " + ", ".join(f"{count} {key}" for key, count in counts.items() if key != "classes")


def _ids(result: Mapping[str, Any]) -> Iterator[int]:
    listed = result.get("ids", ())
    instances = result.get("instances", ())
    yield from (number for number in (*listed, *(each.get("id") for each in instances)) if number is not None)


def _summed(all_counts: Collection[Mapping[str, Counts]]) -> dict[str, Counts]:
    total: dict[str, Counts] = {}
    for counts in all_counts:
        for name, of_place in counts.items():
            total[name] = _added(total.get(name, {}), of_place)
    return total


def _added(one: Counts, other: Counts) -> Counts:
    added: Counts = {}
    for key in [*one, *(key for key in other if key not in one)]:
        values = [each[key] for each in (one, other) if key in each]
        if key == "classes":
            added[key] = _summed(values)
        elif key != "inside":
            added[key] = sum(values)
    return added
