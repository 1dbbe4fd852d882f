"""Cameras and streams: sources that do not wait for whoever looks at them. Torch-free."""

from __future__ import annotations

from cvtl.live.captures import Capture, CaptureError
from cvtl.live.feeds import Feed, FeedReport, Feeds, LiveFrame, never_seen
from cvtl.live.rounds import rounds
from cvtl.live.sources import LiveSource, live_source, split_inputs
from cvtl.live.video_camera import VideoAsCamera
from cvtl.run_settings import LiveSettings

__all__ = [
    "Capture",
    "CaptureError",
    "Feed",
    "FeedReport",
    "Feeds",
    "LiveFrame",
    "LiveSettings",
    "LiveSource",
    "VideoAsCamera",
    "live_source",
    "never_seen",
    "rounds",
    "split_inputs",
]
