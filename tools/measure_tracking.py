"""The figures of docs/tracking.md: how well identities are kept in generated scenes, and what smoothing costs.

    python tools/measure_tracking.py

Switches, MOTA (Bernardin and Stiefelhagen 2008) and IDF1 (Ristani et al. 2016) are computed here, by plain loops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from cvtl.tracking.smoothing import OneEuro
from cvtl.tracking.trackers import NO_ID, ClassTrackers
from cvtl_datasets.moving import Moment, crowd, detected, moments

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SIZE_WH = (640, 360)
SECONDS = 20
SEEDS = 5
LEAST_VISIBLE, LEAST_IOU = 0.3, 0.5
FACE, FACE_RATE = 200.0, 30


@dataclass
class Score:
    """What a tracker made of a scene.

    Attributes:
        truths: objects in all frames.
        found: followed objects in all frames.
        matched: of both, those that agree in their boxes.
        switches: how often an object went on with another number.
        together: in how many frames an object and a number agreed.
        numbers: given.
    """

    truths: int = 0
    found: int = 0
    matched: int = 0
    switches: int = 0
    together: Counter[tuple[int, int]] = field(default_factory=Counter)
    numbers: int = 0
    _last: dict[int, int] = field(default_factory=dict)

    def add(self, moment: Moment, boxes: Floats, ids: Ints) -> None:
        """Add a frame; what is mostly hidden is not asked for."""
        asked = moment.visible > LEAST_VISIBLE
        overlaps = _ious(moment.boxes[asked], boxes)
        self.truths += int(asked.sum())
        self.found += len(boxes)
        for truth, found in zip(*linear_sum_assignment(-overlaps), strict=True):
            if overlaps[truth, found] >= LEAST_IOU:
                thing, number = int(moment.ids[asked][truth]), int(ids[found])
                self.matched += 1
                self.together[thing, number] += 1
                self.switches += self._last.get(thing, number) != number
                self._last[thing] = number

    @property
    def mota(self) -> float:
        """1 - (missed + false + switches) / truths."""
        wrong = (self.truths - self.matched) + (self.found - self.matched) + self.switches
        return 1 - wrong / self.truths

    @property
    def idf1(self) -> float:
        """How much of both belongs to each other if every object has the one number that fits it best."""
        things = sorted({thing for thing, _ in self.together})
        numbers = sorted({number for _, number in self.together})
        table = np.array([[self.together[thing, number] for number in numbers] for thing in things])
        return float(2 * table[linear_sum_assignment(-table)].sum() / (self.truths + self.found))


def follow(count: int, rate: float, seed: int, *, noise: float, missed: float, false: float, dropped: float) -> Score:
    """Follow a scene of `count` objects; of its frames a part may be dropped, as live sources drop some."""
    random = np.random.default_rng(seed)
    trackers = ClassTrackers()
    score = Score()
    paths = crowd(count, SECONDS - 5, size_wh=SIZE_WH, seed=seed)
    for moment in moments(paths, round(SECONDS * rate), rate=rate, size_wh=SIZE_WH):
        boxes, scores = detected(moment, random, noise=noise, missed=missed, false=false)
        if random.random() < dropped:
            continue
        ids = trackers.update(boxes, scores, np.zeros(len(boxes), np.int64), moment.time)
        followed = ids != NO_ID
        score.add(moment, boxes[followed], ids[followed])
    score.numbers = trackers.given
    return score


def tracking_table() -> Iterator[str]:
    """Rows of Markdown."""
    hard = {"noise": 0.05, "missed": 0.1, "false": 0.3}
    scenes = {
        "4 objects, sure detections, 25 frames/s": (4, 25, {"noise": 0.02, "missed": 0.0, "false": 0.0, "dropped": 0}),
        "24 objects, unsure detections, 25 frames/s": (24, 25, {**hard, "dropped": 0}),
        "the same, 10 frames/s": (24, 10, {**hard, "dropped": 0}),
        "the same, 25 frames/s of which 60 % are dropped": (24, 25, {**hard, "dropped": 0.6}),
    }
    yield "| scene | objects | numbers given | switches | MOTA | IDF1 |\n|---|---|---|---|---|---|"
    for name, (count, rate, mistakes) in scenes.items():
        found = [follow(count, rate, seed, **mistakes) for seed in range(SEEDS)]
        numbers, switches = (sum(getattr(each, key) for each in found) for key in ("numbers", "switches"))
        mota, idf1 = (np.mean([getattr(each, key) for each in found]) for key in ("mota", "idf1"))
        yield f"| {name} | {count * SEEDS} | {numbers} | {switches} | {mota:.3f} | {idf1:.3f} |"


def _ious(one: Floats, other: Floats) -> Floats:
    ious = np.zeros((len(one), len(other)))
    for row, (x1, y1, x2, y2) in enumerate(one):
        for column, (u1, v1, u2, v2) in enumerate(other):
            both = max(0.0, min(x2, u2) - max(x1, u1)) * max(0.0, min(y2, v2) - max(y1, v1))
            ious[row, column] = both / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - both)
    return ious


def nodding_face(seconds: int) -> tuple[Floats, Floats]:
    """Twenty points that rest, then glide, then dash, to and fro; and their speed in each frame, in faces a second."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2)) * FACE
    x, truth, speeds = 300.0, [], []
    for number in range(seconds * FACE_RATE):
        within = number / FACE_RATE % 4
        speed = 0.0 if within < 2 else 0.5 if within < 3 else 2.0
        direction = 1 if number // (4 * FACE_RATE) % 2 == 0 else -1
        truth.append(points + np.array([x, 300.0]))
        speeds.append(speed * direction)
        x += speed * direction * FACE / FACE_RATE
    return np.array(truth), np.array(speeds)


def smoothing_table() -> Iterator[str]:
    """Rows of Markdown. A frame counts where the speed has been the same for 0.4 seconds."""
    truth, speeds = nodding_face(64)
    measured = truth + 0.01 * FACE * np.random.default_rng(1).standard_normal(truth.shape)
    steady = np.array([n >= 12 and (speeds[n - 12 : n] == speeds[n]).all() for n in range(len(speeds))])
    yield "| `--smooth` | trembling at rest | error at rest | late at 0.5 faces/s | late at 2 faces/s |"
    yield "|---|---|---|---|---|"
    for seconds in (None, 0.03, 0.05, 0.1, 0.2, 0.5):
        smoothed = measured if seconds is None else _smoothed(measured, seconds)
        error = smoothed - truth
        resting = steady & (speeds == 0)
        trembling = np.sqrt((np.diff(error, axis=0)[resting[1:]] ** 2).sum(-1).mean()) / FACE
        at_rest = np.sqrt((error[resting] ** 2).sum(-1).mean()) / FACE
        late = [_lag(error, speeds, steady & (np.abs(speeds) == speed)) for speed in (0.5, 2.0)]
        cells = [f"{trembling:.2%}", f"{at_rest:.2%}", *(f"{1000 * each:.0f} ms" for each in late)]
        yield f"| {'unset' if seconds is None else seconds} | {' | '.join(cells)} |"


def _smoothed(measured: Floats, seconds: float) -> Floats:
    smoother = OneEuro(seconds)
    sure = np.ones(measured.shape[1])
    return np.array([smoother(points, sure, n / FACE_RATE, FACE) for n, points in enumerate(measured)])


def _lag(error: Floats, speeds: Floats, frames: npt.NDArray[np.bool_]) -> float:
    return abs(float((error[frames, :, 0] / (speeds[frames, None] * FACE)).mean()))


if __name__ == "__main__":
    for line in (*tracking_table(), "", *smoothing_table()):
        print(line)
