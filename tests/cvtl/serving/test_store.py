"""Pictures that are kept for a while: who finds them, and how long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cvtl.serving.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as made:
        yield made


def test_a_picture_is_found_by_its_name_and_its_path(store: Store) -> None:
    path = store.keep(b"picture", ".png")
    assert path.read_bytes() == b"picture"
    assert path.parent == store.folder
    assert store.find(path.name) == store.find_path(str(path)) == path


def test_two_pictures_have_names_that_cannot_be_guessed(store: Store) -> None:
    names = {store.keep(b"same", ".jpg").name for _ in range(2)}
    assert len(names) == 2
    assert all(len(name) == 36 for name in names)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{folder}/../{outside}",
        "{folder}/./{name}",
        "{folder}//{name}",
        "{folder}/nested/../{name}",
        "{folder}",
        "{folder}/",
        "",
        ".",
        "{name}",
        "file://{folder}/{name}",
        "https://example.org/{name}",
        "{folder}/{name}\0.png",
        "{folder}/{name}%00",
    ],
)
def test_any_other_path_is_not_found(store: Store, path: str) -> None:
    name = store.keep(b"picture", ".png").name
    outside = store.folder.parent / "outside.png"
    assert store.find_path(path.format(folder=store.folder, name=name, outside=outside.name)) is None


def test_a_file_that_was_not_kept_here_is_not_found(store: Store) -> None:
    stranger = store.folder / f"{'0' * 32}.png"
    stranger.write_bytes(b"stranger")
    assert store.find(stranger.name) is None


def test_a_link_in_the_place_of_a_picture_is_not_followed(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = store.keep(b"picture", ".png")
    path.unlink()
    path.symlink_to(secret)
    assert store.find(path.name) is None


def test_old_pictures_go_when_new_ones_come() -> None:
    with Store(kept_seconds=0) as store:
        old = store.keep(b"old", ".png")
        new = store.keep(b"new", ".png")
        assert store.find(old.name) is None
        assert not old.exists()
        assert store.find(new.name) == new


def test_the_oldest_pictures_go_when_there_are_too_many_bytes() -> None:
    with Store(most_bytes=10) as store:
        styles = store.keep(b"stay", ".png", forever=True)
        first, second = (store.keep(b"four", ".png") for _ in range(2))
        assert [store.find(path.name) is not None for path in (styles, first, second)] == [True, False, True]


def test_a_picture_that_is_dropped_is_gone(store: Store) -> None:
    path = store.keep(b"picture", ".png")
    store.drop(path)
    assert store.find(path.name) is None
    assert not path.exists()


def test_the_folder_is_gone_when_the_store_is_closed() -> None:
    store = Store()
    store.keep(b"picture", ".png")
    store.close()
    assert not store.folder.exists()
