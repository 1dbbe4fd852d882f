from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvtl.data import BoxesTarget, Sample, Split, load_data
from cvtl.errors import DataError
from cvtl_datasets.coco import load

CATS_AND_DOGS = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]


def image(number: int, name: str | None = None, **more: object) -> dict[str, object]:
    return {"id": number, "file_name": name or f"{number}.jpg", "width": 64, "height": 48, **more}


def annotation(number: int, image_id: object = 1, **more: object) -> dict[str, object]:
    return {"id": number, "image_id": image_id, "category_id": 17, "bbox": [1, 2, 30, 40], **more}


def write_coco(
    file: Path,
    images: Sequence[object] = (image(1),),
    annotations: Sequence[object] = (),
    categories: Sequence[object] = CATS_AND_DOGS,
    **more: object,
) -> Path:
    """One entry in each line: images from line 3, annotations from line 5 where there is one image, and so on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lists = {"images": images, "annotations": annotations, "categories": categories}
    members = [
        f'"{name}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "]" for name, entries in lists.items()
    ]
    members += [f'"{name}": {json.dumps(value)}' for name, value in more.items()]
    file.write_text("{\n" + ",\n".join(members) + "}")
    return file


def boxes_of(sample: Sample) -> BoxesTarget:
    assert isinstance(sample.target, BoxesTarget)
    return sample.target


def test_boxes_become_corners_with_classes_crowds_and_areas(tmp_path: Path) -> None:
    annotations = [
        annotation(1, bbox=[0.1, 0.2, 0.7, 0.1], area=3.5, iscrowd=1),
        annotation(2, category_id=18),
        annotation(3, image_id=2),
    ]
    dataset = load(write_coco(tmp_path / "a.json", [image(1), image(2), image(3)], annotations))
    target = boxes_of(dataset[0])
    assert target.boxes.tolist() == [[0.1, 0.2, 0.1 + 0.7, 0.2 + 0.1], [1, 2, 31, 42]]
    assert target.labels.tolist() == [0, 1]
    assert target.crowd.tolist() == [True, False]
    assert target.areas.tolist() == [3.5, 1200]
    assert [len(boxes_of(sample).boxes) for sample in dataset] == [2, 1, 0]
    assert [sample.image_id for sample in dataset] == [1, 2, 3]
    assert dataset[0].annotated_wh == (64, 48)
    assert dataset.problems == ()


def test_classes_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    categories = [{"id": 90, "name": "a"}, {"id": 1, "name": "z"}, {"id": 44, "name": "m"}]
    dataset = load(write_coco(tmp_path / "a.json", [image(1)], [annotation(1, category_id=44)], categories))
    assert dataset.classes == ("z", "m", "a")
    assert dataset.category_ids == (1, 44, 90)
    assert boxes_of(dataset[0]).labels.tolist() == [1]


def test_what_has_no_place_is_counted(tmp_path: Path) -> None:
    annotations = [
        annotation(1, segmentation=[[1, 2, 3]], attributes={"occluded": True}),
        annotation(2, segmentation=[], attributes={}, ignore=0),
        annotation(3, segmentation={"counts": [1], "size": [1, 1]}),
    ]
    file = write_coco(tmp_path / "a.json", [image(1, license=2)], annotations, licenses=[{"id": 1}, {"id": 2}], info={})
    unheld = {"segmentation": 2, "attributes": 1, "license": 1, "licenses": 2, "info": 0}
    assert load(file).unheld == {name: count for name, count in unheld.items() if count}


def test_without_a_list_of_annotations_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "image_info_test2017.json").write_text(json.dumps({"images": [image(1)], "categories": CATS_AND_DOGS}))
    (sample,) = load(tmp_path)
    assert sample.target is None
    assert sample.split == "test"


def test_ids_of_images_may_be_strings(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "a.json", [image(1) | {"id": "x"}], [annotation(1, image_id="x")])
    (sample,) = load(file)
    assert len(boxes_of(sample).boxes) == 1
    assert sample.image_id is None


def test_numbers_may_be_written_as_pandas_writes_them(tmp_path: Path) -> None:
    numbers = {"image_id": 1.0, "category_id": 17.0, "iscrowd": None}
    categories = [{"id": 17.0, "name": "cat"}]
    dataset = load(write_coco(tmp_path / "a.json", [image(1)], [annotation(1) | numbers], categories))
    assert dataset.problems == ()
    assert dataset.category_ids == (17,)
    assert boxes_of(dataset[0]).crowd.tolist() == [False]


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("annotations/instances_train2017.json", "train"),
        ("annotations/instances_val2014_100.json", "val"),
        ("test.json", "test"),
        ("annotations/Validation.json", "val"),
        ("annotations/instances_trainval.json", None),
        ("instances.json", None),
        ("valid/_annotations.coco.json", "val"),
    ],
)
def test_the_split_is_read_from_the_name(tmp_path: Path, file: str, split: Split | None) -> None:
    write_coco(tmp_path / file)
    assert load(tmp_path)[0].split == split


def test_the_folder_of_a_single_file_says_nothing_of_its_split(tmp_path: Path) -> None:
    assert load(write_coco(tmp_path / "test" / "a.json"))[0].split is None


def test_several_files_are_several_splits(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations/train.json", [image(1, "a.jpg")], [annotation(1)])
    write_coco(tmp_path / "annotations/val.json", [image(1, "b.jpg")], [annotation(1, category_id=18)])
    dataset = load(tmp_path)
    assert [(sample.name, sample.split) for sample in dataset] == [("a.jpg", "train"), ("b.jpg", "val")]
    assert [boxes_of(sample).labels.tolist() for sample in dataset] == [[0], [1]]


def test_names_that_two_files_share_are_told_apart_by_split_or_file(tmp_path: Path) -> None:
    for file in ("train", "val"):
        write_coco(tmp_path / "splits" / f"{file}.json")
    for file in ("train_a", "train_b"):
        write_coco(tmp_path / "parts" / f"{file}.json")
    assert [sample.name for sample in load(tmp_path / "splits")] == ["train/1.jpg", "val/1.jpg"]
    assert [sample.name for sample in load(tmp_path / "parts")] == ["train_a/1.jpg", "train_b/1.jpg"]


def test_files_may_number_the_same_classes_differently(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", [image(1)], [annotation(1, category_id=18)])
    other = [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}]
    write_coco(tmp_path / "val.json", [image(1)], [annotation(1, category_id=0)], other)
    dataset = load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.category_ids == (17, 18)
    assert [boxes_of(sample).labels.tolist() for sample in dataset] == [[1], [1]]


def test_a_file_may_lack_classes_of_another(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", categories=CATS_AND_DOGS[1:])
    write_coco(tmp_path / "val.json", categories=CATS_AND_DOGS[:1])
    assert load(tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize("others", [[{"id": 17, "name": "cow"}], [{"id": 1, "name": "cat"}]])
def test_files_that_contradict_each_other_are_refused(tmp_path: Path, others: list[object]) -> None:
    write_coco(tmp_path / "train.json")
    write_coco(tmp_path / "val.json", categories=others)
    with pytest.raises(DataError, match=r"train\.json' and '.*val\.json' have different categories"):
        load(tmp_path)


def test_of_cocos_own_folder_the_instances_are_read(tmp_path: Path) -> None:
    person = [{"id": 1, "name": "person", "keypoints": ["nose"], "skeleton": []}]
    for split in ("train2017", "val2017"):
        write_coco(tmp_path / f"annotations/instances_{split}.json", [image(1, f"{split}.jpg")])
        write_coco(tmp_path / f"annotations/person_keypoints_{split}.json", categories=person)
        captions = {"images": [image(1)], "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}
        (tmp_path / f"annotations/captions_{split}.json").write_text(json.dumps(captions))
    dataset = load_data(tmp_path, "detect")
    assert [sample.name for sample in dataset] == ["train2017.jpg", "val2017.jpg"]
    assert dataset.classes == ("cat", "dog")


def test_a_file_of_keypoints_has_boxes_too(tmp_path: Path) -> None:
    person = [{"id": 17, "name": "person", "keypoints": ["nose"], "skeleton": []}]
    file = write_coco(tmp_path / "a.json", [image(1)], [annotation(1, keypoints=[1, 2, 2])], person)
    dataset = load_data(file, "detect")
    assert dataset.format == "coco"
    assert len(boxes_of(dataset[0]).boxes) == 1


# Where pictures lie


@pytest.mark.parametrize(
    ("file", "picture", "written"),
    [
        ("a.json", "1.jpg", "1.jpg"),
        ("a.json", "images/1.jpg", "1.jpg"),
        ("a.json", "images/1.jpg", "images/1.jpg"),
        ("annotations/a.json", "images/1.jpg", "1.jpg"),
        ("annotations/a.json", "1.jpg", "1.jpg"),
        ("annotations/a.json", "JPEGImages/1.jpg", "JPEGImages/1.jpg"),
        ("annotations/instances_train2017.json", "train2017/1.jpg", "1.jpg"),
        ("annotations/instances_train2017.json", "images/train2017/1.jpg", "1.jpg"),
        ("annotations/instances_train2017.json", "images/train/1.jpg", "1.jpg"),
        ("annotations/val.json", "valid/deep/1.jpg", "deep/1.jpg"),
        ("train/_annotations.coco.json", "train/1.jpg", "1.jpg"),
        ("annotations/a.json", "images/1.jpg", r"C:\Users\me\1.jpg"),
        ("annotations/a.json", "images/day/1.jpg", r"day\1.jpg"),
        ("annotations/a.json", "images/1.jpg", "/data/coco/1.jpg"),
        ("annotations/a.json", "images/1.jpg", "../images/1.jpg"),
    ],
)
def test_pictures_are_found(tmp_path: Path, file: str, picture: str, written: str) -> None:
    write_coco(tmp_path / file, [image(1, written)])
    (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(tmp_path / picture), np.zeros((48, 64, 3), np.uint8))
    dataset = load(tmp_path)
    assert dataset.problems == ()
    assert dataset[0].read().shape == (48, 64, 3)
    assert not {"", ".", ".."}.intersection(dataset[0].name.split("/"))


def test_each_split_has_its_own_picture_of_a_name(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_coco(tmp_path / f"annotations/instances_{split}.json")
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "images" / split / "1.jpg").touch()
    for sample in load(tmp_path):
        assert sample.file == tmp_path / "images" / str(sample.split) / "1.jpg"


def test_pictures_need_not_be_there(tmp_path: Path) -> None:
    (sample,) = dataset = load(write_coco(tmp_path / "a.json", [image(7)], [annotation(1, image_id=7)]))
    assert dataset.problems == ()
    assert (sample.annotated_wh, sample.image_id) == ((64, 48), 7)
    with pytest.raises(DataError, match=r"7\.jpg"):
        sample.read()


def test_single_pictures_that_are_not_there_are_named(tmp_path: Path) -> None:
    without_size = {"id": 3, "file_name": "3.jpg"}
    write_coco(tmp_path / "a.json", [image(1), image(2), without_size])
    (tmp_path / "1.jpg").touch()
    dataset = load(tmp_path)
    assert [(problem.kind, problem.where, problem.sample) for problem in dataset.problems] == [
        ("label without picture", "a.json:4", "2.jpg"),
        ("label without picture", "a.json:5", "3.jpg"),
    ]
    assert [sample.name for sample in dataset] == ["1.jpg", "2.jpg"]


def test_a_picture_whose_name_is_too_long_for_a_file_is_not_there(tmp_path: Path) -> None:
    write_coco(tmp_path / "a.json", [image(1), image(2, "long" * 1000)])
    (tmp_path / "1.jpg").touch()
    assert [problem.kind for problem in load(tmp_path).problems] == ["label without picture"]


def test_pictures_that_no_file_lists_are_named(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_coco(tmp_path / f"annotations/{split}.json", [image(1, f"{split}.jpg")])
    for name in ("train.jpg", "val.jpg", "other.JPG", "notes.txt", ".hidden.jpg"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).touch()
    (problem,) = load(tmp_path).problems
    assert (problem.kind, problem.where) == ("picture without label", "images/other.JPG")
    # One file does not tell what belongs to the other.
    assert load(tmp_path / "annotations" / "val.json").problems == ()


# Mistakes


@pytest.mark.parametrize(
    ("wrong", "kind", "what"),
    [
        ({"bbox": [1, 2, 3]}, "malformed annotation", "bbox is [1, 2, 3]: 4 finite numbers"),
        ({"bbox": None}, "malformed annotation", "bbox is None"),
        ({"bbox": [1, 2, "3", 4]}, "malformed annotation", "bbox is [1, 2, '3', 4]"),
        ({"bbox": ["1", "2", "3", "4"]}, "malformed annotation", "4 finite numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "malformed annotation", "nan"),
        ({"bbox": [1, 2, float("inf"), 4]}, "malformed annotation", "inf"),
        ({"bbox": [1, 2, 10**400, 4]}, "malformed annotation", "4 finite numbers"),
        ({"bbox": [[1], 2, 3, 4]}, "malformed annotation", "4 finite numbers"),
        ({"bbox": {"x": 1}}, "malformed annotation", "4 finite numbers"),
        ({"bbox": [1, 2, 0, 4]}, "zero-area box", "the box 1 2 1 6 has no area"),
        ({"bbox": [1, 2, 1e-30, 4]}, "zero-area box", "has no area"),
        ({"bbox": [9, 2, -3, 4]}, "inverted box", "the box 9 2 6 6 has a negative width"),
        ({"category_id": 3}, "unknown class", "there is no category 3"),
        ({"category_id": None}, "malformed annotation", "category_id is None"),
        ({"category_id": 17.5}, "malformed annotation", "category_id is 17.5"),
        ({"category_id": "17"}, "malformed annotation", "category_id is '17'"),
        ({"image_id": 99}, "label without picture", "there is no image 99"),
        ({"image_id": None}, "malformed annotation", "image_id is None"),
        ({"image_id": [1]}, "malformed annotation", "image_id is [1]"),
        ({"area": "big"}, "malformed annotation", "area is ['big']"),
        ({"area": -1}, "malformed annotation", "area is -1"),
        ({"iscrowd": "0"}, "malformed annotation", "iscrowd is '0'"),
    ],
)
def test_a_mistake_in_an_annotation_is_named_and_its_object_left_out(
    tmp_path: Path, wrong: dict[str, object], kind: str, what: str
) -> None:
    dataset = load(write_coco(tmp_path / "a.json", [image(1)], [annotation(1), annotation(2) | wrong, annotation(3)]))
    (problem,) = dataset.problems
    assert problem.kind == kind
    assert problem.where == "a.json:6"
    assert problem.what.startswith("annotation 2: ")
    assert what in problem.what
    assert problem.sample == (None if "image_id" in wrong else "1.jpg")
    assert problem.fatal == (kind in ("malformed annotation", "unknown class"))
    assert len(boxes_of(dataset[0]).boxes) == 2


@pytest.mark.parametrize(
    ("second", "kind", "fatal", "what"),
    [
        (image(1), "duplicate annotation", False, "'1.jpg' is listed twice"),
        (image(2, "1.jpg"), "duplicate annotation", False, "'1.jpg' is listed twice, as 1 and 2"),
        (image(1, "2.jpg"), "malformed annotation", True, "image 1 is both '1.jpg' and '2.jpg'"),
        ({"id": 2}, "malformed annotation", True, "image 2 has no file_name"),
        ({"id": 2, "file_name": "../"}, "malformed annotation", True, "image 2 has no file_name"),
        ({"file_name": "2.jpg"}, "malformed annotation", True, "id is None"),
        (image(2, width="64"), "malformed annotation", True, "'64' wide"),
        (image(2, height=-48), "malformed annotation", True, "-48 high"),
        (image(2, height=float("nan")), "malformed annotation", True, "nan high"),
        (image(2, "\0.jpg"), "malformed annotation", True, r"no picture can be called '\x00.jpg'"),
        (image(2, "\ud800.jpg"), "malformed annotation", True, r"no picture can be called '\ud800.jpg'"),
        (["2.jpg"], "malformed annotation", True, "this entry of 'images' is not an object"),
    ],
)
def test_a_mistake_in_an_image_is_named_and_it_is_left_out(
    tmp_path: Path, second: object, kind: str, fatal: bool, what: str
) -> None:
    annotations = [
        annotation(1),
        annotation(2, image_id=second["id"] if isinstance(second, dict) and "id" in second else 1),
    ]
    dataset = load(write_coco(tmp_path / "a.json", [image(1), second], annotations))
    (problem,) = dataset.problems
    assert (problem.kind, problem.where, problem.fatal) == (kind, "a.json:4", fatal)
    assert what in problem.what
    assert [sample.name for sample in dataset] == ["1.jpg"]


def test_an_entry_that_is_no_object_is_malformed(tmp_path: Path) -> None:
    (problem,) = load(write_coco(tmp_path / "a.json", [image(1)], [annotation(1), 7])).problems
    assert (problem.kind, problem.where, problem.fatal) == ("malformed annotation", "a.json:6", True)


def test_fatal_mistakes_are_refused_with_file_and_line(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "a.json", [image(1)], [annotation(1, category_id=5)])
    with pytest.raises(DataError, match=r"a\.json:5: annotation 1: there is no category 5"):
        load_data(file, "detect")
    assert len(load_data(file, "detect", strict=False).problems) == 1


def test_a_folder_without_coco_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no COCO file in"):
        load(tmp_path)


@pytest.mark.shared
def test_a_real_set_agrees_with_pycocotools(shared_data: Path) -> None:
    from pycocotools.coco import COCO

    dataset = load_data(shared_data / "metrics_coco_val2014_100", "detect")
    coco = COCO(shared_data / "metrics_coco_val2014_100" / "instances_val2014_100.json")
    assert dataset.problems == ()
    assert [sample.image_id for sample in dataset] == [each["id"] for each in coco.dataset["images"]]
    assert list(dataset.category_ids) == sorted(coco.getCatIds())
    assert list(dataset.classes) == [each["name"] for each in coco.loadCats(sorted(coco.getCatIds()))]
    assert {sample.split for sample in dataset} == {"val"}
    total: Counter[str] = Counter()
    for sample in dataset:
        target = boxes_of(sample)
        expected = coco.loadAnns(coco.getAnnIds(sample.image_id))
        xywh = np.array([each["bbox"] for each in expected]).reshape(-1, 4)
        np.testing.assert_array_equal(target.boxes, np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]))
        assert [dataset.category_ids[label] for label in target.labels] == [each["category_id"] for each in expected]
        assert target.areas.tolist() == [each["area"] for each in expected]
        assert target.crowd.tolist() == [bool(each["iscrowd"]) for each in expected]
        total.update(boxes=len(target.boxes), crowd=int(target.crowd.sum()))
    assert total == {"boxes": 839, "crowd": 9}
    assert dataset.unheld["segmentation"] == 839
