"""Folders of pictures without labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvtl.data import load_data
from cvtl.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.JPG", "a.png", "b/c/3.webp", ".hidden.png", "b/.thumbs/4.png", "__MACOSX/5.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_every_picture_below_a_folder_is_a_sample_in_the_order_of_names(folder: Path) -> None:
    data = load_data(folder, "style")
    assert data.format == "pictures"
    assert [sample.name for sample in data] == ["a.png", "b/2.JPG", "b/c/3.webp"]
    assert [sample.target for sample in data] == [None] * 3
    assert data.classes == ()


def test_labelled_data_serve_a_task_without_labels_too(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert load_data(tmp_path, "style").format == "pictures"
    assert load_data(tmp_path, "classify").format == "folders"


def test_nobody_is_given_unlabelled_pictures_unasked(folder: Path) -> None:
    with pytest.raises(DataError, match="is in no known format"):
        load_data(folder)
    assert len(load_data(folder, format="pictures")) == 3


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in"):
        load_data(tmp_path, "style", format="pictures")
