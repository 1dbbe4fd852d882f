"""YOLO: what is written reads back the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample, load_data
from cvtl.errors import UsageError
from cvtl_datasets.yolo_writing import save

Picture = Callable[..., Path]


def written(dataset: Dataset, out: Path) -> tuple[Dataset, Mapping[str, int]]:
    advanced: list[int] = []
    lost = save(dataset, out, advanced.append)
    assert sum(advanced) == len(dataset)
    return load_data(out, "detect"), lost


def sample_of(file: Path, name: str, split: Any = None, *boxes: Sequence[float]) -> Sample:
    target = BoxesTarget(np.array(boxes, np.float64), np.arange(len(boxes)) % 2)
    return Sample.of_file(name, file, target, split)


@pytest.mark.parametrize("splits", [(None, None), ("train", "val"), ("train", "train"), ("test", "val")])
def test_what_is_written_reads_back_the_same(tmp_path: Path, write_picture: Picture, splits: tuple[Any, Any]) -> None:
    file = write_picture(tmp_path / "in" / "a.jpg")
    box = (0.1, 1 / 3, 20, 12.345678901234567)
    samples = [sample_of(file, "x/a.jpg", splits[0], box, (-5, 0, 40, 3)), sample_of(file, "y/A.jpg", splits[1])]
    dataset = Dataset(samples, ("no: [x]", "007", "unused"), "test")
    again, _ = written(dataset, tmp_path / "out")
    assert again.classes == dataset.classes
    (target,) = [each.target for each in again if isinstance(each.target, BoxesTarget) and len(each.target.boxes)]
    assert isinstance(samples[0].target, BoxesTarget)
    assert_allclose(target.boxes, samples[0].target.boxes, atol=1e-6)
    assert_array_equal(target.labels, samples[0].target.labels)
    assert sorted(map(str, splits)) == sorted(str(sample.split) for sample in again)
    assert again.problems == ()


def test_a_thousandth_of_a_pixel_survives_in_a_huge_picture(tmp_path: Path) -> None:
    Image.new("1", (50_000, 2)).save(tmp_path / "a.png")
    random = np.random.default_rng(0)
    corners = np.sort(random.uniform(0, 50_000, (100, 2)), axis=1)
    boxes = np.column_stack([corners[:, 0], np.zeros(100), corners[:, 1], np.ones(100)])
    again, _ = written(
        Dataset([sample_of(tmp_path / "a.png", "a.png", None, *boxes)], ("a", "b"), ""), tmp_path / "out"
    )
    assert isinstance(again[0].target, BoxesTarget)
    assert_allclose(again[0].target.boxes, boxes, atol=1e-3)


def test_pictures_without_a_split_go_to_train_where_others_have_one(tmp_path: Path, write_picture: Picture) -> None:
    file = write_picture(tmp_path / "a.jpg")
    dataset = Dataset([sample_of(file, "a.jpg", "val"), sample_of(file, "b.jpg")], ("cat",), "test")
    again, lost = written(dataset, tmp_path / "out")
    assert [(sample.name, sample.split) for sample in again] == [
        ("images/train/b.jpg", "train"),
        ("images/val/a.jpg", "val"),
    ]
    assert lost == {"no split, put into train": 1}


def test_what_cannot_be_held_is_counted(tmp_path: Path, write_picture: Picture) -> None:
    target = BoxesTarget(
        np.array([[0, 0, 4, 4], [1, 1, 3, 3.0]]),
        np.zeros(2, np.int64),
        crowd=np.array([True, False]),
        difficult=np.array([True, True]),
        areas=np.array([16, 3]),
    )
    sample = Sample.of_file("a.jpg", write_picture(tmp_path / "a.jpg"), target)
    _, lost = written(Dataset([sample], ("cat",), "test"), tmp_path / "out")
    assert lost == {"crowd": 1, "difficult": 2, "areas": 1}


@pytest.mark.parametrize(
    ("splits", "places"),
    [
        (("train", "val"), {"train": "images/train", "val": "images/val"}),
        (("test", "train"), {"train": "images/train", "test": "images/test"}),
        ((None, None), {"train": "images", "val": "images"}),
        ((), {"train": "images", "val": "images"}),
    ],
    ids=str,
)
def test_data_yaml_is_what_ultralytics_expects(
    tmp_path: Path, write_picture: Picture, splits: tuple[Any, ...], places: dict[str, str]
) -> None:
    file = write_picture(tmp_path / "a.jpg")
    samples = [sample_of(file, f"{number}.jpg", split) for number, split in enumerate(splits)]
    save(Dataset(samples, ("cat", "no"), "test"), tmp_path / "out", lambda count: None)
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert content == places | {"names": {0: "cat", 1: "no"}}


def test_targets_other_than_boxes_are_refused(tmp_path: Path, write_picture: Picture) -> None:
    sample = Sample.of_file("a.jpg", write_picture(tmp_path / "a.jpg"), ClassTarget(0))
    with pytest.raises(UsageError, match="holds boxes"):
        save(Dataset([sample], ("cat",), "test"), tmp_path / "out", lambda count: None)
