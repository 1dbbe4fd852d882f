"""Guessing which points change places in a mirror."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvtl.data import Dataset, PointsTarget, Sample, load_data
from cvtl_datasets.symmetry import guess_flip_pairs, pairs_of_names, pairs_of_shape

# As the convention's figure has them, from 0: jaw, brows, nose, eyes, outer and inner lips.
IBUG_68 = {
    *((0, 16), (1, 15), (2, 14), (3, 13), (4, 12), (5, 11), (6, 10), (7, 9)),
    *((17, 26), (18, 25), (19, 24), (20, 23), (21, 22)),
    *((31, 35), (32, 34)),
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),
    *((60, 64), (61, 63), (65, 67)),
}
FACE = np.array([[2.0, 0], [8, 0], [5, 3], [3, 6], [7, 6]])


def a_dataset(shapes: np.ndarray, names: tuple[str, ...] | None = None) -> Dataset:
    visible = ~np.isnan(shapes[..., 0])
    samples = [
        Sample(str(i), lambda: np.zeros((9, 9, 3), np.uint8), PointsTarget(np.nan_to_num(shape), there))
        for i, (shape, there) in enumerate(zip(shapes, visible, strict=True))
    ]
    return Dataset(samples, names or tuple(f"p{i}" for i in range(shapes.shape[1])), "memory")


def scattered(shape: np.ndarray, count: int = 40, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    shapes = shape + chance.normal(0, noise, (count, *shape.shape))
    return np.asarray(shapes * chance.uniform(0.5, 3, (count, 1, 1)) + chance.uniform(0, 99, (count, 1, 2)))


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("left_eye", "right_eye", "nose"), ((0, 1),)),
        (("nose", "right_eye", "left_eye"), ((1, 2),)),
        (("Left Ear", "Right Ear"), ((0, 1),)),
        (("l_hip", "r_hip", "hip"), ((0, 1),)),
        (("EYE_L", "EYE_R"), ((0, 1),)),
        (("eyeL", "eyeR", "LEar", "REar"), ((0, 1), (2, 3))),
        (("lefteye", "righteye", "mouthleft", "mouthright"), ((0, 1), (2, 3))),
        (("paw_l1", "paw_l2", "paw_r2", "paw_r1"), ((0, 3), (1, 2))),
        (("left eye, left", "left eye, right", "right eye, left", "right eye, right"), ((0, 3), (1, 2))),
        (("left_eye", "nose"), ()),
        (("lip", "rip", "nose"), ()),
        (("left eye", "left-eye", "right eye"), ()),
        (("0", "1"), ()),
        (("", "é"), ()),
    ],
)
def test_names_tell_pairs_where_only_left_and_right_differ(
    names: tuple[str, ...], pairs: tuple[tuple[int, int], ...]
) -> None:
    assert pairs_of_names(names) == pairs


def test_names_go_before_shapes() -> None:
    guess = guess_flip_pairs(a_dataset(scattered(FACE), ("left", "a", "right", "b", "c")))
    assert guess is not None
    assert (guess.pairs, guess.source) == (((0, 2),), "names")


@pytest.mark.parametrize("start", [0, 1])
def test_68_numbered_points_are_those_of_ibug(start: int) -> None:
    guess = guess_flip_pairs(Dataset([], tuple(str(start + i) for i in range(68)), "memory"))
    assert guess is not None
    assert {tuple(sorted(pair)) for pair in guess.pairs} == IBUG_68
    assert guess.source == "convention"


def test_a_symmetric_shape_tells_pairs() -> None:
    guess = guess_flip_pairs(a_dataset(scattered(FACE)))
    assert guess is not None
    assert (guess.pairs, guess.source) == (((0, 1), (3, 4)), "shape")


def test_missing_points_do_not_disturb() -> None:
    shapes = scattered(FACE, 80)
    shapes[np.random.default_rng(1).random((80, 5)) < 0.3] = np.nan
    guess = guess_flip_pairs(a_dataset(shapes))
    assert guess is not None
    assert guess.pairs == ((0, 1), (3, 4))


def test_a_point_that_is_never_there_has_no_partner() -> None:
    shape = np.insert(FACE, 1, np.nan, axis=0)
    assert pairs_of_shape(shape) == ((0, 2), (4, 5))


@pytest.mark.parametrize("points", [4, 5, 8, 20, 68])
def test_shapes_without_symmetry_tell_nothing(points: int) -> None:
    for seed in range(10):
        shape = np.random.default_rng(seed).normal(0, 5, (points, 2))
        assert guess_flip_pairs(a_dataset(scattered(shape, seed=seed))) is None


@pytest.mark.parametrize("shape", [[[0, 0], [0, 1], [0, 2.0]], [[1, 1], [1, 1.0]], [[np.nan, np.nan]]])
def test_a_line_or_a_spot_has_no_pairs(shape: list[list[float]]) -> None:
    assert pairs_of_shape(np.array(shape)) == ()


def test_without_points_there_is_nothing_to_guess() -> None:
    assert guess_flip_pairs(Dataset([], ("a", "b"), "memory")) is None


@pytest.mark.shared
def test_the_shapes_of_real_faces_tell_all_pairs(shared_data: Path) -> None:
    dataset = load_data(shared_data / "landmarks_faces_160", "landmarks")
    nameless = replace(dataset, classes=tuple(f"p{i}" for i in range(68)))
    for part in (nameless, nameless.subset(range(0, 2323, 5))):
        guess = guess_flip_pairs(part)
        assert guess is not None
        assert {tuple(sorted(pair)) for pair in guess.pairs} == IBUG_68
        assert guess.source == "shape"


@pytest.mark.shared
def test_a_single_turned_face_tells_nothing(shared_data: Path) -> None:
    dataset = load_data(shared_data / "landmarks_faces_160", "landmarks")
    assert guess_flip_pairs(replace(dataset.subset([3]), classes=tuple(f"p{i}" for i in range(68)))) is None
