"""What is carried from frame to frame of a source, and what results say of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cvtl.errors import UsageError
from cvtl.results import Classification, Detections, Landmarks, Localization, Result
from cvtl.tracking import Followers, FollowSettings, OneEuro, followers_for
from cvtl_datasets.moving import crowd, detected, moments

CLASSES = ("disc", "ball")
SIZE_WH = (320, 240)
NAMES = ("nose", "tail")


@pytest.fixture
def zones(tmp_path: Path) -> str:
    path = tmp_path / "zones.yaml"
    path.write_text(
        "lines: {gate: {points: [[160, 240], [160, 0]]}}\nzones: {all: {points: [[0, 0], [319, 0], [0, 239]]}}"
    )
    return str(path)


def scene(seed: int, frames: int = 40) -> Iterator[tuple[float, Detections]]:
    """Times, and what a detector that makes mistakes says."""
    random = np.random.default_rng(seed)
    for moment in moments(crowd(6, 1, size_wh=SIZE_WH, seed=seed), frames, size_wh=SIZE_WH):
        boxes, scores = detected(moment, random, noise=0.05, missed=0.1, false=0.3)
        labels = torch.arange(len(boxes)) % 2
        yield moment.time, Detections(torch.from_numpy(boxes), torch.from_numpy(scores), labels, CLASSES)


def follow_all(followers: Followers, source: str, seed: int) -> list[dict[str, object]]:
    return [
        followers.follow(source, number, time, found, size_wh=SIZE_WH).to_dict()
        for number, (time, found) in enumerate(scene(seed))
    ]


def points_at(x: float, *, boxes: int | None = None, score: float = 1.0) -> Landmarks:
    count = boxes or 1
    points = torch.tensor([[x, 50.0], [x + 40, 90]]).repeat(count, 1, 1) + 100 * torch.arange(count)[:, None, None]
    in_boxes = None if boxes is None else torch.cat([points[:, 0] - 10, points[:, 1] + 10], dim=1)
    return Landmarks(points, torch.full((count, 2), score), NAMES, in_boxes)


def answers(settings: FollowSettings, results: list[Result]) -> list[Result]:
    """At 25 frames a second."""
    followers = Followers(settings, CLASSES)
    return [followers.follow("a.mp4", n, n / 25, each, size_wh=SIZE_WH) for n, each in enumerate(results)]


# Detections


def test_no_detection_is_lost_moved_or_given_another_score(zones: str) -> None:
    followers = Followers(FollowSettings(zones=zones), CLASSES)
    numbered = 0
    for number, (time, found) in enumerate(scene(seed=2)):
        said = followers.follow("a.mp4", number, time, found, size_wh=SIZE_WH).to_dict()
        assert {key: said[key] for key in ("boxes", "scores", "labels")} == found.to_dict()
        assert len(said["ids"]) == len(found)
        assert set(said["counts"]) == {"gate", "all"}
        numbered += sum(each is not None for each in said["ids"])
    assert numbered > 50


def test_the_result_that_is_followed_stays_as_it_was() -> None:
    (_, found), *_ = scene(seed=2)
    before = found.to_dict()
    answers(FollowSettings(track=True), [found] * 3)
    assert found.to_dict() == before
    assert found.ids is None


def test_numbers_go_along_when_detections_are_sorted_or_chosen() -> None:
    found = Detections(
        torch.tensor([[0.0, 0, 4, 4], [2, 2, 9, 9], [5, 5, 8, 8]]),
        torch.tensor([0.25, 0.75, 0.5]),
        torch.zeros(3),
        CLASSES,
        ids=torch.tensor([7, 8, -1]),
    )
    assert found.to_dict()["ids"] == [8, None, 7]
    assert found.where(found.scores < 0.7).to_dict()["ids"] == [None, 7]
    exchanged = found.to_supervision().tracker_id
    assert exchanged is not None
    assert exchanged.tolist() == [8, -1, 7]


def test_sources_that_come_in_turn_are_followed_as_if_each_were_alone(zones: str) -> None:
    settings = FollowSettings(zones=zones)
    alone = {seed: follow_all(Followers(settings, CLASSES), "x", seed) for seed in (1, 2)}
    together = Followers(settings, CLASSES, interleaved=True)
    found: dict[int, list[dict[str, object]]] = {1: [], 2: []}
    for number, pair in enumerate(zip(scene(1), scene(2), strict=True)):
        for seed, (time, result) in zip((1, 2), pair, strict=True):
            followed = together.follow(f"camera/{seed}", number, time, result, size_wh=SIZE_WH)
            found[seed].append(followed.to_dict())
    assert found == alone


def test_a_source_that_ends_or_begins_anew_has_its_numbers_from_one_again() -> None:
    followers = Followers(FollowSettings(track=True), CLASSES, interleaved=True)
    first = follow_all(followers, "a.mp4", seed=1)
    assert follow_all(followers, "a.mp4", seed=1) == first
    followers.end("a.mp4")
    assert follow_all(followers, "a.mp4", seed=1) == first


def test_files_are_forgotten_when_the_next_one_begins() -> None:
    followers = Followers(FollowSettings(track=True), CLASSES)
    for name in ("a", "b", "c"):
        follow_all(followers, name, seed=1)
    assert list(followers._followers) == ["c"]


def test_pictures_and_other_results_pass_through_unchanged() -> None:
    followers = Followers(FollowSettings(track=True, smooth=0.1), CLASSES)
    (time, found), *_ = scene(seed=1)
    assert followers.follow("a.jpg", None, None, found, size_wh=SIZE_WH) is found
    other = Classification(torch.tensor([0.5, 0.5]), CLASSES)
    assert followers.follow("a.mp4", 0, time, other, size_wh=SIZE_WH) is other


def test_without_wishes_nothing_is_followed() -> None:
    (_, found), *_ = scene(seed=1)
    assert answers(FollowSettings(), [found]) == [found]
    assert followers_for(FollowSettings(), "classify", ()) is None


def test_frames_in_which_nothing_is_found_are_followed() -> None:
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), CLASSES)
    (one, *_) = (found for _, found in scene(seed=1, frames=20) if len(found))
    said = [each.to_dict()["ids"] for each in answers(FollowSettings(track=True), [none, one, none, none, one])]
    assert [len(each) for each in said] == [0, len(one), 0, 0, len(one)]


@pytest.mark.parametrize(
    ("settings", "task", "told"),
    [
        (FollowSettings(track=True), "classify", "--track and --zones follow objects in boxes"),
        (FollowSettings(zones="z.yaml"), "landmarks", "--track and --zones follow objects in boxes"),
        (FollowSettings(smooth=0.1), "detect", "--smooth is for points"),
    ],
)
def test_what_a_task_has_nothing_of_is_refused(settings: FollowSettings, task: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        followers_for(settings, task, CLASSES)


def test_zones_beyond_the_frame_are_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text(
        "lines: {far: {points: [[0, 900], [300, 900]]}, near: {points: [[0, 90], [900, 90]]}}"
    )
    told: list[str] = []
    followers = Followers(FollowSettings(zones=str(tmp_path / "z.yaml")), CLASSES, tell=told.append)
    follow_all(followers, "a.mp4", seed=1)
    assert told == ["'far' lies beyond the frames of 'a.mp4', which are 320 x 240"]


# Points and boxes that tremble


def test_points_are_smoothed_and_kept_as_they_were_measured() -> None:
    results = [points_at(50), points_at(54), points_at(50)]
    said = [each.to_dict() for each in answers(FollowSettings(smooth=0.1), list(results))]
    assert [each["measured"] for each in said] == [each.to_dict()["points"] for each in results]
    assert said[0]["points"] == said[0]["measured"]
    assert 50 < said[1]["points"][0][0] < 54


def test_points_of_one_picture_are_smoothed_as_the_filter_says() -> None:
    said = answers(FollowSettings(smooth=0.2), [points_at(50 + 5 * n, score=0.5) for n in range(5)])
    plain = OneEuro(0.2)
    for n, each in enumerate(said):
        assert isinstance(each, Landmarks)
        measured = points_at(50 + 5 * n).points[0].double().numpy()
        assert np.allclose(each.points[0], plain(measured, np.full(2, 0.5), n / 25, 40.0), atol=1e-3)


def test_each_instance_is_smoothed_by_its_number() -> None:
    """Two instances that change places in the list, as the detector's scores do."""
    frames: list[Result] = []
    for n in range(6):
        both = points_at(50 + 3 * (-1) ** n, boxes=2)
        assert both.boxes is not None
        order = [0, 1] if n % 2 else [1, 0]
        frames.append(Landmarks(both.points[order], both.visible[order], NAMES, both.boxes[order]))
    last = answers(FollowSettings(smooth=0.5), frames)[-1].to_dict()["instances"]
    assert sorted(each["id"] for each in last) == [1, 2]
    for each in last:
        assert abs(each["points"][0][0] - each["measured"][0][0]) < 6


