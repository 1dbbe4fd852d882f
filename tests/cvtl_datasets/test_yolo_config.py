"""What the configuration of a YOLO data set may say, and what strangers put into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cvtl.data import Dataset, load_data
from cvtl.errors import DataError
from cvtl_datasets.yolo import load

Picture = Callable[..., Path]
LAUGHS = "\n".join(["a0: &a0 [x]", *(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}, *a{i}]" for i in range(30))])


@pytest.fixture
def label(write_picture: Picture) -> Callable[..., None]:
    """Write a picture and, beside it, its label."""

    def write(picture: Path, text: str = "1 0.5 0.5 0.5 0.5") -> None:
        write_picture(picture)
        picture.with_suffix(".txt").write_text(text)

    return write


def splits_of(dataset: Dataset) -> dict[str, str | None]:
    return {sample.name: sample.split for sample in dataset}


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("names: [no, on, 010, 12:30, 1e3]", ("no", "on", "010", "12:30", "1e3")),
        ("names: {0: yes, 1: 2024-13-45}", ("yes", "2024-13-45")),
        ("names: [a, b]\ndate: 2024-13-45", ("a", "b")),
        ("names:\nnc: 2", ("0", "1")),
    ],
)
def test_names_are_what_is_written(tmp_path: Path, label: Callable[..., None], text: str, classes: tuple[str]) -> None:
    label(tmp_path / "a.jpg")
    (tmp_path / "data.yaml").write_text(f"{text}\ntrain: .")
    assert load_data(tmp_path).classes == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a]\nmore: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        (f"{LAUGHS}\nnames: [*a30]", "does not say what"),
        (f"names: [a]\n{LAUGHS}\npath: *a30", "`path` is no path"),
        ("names: [!!python/name:os.system '']", "is no YAML"),
    ],
    ids=["deep", "a billion laughs", "a billion paths", "code"],
)
def test_what_is_meant_to_do_harm_does_none(
    tmp_path: Path, label: Callable[..., None], text: str, message: str
) -> None:
    label(tmp_path / "a.jpg")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_a_place_without_pictures_is_reported(tmp_path: Path, label: Callable[..., None]) -> None:
    label(tmp_path / "train" / "a.jpg")
    (tmp_path / "val").mkdir()
    (tmp_path / "data.yaml").write_text("names: [a, b]\ntrain: train\nval: val")
    (problem,) = load(tmp_path).problems
    assert (problem.kind, problem.what) == ("split not found", "there are no pictures in 'val', which `val` names")


@pytest.mark.parametrize(
    ("config", "lists", "written"),
    [
        ("obj.data", "", "obj/"),
        ("data/obj.data", "data/", "data/obj/"),  # as Darknet's own: relative to where it is started
        ("obj.data", "data/", "data/obj/"),  # CVAT's, which is meant to be put into such a folder
    ],
)
def test_darknets_configuration_is_read(
    tmp_path: Path, label: Callable[..., None], config: str, lists: str, written: str
) -> None:
    home = (tmp_path / config).parent
    for name in "abc":
        label(home / "obj" / f"{name}.jpg")
    (home / "obj.data").write_text(
        f"classes = 2\ntrain = {lists}train.txt\nvalid={lists}test.txt\nnames = {lists}all.names\nbackup = backup/"
    )
    (home / "all.names").write_text("cat\ndog\n")
    (home / "train.txt").write_text(f"{written}a.jpg\n{written}b.jpg\n")
    (home / "test.txt").write_text(f"{written}c.jpg\n")
    dataset = load_data(tmp_path)
    assert (dataset.classes, dataset.problems) == (("cat", "dog"), ())
    assert list(splits_of(dataset).values()) == ["train", "train", "val"]


def test_roboflows_darknet_export_names_its_classes(tmp_path: Path, label: Callable[..., None]) -> None:
    for split in ("train", "valid"):
        label(tmp_path / split / "a.jpg")
        (tmp_path / split / "_darknet.labels").write_text("cat\ndog\n")
    dataset = load_data(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert splits_of(dataset) == {"train/a.jpg": "train", "valid/a.jpg": "val"}


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path, label: Callable[..., None]) -> None:
    label(tmp_path / "elsewhere" / "a.jpg")
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "images" / "train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(data / "images")
    assert splits_of(load_data(data)) == {"images/train/a.jpg": "train"}
