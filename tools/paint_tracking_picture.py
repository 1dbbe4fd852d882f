"""Paint docs/pictures/tracking.png: a frame of a generated scene with numbers, traces, a line and a zone.

python tools/paint_tracking_picture.py docs/pictures/tracking.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from cvtl.files import write_atomically
from cvtl.images import encode
from cvtl.results import Detections
from cvtl.tracking import Followers, FollowSettings
from cvtl_datasets.moving import crowd, detected, moments, paint

SIZE_WH = (640, 360)
FRAMES, RATE = 118, 25
ZONES = """
units: fractions
lines:
  gate: {points: [[0.5, 1.0], [0.5, 0.0]], anchor: center}
zones:
  yard: {points: [[0.6, 0.15], [0.95, 0.25], [0.95, 0.8], [0.65, 0.9]], anchor: center}
"""


def main(path: str) -> None:
    """Follow the scene, and write its last frame."""
    random = np.random.default_rng(4)
    with tempfile.TemporaryDirectory() as folder:
        zones = Path(folder) / "zones.yaml"
        zones.write_text(ZONES)
        followers = Followers(FollowSettings(zones=str(zones)), ("disc",))
    for number, moment in enumerate(moments(crowd(9, 4, size_wh=SIZE_WH, seed=4), FRAMES, rate=RATE, size_wh=SIZE_WH)):
        boxes, scores = (torch.from_numpy(each) for each in detected(moment, random))
        found = Detections(boxes, scores, torch.zeros(len(boxes)), ("disc",))
        followed = followers.follow("scene.mp4", number, moment.time, found, size_wh=SIZE_WH)
    write_atomically(Path(path), encode(followed.draw(paint(moment, SIZE_WH)), ".png"))


if __name__ == "__main__":
    main(sys.argv[1])
