"""`cvtl run --track` over a stream and a video at once."""

from __future__ import annotations

import json
from pathlib import Path

from cameras import WebCamera

import cvtl
from cvtl.live import LiveSettings
from cvtl.tracking import FollowSettings


def test_a_stream_and_a_video_beside_it_are_followed_each_by_itself(
    glow: Path, web_camera: WebCamera, clip: Path, tmp_path: Path
) -> None:
    web_camera.start()
    report = cvtl.run(
        [web_camera.url(), clip],
        glow,
        tmp_path / "out",
        live=LiveSettings(max_frames=8),
        follow=FollowSettings(track=True, track_threshold=0),
    )
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    names = {row["source"] for row in rows}
    numbers = {source: [row["result"]["ids"] for row in rows if row["source"] == source] for source in names}
    assert numbers[web_camera.url()] == [[None], *[[1]] * 7]
    assert numbers[clip.name] == [[None], *[[1]] * 49]
    assert report.followed == {"sources": 2, "objects": 2, "counts": {}}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["followed"] == report.followed
