"""Pascal VOC: what is written reads back the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample, load_data
from cvtl.errors import UsageError
from cvtl_datasets.voc_writing import save

Picture = Callable[..., Path]


def boxes_of(dataset: Dataset) -> dict[str, list[list[float]]]:
    return {sample.name: sample.target.boxes.tolist() for sample in dataset if isinstance(sample.target, BoxesTarget)}


def written(dataset: Dataset, out: Path) -> tuple[Dataset, Mapping[str, int]]:
    advanced: list[int] = []
    lost = save(dataset, out, advanced.append)
    assert sum(advanced) == len(dataset)
    return load_data(out, "detect"), lost


def test_what_is_written_reads_back_the_same(tmp_path: Path, write_picture: Picture) -> None:
    boxes = np.array([[0.1, 1 / 3, 20, 12.345678901234567], [-5, 0, 1e5, 3]])
    target = BoxesTarget(boxes, np.array([1, 0]), difficult=np.array([False, True]))
    file = write_picture(tmp_path / "in" / "a.jpg")
    samples = [
        Sample.of_file("x/a.jpg", file, target, "train"),
        Sample.of_file("y/A.jpg", file, BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64)), "val"),
        Sample.of_file("z.jpg", file, target),
    ]
    dataset = Dataset(samples, ("z & <y>", "a", "unused"), "test")
    again, lost = written(dataset, tmp_path / "out")
    assert again.classes == dataset.classes
    assert [sample.split for sample in again] == ["val", "train", None]
    assert isinstance(again[1].target, BoxesTarget)
    assert_array_equal(again[1].target.boxes, boxes)
    assert_array_equal(again[1].target.labels, target.labels)
    assert_array_equal(again[1].target.difficult, target.difficult)
    assert [sample.annotated_wh for sample in again] == [(32, 24)] * 3
    assert again.problems == ()
    assert lost == {"picture name changed": 1}


def test_without_splits_no_lists_are_written(tmp_path: Path, write_picture: Picture) -> None:
    target = BoxesTarget(np.array([[1, 2, 9.5, 8]]), np.zeros(1, np.int64))
    sample = Sample.of_file("a.jpg", write_picture(tmp_path / "a.jpg"), target)
    again, lost = written(Dataset([sample], ("cat",), "test"), tmp_path / "out")
    assert not (tmp_path / "out" / "ImageSets").exists()
    assert boxes_of(again) == {"JPEGImages/a.jpg": [[1, 2, 9.5, 8]]}
    assert lost == {}


def test_what_cannot_be_held_is_counted(tmp_path: Path, write_picture: Picture) -> None:
    boxes = np.array([[0, 0, 4, 4], [1, 1, 3, 3], [2, 2, 8, 8.0]])
    target = BoxesTarget(boxes, np.zeros(3, np.int64), crowd=np.array([True, True, False]), areas=np.array([16, 3, 30]))
    sample = Sample.of_file("a.jpg", write_picture(tmp_path / "a.jpg"), target)
    _, lost = written(Dataset([sample], ("cat",), "test"), tmp_path / "out")
    assert lost == {"crowd": 2, "areas": 2}


def test_a_turned_picture_is_written_upright_with_its_boxes_as_they_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    target = BoxesTarget(np.array([[1, 2, 29, 39.0]]), np.zeros(1, np.int64))
    dataset = Dataset([Sample.of_file("a.jpg", tmp_path / "a.jpg", target)], ("cat",), "test")
    again, lost = written(dataset, tmp_path / "out")
    assert (again[0].annotated_wh, again[0].read().shape) == ((30, 40), (40, 30, 3))
    assert boxes_of(again) == {"JPEGImages/a.jpg": [[1, 2, 29, 39]]}
    assert lost == {"picture turned upright": 1}


@pytest.mark.parametrize("name", ["", " cat", "a\nb", "a\x00b", "a\u2028b", "\ufffe"])
def test_a_class_name_that_cannot_be_held_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot hold the class name"):
        save(Dataset([], (name,), "test"), tmp_path, lambda count: None)


def test_targets_other_than_boxes_are_refused(tmp_path: Path, write_picture: Picture) -> None:
    sample = Sample.of_file("a.jpg", write_picture(tmp_path / "a.jpg"), ClassTarget(0))
    with pytest.raises(UsageError, match="holds boxes"):
        save(Dataset([sample], ("cat",), "test"), tmp_path / "out", lambda count: None)
