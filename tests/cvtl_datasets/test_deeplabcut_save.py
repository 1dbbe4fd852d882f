from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvtl.data import BoxesTarget, Dataset, PointsTarget, Sample, Target, load_data
from cvtl.errors import UsageError
from cvtl_datasets.conversion import convert
from cvtl_datasets.deeplabcut import load
from cvtl_datasets.deeplabcut_writing import save

FACE = PointsTarget(np.array([[1, 2.5], [3, 4], [5, 6]]), np.array([True, False, True]))


def points_of(sample: Sample) -> PointsTarget:
    assert isinstance(sample.target, PointsTarget)
    return sample.target


def a_dataset(targets: Sequence[Target | None], folder: str = "day1/", **rest: object) -> Dataset:
    samples = [
        Sample(f"{folder}{number}.png", partial(np.full, (6, 8, 3), number, np.uint8), target)
        for number, target in enumerate(targets)
    ]
    return Dataset(samples, ("nose", "left", "right"), "test", **rest)  # type: ignore[arg-type]


@st.composite
def some_objects(draw: st.DrawFn) -> PointsTarget:
    count = draw(st.integers(0, 3))
    numbers = draw(st.lists(st.floats(-1e6, 1e6), min_size=6 * count, max_size=6 * count))
    visible = [draw(st.lists(st.booleans(), min_size=3, max_size=3).filter(any)) for _ in range(count)]
    return PointsTarget(np.array(numbers).reshape(count, 3, 2), np.array(visible, bool).reshape(count, 3))


@settings(max_examples=40, deadline=None)
@given(targets=st.lists(some_objects(), min_size=1, max_size=3))
def test_what_is_written_reads_back_the_same(targets: list[PointsTarget]) -> None:
    dataset = a_dataset(targets, edges=((0, 1),), flip_pairs=((1, 2),), eyes=(2, 1))
    with TemporaryDirectory() as folder:
        assert save(dataset, Path(folder), lambda count: None) == {}
        again = load(Path(folder))
        assert (again.problems, again.classes, again.edges) == ((), dataset.classes, dataset.edges)
        assert (again.flip_pairs, again.eyes) == (dataset.flip_pairs, dataset.eyes)
        for sample, target in zip(again, targets, strict=True):
            read = points_of(sample)
            np.testing.assert_array_equal(read.visible, target.visible)
            np.testing.assert_array_equal(read.points[read.visible], target.points[target.visible])


def test_what_is_written_is_the_table_that_deeplabcut_writes(tmp_path: Path) -> None:
    save(a_dataset([FACE]), tmp_path, lambda count: None)
    with (tmp_path / "labeled-data/day1/CollectedData_cvtl.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["scorer", *["cvtl"] * 6],
            ["bodyparts", "nose", "nose", "left", "left", "right", "right"],
            ["coords", "x", "y", "x", "y", "x", "y"],
            ["labeled-data/day1/0.png", "1.0", "2.5", "", "", "5.0", "6.0"],
        ]
    assert (tmp_path / "labeled-data/day1/0.png").is_file()


@pytest.mark.parametrize(("name", "video"), [("", "pictures"), ("a/b/", "b"), ("labeled-data/day2/", "day2")])
def test_the_folder_in_a_picture_s_name_is_its_video(tmp_path: Path, name: str, video: str) -> None:
    save(a_dataset([FACE], name), tmp_path, lambda count: None)
    assert (tmp_path / "labeled-data" / video / "CollectedData_cvtl.csv").is_file()


def test_folders_of_one_name_stay_apart(tmp_path: Path) -> None:
    samples = [*a_dataset([FACE], "a/cam/"), *a_dataset([FACE], "b/cam/")]
    save(Dataset(samples, ("nose", "left", "right"), "test"), tmp_path, lambda count: None)
    assert len(load(tmp_path)) == 2
    assert len(list((tmp_path / "labeled-data").iterdir())) == 2


def test_what_the_table_cannot_hold_is_counted(tmp_path: Path) -> None:
    boxed = PointsTarget(FACE.points, FACE.visible, np.array([[0, 0, 9, 9]]))
    blind = PointsTarget(np.ones((1, 3, 2)), np.zeros((1, 3), bool))
    steps: list[int] = []
    lost = save(a_dataset([boxed, blind, None]), tmp_path, steps.append)
    assert lost == {"box": 1, "object without points": 1, "picture without a target": 1}
    assert steps == [1, 1, 1]


def test_a_converted_set_is_opened_as_what_it_is(tmp_path: Path) -> None:
    conversion = convert(a_dataset([FACE, FACE]), tmp_path / "out", "deeplabcut")
    assert (conversion.fault, conversion.notes) == ("", ())
    assert load_data(tmp_path / "out").format == "deeplabcut"


def test_boxes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="DeepLabCut's CSV holds points, and nothing else"):
        save(a_dataset([BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))]), tmp_path, lambda count: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", " left", "two\nlines", "\udce9"])
def test_names_that_do_not_do_as_headings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot hold the point names"):
        save(Dataset([], (name,), "test"), tmp_path, lambda count: None)
