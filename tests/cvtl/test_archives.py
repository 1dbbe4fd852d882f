"""Pictures in zip and tar archives."""

from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cvtl.errors import SourceError
from cvtl.images import encode
from cvtl.sources import Item, count_sources, open_sources

MEMBERS = ["b/z.png", "b/a.JPG", "a.png", "b/c/d.gif"]
OTHERS = ["notes.txt", ".hidden.png", "__MACOSX/b/._z.png", ".git/x.png"]
TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def picture(value: int) -> bytes:
    noise = np.random.default_rng(value).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return encode(noise, ".png")


def make_zip(path: Path, names: list[str], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for value, name in enumerate(names):
            archive.writestr(name, picture(value))
    return path


def make_tar(path: Path, names: list[str]) -> Path:
    suffix = "".join(path.suffixes)
    with tarfile.open(path, TAR_MODES[suffix]) as archive:  # type: ignore[call-overload]
        for value, name in enumerate(names):
            add(archive, tarfile.TarInfo(name), picture(value))
    return path


def add(archive: tarfile.TarFile, info: tarfile.TarInfo, content: bytes = b"") -> None:
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def statuses(path: Path) -> list[tuple[str, str]]:
    return [(item.source, item.load().status) for item in open_sources([path])]


def content(item: Item) -> bytes:
    assert item.read is not None
    return item.read()


@pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
def test_members_come_in_stored_order_with_their_content(tmp_path: Path, suffix: str) -> None:
    make = make_zip if suffix == ".zip" else make_tar
    path = make(tmp_path / f"photos{suffix}", [*MEMBERS, *OTHERS])
    items = list(open_sources([path]))
    assert [item.source for item in items] == MEMBERS
    assert [content(item) for item in items] == [picture(value) for value in range(len(MEMBERS))]
    assert count_sources([path]) == (len(MEMBERS) if suffix == ".zip" else None)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_beside_other_inputs_the_archives_name_comes_first(tmp_path: Path, suffix: str) -> None:
    make = make_zip if suffix == ".zip" else make_tar
    make(tmp_path / f"p{suffix}", ["x.png"])
    (tmp_path / "q").mkdir()
    make(tmp_path / f"q/p{suffix}", ["x.png"])
    (tmp_path / "x.png").write_bytes(picture(5))
    inputs = [tmp_path / f"p{suffix}", tmp_path / f"q/p{suffix}", tmp_path / "x.png"]
    expected = [f"p{suffix}/x.png", f"q/p{suffix}/x.png", "x.png"]
    assert [item.source for item in open_sources(inputs)] == expected


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_names_cannot_lead_out(tmp_path: Path, suffix: str) -> None:
    make = make_zip if suffix == ".zip" else make_tar
    path = make(
        tmp_path / f"evil{suffix}", ["../up.png", "/etc/abs.png", "./a/../b.png", "a\\win.png", "c/../../d.png"]
    )
    names = [item.source for item in open_sources([path])]
    assert names == ["_up/up.png", "etc/abs.png", "b.png", "a/win.png", "_up/d.png"]


def test_include_and_exclude_hold_for_members(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "p.zip", MEMBERS)
    assert [item.source for item in open_sources([path], include=["b/*"], exclude=["*.gif"])] == ["b/z.png", "b/a.JPG"]


def test_a_zip_can_be_read_by_many_threads_in_any_order(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "many.zip", [f"{number}.png" for number in range(200)])
    items = list(open_sources([path]))
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(content, reversed(items)))
    assert contents == [picture(number) for number in reversed(range(200))]


def test_an_encrypted_member_is_unreadable_and_says_so(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "p.zip", ["a.png", "b.png"], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1
    path.write_bytes(data)
    first, second = open_sources([path])
    assert first.load().error == "it cannot be opened: it is encrypted"
    assert second.load().status == "ok"


def test_a_damaged_member_of_a_zip_is_unreadable_and_the_others_are_not(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "p.zip", ["a.png", "b.png", "c.png"])
    data = bytearray(path.read_bytes())
    data[data.index(b"b.png") + 40] ^= 0xFF
    path.write_bytes(data)
    assert statuses(path) == [("a.png", "ok"), ("b.png", "unreadable"), ("c.png", "ok")]


def test_a_member_packed_in_an_unknown_way_is_unreadable(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "p.zip", ["a.png", "b.png"])
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 10 : entry + 12] = struct.pack("<H", 93)
    path.write_bytes(data)
    assert statuses(path) == [("a.png", "unreadable"), ("b.png", "ok")]


@pytest.mark.parametrize("suffix", list(TAR_MODES))
def test_a_cut_off_tar_gives_what_is_there_and_a_last_item_that_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    contents = [np.random.default_rng(number).bytes(50_000) for number in range(60)]
    with tarfile.open(path, TAR_MODES[suffix]) as archive:  # type: ignore[call-overload]
        for number, each in enumerate(contents):
            add(archive, tarfile.TarInfo(f"{number:02d}.png"), each)
    path.write_bytes(path.read_bytes()[:-300_000])
    *whole, last = open_sources([path])
    assert 0 < len(whole) < 60
    assert [item.source for item in whole] == [f"{number:02d}.png" for number in range(len(whole))]
    assert [content(item) for item in whole] == contents[: len(whole)]
    assert last.source == f"p{suffix}"
    assert last.load().error == (
        "it cannot be opened: the archive is damaged here, and what follows in it cannot be read"
    )


def test_a_damaged_header_in_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "p.tar", ["a.png", "b.png", "c.png"])
    data = bytearray(path.read_bytes())
    data[data.index(b"b.png") + 100] ^= 0xFF
    path.write_bytes(data)
    assert statuses(path) == [("a.png", "ok"), ("p.tar", "unreadable")]


def test_a_tar_without_an_end_marker_is_complete(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "p.tar", ["a.png"])
    path.write_bytes(path.read_bytes().rstrip(b"\0").ljust(1536, b"\0"))
    assert len(picture(0)) < 1024
    assert statuses(path) == [("a.png", "ok")]


def test_links_and_folders_in_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "p.tar"
    with tarfile.open(path, "w") as archive:
        folder, link = tarfile.TarInfo("folder.png"), tarfile.TarInfo("link.png")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "/etc/passwd"
        add(archive, folder)
        add(archive, link)
        add(archive, tarfile.TarInfo("a.png"), picture(0))
    assert statuses(path) == [("link.png", "unreadable"), ("a.png", "ok")]


def test_memory_stays_flat_over_the_members_of_a_tar(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = make_tar(tmp_path / f"{count}.tar", [f"{number}.png" for number in range(count)])
        tracemalloc.start()
        assert sum(1 for _ in open_sources([path])) == count
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(10)
    assert peak(2000) < 1.3 * peak(200)


@pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
@pytest.mark.parametrize("data", [b"", b"this is not an archive" * 50])
def test_what_is_no_archive_is_a_mistake(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"cannot read the archive '.*p\.\w+"):
        open_sources([path])


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_without_pictures_is_a_mistake(tmp_path: Path, suffix: str) -> None:
    make = make_zip if suffix == ".zip" else make_tar
    with pytest.raises(SourceError, match=r"there are no pictures in .* which end in \.jpg"):
        open_sources([make(tmp_path / f"p{suffix}", OTHERS)])
