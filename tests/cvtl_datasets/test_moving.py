"""Generated scenes that move."""

from __future__ import annotations

import numpy as np

from cvtl_datasets.moving import Course, crowd, detected, moments, paint

SIZE_WH = (200, 100)


def test_a_disc_goes_its_way_at_its_speed_from_when_it_begins() -> None:
    path = Course((20, 50), (100, 0), 10, begin=0.2)
    seen = [(moment.time, moment.boxes.tolist()) for moment in moments([path], 5, rate=10, size_wh=SIZE_WH)]
    assert [len(boxes) for _, boxes in seen] == [0, 0, 1, 1, 1]
    assert np.allclose([boxes[0] for _, boxes in seen[2:]], [[10 + x, 40, 30 + x, 60] for x in (0, 10, 20)])


def test_who_is_behind_another_or_over_the_edge_is_less_visible_and_not_seen() -> None:
    hidden = [Course((100, 50), (0, 0), 10), Course((100, 50), (0, 0), 20)]
    (moment,) = moments(hidden, 1, size_wh=SIZE_WH)
    assert moment.ids.tolist() == [1]
    half = [Course((100, 50), (0, 0), 20), Course((200, 50), (0, 0), 20)]
    (moment,) = moments(half, 1, size_wh=SIZE_WH)
    assert moment.visible[0] == 1
    assert 0.4 < moment.visible[1] < 0.6
    boxes, scores = detected(moment, np.random.default_rng(0), noise=0)
    assert np.allclose(boxes, moment.boxes)
    assert scores[1] < scores[0]


def test_a_scene_is_a_function_of_its_arguments() -> None:
    assert crowd(5, 3, size_wh=SIZE_WH, seed=1) == crowd(5, 3, size_wh=SIZE_WH, seed=1)
    assert crowd(5, 3, size_wh=SIZE_WH, seed=1) != crowd(5, 3, size_wh=SIZE_WH, seed=2)


def test_a_detector_misses_and_invents_as_often_as_it_is_told_to() -> None:
    random = np.random.default_rng(0)
    (moment,) = moments([Course((50, 50), (0, 0), 10)], 1, size_wh=SIZE_WH)
    counts = [len(detected(moment, random, missed=0.25)[0]) for _ in range(400)]
    assert 0.68 < np.mean(counts) < 0.82
    counts = [len(detected(moment, random, false=0.25)[0]) for _ in range(400)]
    assert 1.18 < np.mean(counts) < 1.32


def test_discs_are_painted_where_they_are_each_in_its_colour() -> None:
    discs = [Course((50, 50), (0, 0), 10), Course((150, 50), (0, 0), 10)]
    (moment,) = moments(discs, 1, size_wh=SIZE_WH)
    image = paint(moment, SIZE_WH)
    ground, one, other = (tuple(image[y, x].tolist()) for x, y in ((100, 50), (50, 50), (150, 50)))
    assert len({ground, one, other}) == 3
    assert image.shape == (100, 200, 3)
    changed = (image != np.array(ground)).any(axis=2).sum()
    assert abs(changed - 2 * np.pi * 10**2) < 200


def test_scenes_without_discs_are_empty() -> None:
    (moment,) = moments([], 1, size_wh=SIZE_WH)
    assert moment.boxes.shape == (0, 4)
    assert detected(moment, np.random.default_rng(0))[0].shape == (0, 4)
