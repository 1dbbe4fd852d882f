from __future__ import annotations

import json
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
from cvtl.errors import DataError, UsageError
from cvtl_datasets.coco import load_keypoints, recognizes_keypoints
from cvtl_datasets.coco_writing import save_keypoints

PERSON = {"id": 4, "name": "person", "keypoints": ["nose", "left", "right"], "skeleton": [[1, 2], [1, 3]]}
NOSE_AND_LEFT = [10, 20, 2, 30.5, 40, 1, 0, 0, 0]


def annotation(number: int, keypoints: object = NOSE_AND_LEFT, **more: object) -> dict[str, object]:
    known = {"id": number, "image_id": 1, "category_id": 4, "bbox": [5, 5, 30, 40], "num_keypoints": 2}
    return {**known, "keypoints": keypoints, **more}


def write_coco(
    file: Path,
    annotations: Sequence[object] = (),
    categories: Sequence[object] = (PERSON,),
    images: Sequence[int] = (1,),
) -> Path:
    listed = [{"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48} for number in images]
    lists = {"images": listed, "categories": categories, "annotations": annotations}
    file.parent.mkdir(parents=True, exist_ok=True)
    # One entry in each line; annotations from line 6 where there is one image and one category.
    members = (f'"{name}": [\n' + ",\n".join(map(json.dumps, entries)) + "]" for name, entries in lists.items())
    file.write_text("{" + ",\n".join(members) + "}")
    return file


def points_of(sample: Sample) -> PointsTarget:
    assert isinstance(sample.target, PointsTarget)
    return sample.target


def test_points_are_read_with_names_edges_and_boxes(tmp_path: Path) -> None:
    dataset = load_keypoints(
        write_coco(tmp_path / "a.json", [annotation(1), annotation(2, [1, 2, 2] * 3)], images=[1, 2])
    )
    assert dataset.classes == ("nose", "left", "right")
    assert dataset.edges == ((0, 1), (0, 2))
    assert dataset.category_ids == ()
    target = points_of(dataset[0])
    assert target.points[0, :2].tolist() == [[10, 20], [30.5, 40]]
    assert target.points[1].tolist() == [[1, 2]] * 3
    assert target.visible.tolist() == [[True, True, False], [True, True, True]]
    assert target.boxes is not None
    assert target.boxes.tolist() == [[5, 5, 35, 45]] * 2
    assert points_of(dataset[1]).points.shape == (0, 3, 2)
    assert dataset.problems == ()


def test_hidden_points_and_what_else_has_no_place_are_counted(tmp_path: Path) -> None:
    annotations = [annotation(1, segmentation=[[1]], area=3, iscrowd=0), annotation(2, iscrowd=1), annotation(3)]
    unheld = load_keypoints(write_coco(tmp_path / "a.json", annotations)).unheld
    assert unheld == {"hidden points": 3, "segmentation": 1, "area": 1, "iscrowd": 1, "name": 1}


@pytest.mark.parametrize("keypoints", [None, [], [0] * 9, [5, 5, 0] * 3])
def test_objects_without_points_are_left_out_and_counted(tmp_path: Path, keypoints: object) -> None:
    other = annotation(2, [0] * 9, category_id=9)
    categories = [PERSON, {"id": 9, "name": "dog", "keypoints": []}]
    dataset = load_keypoints(write_coco(tmp_path / "a.json", [annotation(1, keypoints), other], categories))
    assert points_of(dataset[0]).points.shape == (0, 3, 2)
    assert dataset.unheld["objects without points"] == 2
    assert dataset.problems == ()


def test_boxes_are_unknown_where_an_object_has_none(tmp_path: Path) -> None:
    without = {key: value for key, value in annotation(2).items() if key != "bbox"}
    dataset = load_keypoints(write_coco(tmp_path / "a.json", [annotation(1), without]))
    assert points_of(dataset[0]).boxes is None


@pytest.mark.parametrize(
    ("wrong", "kind", "what"),
    [
        ({"keypoints": [1, 2, 2]}, "malformed annotation", "9 finite numbers are needed"),
        ({"keypoints": 5}, "malformed annotation", "keypoints is 5"),
        ({"keypoints": "none"}, "malformed annotation", "keypoints is none"),
        ({"keypoints": [float("nan"), *NOSE_AND_LEFT[1:]]}, "malformed annotation", "9 finite numbers are needed"),
        ({"keypoints": [1, 2, 3] * 3}, "malformed annotation", "a visibility in its keypoints is not 0, 1 or 2"),
        ({"category_id": 9}, "unknown class", "there is no category 9 with keypoints"),
        ({"category_id": 77}, "unknown class", "there is no category 77 with keypoints"),
        ({"bbox": [1, 2, 0, 4]}, "zero-area box", "the box 1 2 1 6 has no area"),
        ({"bbox": [1, 2]}, "malformed annotation", "bbox is [1, 2]"),
        ({"image_id": 5}, "label without picture", "there is no image 5"),
    ],
)
def test_a_mistake_in_an_annotation_is_named_and_its_object_left_out(
    tmp_path: Path, wrong: dict[str, object], kind: str, what: str
) -> None:
    categories = [PERSON, {"id": 9, "name": "dog"}]
    dataset = load_keypoints(write_coco(tmp_path / "a.json", [annotation(1), annotation(2) | wrong], categories))
    (problem,) = dataset.problems
    assert (problem.kind, problem.where) == (kind, "a.json:8")
    assert problem.what.startswith("annotation 2: ")
    assert what in problem.what
    assert len(points_of(dataset[0]).points) == 1


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([PERSON, PERSON | {"id": 5, "name": "dog"}], "has 2 categories with keypoints.*each into a file of its own"),
        ([{"id": 4, "name": "person"}], "has 0 categories with keypoints.*read it as 'coco'"),
        ([PERSON | {"keypoints": ["nose", "nose"]}], r"a\.json:4': the keypoints .* have no names of their own"),
        ([PERSON | {"keypoints": [1, 2]}], r"a\.json:4': the keypoints .* have no names of their own"),
        (
            [PERSON | {"skeleton": [[0, 1]]}],
            r"a\.json:4': the skeleton has ends that are no keypoints. Pairs of 1 to 3",
        ),
        ([PERSON | {"skeleton": [[1, 2, 3]]}], r"a\.json:4': the skeleton"),
        ([PERSON | {"skeleton": "none"}], r"a\.json:4': the skeleton"),
        ([PERSON | {"id": None}], r"a\.json:4': the id of the category is None"),
    ],
)
def test_what_is_not_one_category_with_keypoints_is_refused(
    tmp_path: Path, categories: list[object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_keypoints(write_coco(tmp_path / "a.json", categories=categories))


def test_files_with_different_points_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json")
    write_coco(tmp_path / "val.json", categories=[PERSON | {"keypoints": ["nose", "right", "left"]}])
    with pytest.raises(DataError, match=r"train\.json' and '.*val\.json' have different keypoints"):
        load_keypoints(tmp_path)


def test_files_may_number_the_category_differently(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", [annotation(1)])
    write_coco(tmp_path / "val.json", [annotation(1, category_id=1)], [PERSON | {"id": 1}])
    assert [len(points_of(sample).points) for sample in load_keypoints(tmp_path)] == [1, 1]


def test_keypoints_are_preferred_to_boxes_unless_boxes_are_asked_for(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "a.json", [annotation(1)])
    assert load_data(file).format == "coco-keypoints"
    assert load_data(file, "landmarks").format == "coco-keypoints"
    assert load_data(file, "detect").format == "coco"


def test_of_cocos_own_folder_the_keypoints_are_read(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations/instances_val2017.json", categories=[{"id": 4, "name": "person"}], images=[1, 2])
    write_coco(tmp_path / "annotations/person_keypoints_val2017.json", [annotation(1)])
    dataset = load_data(tmp_path, "landmarks")
    assert [(sample.name, sample.split, len(points_of(sample).points)) for sample in dataset] == [("1.jpg", "val", 1)]


@pytest.mark.parametrize("categories", [[{"id": 4, "name": "person"}], [{"id": 4, "name": "p", "keypoints": []}]])
def test_boxes_alone_are_not_recognised(tmp_path: Path, categories: list[object]) -> None:
    assert not recognizes_keypoints(write_coco(tmp_path / "a.json", [annotation(1)], categories))
    assert load_data(tmp_path).format == "coco"


# Writing

coordinates = st.floats(-1e4, 1e4)


@st.composite
def point_targets(draw: st.DrawFn) -> PointsTarget:
    count = draw(st.integers(0, 3))
    numbers = draw(st.lists(coordinates, min_size=6 * count, max_size=6 * count))
    visible = np.array(draw(st.lists(st.booleans(), min_size=3 * count, max_size=3 * count)), bool).reshape(-1, 3)
    visible[:, 0] |= ~visible.any(axis=1)  # objects without any point are not read
    corners = draw(st.lists(st.integers(0, 50), min_size=2 * count, max_size=2 * count))
    starts = np.array(corners, float).reshape(-1, 2)
    boxes = np.hstack([starts, starts + 1.25]) if draw(st.booleans()) or not count else None
    return PointsTarget(np.array(numbers).reshape(-1, 3, 2), visible, boxes)


def a_dataset(targets: Sequence[Target], splits: Sequence[Split | None] | None = None) -> Dataset:
    samples = [
        Sample(f"{number}.png", partial(np.full, (6, 8, 3), number, np.uint8), target, split)
        for number, (target, split) in enumerate(zip(targets, splits or [None] * len(targets), strict=True))
    ]
    return Dataset(samples, ("nose", "left", "right"), "test", edges=((0, 1), (1, 2)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(point_targets(), st.sampled_from([None, *get_args(Split)])), min_size=1, max_size=4))
def test_what_is_written_reads_back_the_same(pairs: list[tuple[PointsTarget, Split | None]]) -> None:
    dataset = a_dataset([target for target, _ in pairs], [split for _, split in pairs])
    with TemporaryDirectory() as folder:
        assert save_keypoints(dataset, Path(folder), lambda count: None) == {}
        again = load_data(folder)
        assert (again.format, again.problems) == ("coco-keypoints", ())
        assert (again.classes, again.edges) == (dataset.classes, dataset.edges)
        by_picture = {int(sample.read()[0, 0, 0]): sample for sample in again}
        for number, sample in enumerate(dataset):
            target, read = points_of(sample), points_of(by_picture[number])
            np.testing.assert_array_equal(read.visible, target.visible)
            np.testing.assert_array_equal(read.points[read.visible], target.points[target.visible])
            assert by_picture[number].split == sample.split
            assert (read.boxes is None) == (target.boxes is None)
            np.testing.assert_array_equal(np.array(read.boxes), np.array(target.boxes))


def test_other_tools_read_what_is_written(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    points = np.array([[1.5, 2], [3, 4], [np.nan, np.nan]])
    target = PointsTarget(points, np.array([True, True, False]), np.array([[0.0, 0, 4, 6]]))
    save_keypoints(a_dataset([target]), tmp_path, lambda count: None)
    coco = COCO(tmp_path / "annotations" / "person_keypoints_all.json")
    assert coco.loadAnns(1) == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "keypoints": [1.5, 2.0, 2.0, 3.0, 4.0, 2.0, 0.0, 0.0, 0.0],
            "num_keypoints": 2,
            "iscrowd": 0,
            "bbox": [0.0, 0.0, 4.0, 6.0],
            "area": 24.0,
        }
    ]
    (category,) = coco.loadCats(1)
    assert category["skeleton"] == [[1, 2], [2, 3]]


def test_objects_without_points_are_counted_on_writing(tmp_path: Path) -> None:
    target = PointsTarget(np.zeros((2, 3, 2)), np.array([[False] * 3, [True] * 3]))
    assert save_keypoints(a_dataset([target]), tmp_path, lambda count: None) == {"object without points": 1}


def test_only_points_can_be_written(tmp_path: Path) -> None:
    boxes = BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))
    with pytest.raises(UsageError, match="hold points of objects, and nothing else"):
        save_keypoints(a_dataset([boxes]), tmp_path, lambda count: None)


@pytest.mark.shared
def test_a_real_set_of_landmarks_survives_writing(shared_data: Path, tmp_path: Path) -> None:
    dataset = load_data(shared_data / "landmarks_faces", "landmarks")
    assert save_keypoints(dataset, tmp_path, lambda count: None) == {"suffix corrected": 260}
    again = load_data(tmp_path, "landmarks")
    assert (again.format, again.classes, again.problems) == ("coco-keypoints", dataset.classes, ())
    for split in get_args(Split):
        for before, after in zip(dataset.split(split), again.split(split), strict=True):
            np.testing.assert_array_equal(points_of(after).points, points_of(before).points)
