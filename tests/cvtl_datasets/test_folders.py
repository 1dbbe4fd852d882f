from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path, PurePath
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from cvtl.data import ClassTarget, Dataset, Split, UInt8Image, load_data
from cvtl.errors import DataError
from cvtl_datasets.folders import load, recognizes

MakeFiles = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> MakeFiles:
    """Makes a data set of empty files; a name that ends with a slash is an empty folder."""

    def make(*names: str) -> Path:
        root = tmp_path / "data"
        for name in names:
            place = root / name
            if name.endswith("/"):
                place.mkdir(parents=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        return root

    return make


def listing(dataset: Dataset) -> list[tuple[str, str, Split | None]]:
    """Name, class and split of every sample."""
    rows = []
    for sample in dataset:
        assert isinstance(sample.target, ClassTarget)
        rows.append((sample.name, dataset.classes[sample.target.label], sample.split))
    return rows


def test_flat_class_folders_are_read_sorted_without_splits(data: MakeFiles) -> None:
    dataset = load(data("dog/2.jpg", "dog/10.PNG", "cat/a.jpeg"))
    assert dataset.classes == ("cat", "dog")
    assert listing(dataset) == [("cat/a.jpeg", "cat", None), ("dog/10.PNG", "dog", None), ("dog/2.jpg", "dog", None)]


def test_nested_pictures_belong_to_the_first_folder(data: MakeFiles) -> None:
    dataset = load(data("cars/left/1.png", "cars/far/b/1.png", "other/1.png"))
    assert listing(dataset) == [
        ("cars/far/b/1.png", "cars", None),
        ("cars/left/1.png", "cars", None),
        ("other/1.png", "other", None),
    ]


@pytest.mark.parametrize(
    ("folder", "split"),
    [("val", "val"), ("valid", "val"), ("validation", "val"), ("Val", "val"), ("test", "test"), ("TEST", "test")],
)
def test_split_folders_become_splits(data: MakeFiles, folder: str, split: str) -> None:
    dataset = load(data("training/a/1.jpg", "training/b/2.jpg", f"{folder}/b/3.jpg"))
    assert {row[0]: row[1:] for row in listing(dataset)} == {
        "training/a/1.jpg": ("a", "train"),
        "training/b/2.jpg": ("b", "train"),
        f"{folder}/b/3.jpg": ("b", split),
    }


def test_a_class_without_validation_pictures_keeps_its_index(data: MakeFiles) -> None:
    dataset = load(data("train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/a/", "val/c/1.jpg"))
    assert dataset.classes == ("a", "b", "c")
    assert [sample.target for sample in dataset.split("val")] == [ClassTarget(2)]


def test_a_test_set_alone_brings_its_own_classes(data: MakeFiles) -> None:
    dataset = load(data("test/a/1.jpg", "test/b/1.jpg"))
    assert dataset.classes == ("a", "b")
    assert len(dataset.split("test")) == 2


def test_hidden_files_and_what_is_no_picture_are_passed_over(data: MakeFiles) -> None:
    root = data(
        *("a/1.jpg", "b/1.jpg"),
        *("a/._1.jpg", "a/notes.txt", "a/.cache/2.jpg", ".git/x/1.jpg", "__MACOSX/a/1.jpg", "loose.jpg", "LICENSE"),
    )
    assert [sample.name for sample in load(root)] == ["a/1.jpg", "b/1.jpg"]


ODD_NAMES = ["with space", "ünï-çødé", "100%", "a.jpg", "-x", "quote'd", "semi;colon", "new\nline", "[glob]*", "train"]


def test_odd_class_and_file_names_are_kept(data: MakeFiles) -> None:
    dataset = load(data(*(f"{name}/{name}.jpg" for name in ODD_NAMES)))
    assert dataset.classes == tuple(sorted(ODD_NAMES))
    assert {(name, label) for name, label, _ in listing(dataset)} == {(f"{n}/{n}.jpg", n) for n in ODD_NAMES}


@pytest.mark.skipif(os.name != "posix", reason="only POSIX file names are arbitrary bytes")
def test_file_names_that_are_no_utf8_are_kept(data: MakeFiles) -> None:
    root = data("a/1.jpg", "b/1.jpg")
    Path(os.fsdecode(os.fsencode(root / "a") + b"/\xff.jpg")).touch()
    dataset = load(root)
    assert [os.fsencode(sample.name) for sample in dataset] == [b"a/1.jpg", b"a/\xff.jpg", b"b/1.jpg"]
    assert len(dataset.digest()) == 64


def test_class_folders_may_be_links(data: MakeFiles, tmp_path: Path) -> None:
    root = data("a/1.jpg", "b/1.jpg")
    view = tmp_path / "view"
    view.mkdir()
    for name in "ab":
        (view / name).symlink_to(root / name, target_is_directory=True)
    assert [sample.name for sample in load(view)] == ["a/1.jpg", "b/1.jpg"]


def test_a_link_in_a_circle_ends(data: MakeFiles) -> None:
    root = data("a/1.jpg", "b/1.jpg")
    (root / "a" / "again").symlink_to(root, target_is_directory=True)
    (root / "itself").symlink_to(root / "itself", target_is_directory=True)
    assert recognizes(root)
    assert [sample.name for sample in load(root)] == ["a/1.jpg", "b/1.jpg"]


def test_thousands_of_classes_are_not_compared_with_each_other(
    data: MakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    equal = Mock(side_effect=PurePath.__eq__)
    monkeypatch.setattr(PurePath, "__eq__", lambda one, other: equal(one, other))
    load(data(*(f"{number}/1.jpg" for number in range(200))))
    assert equal.call_count < 2000


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.jpg", "b/"], "there is no picture in '.*b'.*jpg"),
        (["train/a/1.jpg", "train/b/1.jpg", "train/c/notes.txt"], "there is no picture in '.*c'"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"], r"class 'c' of '.*val' is not among.*a, b"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/A/1.jpg"], r"class 'A' of '.*test'"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "new/1.jpg"], "folder 'new' with pictures"),
        (["train/a/1.jpg", "train/b/1.jpg", "unlabelled/1.jpg"], "folder 'unlabelled' with pictures"),
        (["a/1.jpg"], "only the class folder 'a'"),
        (["train/a/1.jpg", "val/a/1.jpg"], "only the class folder 'a'"),
        (["1.jpg", "2.jpg"], "no folders of pictures"),
        (["train/1.jpg", "test/2.jpg"], "no folders of pictures"),
    ],
)
def test_mistakes_are_named(data: MakeFiles, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(data(*names))


def test_a_file_is_no_data_set(data: MakeFiles) -> None:
    with pytest.raises(DataError, match=r"1\.jpg' is not a folder"):
        load(data("a/1.jpg") / "a" / "1.jpg")


def test_a_folder_that_cannot_be_listed_is_an_error(data: MakeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(folder: os.PathLike[str]) -> object:
        if os.fspath(folder).endswith("deep"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=r"cannot list '.*deep': Permission denied"):
        load(data("a/1.jpg", "b/deep/1.jpg"))


def test_no_picture_is_read_before_it_is_asked_for(data: MakeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    picture = np.zeros((2, 3, 3), np.uint8)

    def read(path: str) -> UInt8Image:
        asked.append(Path(path).name)
        return picture

    monkeypatch.setattr("cvtl.images.read_image", read)
    dataset = load(data("a/1.jpg", "a/2.jpg", "b/3.jpg"))
    dataset.digest()
    assert asked == []
    assert dataset[1].read() is picture
    assert asked == ["2.jpg"]


def test_pictures_are_rgb_and_survive_the_way_to_a_worker(data: MakeFiles) -> None:
    root = data("a/1.jpg", "b/red.png")
    bgr = np.zeros((4, 5, 3), np.uint8)
    bgr[..., 2] = 200
    cv2.imwrite(str(root / "b/red.png"), bgr)
    sample = pickle.loads(pickle.dumps(load(root)[1]))
    np.testing.assert_array_equal(sample.read(), bgr[..., ::-1])


def test_a_broken_picture_is_named_when_it_is_read(data: MakeFiles) -> None:
    with pytest.raises(DataError, match=r"1\.jpg"):
        load(data("a/1.jpg", "b/1.jpg"))[0].read()


@pytest.mark.parametrize(
    "names",
    [
        ["a/1.jpg", "b/1.jpg"],
        ["a/deep/er/1.jpg", "b/1.webp", "LICENSE", "labels.csv"],
        ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"],
        ["Train/a/1.jpg", "Valid/b/1.jpg"],
        ["train/1.jpg", "bus/1.jpg"],
        ["train/a/1.jpg", "train/b/1.jpg", "unlabelled/1.jpg"],
    ],
)
def test_class_folders_are_recognised(data: MakeFiles, names: list[str]) -> None:
    assert recognizes(data(*names))


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg"],
        ["train/1.jpg", "test/1.jpg"],
        ["2020/1.jpg", "notes.txt"],
        ["2020/1.jpg", "2020/1.xml"],
        ["photos/1.jpg", "annotations.json"],
        ["train/a/1.jpg", "train/_annotations.csv"],
        ["a/1.txt", "b/1.txt"],
        ["JPEGImages/1.jpg", "SegmentationClass/1.png", "Annotations/1.xml"],
        ["train2017/1.jpg", "val2017/1.jpg", "annotations/instances.json"],
        ["images/train/1.jpg", "images/val/1.jpg", "labels/train/1.txt"],
        ["train/images/1.jpg", "train/labels/1.txt", "valid/images/1.jpg", "valid/labels/1.txt"],
        ["train-detector/images/1.jpg", "train-detector/boxes.json", "test-detector/1.jpg"],
        [".thumbnails/a/1.jpg", ".cache/b/1.jpg"],
    ],
)
def test_other_folders_are_not_recognised(data: MakeFiles, names: list[str]) -> None:
    assert not recognizes(data(*names))


@pytest.mark.parametrize(
    "names", [["a/1.jpg"], ["a/1.jpg", "LICENSE"], ["a/1.jpg", "b/"], ["train/a/1.jpg", "val/a/1.jpg"]]
)
def test_a_single_class_is_recognised_so_that_its_user_learns_what_is_missing(
    data: MakeFiles, names: list[str]
) -> None:
    root = data(*names)
    assert recognizes(root)
    with pytest.raises(DataError, match=r"only the class folder 'a'|no picture in '.*b'"):
        load_data(root, "classify")


def test_a_file_is_not_recognised(data: MakeFiles) -> None:
    assert not recognizes(data("a/1.jpg") / "a" / "1.jpg")


def test_a_folder_is_given_up_after_many_files_that_are_no_pictures(
    data: MakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvtl_datasets.folders._GLANCE", 3)
    root = data("a/1.jpg", *(f"b/{i}.txt" for i in range(4)))
    assert not recognizes(root)


def test_the_format_is_found_by_the_core(data: MakeFiles) -> None:
    assert load_data(data("a/1.jpg", "b/1.jpg"), "classify").format == "folders"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "classes", "splits"),
    [
        ("classify_flowers", 5, {"train", "val"}),
        ("classify_mnist", 10, {"train", "test"}),
        ("classify_sign_digits", 10, {None}),
        ("sliding_vehicles", 3, {None}),
    ],
)
def test_real_class_folders_are_recognised_and_read(
    shared_data: Path, name: str, classes: int, splits: set[str | None]
) -> None:
    assert recognizes(shared_data / name)
    dataset = load(shared_data / name)
    assert len(dataset.classes) == classes
    assert {sample.split for sample in dataset} == splits
    assert dataset[0].read().shape[2] == 3


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        *("detection_bccd", "detection_bccd/BCCD", "detection_coco_cc", "detection_mslearn_fruit", "detection_raccoon"),
        *("landmarks_faces", "landmarks_faces_160", "metrics_coco_val2014_100", "metrics_voc_rafaelpadilla"),
    ],
)
def test_real_sets_of_other_formats_are_not_recognised(shared_data: Path, name: str) -> None:
    assert (shared_data / name).is_dir()
    assert not recognizes(shared_data / name)
