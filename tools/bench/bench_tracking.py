"""What following costs a frame, beside the network's time for it.

Discs of a generated scene, all of them in every frame, as a detector that is not quite sure sees them; processor time
of one thread. The network is the YOLO plugin's, untrained, with its defaults.

    python tools/bench/bench_tracking.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cvtl.registry import plugins
from cvtl.results import Detections, Landmarks, Result
from cvtl.tracking import Followers, FollowSettings
from cvtl_datasets.moving import Course, detected, moments

SIZE_WH = (1280, 720)
FRAMES, RATE, ROUNDS = 100, 25, 3
POINTS = 68
ZONES = "lines: {gate: {points: [[640, 0], [640, 720]]}}\nzones: {yard: {points: [[0, 0], [600, 0], [600, 700]]}}\n"


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    network = network_ms()
    print(f"the network: {network:.1f} ms a picture")
    print("| followed | 10 objects, ms | 100 objects, ms | of the network's time |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        zones = Path(folder) / "zones.yaml"
        zones.write_text(ZONES)
        for name, settings, pointed in (
            ("numbers", FollowSettings(track=True), False),
            ("numbers, a line and a zone", FollowSettings(zones=str(zones)), False),
            ("68 points of each, smoothed", FollowSettings(track=True, smooth=0.1), True),
        ):
            few, many = (follow_ms(settings, scene(count, pointed)) for count in (10, 100))
            print(f"| {name} | {few:.2f} | {many:.2f} | {few / network:.1%}, {many / network:.1%} |")


def scene(count: int, pointed: bool) -> list[Result]:
    """The results of a scene's frames."""
    random = np.random.default_rng(0)
    paths = [
        Course((random.uniform(100, 1180), random.uniform(100, 620)), tuple(random.uniform(-20, 20, 2)), 15)
        for _ in range(count)
    ]
    results: list[Result] = []
    for moment in moments(paths, FRAMES, rate=RATE, size_wh=SIZE_WH):
        boxes, scores = (torch.from_numpy(each) for each in detected(moment, random))
        if pointed:
            middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
            points = middles + 10 * torch.from_numpy(random.standard_normal((1, POINTS, 2)))
            results.append(Landmarks(points, torch.ones(len(boxes), POINTS), ("point",) * POINTS, boxes))
        else:
            results.append(Detections(boxes, scores, torch.zeros(len(boxes)), ("disc",)))
    return results


def follow_ms(settings: FollowSettings, results: list[Result]) -> float:
    """Of a frame, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        followers = Followers(settings, ("disc",))
        start = time.process_time()
        for number, result in enumerate(results):
            followers.follow("scene.mp4", number, number / RATE, result, size_wh=SIZE_WH)
        best = min(best, time.process_time() - start)
    return 1000 * best / len(results)


def network_ms() -> float:
    """Of a picture, the best of some."""
    spec = plugins().get("yolo")
    model = spec.model_type().initialize(spec.options_type()(weights="none"), ["disc"]).eval()
    image = torch.randint(0, 255, (3, *SIZE_WH[::-1]), dtype=torch.uint8)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(5):
            start = time.process_time()
            model.predict([image])
            best = min(best, time.process_time() - start)
    return 1000 * best


if __name__ == "__main__":
    main()
