from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvtl.data import BoxesTarget, Dataset, PointsTarget, Sample, Split, Target, load_data
from cvtl.errors import UsageError
from cvtl_datasets.landmarks import load, recognizes
from cvtl_datasets.landmarks_writing import save


def points_of(sample: Sample) -> PointsTarget:
    assert isinstance(sample.target, PointsTarget)
    return sample.target


coordinates = st.floats(-1e6, 1e6)


@st.composite
def point_targets(draw: st.DrawFn, points: int) -> PointsTarget:
    visible = draw(st.lists(st.booleans(), min_size=points, max_size=points))
    count = int(any(visible))
    numbers = np.array(draw(st.lists(coordinates, min_size=2 * points, max_size=2 * points))).reshape(1, -1, 2)
    numbers[(numbers == -1).all(axis=2)] = 0  # stands for a missing point
    corner = np.array(draw(st.tuples(coordinates, coordinates)))
    box = np.hstack([corner, corner + 2.5])[None]
    return PointsTarget(numbers[:count], np.array([visible])[:count], box if count and draw(st.booleans()) else None)


names = st.lists(st.text(min_size=1).filter(lambda name: name == name.strip()), min_size=3, max_size=5, unique=True)


def a_dataset(
    targets: Sequence[Target | None],
    splits: Sequence[Split | None] | None = None,
    classes: Sequence[str] = ("nose", "left", "right"),
) -> Dataset:
    samples = [
        Sample(f"{number}.png", partial(np.full, (6, 8, 3), number, np.uint8), target, split)
        for number, (target, split) in enumerate(zip(targets, splits or [None] * len(targets), strict=True))
    ]
    return Dataset(samples, tuple(classes), "test", edges=((0, 1),), flip_pairs=((1, 2),), eyes=(2, 1))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), classes=names)
def test_what_is_written_reads_back_the_same(data: st.DataObject, classes: list[str]) -> None:
    splits = data.draw(st.lists(st.sampled_from([None, *get_args(Split)]), min_size=1, max_size=4))
    targets = [data.draw(point_targets(len(classes))) for _ in splits]
    dataset = a_dataset(targets, splits, classes)
    with TemporaryDirectory() as folder:
        try:
            assert save(dataset, Path(folder), lambda count: None) == {}
        except UsageError as error:
            assert "cannot hold the point names" in str(error)  # noqa: PT017 names may be anything
            return
        again = load(Path(folder))
        assert again.problems == ()
        assert (again.classes, again.edges) == (dataset.classes, dataset.edges)
        assert (again.flip_pairs, again.eyes) == (dataset.flip_pairs, dataset.eyes)
        by_picture = {int(sample.read()[0, 0, 0]): sample for sample in again}
        for number, target in enumerate(targets):
            read = points_of(by_picture[number])
            assert by_picture[number].split == splits[number]
            np.testing.assert_array_equal(read.visible, target.visible)
            np.testing.assert_array_equal(read.points[read.visible], target.points[target.visible])
            assert (read.boxes is None) == (target.boxes is None)
            np.testing.assert_array_equal(np.array(read.boxes), np.array(target.boxes))


def test_what_is_written_is_a_plain_table(tmp_path: Path) -> None:
    target = PointsTarget(np.array([[1, 2.5], [3, 4], [5, 6]]), np.array([True, False, True]))
    save(a_dataset([target]), tmp_path, lambda count: None)
    with (tmp_path / "keypoints.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["image", "nose_x", "nose_y", "left_x", "left_y", "right_x", "right_y"],
            ["0.png", "1.0", "2.5", "", "", "5.0", "6.0"],
        ]
    assert recognizes(tmp_path)


def test_two_points_with_numbers_for_names_are_recognised_when_read_back(tmp_path: Path) -> None:
    target = PointsTarget(np.array([[1, 2.5], [3, 4]]), np.array([True, True]))
    save(Dataset(a_dataset([target]), ("0", "1"), "test"), tmp_path, lambda count: None)
    assert load_data(tmp_path, "landmarks").classes == ("0", "1")


def test_what_the_table_cannot_hold_is_counted(tmp_path: Path) -> None:
    at_minus_one = PointsTarget(np.array([[-1, -1], [-1, 4], [-1.0, -1]]), np.array([True, True, False]))
    without_points = PointsTarget(np.ones((1, 3, 2)), np.zeros((1, 3), bool))
    steps: list[int] = []
    lost = save(a_dataset([at_minus_one, without_points, None]), tmp_path, steps.append)
    assert lost == {"point at -1, -1": 1, "object without points": 1, "picture without a target": 1}
    assert steps == [1, 1, 1]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            PointsTarget(np.zeros((2, 3, 2)), np.ones((2, 3), bool)),
            r"'0\.png' shows 2. Write it with --to coco-keypoints",
        ),
        (BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64)), "landmark CSV holds points, and nothing else"),
    ],
)
def test_other_targets_are_refused_before_anything_is_written(tmp_path: Path, target: Target, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        save(a_dataset([target]), tmp_path, lambda count: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [("",), ("nose", " left"), ("\udce9",), ()])
def test_names_that_do_not_do_as_headings_are_refused(tmp_path: Path, classes: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="cannot hold the point names"):
        save(a_dataset([None], classes=classes), tmp_path, lambda count: None)


@pytest.mark.shared
def test_a_real_set_survives_writing(shared_data: Path, tmp_path: Path) -> None:
    dataset = load_data(shared_data / "landmarks_faces", "landmarks")
    # Its .jpg files are PNG files.
    assert save(dataset, tmp_path, lambda count: None) == {"suffix corrected": 260}
    again = load_data(tmp_path, "landmarks")
    assert (again.classes, again.problems) == (dataset.classes, ())
    for before, after in zip(dataset, again, strict=True):
        assert after.split == before.split
        assert Path(after.name).stem == Path(before.name).stem
        np.testing.assert_array_equal(points_of(after).points, points_of(before).points)
