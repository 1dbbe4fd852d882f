"""Who crosses a line and who is inside a zone, by supervision's geometry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cvtl.tracking.motion import Shape
from cvtl.tracking.zone_file import Line, Place, Places, Zone

if TYPE_CHECKING:
    import supervision

Counts = dict[str, Any]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Known:
    """An object that has a number.

    Attributes:
        number: from 1.
        box: float (4,), xyxy in pixels, where it is or was last.
        label: its class.
        seen: whether it is in this frame; if not, it may come back.
    """

    number: int
    box: Floats
    label: int
    seen: bool


class Counting:
    """Counts the objects of one source at its lines and zones.

    Args:
        places: lines and zones.
        source: only those that are in it count.
        size_wh: of its frames in pixels.
    """

    def __init__(self, places: Places, source: str, size_wh: tuple[int, int]) -> None:
        scale = np.array(size_wh, float) if places.units == "fractions" else np.ones(2)
        self._counters: dict[str, _LineCounter | _ZoneCounter] = {}
        self.outside: list[str] = []
        """Names of the lines and zones that lie beyond the frame: somebody has mistaken its size."""
        for name, place in places.all().items():
            if place.is_in(source):
                points = np.array(place.points) * scale
                if (points.min(axis=0) > size_wh).any():
                    self.outside.append(name)
                self._counters[name] = (
                    _LineCounter(place, points) if isinstance(place, Line) else _ZoneCounter(place, points)
                )

    def update(self, known: Sequence[Known], names: Sequence[str]) -> tuple[Shape, ...]:
        """Count the next frame's objects.

        Args:
            known: all that are seen or may come back.
            names: of the classes.

        Returns:
            Each line and zone with its counts so far.
        """
        return tuple(counter.update(name, known, names) for name, counter in self._counters.items())


class _LineCounter:
    """By `supervision.LineZone`, with one point of each box.

    What counts is that a point was on one side and is now on the other, both times between the two lines that stand
    upright on the ends. Hidden objects are shown where they were last: supervision would forget their side within two
    frames.
    """

    def __init__(self, line: Line, points: npt.NDArray[np.float64]) -> None:
        import supervision

        self._line = line
        self._points = points
        start, end = (supervision.Point(*map(float, point)) for point in points)
        self._zone = supervision.LineZone(start, end, [_anchor(line)], line.frames)

    def update(self, name: str, known: Sequence[Known], names: Sequence[str]) -> Shape:
        self._zone.trigger(_as_detections(_of_classes(self._line, known, names)))
        counts: Counts = {"in": self._zone.in_count, "out": self._zone.out_count}
        if self._line.per_class:
            into, out = self._zone.in_count_per_class, self._zone.out_count_per_class
            labels = sorted(label for label in into.keys() | out.keys() if label is not None)
            counts["classes"] = {names[label]: {"in": into.get(label, 0), "out": out.get(label, 0)} for label in labels}
        return Shape(name, self._points, closed=False, counts=counts)


class _ZoneCounter:
    """By `supervision.PolygonZone`; it is ours to remember who has been inside."""

    def __init__(self, zone: Zone, points: npt.NDArray[np.float64]) -> None:
        import supervision

        self._zone = zone
        self._points = points
        self._polygon = supervision.PolygonZone(np.rint(points).astype(np.int64), [_anchor(zone)])
        self._been_inside: set[int] = set()
        self._entered: Counter[int] = Counter()

    def update(self, name: str, known: Sequence[Known], names: Sequence[str]) -> Shape:
        seen = [each for each in _of_classes(self._zone, known, names) if each.seen]
        hits = self._polygon.trigger(_as_detections(seen)).tolist()
        inside = [each for each, hit in zip(seen, hits, strict=True) if hit]
        self._entered.update(each.label for each in inside if each.number not in self._been_inside)
        # Numbers do not come again, so those that are gone need not be remembered.
        self._been_inside |= {each.number for each in inside}
        self._been_inside &= {each.number for each in known}
        counts: Counts = {"inside": len(inside), "entered": self._entered.total()}
        if self._zone.per_class:
            now = Counter(each.label for each in inside)
            entered = sorted(self._entered.items())
            counts["classes"] = {names[label]: {"inside": now[label], "entered": count} for label, count in entered}
        return Shape(name, self._points, closed=True, counts=counts)


def _as_detections(known: Sequence[Known]) -> supervision.Detections:
    import supervision

    return supervision.Detections(
        xyxy=np.array([each.box for each in known], float).reshape(-1, 4),
        class_id=np.array([each.label for each in known], int),
        tracker_id=np.array([each.number for each in known], int),
    )


def _anchor(place: Place) -> supervision.Position:
    import supervision

    return supervision.Position[place.anchor.upper()]


def _of_classes(place: Place, known: Sequence[Known], names: Sequence[str]) -> Sequence[Known]:
    """Those that count there."""
    return [each for each in known if names[each.label] in place.classes] if place.classes else known
