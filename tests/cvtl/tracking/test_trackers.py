"""Numbers that objects keep from frame to frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cvtl.tracking.trackers import NO_ID, ClassTrackers
from cvtl_datasets.moving import Course, Moment, crowd, detected, moments

SIZE_WH = (640, 360)
Floats = npt.NDArray[np.float64]


def follow(paths: list[Course], frames: int, *, rate: float = 25, **mistakes: float) -> list[tuple[Moment, list[int]]]:
    """Each moment, and the numbers of the discs that are seen in it."""
    random, trackers = np.random.default_rng(0), ClassTrackers()
    followed = []
    for moment in moments(paths, frames, rate=rate, size_wh=SIZE_WH):
        boxes, scores = detected(moment, random, **mistakes)
        ids = trackers.update(boxes, scores, np.zeros(len(boxes), np.int64), moment.time)
        followed.append((moment, ids.tolist()))
    return followed


def boxes_at(*corners: tuple[float, float], side: float = 40) -> Floats:
    return np.array([[x, y, x + side, y + side] for x, y in corners]).reshape(-1, 4)


def update(trackers: ClassTrackers, boxes: Floats, time: float, *, score: float = 0.9, label: int = 0) -> list[int]:
    count = len(boxes)
    ids = trackers.update(boxes, np.full(count, score), np.full(count, label), time)
    return [int(each) for each in ids]


def numbers_of(followed: list[tuple[Moment, list[int]]], disc: int) -> list[int]:
    """Where every disc is detected, the numbers stand in the order of the discs."""
    return [ids[moment.ids.tolist().index(disc)] for moment, ids in followed if disc in moment.ids.tolist()]


def test_objects_keep_the_numbers_they_get_in_their_second_frame() -> None:
    paths = [Course((100, 100), (60, 0), 25), Course((500, 250), (-60, 0), 25)]
    followed = follow(paths, 50)
    assert numbers_of(followed, 0) == [NO_ID] + [1] * 49
    assert numbers_of(followed, 1) == [NO_ID] + [2] * 49


def test_objects_that_pass_each_other_keep_their_numbers() -> None:
    """They overlap for a while, both of them seen."""
    paths = [Course((100, 150), (150, 0), 30), Course((500, 190), (-150, 0), 30)]
    followed = follow(paths, 60, noise=0.02)
    assert set(numbers_of(followed, 0)[1:]) == {1}
    assert set(numbers_of(followed, 1)[1:]) == {2}


def test_an_object_behind_another_has_its_number_again_when_it_comes_out() -> None:
    """The larger disc is painted last, so it hides the other."""
    paths = [Course((150, 180), (150, 0), 20), Course((330, 180), (0, 0), 50)]
    random, trackers = np.random.default_rng(0), ClassTrackers()
    numbers: dict[bool, set[int]] = {True: set(), False: set()}
    hidden = False
    for moment in moments(paths, 75, size_wh=SIZE_WH):
        boxes, scores = detected(moment, random)
        ids = trackers.update(boxes, scores, np.zeros(len(boxes), np.int64), moment.time).tolist()
        hidden |= len(ids) == 1
        if len(ids) == 2 and moment.time > 0:
            numbers[hidden].add(ids[0])
    assert hidden
    assert numbers == {False: {1}, True: {1}}


@pytest.mark.parametrize(("away", "number"), [(0.5, 1), (1.5, 2)])
def test_who_is_away_for_longer_than_the_patience_comes_back_as_another(away: float, number: int) -> None:
    trackers = ClassTrackers(patience=1.0)
    for frame in range(10):
        update(trackers, boxes_at((100, 100)), frame / 25)
    for frame in range(2):
        ids = update(trackers, boxes_at((100, 100)), 9 / 25 + away + frame / 25)
    assert ids == [number]


def test_patience_is_in_seconds_whatever_the_frame_rate() -> None:
    for rate in (5, 25, 100):
        trackers = ClassTrackers(patience=1.0)
        for frame in range(rate + 1):
            update(trackers, boxes_at((100, 100)), frame / rate)
        for frame in range(rate + 1, int(1.9 * rate)):
            update(trackers, boxes_at(), frame / rate)
        assert update(trackers, boxes_at((100, 100)), 1.9) == [1]


def test_objects_of_different_classes_are_never_one() -> None:
    trackers = ClassTrackers()
    for frame in range(5):
        update(trackers, boxes_at((100, 100)), frame / 25, label=0)
    ids = [update(trackers, boxes_at((100, 100)), frame / 25, label=1) for frame in range(5, 8)]
    assert ids == [[NO_ID], [2], [2]]


def test_a_weak_detection_continues_a_track_and_begins_none() -> None:
    trackers = ClassTrackers(threshold=0.5)
    assert [update(trackers, boxes_at((100, 100)), f / 25, score=0.3) for f in range(4)] == [[NO_ID]] * 4
    for frame in range(4, 8):
        update(trackers, boxes_at((100, 100)), frame / 25, score=0.8)
    assert update(trackers, boxes_at((102, 100)), 8 / 25, score=0.2) == [1]
    assert update(trackers, boxes_at((104, 100)), 9 / 25, score=0.05) == [NO_ID]


def test_no_two_objects_of_a_frame_have_one_number_however_unsure_the_detector_is() -> None:
    paths = crowd(12, 4, size_wh=SIZE_WH, seed=3)
    for _, ids in follow(paths, 100, noise=0.08, missed=0.2, false=0.5):
        followed = [each for each in ids if each != NO_ID]
        assert len(set(followed)) == len(followed)


def test_numbers_do_not_depend_on_what_the_process_followed_before() -> None:
    paths = crowd(6, 3, size_wh=SIZE_WH, seed=1)
    first = [ids for _, ids in follow(paths, 60, missed=0.1)]
    assert [ids for _, ids in follow(paths, 60, missed=0.1)] == first
    assert min(each for ids in first for each in ids if each != NO_ID) == 1


def test_easy_scenes_are_followed_without_a_switch() -> None:
    for seed in range(3):
        paths = crowd(4, 4, size_wh=SIZE_WH, seed=seed)
        followed = follow(paths, 100, noise=0.02)
        seen: dict[int, set[int]] = {disc: set() for disc in range(4)}
        for moment, ids in followed:
            asked = moment.ids[moment.visible > 0.3].tolist()
            for disc, number in zip(asked, ids, strict=True):
                seen[disc] |= {number} - {NO_ID}
        assert all(len(numbers) <= 1 for numbers in seen.values())
        assert sum(map(len, seen.values())) >= 3


def test_frames_without_objects_and_frames_at_one_time_are_taken_in() -> None:
    trackers = ClassTrackers()
    assert update(trackers, boxes_at(), 0.0) == []
    update(trackers, boxes_at((10, 10)), 0.0)
    assert update(trackers, boxes_at((10, 10)), 0.0) == [1]
    assert update(trackers, boxes_at((11, 10)), 0.0) == [1]
    assert trackers.alive == {1}


def test_nothing_is_kept_of_who_is_gone() -> None:
    trackers = ClassTrackers(patience=0.5)
    for frame in range(200):
        update(trackers, boxes_at((3 * frame % 600, 100)), frame, label=frame % 3)
    update(trackers, boxes_at(), 1000.0)
    assert trackers.alive == set()
    assert trackers._trackers == {}


def test_boxes_that_are_points_are_taken_in() -> None:
    trackers = ClassTrackers()
    ids = [update(trackers, boxes_at((50, 50), side=0), frame / 25) for frame in range(3)]
    assert all(each in ([NO_ID], [1]) for each in ids)
