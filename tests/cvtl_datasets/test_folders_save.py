from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, Split, Target, UInt8Image
from cvtl.errors import CvtlWarning, UsageError
from cvtl.images import read_image
from cvtl_datasets.folders import load
from cvtl_datasets.folders_writing import save
from cvtl_datasets.writing import UNREADABLE


def gradient() -> UInt8Image:
    """A picture (40, 60, 3) whose pixels say where they are."""
    y, x = np.mgrid[:40, :60]
    return np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8)


def dataset(classes: Sequence[str], samples: Sequence[tuple[str, Target | None, Split | None]]) -> Dataset:
    return Dataset([Sample(name, gradient, target, split) for name, target, split in samples], tuple(classes), "test")


def boxes_of(boxes: Sequence[Sequence[float]], labels: Sequence[int], **flags: Sequence[bool]) -> BoxesTarget:
    arrays = {name: np.array(values, bool) for name, values in flags.items()}
    return BoxesTarget(np.array(boxes, np.float64), np.array(labels, np.int64), **arrays)


def written(data: Dataset, out: Path) -> tuple[list[str], dict[str, int]]:
    """The files, and what `save` says was lost."""
    counts = save(data, out, lambda count: None)
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()), dict(counts)


def test_pictures_of_a_class_lie_in_its_folder(tmp_path: Path) -> None:
    data = dataset(["cat", "dog"], [("x/1.png", ClassTarget(0), None), ("y/1.png", ClassTarget(1), None)])
    assert written(data, tmp_path) == (["cat/1.png", "dog/1.png"], {})


def test_splits_become_folders(tmp_path: Path) -> None:
    data = dataset(
        ["cat", "dog"],
        [("1", ClassTarget(0), "train"), ("2", ClassTarget(1), "train"), ("3", ClassTarget(1), "test")],
    )
    assert written(data, tmp_path) == (["test/dog/3.png", "train/cat/1.png", "train/dog/2.png"], {})
    assert [sample.split for sample in load(tmp_path)] == ["test", "train", "train"]


def test_samples_without_a_split_join_the_training_pictures_where_others_have_one(tmp_path: Path) -> None:
    data = dataset(["cat", "dog"], [("1", ClassTarget(0), None), ("2", ClassTarget(1), "val")])
    assert written(data, tmp_path) == (["train/cat/1.png", "val/dog/2.png"], {"no split, put into train": 1})


def test_objects_are_cut_out_rounded_outwards_and_clipped(tmp_path: Path) -> None:
    boxes = boxes_of([[10.6, 5.2, 19.5, 8], [-5, 30, 4, 90]], [1, 0])
    files, counts = written(dataset(["cat", "dog"], [("a/1.jpg", boxes, None)]), tmp_path)
    assert files == ["cat/1-2.png", "dog/1-1.png"]
    np.testing.assert_array_equal(read_image(tmp_path / "dog/1-1.png"), gradient()[5:8, 10:20])
    np.testing.assert_array_equal(read_image(tmp_path / "cat/1-2.png"), gradient()[30:40, :4])
    assert counts == {"box position": 2}


def test_crowds_are_not_cut_out_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    boxes = boxes_of(
        [[0, 0, 5, 5], [1, 1, 9, 9], [70, 0, 80, 9]],
        [0, 1, 1],
        crowd=[True, False, False],
        difficult=[False, True, False],
    )
    empty = boxes_of([], [])
    data = dataset(["cat", "dog"], [("1", boxes, None), ("2", empty, None), ("3", None, None)])
    files, counts = written(data, tmp_path)
    assert files == ["dog/1-2.png"]
    assert counts == {
        "box position": 3,
        "crowd, not cut out": 1,
        "difficult": 1,
        "box outside of the picture": 1,
        "picture without objects": 1,
        "picture without label": 1,
        "class without pictures": 1,
    }


def test_points_are_refused(tmp_path: Path) -> None:
    data = dataset(["eye"], [("1", PointsTarget(np.zeros((1, 2)), np.ones(1, bool)), None)])
    with pytest.raises(UsageError, match="cannot hold points"):
        save(data, tmp_path, lambda count: None)


NAMES = ["../up", "a/b", "", "CON", ".x", "Cat", "cat", "images", "plain"]


def test_class_names_become_safe_and_unique_folders_below_the_output(tmp_path: Path) -> None:
    data = dataset(NAMES, [(f"{label}.png", ClassTarget(label), None) for label in range(len(NAMES))])
    out = tmp_path / "deep" / "out"
    with pytest.warns(CvtlWarning, match="is called") as said:
        _, counts = written(data, out)
    assert sorted(os.listdir(out)) == sorted(["_.._up", "a_b", "_", "_CON", "_.x", "Cat", "cat-2", "_images", "plain"])
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")] == ["deep/out"]
    assert counts["class name"] == len(said) == 7
    assert len(load(out).classes) == len(NAMES)


@pytest.mark.parametrize("names", [["train", "car"], ["train", "test"], ["Train", "val", "test", "car"]])
def test_classes_that_are_called_like_splits_stay_classes(
    tmp_path: Path, names: list[str], recwarn: pytest.WarningsRecorder
) -> None:
    data = dataset(names, [(f"{label}.png", ClassTarget(label), None) for label in range(len(names))])
    written(data, tmp_path)
    back = load(tmp_path)
    assert {sample.split for sample in back} == {None}
    assert {name.lstrip("_") for name in back.classes} == set(names)


def test_classes_keep_their_order_or_the_change_is_counted(tmp_path: Path) -> None:
    samples = [(str(label), ClassTarget(label), None) for label in range(3)]
    assert written(dataset(["a", "b", "c"], samples), tmp_path / "1")[1] == {}
    assert written(dataset(["b", "a", "c"], samples), tmp_path / "2")[1] == {"class order": 2}


def test_a_picture_that_cannot_be_read_loses_its_crops_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    boxes = boxes_of([[0, 0, 5, 5]], [0])
    bad = Sample.of_file("bad.jpg", tmp_path / "bad.jpg", boxes)
    good = Sample("good", gradient, boxes)
    with pytest.warns(CvtlWarning, match=r"left out: .*bad\.jpg'"):
        counts = save(Dataset([bad, good], ("cat",), "test"), tmp_path / "out", lambda count: None)
    assert counts[UNREADABLE] == 1
    assert os.listdir(tmp_path / "out" / "cat") == ["good-1.png"]


@pytest.mark.shared
def test_real_class_folders_come_through_unchanged(shared_data: Path, tmp_path: Path) -> None:
    data = load(shared_data / "classify_flowers")
    files, counts = written(data, tmp_path)
    assert counts == {}
    assert files == [sample.name for sample in data]
    assert load(tmp_path).digest() == data.digest()
    for sample in data.subset(range(0, len(data), 25)):
        assert sample.file is not None
        assert (tmp_path / sample.name).read_bytes() == sample.file.read_bytes()