def test_instances_get_numbers_and_are_counted(zones: str) -> None:
    said = answers(FollowSettings(zones=zones), [points_at(90 + 12 * n, boxes=1) for n in range(8)])[-1].to_dict()
    assert [each["id"] for each in said["instances"]] == [1]
    assert said["counts"]["gate"] == {"in": 0, "out": 1}


def test_a_box_is_smoothed_while_its_object_is_there() -> None:
    def found(x: float, present: float = 1.0) -> Localization:
        return Localization(present, torch.tensor([1.0, 0]), torch.tensor([x, 20, x + 40, 60]), CLASSES)

    results: list[Result] = [found(50), found(54), found(10, present=0.1), found(90)]
    said = [each.to_dict() for each in answers(FollowSettings(smooth=0.1), results)]
    assert [each["measured"] for each in said] == [each.to_dict()["box"] for each in results]
    assert 50 < said[1]["box"][0] < 54
    assert said[2]["box"] == said[2]["measured"]
    assert said[3]["box"] == said[3]["measured"]


# Drawing


def test_numbers_traces_and_counts_are_drawn_into_a_copy(zones: str) -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    results: list[Result] = [found for _, found in scene(seed=1, frames=20)]
    followed = answers(FollowSettings(zones=zones), results)[-1]
    assert isinstance(followed, Detections)
    assert followed.motion is not None
    assert followed.motion.traces
    with_all = followed.draw(image)
    without = replace(followed, ids=None, motion=None).draw(image)
    assert (image == 90).all()
    assert (with_all != without).any(axis=2).sum() > 500
    # The gate is a white line up the middle.
    assert (with_all[5, 158:163] > 230).all(axis=-1).any()


def test_an_object_keeps_its_colour_whatever_its_class() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    box = torch.tensor([[100.0, 100, 200, 180]])
    drawn = [
        Detections(box, torch.tensor([0.5]), torch.tensor([label]), CLASSES, ids=torch.tensor([number])).draw(image)
        for label, number in ((0, 5), (1, 5), (1, 6), (1, -1))
    ]
    colours = [tuple(each[140, 100].tolist()) for each in drawn]
    assert colours[0] == colours[1]
    assert len(set(colours)) == 3


def test_what_is_too_weak_for_a_number_is_not_drawn() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    box, label = torch.tensor([[100.0, 100, 200, 180]]), torch.tensor([0])
    drawn = []
    for score in (0.3, 0.9):
        followed = answers(FollowSettings(track=True), [Detections(box, torch.tensor([score]), label, CLASSES)])[0]
        drawn.append(followed.draw(image))
    assert (drawn[0] == image).all()
    assert (drawn[1] != image).any()


def test_instances_are_drawn_with_their_numbers() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    (*_, followed) = answers(FollowSettings(track=True), [points_at(50, boxes=2)] * 3)
    plain = points_at(50, boxes=2).draw(image)
    assert (followed.draw(image) != plain).any()
