from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from cvtl.data import BoxesTarget, Sample, UInt8Image
from cvtl.errors import UsageError
from cvtl_datasets import scenes
from cvtl_datasets.scenes import Digits, digit_scenes, localization_scenes, sample_scene

SPLITS: tuple[Digits, ...] = ("train", "test")


def target_of(sample: Sample) -> BoxesTarget:
    assert isinstance(sample.target, BoxesTarget)
    return sample.target


def without_digits(digits: Digits, index: int, seed: int = 0) -> UInt8Image:
    """The same scene before it was written on."""
    return scenes._render(scenes._Scenes(100, seed, (240, 320), digits, (24, 96)), index, ())


def ink_of(digits: Digits, index: int) -> npt.NDArray[np.bool_]:
    """Where a scene differs from itself without digits."""
    read = digit_scenes(100, seed=0, digits=digits)[index].read()
    written_on: npt.NDArray[np.bool_] = (read != without_digits(digits, index)).any(axis=2)
    return written_on


@pytest.mark.parametrize("digits", SPLITS)
def test_the_same_seed_gives_the_same_bytes(digits: Digits) -> None:
    for once, again in zip(digit_scenes(5, seed=3, digits=digits), digit_scenes(5, seed=3, digits=digits), strict=True):
        np.testing.assert_array_equal(once.read(), again.read())
        np.testing.assert_array_equal(once.read(), once.read())
        np.testing.assert_array_equal(target_of(once).boxes, target_of(again).boxes)
        assert once.name == again.name


def test_a_scene_does_not_depend_on_their_number() -> None:
    few, many = digit_scenes(3, seed=1)[2], digit_scenes(10**9, seed=1)[2]
    np.testing.assert_array_equal(few.read(), many.read())
    np.testing.assert_array_equal(target_of(few).boxes, target_of(many).boxes)
    assert few.name == many.name


def test_scenes_seeds_and_splits_all_differ() -> None:
    pictures = [
        sample.read().tobytes()
        for seed in range(3)
        for digits in SPLITS
        for sample in digit_scenes(4, seed=seed, digits=digits)
    ]
    assert len(set(pictures)) == 3 * 2 * 4


def test_a_scene_is_the_same_in_another_process() -> None:
    script = (
        "import sys; from cvtl_datasets.scenes import *; sys.stdout.buffer.write(digit_scenes(9, seed=5)[8].read())"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert there == digit_scenes(9, seed=5)[8].read().tobytes()


def test_the_target_is_there_without_painting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_photographs", lambda: pytest.fail("a photograph was opened"))
    dataset = digit_scenes(20, seed=0)
    assert len({len(target_of(sample).boxes) for sample in dataset}) > 1
    assert len(dataset.digest()) == 64


def test_a_sample_survives_the_way_to_a_worker() -> None:
    sample = digit_scenes(1, seed=0)[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sample)).read(), sample.read())


@pytest.mark.parametrize("digits", SPLITS)
@pytest.mark.parametrize(("size_hw", "sides"), [((240, 320), (24, 96)), ((97, 60), (20, 60)), ((480, 640), (48, 400))])
def test_boxes_are_squares_in_the_picture_apart_from_each_other(
    digits: Digits, size_hw: tuple[int, int], sides: tuple[int, int]
) -> None:
    for sample in digit_scenes(200, seed=0, size_hw=size_hw, digits=digits, sides=sides):
        boxes, labels = target_of(sample).boxes, target_of(sample).labels
        assert 1 <= len(boxes) <= 6
        assert labels.min() >= 0
        assert labels.max() <= 9
        side = boxes[:, 2] - boxes[:, 0]
        np.testing.assert_array_equal(side, boxes[:, 3] - boxes[:, 1])
        assert side.min() >= sides[0]
        assert side.max() <= sides[1]
        assert boxes.min() >= 0
        assert (boxes[:, [2, 3]] <= (size_hw[1], size_hw[0])).all()
        for a, b in combinations(boxes, 2):
            assert (np.maximum(a[:2], b[:2]) > np.minimum(a[2:], b[2:])).any()


@pytest.mark.parametrize("digits", SPLITS)
@pytest.mark.parametrize("index", range(15))
def test_all_ink_is_in_the_boxes_and_fills_four_fifths_of_their_height(digits: Digits, index: int) -> None:
    ink = ink_of(digits, index)
    outside = ink.copy()
    for left, top, right, bottom in target_of(digit_scenes(100, seed=0, digits=digits)[index]).boxes.astype(int):
        rows, columns = np.nonzero(ink[top:bottom, left:right])
        side = right - left
        assert 0.65 * side <= np.ptp(rows) + 1 <= side
        assert 0.15 * side <= np.ptp(columns) + 1 <= side
        assert abs(np.ptp(rows) / 2 + rows.min() + 0.5 - side / 2) <= 0.12 * side
        outside[top:bottom, left:right] = False
    assert not outside.any()


@pytest.mark.parametrize("digits", SPLITS)
def test_ink_stands_out_from_its_background(digits: Digits) -> None:
    luma = np.array([0.299, 0.587, 0.114])
    for index, sample in enumerate(digit_scenes(100, seed=0, digits=digits)):
        difference = np.abs((sample.read().astype(float) - without_digits(digits, index)) @ luma)
        for left, top, right, bottom in target_of(sample).boxes.astype(int):
            cell = difference[top:bottom, left:right]
            assert np.median(cell[cell > 20]) >= 45
            assert (cell > 20).mean() >= 0.05


