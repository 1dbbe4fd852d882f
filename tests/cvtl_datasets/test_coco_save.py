from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample, Split, UInt8Image, load_data
from cvtl.errors import UsageError
from cvtl_datasets.coco import load
from cvtl_datasets.coco_writing import save


def boxes_of(sample: Sample) -> BoxesTarget:
    assert isinstance(sample.target, BoxesTarget)
    return sample.target


def picture(number: int, size_hw: tuple[int, int] = (6, 8)) -> UInt8Image:
    return np.full((*size_hw, 3), number, np.uint8)


def a_dataset(targets: Sequence[Any], splits: Sequence[Split | None] | None = None, **more: Any) -> Dataset:
    samples = [
        Sample(f"{number}.png", partial(picture, number), target, split)
        for number, (target, split) in enumerate(zip(targets, splits or [None] * len(targets), strict=True))
    ]
    return Dataset(samples, ("cat", "dog"), "test", **more)


coordinates = st.floats(-1e4, 1e4) | st.integers(-5, 100).map(float)


@st.composite
def box_targets(draw: st.DrawFn) -> BoxesTarget:
    corners = draw(st.lists(st.tuples(*[coordinates] * 4), max_size=4))
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners if abs(a - c) > 1e-3 < abs(b - d)]
    count = len(boxes)
    return BoxesTarget(
        np.array(boxes).reshape(-1, 4),
        draw(st.lists(st.integers(0, 1), min_size=count, max_size=count).map(np.array)),
        np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool),
        areas=np.array(draw(st.lists(st.floats(0, 1e6), min_size=count, max_size=count))),
    )


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(box_targets(), st.sampled_from([None, *get_args(Split)])), min_size=1, max_size=5),
    category_ids=st.sampled_from([(), (3, 90)]),
)
def test_what_is_written_reads_back_the_same(
    pairs: list[tuple[BoxesTarget, Split | None]], category_ids: tuple[int, ...]
) -> None:
    dataset = a_dataset([target for target, _ in pairs], [split for _, split in pairs], category_ids=category_ids)
    with TemporaryDirectory() as folder:
        assert save(dataset, Path(folder), lambda count: None) == {}
        again = load(Path(folder))
        assert again.problems == ()
        assert again.classes == dataset.classes
        assert again.category_ids == (category_ids or (1, 2))
        assert len({(sample.split, sample.image_id) for sample in again}) == len(dataset)
        by_picture = {int(sample.read()[0, 0, 0]): sample for sample in again}
        for number, sample in enumerate(dataset):
            target, read = boxes_of(sample), boxes_of(by_picture[number])
            np.testing.assert_allclose(read.boxes, target.boxes, rtol=0, atol=1e-9)
            for field in ("labels", "crowd", "areas"):
                np.testing.assert_array_equal(getattr(read, field), getattr(target, field))
            assert by_picture[number].split == sample.split
            assert by_picture[number].annotated_wh == (8, 6)


def test_other_tools_read_what_is_written(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    target = BoxesTarget(np.array([[1.5, 2, 4, 6], [0, 0, 8, 6]]), np.array([1, 0]), np.array([False, True]))
    save(a_dataset([target, target], category_ids=(5, 7)), tmp_path, lambda count: None)
    coco = COCO(tmp_path / "annotations" / "instances_all.json")
    assert coco.getImgIds() == [1, 2]
    assert coco.getAnnIds() == [1, 2, 3, 4]
    assert coco.loadCats([5, 7]) == [{"id": 5, "name": "cat"}, {"id": 7, "name": "dog"}]
    assert coco.loadAnns(3) == [
        {"id": 3, "image_id": 2, "category_id": 7, "bbox": [1.5, 2.0, 2.5, 4.0], "area": 10.0, "iscrowd": 0}
    ]
    assert coco.loadImgs(2) == [{"id": 2, "file_name": "1.png", "width": 8, "height": 6}]
    assert (tmp_path / "images" / "all" / "1.png").is_file()


@pytest.mark.parametrize(("ids", "written"), [((30, 9), [30, 9]), ((30, 30), [1, 2]), ((30, None), [1, 2])])
def test_ids_of_pictures_are_kept_where_they_tell_them_apart(
    tmp_path: Path, ids: tuple[int | None, ...], written: list[int]
) -> None:
    samples = [Sample(f"{n}", partial(picture, n), image_id=each) for n, each in enumerate(ids)]
    save(Dataset(samples, ("cat",), "test"), tmp_path, lambda count: None)
    assert [sample.image_id for sample in load(tmp_path)] == written


def test_what_coco_cannot_hold_is_counted(tmp_path: Path) -> None:
    target = BoxesTarget(np.array([[0.0, 0, 4, 4]]), np.array([0]), difficult=np.array([True]))
    steps: list[int] = []
    lost = save(a_dataset([target, None, target]), tmp_path, steps.append)
    assert lost == {"difficult": 2, "picture without a target": 1}
    assert steps == [1, 1, 1]


def test_only_boxes_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hold boxes, and nothing else"):
        save(a_dataset([None, ClassTarget(0)]), tmp_path, lambda count: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.shared
def test_a_real_set_with_pictures_survives_writing(shared_data: Path, tmp_path: Path) -> None:
    dataset = load_data(shared_data / "detection_coco_cc" / "instances.json", "detect")
    assert dataset[0].read().shape == (428, 640, 3)
    assert save(dataset, tmp_path, lambda count: None) == {}
    again = load_data(tmp_path, "detect")
    assert again.problems == ()
    assert (again.classes, again.category_ids) == (dataset.classes, dataset.category_ids)
    for before, after in zip(dataset, again, strict=True):
        assert (after.name, after.image_id) == (before.name, before.image_id)
        np.testing.assert_allclose(boxes_of(after).boxes, boxes_of(before).boxes, rtol=0, atol=1e-9)
        assert before.file is not None
        assert after.file is not None
        assert os.path.getsize(after.file) == os.path.getsize(before.file)
