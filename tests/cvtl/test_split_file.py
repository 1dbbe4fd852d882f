"""A division of a data set that its user made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cvtl.data import Dataset, Sample, Split, load_data
from cvtl.errors import DataError
from cvtl.split_file import split_file_of, with_split_file, write_split_file


def dataset_of(**splits: Split | None) -> Dataset:
    return Dataset([Sample.of_file(name, name, split=split) for name, split in splits.items()], (), "test", "data")


def splits_of(dataset: Dataset) -> dict[str, Split | None]:
    return {sample.name: sample.split for sample in dataset}


@pytest.fixture
def photos(tmp_path: Path, write_picture: Callable[..., Path]) -> Path:
    """Class folders, published as train and val."""
    for number, name in enumerate(("train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/4.png")):
        write_picture(tmp_path / "photos" / name, grey=number)
    return tmp_path / "photos"


@pytest.fixture
def divided(photos: Path) -> Path:
    """The same with a division of its user, which swaps the two."""
    dataset = load_data(photos)
    write_split_file(split_file_of(photos), {"train": dataset.split("val"), "val": dataset.split("train")})
    return photos


def test_it_lies_in_the_folder_or_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    assert split_file_of(tmp_path) == tmp_path / "cvtl-splits.csv"
    assert split_file_of(tmp_path / "a.json") == tmp_path / "a.json.cvtl-splits.csv"


def test_it_is_a_table_sorted_by_name(tmp_path: Path) -> None:
    parts: dict[Split, Dataset] = {"val": dataset_of(c=None, a=None), "train": dataset_of(b="test")}
    write_split_file(tmp_path / "s.csv", parts)
    assert (tmp_path / "s.csv").read_bytes() == b"name,split\na,val\nb,train\nc,val\n"


def test_what_was_written_is_read_back_whatever_the_names(tmp_path: Path) -> None:
    names = ["a,b", 'say "a"', "é", "two\nlines", "Icon\r", " spaces ", "\udcff no UTF-8", "d/e.jpg", "#", "name"]
    dataset = dataset_of(**dict.fromkeys(names))
    write_split_file(
        tmp_path / "s.csv", {"train": dataset.subset(range(3)), "test": dataset.subset(range(3, len(names)))}
    )
    read = with_split_file(dataset, tmp_path / "s.csv")
    assert splits_of(read) == dict.fromkeys(names[:3], "train") | dict.fromkeys(names[3:], "test")
    assert [sample.name for sample in read] == names


def test_it_replaces_the_published_division_and_nothing_else(divided: Path) -> None:
    published, own = load_data(divided, splits=False), load_data(divided)
    assert splits_of(published)["train/cat/1.png"] == "train"
    assert splits_of(own) == {
        "train/cat/1.png": "val",
        "train/dog/2.png": "val",
        "val/cat/3.png": "train",
        "val/dog/4.png": "train",
    }
    assert [sample.target for sample in own] == [sample.target for sample in published]
    assert own.digest() != published.digest()


def test_a_split_file_elsewhere_counts_where_it_is_named(divided: Path, tmp_path: Path) -> None:
    write_split_file(tmp_path / "s.csv", {"test": load_data(divided)})
    assert set(splits_of(load_data(divided, splits=tmp_path / "s.csv")).values()) == {"test"}


def test_without_one_the_published_division_counts(photos: Path) -> None:
    assert load_data(photos).digest() == load_data(photos, splits=False).digest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,split\na,train\nb,vall\n", r"s.csv:3: 'b,vall' is not a name and train, val or test"),
        ("name,split\na\n", r"s.csv:2: 'a' is not a name"),
        ("name,split\n" + "a" * 9999, r"s.csv:2: '[a\[\].]{,100}' is not a name"),
        ("name,split\na,train\nb,val\na,val\n", r"s.csv:4: 'a' is in two splits"),
        ("a,train\nb,val\n", r"s.csv:1: the header is not name,split"),
        ("", r"s.csv:1: the header is not name,split"),
        ("name,split\na,train\n", r"the split file '.*s.csv' lacks 'b'. Divide anew"),
        ("name,split\n", r"lacks 'a' and 1 more. Divide anew"),
        ("name,split\na,train\nb,val\nc,val\nd,val\n", r"is not of this data set: it has 'c' and 1 more. Divide anew"),
    ],
)
def test_a_file_that_does_not_fit_says_where(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        with_split_file(dataset_of(a="train", b="val"), tmp_path / "s.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfname,split\r\na,test\r\n",
        b"name;split\r\na;test\r\n",
        b"name,split\n\na,test\n\n\n",
    ],
)
def test_spreadsheets_and_people_may_have_written_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    assert splits_of(with_split_file(dataset_of(a="train"), tmp_path / "s.csv")) == {"a": "test"}


def test_a_file_that_is_named_has_to_be_there(photos: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the split file 'nowhere.csv'"):
        load_data(photos, splits="nowhere.csv")
