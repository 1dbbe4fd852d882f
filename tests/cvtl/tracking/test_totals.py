"""What a run found in all, from its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cvtl.tracking.totals import Totals, totals_of


def counts(entered: int, inside: int) -> dict[str, Any]:
    of_class = {"car": {"inside": inside, "entered": entered}}
    return {"yard": {"inside": inside, "entered": entered, "classes": of_class}}


def test_the_last_counts_of_each_source_are_added_and_who_is_inside_is_not() -> None:
    totals = Totals()
    totals.add("a", 0, {"ids": [1], "counts": counts(1, 1)})
    totals.add("b", 0, {"ids": [], "counts": counts(4, 1)})
    totals.add("a", 1, {"ids": [2, None], "counts": counts(3, 2)})
    expected = {"yard": {"entered": 7, "classes": {"car": {"entered": 7}}}}
    assert totals.to_dict() == {"sources": 2, "objects": 2, "counts": expected}


def test_a_video_that_comes_twice_counts_twice() -> None:
    totals = Totals()
    for frame in (0, 1, 0, 1):
        totals.add("a", frame, {"ids": [1, 2], "counts": counts(2, 0)})
    assert totals.to_dict()["sources"] == 2
    assert totals.to_dict()["objects"] == 4
    assert totals.to_dict()["counts"]["yard"]["entered"] == 4


def test_rows_of_pictures_and_of_bad_frames_do_not_disturb(tmp_path: Path) -> None:
    rows = [
        {"source": "p.jpg", "frame": None, "result": {"boxes": []}},
        {"source": "a.mp4", "frame": 0, "result": {"instances": [{"id": 3}, {"id": None}]}},
        {"source": "a.mp4", "frame": 1, "result": None},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert totals_of(tmp_path / "rows.jsonl").to_dict() == {"sources": 1, "objects": 3, "counts": {}}
