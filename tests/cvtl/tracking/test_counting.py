"""Lines and zones, against plain loops with geometry of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from cvtl.tracking.counting import Counting, Known
from cvtl.tracking.zone_file import Places

NAMES = ("car", "bus")
SIZE_WH = (200, 200)
XY = tuple[float, float]
# From left to right, so that `in` is upwards.
GATE = {"points": [[50, 100], [150, 100]]}
YARD = {"points": [[50, 50], [150, 60], [140, 150], [60, 140]]}


def at(number: int, point: XY, *, label: int = 0, seen: bool = True) -> Known:
    """An object whose bottom centre is at a point."""
    x, y = point
    return Known(number, np.array([x - 8, y - 20, x + 8, y]), label, seen)


def counted(
    frames: Iterable[Sequence[Known]], *, line: Mapping[str, Any] | None = None, zone: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The counts of the line, or of the zone, behind the last frame."""
    places = {"lines": {"it": line}} if line is not None else {"zones": {"it": zone}}
    counting = Counting(Places.model_validate(places), "clip.mp4", SIZE_WH)
    for known in frames:
        (shape,) = counting.update(known, NAMES)
    return dict(shape.counts)


def way(*points: XY, number: int = 1, label: int = 0) -> list[list[Known]]:
    return [[at(number, point, label=label)] for point in points]


class PlainLine:
    """What is documented of lines, for one object, by dot products."""

    def __init__(self, start: XY, end: XY, frames: int) -> None:
        self.start, self.frames = start, frames
        self.along = (end[0] - start[0], end[1] - start[1])
        self.side: bool | None = None
        self.beyond = 0
        self.into = self.out = 0

    def update(self, point: XY) -> None:
        dx, dy = point[0] - self.start[0], point[1] - self.start[1]
        part = (dx * self.along[0] + dy * self.along[1]) / (self.along[0] ** 2 + self.along[1] ** 2)
        if not 0 <= part <= 1:
            return
        # In pictures y grows downwards: left of who walks along is where this is positive.
        left = dx * self.along[1] - dy * self.along[0] > 0
        if self.side is None:
            self.side = left
        self.beyond = self.beyond + 1 if left != self.side else 0
        if self.beyond == self.frames:
            self.side, self.beyond = left, 0
            self.into += left
            self.out += not left