def test_training_and_test_scenes_share_no_digit() -> None:
    images = {
        digits: {
            glyph.image
            for index in range(1000)
            for glyph in scenes._layout(scenes._Scenes(1000, 0, (240, 320), digits, (24, 96)), index)
        }
        for digits in SPLITS
    }
    assert len(images["train"]) > 1000
    assert len(images["test"]) > 480
    assert max(images["train"]) < min(images["test"])


def test_no_training_digit_is_a_copy_of_a_test_digit() -> None:
    images, _ = scenes._handwriting()
    train, test = images[: scenes._FIRST_TEST_DIGIT], images[scenes._FIRST_TEST_DIGIT :]
    assert {image.tobytes() for image in train}.isdisjoint(image.tobytes() for image in test)


def test_training_and_test_scenes_share_no_region_of_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    left_is_black = np.zeros((427, 640, 3), np.uint8)
    left_is_black[:, 320:] = 255
    monkeypatch.setattr(scenes, "_photographs", lambda: (left_is_black, left_is_black))
    for index in range(50):
        assert without_digits("train", index).max() < without_digits("test", index).min()


@pytest.mark.parametrize("digits", SPLITS)
def test_all_classes_and_sizes_occur_evenly(digits: Digits) -> None:
    targets = [target_of(sample) for sample in digit_scenes(1000, seed=0, digits=digits)]
    labels = np.bincount(np.concatenate([target.labels for target in targets]), minlength=10)
    sides = np.concatenate([target.boxes[:, 2] - target.boxes[:, 0] for target in targets])
    assert labels.min() > 0.7 * labels.mean()
    assert (sides < 34).mean() > 0.2
    assert (sides > 68).mean() > 0.15
    assert min(np.bincount([len(target.labels) for target in targets])[1:]) > 100


def test_samples_are_named_apart_and_know_their_split() -> None:
    train, test = (digit_scenes(50, seed=0, digits=digits) for digits in SPLITS)
    assert len({sample.name for sample in (*train, *test)}) == 100
    assert {sample.split for sample in train} == {"train"}
    assert {sample.split for sample in test} == {"test"}
    assert train.classes == tuple("0123456789")


def test_the_sequence_ends_and_counts_from_the_end() -> None:
    dataset = digit_scenes(3, seed=0)
    assert len(dataset) == len(list(dataset)) == 3
    assert dataset[-1].name == dataset[2].name
    with pytest.raises(IndexError):
        dataset[3]
    assert list(digit_scenes(0, seed=0)) == []


@pytest.mark.parametrize(("size_hw", "sides"), [((20, 320), (24, 96)), ((240, 20), (24, 96)), ((240, 320), (50, 40))])
def test_boxes_that_cannot_fit_are_refused(size_hw: tuple[int, int], sides: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"boxes of .* do not fit"):
        digit_scenes(1, seed=0, size_hw=size_hw, sides=sides)


def test_the_sample_scene_is_the_one_that_was_chosen() -> None:
    picture = sample_scene()
    assert picture.shape == (480, 640, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, sample_scene())
    chosen = scenes._layout(scenes._Scenes(1, scenes._SAMPLE_SEED, (480, 640), "test", (48, 120)), 0)
    assert sorted(scenes._handwriting()[1][glyph.image] for glyph in chosen) == [0, 1, 3, 4, 6, 9]


@pytest.mark.parametrize("digits", SPLITS)
def test_localization_scenes_have_one_digit_or_none(digits: Digits) -> None:
    targets = [target_of(sample) for sample in localization_scenes(500, seed=0, digits=digits)]
    counts = np.bincount([len(target.boxes) for target in targets])
    assert counts.sum() == 500
    assert len(counts) == 2
    assert 0.14 < counts[0] / 500 < 0.26
    boxes = np.concatenate([target.boxes for target in targets])
    sides = boxes[:, 2] - boxes[:, 0]
    assert (sides.min() >= 80, sides.max() <= 180) == (True, True)
    assert min(np.bincount(np.concatenate([target.labels for target in targets]), minlength=10)) > 20


@pytest.mark.parametrize(("empty", "expected"), [(0.0, {1}), (1.0, {0})])
def test_the_share_of_empty_scenes_can_be_all_or_none(empty: float, expected: set[int]) -> None:
    scenes = localization_scenes(50, seed=0, empty=empty)
    assert {len(target_of(sample).boxes) for sample in scenes} == expected


def test_an_empty_scene_is_a_photograph_with_nothing_on_it() -> None:
    sample = localization_scenes(1, seed=0, empty=1.0)[0]
    np.testing.assert_array_equal(sample.read(), without_digits("train", 0))


def test_the_digits_of_scenes_do_not_change_with_the_share_of_empty_ones() -> None:
    full, some = (localization_scenes(30, seed=0, empty=empty) for empty in (0.0, 0.5))
    pairs = [(target_of(a), target_of(b)) for a, b in zip(full, some, strict=True)]
    assert all(a.boxes.tolist() == b.boxes.tolist() for a, b in pairs if len(b.boxes))


@pytest.mark.parametrize("empty", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(empty: float) -> None:
    with pytest.raises(UsageError, match=r"in \[0, 1\]"):
        localization_scenes(1, seed=0, empty=empty)
