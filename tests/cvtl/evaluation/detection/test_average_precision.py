"""Average precision against the definitions written out, and Pascal VOC's against published figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtl.data import BoxesTarget
from cvtl.evaluation.detection.average_precision import average_precision, precision_at_levels
from cvtl.evaluation.detection.classes import voc_average_precision, voc_table
from cvtl.evaluation.detection.tables import BoxTables, tabulate
from cvtl.evaluation.found import FoundBoxes

Floats = npt.NDArray[np.float64]


def points(right: Sequence[bool], total: int) -> list[tuple[float, float]]:
    """Recall and precision after each detection."""
    return [(sum(right[: n + 1]) / total, sum(right[: n + 1]) / (n + 1)) for n in range(len(right))]


def at_levels(right: Sequence[bool], total: int, levels: Floats) -> float:
    best = [max([p for r, p in points(right, total) if r >= level], default=0.0) for level in levels]
    return sum(best) / len(levels)


def under_the_curve(right: Sequence[bool], total: int) -> float:
    """As Pascal VOC's development kit does it (VOCap.m)."""
    recall = [0.0, *(r for r, _ in points(right, total)), 1.0]
    precision = [0.0, *(p for _, p in points(right, total)), 0.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def cumulate(right: Sequence[bool]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return np.cumsum(right, dtype=np.int64), np.arange(1, len(right) + 1)


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 30))
def test_all_three_are_what_the_definitions_say(right: list[bool], more: int) -> None:
    total = sum(right) + more
    if not total:
        return
    hits, found = cumulate(right)
    ways = {
        "coco": at_levels(right, total, np.linspace(0, 1, 101)),
        "voc-11": at_levels(right, total, np.linspace(0, 1, 11)),
        "voc": under_the_curve(right, total),
    }
    for way, expected in ways.items():
        assert average_precision(hits, found, np.array(total), way) == pytest.approx(expected, abs=1e-9), way  # type: ignore[arg-type]
    levels = precision_at_levels(hits, found, total)
    assert levels.mean() == pytest.approx(ways["coco"], abs=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_only_the_true_positives_matter(right: list[bool]) -> None:
    hits, found = cumulate(right)
    for total in (sum(right), sum(right) + 3):
        whole = average_precision(hits, found, np.array(total))
        assert average_precision(hits[right], found[right], np.array(total)) == pytest.approx(whole, nan_ok=True)


def test_several_draws_are_averaged_each_for_itself() -> None:
    hits, found, totals = (
        np.array([[1, 1, 2], [0, 2, 2], [0, 0, 0]]),
        np.array([[1, 2, 3], [1, 3, 3], [0, 1, 2]]),
        [2, 4, 0],
    )
    together = average_precision(hits, found, np.array(totals))
    alone = [average_precision(*each) for each in zip(hits, found, np.array(totals), strict=True)]
    assert together == pytest.approx(np.array(alone), nan_ok=True)
    assert np.isnan(together[2])


@pytest.mark.parametrize(("total", "expected"), [(3, 0.0), (0, np.nan)])
def test_without_detections_it_is_zero_where_there_is_something_to_find(total: int, expected: float) -> None:
    nothing = np.zeros(0, np.int64)
    assert average_precision(nothing, nothing, np.array(total)) == pytest.approx(expected, nan_ok=True)


# Pascal VOC's evaluation, written out after its development kit (VOCevaldet.m).


def voc_slowly(scene: Any, label: int, iou: float, pixel: float = 0) -> tuple[list[bool], int]:
    """Which detections that count are right, best first, and how many objects there are."""
    rows = [
        (score, i, box)
        for i, answer in enumerate(scene.found)
        for score, box, said in zip(answer.scores, answer.boxes, answer.labels, strict=True)
        if said == label
    ]
    taken: set[tuple[int, int]] = set()
    right = []
    for _, i, box in sorted(rows, key=lambda row: -row[0]):
        target = scene.targets[i]
        best, place = -np.inf, -1
        for j in np.flatnonzero(target.labels == label).tolist():
            other = target.boxes[j]
            width = min(box[2], other[2]) - max(box[0], other[0]) + pixel
            height = min(box[3], other[3]) - max(box[1], other[1]) + pixel
            if width > 0 and height > 0:
                areas = [(b[2] - b[0] + pixel) * (b[3] - b[1] + pixel) for b in (box, other)]
                overlap = width * height / (sum(areas) - width * height)
                if overlap > best:
                    best, place = overlap, j
        if best < iou:
            right.append(False)
        elif not (target.difficult[place] or target.crowd[place]):
            right.append((i, place) not in taken)
            taken.add((i, place))
    total = sum(int((~t.difficult & ~t.crowd)[t.labels == label].sum()) for t in scene.targets)
    return right, total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("iou", [0.3, 0.5])
@pytest.mark.parametrize("inclusive", [False, True])
def test_voc_ap_is_that_of_the_development_kit(make_scene: Any, seed: int, iou: float, inclusive: bool) -> None:
    scene = make_scene(seed, step=0 if seed % 2 else 3)
    everywhere = voc_average_precision(scene.tables, iou, inclusive=inclusive)
    eleven = voc_average_precision(scene.tables, iou, "voc-11", inclusive=inclusive)
    assert any(target.difficult.any() for target in scene.targets)
    for label in range(len(scene.classes)):
        right, total = voc_slowly(scene, label, iou, pixel=float(inclusive))
        assert everywhere[label] == pytest.approx(under_the_curve(right, total), abs=1e-9)
        assert eleven[label] == pytest.approx(at_levels(right, total, np.linspace(0, 1, 11)), abs=1e-9)


def boxes_of(*boxes: tuple[float, ...]) -> Floats:
    return np.array(boxes, np.float64).reshape(-1, 4)


def one_picture(found: Floats, there: Floats, **flags: list[bool]) -> BoxTables:
    """Detections, best first, and objects, all of one class."""
    scores = np.linspace(0.9, 0.1, len(found))
    target = BoxesTarget(there, np.zeros(len(there), np.int64), **{k: np.array(v) for k, v in flags.items()})
    return tabulate([FoundBoxes(found, scores, np.zeros(len(found), np.int64))], [target], ["cat"])


BOX, NEXT = (0, 0, 10, 10), (2, 0, 12, 10)


def test_a_second_detection_of_an_object_is_wrong_even_if_another_object_is_near() -> None:
    tables = one_picture(boxes_of(BOX, BOX), boxes_of(BOX, NEXT))
    assert voc_average_precision(tables, 0.5) == pytest.approx([0.5])


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_an_excused_object_is_neither_missed_nor_found(flag: str) -> None:
    far = (50, 50, 60, 60)
    found_twice = one_picture(boxes_of(far, far, BOX), boxes_of(BOX, far), **{flag: [False, True]})
    missed = one_picture(boxes_of(BOX), boxes_of(BOX, far), **{flag: [False, True]})
    assert voc_average_precision(found_twice, 0.5) == voc_average_precision(missed, 0.5) == pytest.approx([1])


def test_the_table_has_a_row_for_each_class_and_their_mean(make_scene: Any) -> None:
    scene = make_scene(0)
    table = voc_table(scene.tables, 0.5)
    names, objects, excused, ap, eleven = zip(*table.rows, strict=True)
    assert names == ("(mean)", *scene.classes)
    assert sum(objects[1:]) + sum(excused[1:]) == len(scene.tables.true) == objects[0] + excused[0]
    assert ap[0] == pytest.approx(np.mean(ap[1:]))
    assert eleven[1:] == pytest.approx(voc_average_precision(scene.tables, 0.5, "voc-11"))


def voc_sample(folder: Path, scene_type: type) -> Any:
    found, targets = [], []
    for file in sorted((folder / "groundtruths").iterdir()):
        there, said = (
            np.array([line.split()[1:] for line in path.read_text().splitlines() if line], np.float64)
            for path in (file, folder / "detections" / file.name)
        )
        targets.append(BoxesTarget(corners(there), np.zeros(len(there), np.int64)))
        found.append(FoundBoxes(corners(said[:, 1:]), said[:, 0], np.zeros(len(said), np.int64)))
    return scene_type(found, targets, ("person",))


def corners(boxes: Floats) -> Floats:
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


@pytest.mark.shared
def test_the_published_voc_figures_are_reached_with_inclusive_coordinates(shared_data: Path, make_scene: Any) -> None:
    tables = voc_sample(shared_data / "metrics_voc_rafaelpadilla", type(make_scene(0))).tables
    assert voc_average_precision(tables, 0.3, inclusive=True) == pytest.approx([0.2457], abs=5e-5)
    assert voc_average_precision(tables, 0.3, "voc-11", inclusive=True) == pytest.approx([0.2684], abs=5e-5)


@pytest.mark.shared
def test_the_published_precision_and_recall_are_reached(shared_data: Path, make_scene: Any) -> None:
    folder = shared_data / "metrics_voc_rafaelpadilla"
    lines = (folder / "results" / "results.txt").read_text().splitlines()
    published = {line.split(":")[0]: line.split(":")[1] for line in lines if line.startswith(("Precision", "Recall"))}
    right, total = voc_slowly(voc_sample(folder, type(make_scene(0))), 0, 0.3, pixel=1)
    recall, precision = zip(*points(right, total), strict=True)
    assert published["Precision"].strip() == str([f"{each:.2f}" for each in precision])
    assert published["Recall"].strip() == str([f"{each:.2f}" for each in recall])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("iou", "everywhere", "eleven"), [(0.1, 0.3372, 0.3333), (0.5, 0.0222, 0.0303), (0.75, 0.0, 0.0)]
)
@pytest.mark.parametrize("inclusive", [False, True])
def test_the_sample_at_other_ious(
    shared_data: Path, make_scene: Any, iou: float, everywhere: float, eleven: float, inclusive: bool
) -> None:
    scene = voc_sample(shared_data / "metrics_voc_rafaelpadilla", type(make_scene(0)))
    right, total = voc_slowly(scene, 0, iou, pixel=float(inclusive))
    ours = voc_average_precision(scene.tables, iou, inclusive=inclusive)
    assert ours == pytest.approx([under_the_curve(right, total)])
    if inclusive:
        assert ours == pytest.approx([everywhere], abs=5e-5)
        assert voc_average_precision(scene.tables, iou, "voc-11", inclusive=True) == pytest.approx([eleven], abs=5e-5)