@pytest.mark.parametrize("frames", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_random_walks_cross_a_slanted_line_as_often_as_a_plain_loop_says(seed: int, frames: int) -> None:
    random = np.random.default_rng(seed)
    start, end = (40.3, 120.7), (170.1, 61.9)
    # The points do not lie on the line, or on the lines upright on its ends, where rounding decides.
    walks = 100 + np.cumsum(random.normal(0, 9, (300, 5, 2)), axis=0) * 0.5
    plain = [PlainLine(start, end, frames) for _ in range(5)]
    for places in walks:
        for loop, point in zip(plain, places.tolist(), strict=True):
            loop.update((point[0], point[1]))
    known = [[at(number + 1, tuple(point)) for number, point in enumerate(places.tolist())] for places in walks]
    expected = {"in": sum(loop.into for loop in plain), "out": sum(loop.out for loop in plain)}
    assert counted(known, line={"points": [start, end], "frames": frames}) == expected
    assert expected["in"] + expected["out"] > 3


def test_in_is_to_the_left_of_who_walks_along_the_line() -> None:
    assert counted(way((100, 130), (100, 70)), line=GATE) == {"in": 1, "out": 0}
    assert counted(way((100, 70), (100, 130)), line=GATE) == {"in": 0, "out": 1}
    assert counted(way((100, 70), (100, 130)), line={"points": GATE["points"][::-1]}) == {"in": 1, "out": 0}


def test_two_that_cross_in_one_frame_both_count() -> None:
    frames = [[at(1, (80, 130)), at(2, (120, 70))], [at(1, (80, 70)), at(2, (120, 130))]]
    assert counted(frames, line=GATE) == {"in": 1, "out": 1}


def test_who_touches_a_line_from_above_is_across_and_from_below_is_not() -> None:
    """A point on the line is on its right side."""
    assert counted(way((100, 90), (100, 100), (100, 90)), line=GATE) == {"in": 1, "out": 1}
    assert counted(way((100, 110), (100, 100), (100, 110)), line=GATE) == {"in": 0, "out": 0}


def test_who_trembles_about_a_line_counts_to_and_fro_unless_it_has_to_stay() -> None:
    trembling = way((100, 110), *[(100, 100 + 3 * (-1) ** n) for n in range(10)], (100, 80), (100, 70), (100, 60))
    assert counted(trembling, line=GATE) == {"in": 5, "out": 4}
    assert counted(trembling, line={**GATE, "frames": 2}) == {"in": 1, "out": 0}


def test_who_goes_round_the_end_of_a_line_does_not_cross_it() -> None:
    assert counted(way((30, 130), (30, 70), (30, 40)), line=GATE) == {"in": 0, "out": 0}


def test_who_is_hidden_while_it_crosses_counts_when_it_is_seen_again() -> None:
    last = at(1, (100, 110), seen=False)
    frames = [[at(1, (100, 110))], [last], [last], [last], [last], [at(1, (100, 80))]]
    assert counted(frames, line=GATE) == {"in": 1, "out": 0}


def test_who_changes_its_number_at_the_line_is_not_counted() -> None:
    frames = [*way((100, 110), number=1), *way((100, 90), number=2)]
    assert counted(frames, line=GATE) == {"in": 0, "out": 0}


def test_who_leaves_the_frame_and_comes_back_with_another_number_is_counted_for_what_it_does_then() -> None:
    frames = [*way((100, 110), (100, 90)), [], *way((100, 90), (100, 110), number=2)]
    assert counted(frames, line=GATE) == {"in": 1, "out": 1}


def test_only_the_named_classes_count_and_each_by_itself_if_asked_for() -> None:
    frames = [
        [at(1, (80, 130)), at(2, (120, 130), label=1), at(3, (100, 70), label=1)],
        [at(1, (80, 70)), at(2, (120, 70), label=1), at(3, (100, 130), label=1)],
    ]
    assert counted(frames, line={**GATE, "classes": ["car"]}) == {"in": 1, "out": 0}
    assert counted(frames, line={**GATE, "per_class": True}) == {
        "in": 2,
        "out": 1,
        "classes": {"car": {"in": 1, "out": 0}, "bus": {"in": 1, "out": 1}},
    }
    assert counted(frames, zone={**YARD, "per_class": True}) == {
        "inside": 3,
        "entered": 3,
        "classes": {"car": {"inside": 1, "entered": 1}, "bus": {"inside": 2, "entered": 2}},
    }


@pytest.mark.parametrize(("anchor", "crosses"), [("bottom_center", 0), ("center", 1), ("top_center", 1)])
def test_the_point_of_the_box_that_counts_can_be_chosen(anchor: str, crosses: int) -> None:
    """The box is 20 pixels high, and its bottom stays below the line."""
    assert counted(way((100, 125), (100, 105)), line={**GATE, "anchor": anchor})["in"] == crosses


def is_inside(point: XY, corners: Sequence[XY]) -> bool:
    """Whether a ray to the right meets the outline an odd number of times."""
    x, y = point
    odd = False
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            odd = not odd
    return odd


def distance_to(point: XY, corners: Sequence[XY]) -> float:
    """To the outline."""
    distances = []
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        dx, dy = x2 - x1, y2 - y1
        part = min(1, max(0, ((point[0] - x1) * dx + (point[1] - y1) * dy) / (dx * dx + dy * dy)))
        distances.append(float(np.hypot(point[0] - x1 - part * dx, point[1] - y1 - part * dy)))
    return min(distances)


@pytest.mark.parametrize("seed", range(4))
def test_random_walks_are_in_a_zone_when_a_plain_loop_says_so(seed: int) -> None:
    """But for those within a pixel and a half of its outline: zones are drawn in whole pixels."""
    random = np.random.default_rng(seed)
    corners = [(x, y) for x, y in YARD["points"]]
    counting = Counting(Places.model_validate({"zones": {"it": YARD}}), "", SIZE_WH)
    walks = np.clip(100 + np.cumsum(random.normal(0, 9, (200, 6, 2)), axis=0), 0, 200)
    entered: set[int] = set()
    doubtful: set[int] = set()
    for places in walks.tolist():
        (shape,) = counting.update([at(n + 1, tuple(point)) for n, point in enumerate(places)], NAMES)
        sure = {n for n, point in enumerate(places) if is_inside(point, corners)}
        near = {n for n, point in enumerate(places) if distance_to(point, corners) < 1.5}
        doubtful |= near - entered
        entered |= sure - near
        assert len(sure - near) <= shape.counts["inside"] <= len(sure | near)
        assert len(entered) <= shape.counts["entered"] <= len(entered | doubtful)
    assert entered


def test_who_trembles_at_the_edge_of_a_zone_has_entered_it_once() -> None:
    frames = way(*[(100, 150 + 20 * (-1) ** n) for n in range(9)])
    assert counted(frames, zone=YARD) == {"inside": 0, "entered": 1}


def test_who_is_hidden_is_not_inside_and_has_entered() -> None:
    assert counted([[at(1, (100, 100))], [at(1, (100, 100), seen=False)]], zone=YARD) == {"inside": 0, "entered": 1}


def test_empty_frames_empty_a_zone() -> None:
    assert counted([[at(1, (100, 100))], []], zone=YARD) == {"inside": 0, "entered": 1}
    assert counted([[]], line=GATE) == {"in": 0, "out": 0}


def test_fractions_are_of_the_frame() -> None:
    places = {"units": "fractions", "lines": {"it": {"points": [[0.25, 0.5], [0.75, 0.5]]}}}
    counting = Counting(Places.model_validate(places), "", (400, 100))
    for y in (70, 40):
        (shape,) = counting.update([at(1, (200, y))], NAMES)
    assert shape.points.tolist() == [[100, 50], [300, 50]]
    assert shape.counts == {"in": 1, "out": 0}


def test_places_are_only_in_the_sources_they_name() -> None:
    places = Places.model_validate({"lines": {"north": {**GATE, "source": "north*"}, "all": GATE}})
    names = [[shape.name for shape in Counting(places, s, SIZE_WH).update([], NAMES)] for s in ("a/north1.mp4", "x")]
    assert names == [["north", "all"], ["all"]]
