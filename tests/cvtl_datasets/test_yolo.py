"""YOLO: reading what people have, and writing what reads back the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose
from PIL import Image

from cvtl.data import BoxesTarget, Dataset, Problem, load_data
from cvtl.errors import DataError
from cvtl_datasets.yolo import load, recognizes

Picture = Callable[..., Path]
# Pictures of `write_picture` are 32 wide and 24 high.
WHOLE = "0 0.5 0.5 1 1"
WHOLE_BOX = [0, 0, 32, 24]


def label(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def configure(file: Path, /, **content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture
def data(tmp_path: Path, write_picture: Picture) -> Path:
    """A picture for training with two objects, one for validation with one, and one without a label."""
    for name in ("train/a.jpg", "val/b.jpg", "val/c.jpg"):
        write_picture(tmp_path / "images" / name)
    label(tmp_path / "labels" / "train" / "a.txt", WHOLE, "1 0.25 0.75 0.5 0.5")
    label(tmp_path / "labels" / "val" / "b.txt", WHOLE)
    configure(tmp_path / "data.yaml", train="images/train", val="images/val", names=["cat", "dog"])
    return tmp_path


def boxes_of(dataset: Dataset) -> dict[str, list[list[float]]]:
    return {sample.name: sample.target.boxes.tolist() for sample in dataset if isinstance(sample.target, BoxesTarget)}


def kinds(problems: Sequence[Problem]) -> list[tuple[str, str, bool]]:
    return [(problem.kind, problem.where, problem.fatal) for problem in problems]


def test_boxes_names_and_splits_are_read(data: Path) -> None:
    dataset = load_data(data, "detect")
    assert (dataset.format, dataset.classes, dataset.problems) == ("yolo", ("cat", "dog"), ())
    assert boxes_of(dataset) == {
        "images/train/a.jpg": [WHOLE_BOX, [0, 12, 16, 24]],
        "images/val/b.jpg": [WHOLE_BOX],
        "images/val/c.jpg": [],
    }
    assert [sample.split for sample in dataset] == ["train", "val", "val"]
    assert isinstance(dataset[0].target, BoxesTarget)
    assert dataset[0].target.labels.tolist() == [0, 1]
    assert dataset[0].read().shape == (24, 32, 3)


def test_the_yaml_file_may_be_named_itself(data: Path) -> None:
    assert boxes_of(load_data(data / "data.yaml")) == boxes_of(load(data))


@pytest.mark.parametrize("name", ["data.yaml", "data.yml", "dataset.yaml", "fruit.yaml"])
def test_the_yaml_file_may_have_any_name(data: Path, name: str) -> None:
    (data / "data.yaml").rename(data / name)
    configure(data / "other.yaml", lr=0.1)
    (data / "broken.yaml").write_text("{")
    assert recognizes(data)
    assert load(data).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["b", "a"], ("b", "a")),
        ({0: "b", 1: "a"}, ("b", "a")),
        ({1: "a", 0: "b"}, ("b", "a")),
        ({"0": "b", "1": "a"}, ("b", "a")),
        ([7, "x"], ("7", "x")),
    ],
)
def test_names_are_a_list_or_numbered(data: Path, names: Any, classes: tuple[str, ...]) -> None:
    configure(data / "data.yaml", train="images/train", names=names)
    assert load(data).classes == classes


def test_without_names_classes_are_numbered(data: Path) -> None:
    configure(data / "data.yaml", train="images/train", nc=3)
    assert load(data).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a\ntrain: x", r"data\.yaml:2' is no YAML"),
        ("names: {0: a, 2: b}\ntrain: x", "does not number the classes"),
        ("names: a\ntrain: x", "does not say what the classes are called"),
        ("names: [a]\ntrain: {a: b}", "`train` is no path"),
        ("names: [a]\ntrain: [[a]]", "`train` is no path"),
        ("- a", "is no configuration"),
        ("names: !!python/object/apply:os.system [ls]", "is no YAML"),
    ],
)
def test_a_data_yaml_that_cannot_be_understood_is_an_error(data: Path, text: str, message: str) -> None:
    (data / "data.yaml").write_text(text)
    for path in (data, data / "data.yaml"):
        with pytest.raises(DataError, match=message):
            load_data(path, format="yolo")


@pytest.mark.parametrize(
    "places",
    [
        {"train": "images/train"},
        {"train": "./images/train/"},
        {"train": "../images/train"},  # as Roboflow writes it
        {"train": ["images/train"]},
        {"training": "images/train"},
        {"path": "images", "train": "train"},
        {"path": "/nowhere/at/all", "train": "images/train"},
        {"path": "..", "train": "images/train"},
        {"train": "images/train", "test": None, "val": "", "download": "https://example.org/x.zip"},
    ],
    ids=str,
)
def test_places_are_found_however_they_are_written(data: Path, places: dict[str, Any]) -> None:
    configure(data / "data.yaml", names=["cat", "dog"], **places)
    dataset = load(data)
    assert [(sample.name, sample.split) for sample in dataset] == [("images/train/a.jpg", "train")]
    assert dataset.problems == ()


def test_pictures_may_lie_outside_where_the_yaml_file_says_so(data: Path, tmp_path: Path) -> None:
    config = configure(tmp_path / "configs" / "my.yaml", path=str(data), train="images/train", names=["cat", "dog"])
    relative = configure(tmp_path / "configs" / "other.yaml", path="..", train="images/train", names=["cat", "dog"])
    for path in (config, relative):
        dataset = load_data(path)
        assert [sample.name for sample in dataset] == ["images/train/a.jpg"]
        assert dataset[0].read().shape == (24, 32, 3)


def test_lists_of_pictures_are_read(data: Path) -> None:
    (data / "lists").mkdir()
    (data / "lists" / "train.txt").write_text("./images/train/a.jpg\r\n\nimages/val/ghost.jpg\n")
    (data / "val.txt").write_text(f"{data}/images/val/b.jpg\n./images/val/c.jpg")
    configure(data / "data.yaml", train="lists/train.txt", val="val.txt", names=["cat", "dog"])
    dataset = load(data)
    assert {sample.name: sample.split for sample in dataset} == {
        "images/train/a.jpg": "train",
        "images/val/b.jpg": "val",
        "images/val/c.jpg": "val",
    }
    assert kinds(dataset.problems) == [("label without picture", "train.txt:3", False)]


def test_a_place_that_does_not_exist_is_reported(data: Path) -> None:
    configure(data / "data.yaml", train="images/train", val="images/val2017", names=["cat", "dog"])
    dataset = load(data)
    assert [sample.name for sample in dataset] == ["images/train/a.jpg"]
    assert kinds(dataset.problems) == [("split not found", "data.yaml", False)]


def test_where_no_place_exists_pictures_are_looked_for(data: Path) -> None:
    configure(data / "data.yaml", train="nowhere", names=["cat", "dog"])
    dataset = load(data)
    assert [sample.split for sample in dataset] == ["train", "val", "val"]
    assert kinds(dataset.problems) == [("split not found", "data.yaml", False)]


def test_one_place_for_all_splits_means_no_split(data: Path) -> None:
    configure(data / "data.yaml", train="images/train", val="./images/train/", names=["cat", "dog"])
    dataset = load(data)
    assert [(sample.name, sample.split) for sample in dataset] == [("images/train/a.jpg", None)]
    assert dataset.problems == ()


def test_a_picture_in_two_splits_is_reported(data: Path) -> None:
    (data / "val.txt").write_text("images/val/b.jpg\nimages/train/a.jpg\n")
    configure(data / "data.yaml", train="images/train", val="val.txt", names=["cat", "dog"])
    dataset = load(data)
    assert [(sample.name, sample.split) for sample in dataset] == [
        ("images/train/a.jpg", "train"),
        ("images/val/b.jpg", "val"),
    ]
    assert kinds(dataset.problems) == [("picture in two splits", "val.txt:2", False)]


@pytest.mark.parametrize(
    ("picture", "text", "split"),
    [
        ("images/a.jpg", "labels/a.txt", None),
        ("images/train2017/a.jpg", "labels/train2017/a.txt", "train"),
        ("valid/images/a.jpg", "valid/labels/a.txt", "val"),
        ("JPEGImages/a.jpg", "labels/a.txt", None),
        ("images/images/a.jpg", "images/labels/a.txt", None),
        ("images/deep/er/a.b.jpg", "labels/deep/er/a.b.txt", None),
        ("a.jpg", "a.txt", None),
        ("test/a.jpg", "test/a.txt", "test"),
        ("images/a.jpg", "images/a.txt", None),
    ],
)
def test_layouts_without_a_yaml_file_are_found(
    tmp_path: Path, write_picture: Picture, picture: str, text: str, split: str | None
) -> None:
    data = tmp_path / "images"  # in which no labels are to be looked for
    write_picture(data / picture)
    label(data / text, WHOLE)
    assert recognizes(data)
    dataset = load(data)
    assert [(sample.name, sample.split) for sample in dataset] == [(picture, split)]
    assert boxes_of(dataset) == {picture: [WHOLE_BOX]}
    assert dataset.problems == ()


@pytest.mark.parametrize("name", ["classes.txt", "obj.names", "coco.names", "labels/classes.txt"])
def test_names_are_read_from_a_list(data: Path, name: str) -> None:
    (data / "data.yaml").unlink()
    (data / name).write_text("kitten\r\n\r\npuppy\n")
    dataset = load(data)
    assert dataset.classes == ("kitten", "puppy")
    assert dataset.problems == ()


def test_without_any_names_the_largest_number_counts(data: Path) -> None:
    (data / "data.yaml").unlink()
    label(data / "labels" / "val" / "b.txt", "3 0.5 0.5 1 1")
    assert load(data).classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("line", "kind", "fatal"),
    [
        ("0 0.5 0.5 0 0.5", "zero-area box", False),
        ("0 0.5 0.5 0.5 -0.5", "inverted box", False),
        ("0 0.5 0.5 0.5", "malformed annotation", True),
        ("0 0.5 0.5 0.5 0.5 0.5 0.5 0.5", "malformed annotation", True),
        ("0 0.5 0.5 x 0.5", "malformed annotation", True),
        ("0,0.5,0.5,0.5,0.5", "malformed annotation", True),
        ("0 nan 0.5 0.5 0.5", "malformed annotation", True),
        ("0 inf 0.5 0.5 0.5", "malformed annotation", True),
        ("0 320 240 100 50", "malformed annotation", True),
        ("cat 0.5 0.5 0.5 0.5", "malformed annotation", True),
        ("2 0.5 0.5 0.5 0.5", "unknown class", True),
        ("-1 0.5 0.5 0.5 0.5", "unknown class", True),
        ("0.5 0.5 0.5 0.5 0.5", "unknown class", True),
        ("nan 0.5 0.5 0.5 0.5", "unknown class", True),
    ],
)
def test_mistakes_are_left_out_and_reported_with_their_line(data: Path, line: str, kind: str, fatal: bool) -> None:
    label(data / "labels" / "val" / "b.txt", WHOLE, "", line, WHOLE)
    dataset = load(data)
    assert kinds(dataset.problems) == [(kind, "labels/val/b.txt:3", fatal)]
    assert dataset.problems[0].sample == "images/val/b.jpg"
    assert boxes_of(dataset)["images/val/b.jpg"] == [WHOLE_BOX, WHOLE_BOX]


def test_a_huge_class_number_does_not_make_a_huge_list_of_classes(data: Path) -> None:
    (data / "data.yaml").unlink()
    label(data / "labels" / "val" / "b.txt", "1000000000 0.5 0.5 1 1")
    dataset = load(data)
    assert dataset.classes == ("0", "1")
    assert kinds(dataset.problems) == [("unknown class", "labels/val/b.txt:1", True)]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf0 0.5 0.5 1 1\r\n", b"  0\t0.5  0.5 1 1  ", b"0.0 5e-1 .5 1 1\r\r"])
def test_byte_order_marks_blanks_and_line_ends_do_not_matter(data: Path, content: bytes) -> None:
    (data / "labels" / "val" / "b.txt").write_bytes(content)
    assert boxes_of(load(data))["images/val/b.jpg"] == [WHOLE_BOX]


def test_bytes_that_are_no_text_are_a_mistake(data: Path) -> None:
    (data / "labels" / "val" / "b.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    assert {problem.kind for problem in load(data).problems} == {"malformed annotation"}


@pytest.mark.parametrize(
    ("line", "box", "unheld"),
    [
        ("0 0.5 0.5 1 1 0.87", WHOLE_BOX, "confidence"),
        ("0 0.25 0.5 0.75 0.5 0.5 1", [8, 12, 24, 24], "segmentation"),
        ("0 0.25 0.5 0.75 0.5 0.75 1 0.25 1", [8, 12, 24, 24], "segmentation"),
    ],
)
def test_what_has_no_place_is_counted(data: Path, line: str, box: list[float], unheld: str) -> None:
    label(data / "labels" / "val" / "b.txt", line)
    dataset = load(data)
    assert boxes_of(dataset)["images/val/b.jpg"] == [box]
    assert dataset.unheld == {unheld: 1}


def test_keypoints_are_not_taken_for_a_polygon(data: Path) -> None:
    configure(data / "data.yaml", train="images/train", names=["cat", "dog"], kpt_shape=[2, 3])
    label(data / "labels" / "train" / "a.txt", f"{WHOLE} 0.1 0.1 2 0.9 0.9 1")
    dataset = load(data)
    assert boxes_of(dataset) == {"images/train/a.jpg": [WHOLE_BOX]}
    assert dataset.unheld == {"keypoints": 1}


def test_a_label_without_picture_is_reported(data: Path) -> None:
    for folder in ("val", "elsewhere"):
        label(data / "labels" / folder / "ghost.txt", WHOLE)
    dataset = load(data)
    assert kinds(dataset.problems) == [
        ("label without picture", "labels/elsewhere/ghost.txt", False),
        ("label without picture", "labels/val/ghost.txt", False),
    ]
    assert len(dataset) == 3


def test_texts_beside_pictures_are_not_taken_for_labels(tmp_path: Path, write_picture: Picture) -> None:
    write_picture(tmp_path / "a.jpg")
    label(tmp_path / "a.txt", WHOLE)
    label(tmp_path / "README.txt", "read me")
    label(tmp_path / "train.txt", "a.jpg")
    label(tmp_path / "classes.txt", "cat")
    assert load(tmp_path).problems == ()


def test_a_labelled_picture_that_cannot_be_read_is_left_out(data: Path) -> None:
    for name in ("b", "c"):
        (data / "images" / "val" / f"{name}.jpg").write_text("no picture")
    dataset = load(data)
    assert kinds(dataset.problems) == [("unreadable picture", "images/val/b.jpg", False)]
    # Of the other it is known that it has no label.
    assert [sample.name for sample in dataset] == ["images/train/a.jpg", "images/val/c.jpg"]


def test_boxes_refer_to_the_upright_picture(data: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 24)).save(data / "images" / "val" / "b.jpg", exif=exif)
    assert boxes_of(load(data))["images/val/b.jpg"] == [[0, 0, 24, 32]]


def test_boxes_that_stick_out_are_kept_as_they_are(data: Path) -> None:
    label(data / "labels" / "val" / "b.txt", "0 0.5 0.5 1.5 1.5")
    assert boxes_of(load(data))["images/val/b.jpg"] == [[-8, -6, 40, 30]]


def test_other_folders_of_pictures_are_not_recognized(tmp_path: Path, write_picture: Picture) -> None:
    write_picture(tmp_path / "cat" / "a.jpg")
    label(tmp_path / "cat" / "a.txt", "a cat on a mat")
    configure(tmp_path / "train.yaml", lr=0.1, train="cat")
    assert not recognizes(tmp_path)
    assert not recognizes(tmp_path / "cat" / "a.txt")


def test_a_folder_without_pictures_is_an_error(data: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no pictures in"):
        load(empty)


@pytest.mark.shared
def test_coco_cc_has_the_boxes_that_its_coco_file_says(shared_data: Path) -> None:
    folder = shared_data / "detection_coco_cc"
    dataset = load_data(folder, format="yolo")
    assert (len(dataset), len(dataset.classes), dataset.classes[79]) == (26, 80, "toothbrush")
    # Its YAML file names folders that are not in this copy.
    assert kinds(dataset.problems) == [("split not found", "classes.yaml", False)] * 2
    coco = json.loads((folder / "instances.json").read_text())
    labels = {category["id"]: label for label, category in enumerate(coco["categories"])}
    for image in coco["images"]:
        expected = [
            (labels[each["category_id"]], *each["bbox"])
            for each in coco["annotations"]
            if each["image_id"] == image["id"]
        ]
        (target,) = [each.target for each in dataset if each.name.endswith(image["file_name"])]
        assert isinstance(target, BoxesTarget)
        boxes = np.column_stack([target.boxes[:, :2], target.boxes[:, 2:] - target.boxes[:, :2]])
        found = [(label, *box) for label, box in zip(target.labels.tolist(), boxes.tolist(), strict=True)]
        found.sort(key=lambda row: [round(value, 1) for value in row])
        expected.sort(key=lambda row: [round(value, 1) for value in row])
        assert_allclose(np.reshape(found, (-1, 5)), np.reshape(expected, (-1, 5)), atol=1e-3)
    with pytest.raises(DataError, match="is read by coco and yolo"):
        load_data(folder)
