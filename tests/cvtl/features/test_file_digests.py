"""Digests of files: always those of what they hold, though files that are as they were are not read again."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from cvtl import feature_cache, file_digests
from cvtl.errors import CvtlWarning
from cvtl.feature_cache import FeatureCache, VectorSpace

SPACE = VectorSpace("key", "resnet18", "0a1b2c3d", "layer4", "average", "224 x 224, crop")
COUNT = 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "features.sqlite"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    named = [folder / f"{number}.png" for number in range(COUNT)]
    for number, file in enumerate(named):
        file.write_bytes(b"picture %d" % number * 100)
    return named


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that happens has happened ten seconds ago."""
    now = time.time_ns
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: now() + 10**10)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files, each time that one is read."""
    seen: list[Path] = []
    read = file_digests._read

    def spy(file: Path) -> object:
        seen.append(file)
        return read(file)

    monkeypatch.setattr(file_digests, "_read", spy)
    return seen


def digests(path: Path, files: Iterable[Path | None]) -> list[bytes | None]:
    """As another process would ask for them."""
    with FeatureCache(path) as cache:
        return file_digests.file_digests(list(files), cache)


def of_content(files: Iterable[Path]) -> list[bytes]:
    return [hashlib.sha256(file.read_bytes()).digest() for file in files]


def test_they_are_those_of_the_contents_and_read_once(
    path: Path, files: list[Path], later: None, read: list[Path]
) -> None:
    for _ in range(3):
        assert digests(path, files) == of_content(files)
    assert read == files


def test_the_order_and_the_holes_are_the_askers(path: Path, files: list[Path], later: None) -> None:
    digests(path, files[:10])
    asked = [files[12], None, files[3], files[12], files[3], None]
    expected = [None if file is None else of_content([file])[0] for file in asked]
    assert digests(path, asked) == expected


def test_more_files_than_one_question_holds_are_all_remembered(path: Path, later: None, read: list[Path]) -> None:
    path.parent.mkdir()
    many = [path.parent / str(number) for number in range(1200)]
    for file in many:
        file.write_text(file.name)
    assert digests(path, many) == of_content(many)
    read.clear()
    assert digests(path, many) == of_content(many)
    assert read == []


# Files that change


def overwritten(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"another")


def replaced(file: Path) -> None:
    (file.parent / "new").write_bytes(bytes(file.stat().st_size))
    (file.parent / "new").replace(file)


def mapped(file: Path) -> None:
    np.memmap(file, np.uint8, "r+")[5] ^= 1


def grown(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"more")


@pytest.mark.parametrize("change", [overwritten, replaced, mapped, grown])
def test_a_change_is_seen_though_the_times_are_set_back(
    path: Path, files: list[Path], later: None, read: list[Path], change: Callable[[Path], None]
) -> None:
    before = digests(path, files)
    status = files[4].stat()
    change(files[4])
    os.utime(files[4], ns=(status.st_atime_ns, status.st_mtime_ns))
    read.clear()
    assert digests(path, files) == of_content(files) != before
    assert read == [files[4]]


def test_two_files_that_change_names_are_each_read_again(
    path: Path, files: list[Path], later: None, read: list[Path]
) -> None:
    digests(path, files)
    first, second, spare = files[0], files[1], files[0].parent / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    read.clear()
    assert digests(path, files) == of_content(files)
    assert read == [first, second]


def test_a_link_that_points_elsewhere_while_files_are_read_leaves_no_wrong_digest(
    path: Path, files: list[Path], tmp_path: Path, later: None
) -> None:
    old, new, link = files[0].parent, tmp_path / "others", tmp_path / "link"
    new.mkdir()
    (new / files[0].name).write_bytes(b"x" * files[0].stat().st_size)

    def point_to(folder: Path) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(folder)

    def between(function: Callable[[Path], object], asked: Iterable[Path]) -> list[object]:
        point_to(new)
        return [function(file) for file in asked]

    point_to(old)
    through = link / files[0].name
    with FeatureCache(path) as cache:
        assert file_digests.file_digests([through], cache, between) == of_content([new / files[0].name])
        for folder in (old, new):
            point_to(folder)
            assert file_digests.file_digests([through], cache) == of_content([folder / files[0].name])


def test_a_file_that_changes_while_it_is_read_is_read_again(path: Path, files: list[Path], later: None) -> None:
    def meanwhile(function: Callable[[Path], object], asked: Iterable[Path]) -> list[object]:
        found = [function(file) for file in asked]
        overwritten(files[0])
        return found

    with FeatureCache(path) as cache:
        file_digests.file_digests(files, cache, meanwhile)
    assert digests(path, files) == of_content(files)


def test_what_changed_just_before_is_read_again_for_the_clock_may_not_tell_the_next_change(
    path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that stands still.
    monkeypatch.setattr(file_digests, "_state", lambda file, status: file.name.encode())
    digests(path, files)
    overwritten(files[3])
    assert digests(path, files) == of_content(files)


def test_where_the_system_does_not_tell_changes_every_file_is_read(
    path: Path, files: list[Path], later: None, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "_TELLS_CHANGES", False)
    for _ in range(2):
        assert digests(path, files) == of_content(files)
    assert read == files * 2


def test_files_that_cannot_be_read_have_none_until_they_can(path: Path, files: list[Path], later: None) -> None:
    digests(path, files)
    missing, folder = files[0].parent / "later.png", files[0].parent / "folder.png"
    folder.mkdir()
    files[1].unlink()
    assert digests(path, [files[0], missing, files[1], folder, Path("a\0b")]) == [*of_content(files[:1]), *[None] * 4]
    missing.write_bytes(b"here")
    assert digests(path, [missing]) == of_content([missing])


# The cache's file


def test_a_file_of_before_goes_on_and_remembers(path: Path, files: list[Path], later: None, read: list[Path]) -> None:
    with FeatureCache(path) as cache:
        cache.put({SPACE: {b"1": np.ones(3, np.float32)}})
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE files")
    for _ in range(2):
        assert digests(path, files) == of_content(files)
    assert read == files
    assert FeatureCache(path).get(SPACE, [b"1"])[b"1"].tolist() == [1, 1, 1]


def flipped_bit(path: Path, files: list[Path]) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(of_content(files)[3]) + 5] ^= 1
    path.write_bytes(content)


def cut_off(path: Path, files: list[Path]) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize("damage", [flipped_bit, cut_off])
def test_damage_costs_one_note_and_no_digest(
    path: Path, files: list[Path], later: None, damage: Callable[[Path, list[Path]], None]
) -> None:
    digests(path, files)
    damage(path, files)
    with pytest.warns(CvtlWarning, match="features are not kept: the cache .* cannot be used") as said:
        assert digests(path, files) == of_content(files)
    assert len(said) == 1
    FeatureCache(path).clear()
    for _ in range(2):
        assert digests(path, files) == of_content(files)


def test_without_a_cache_every_file_is_read(
    files: list[Path], later: None, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVTL_CACHE", "off")
    for _ in range(2):
        assert file_digests.file_digests(files, FeatureCache()) == of_content(files)
    assert read == files * 2


def test_those_that_were_remembered_longest_ago_are_forgotten_first(
    path: Path, files: list[Path], later: None, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "_MOST_FILES", 10)
    for first in range(0, COUNT, 5):
        digests(path, files[first : first + 5])
    read.clear()
    assert digests(path, files[-10:]) == of_content(files[-10:])
    assert read == []
    digests(path, files[:1])
    assert read == files[:1]


def test_features_push_them_out_before_they_push_out_features(
    path: Path, files: list[Path], later: None, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = {b"%d" % number: np.zeros(500, np.float32) for number in range(300)}
    with FeatureCache(path) as cache:
        cache.put({SPACE: vectors})
    many = [files[0].parent / f"more{number}" for number in range(2000)]
    for file in many:
        file.write_text(file.name)
    digests(path, many)
    with FeatureCache(path, limit_bytes=path.stat().st_size - 50_000) as cache:
        other = VectorSpace("other", *list(vars(SPACE).values())[1:])
        cache.put({other: {b"1": vectors[b"1"]}})
        assert len(cache.get(SPACE, list(vectors))) == 300
    read.clear()
    digests(path, files[:2])
    assert read == files[:2]


def test_they_are_not_remembered_beyond_the_limit(path: Path, files: list[Path], later: None) -> None:
    with FeatureCache(path, limit_bytes=1000) as cache:
        assert file_digests.file_digests(files, cache) == of_content(files)
        assert file_digests.file_digests(files, cache) == of_content(files)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT COUNT(*) FROM files").fetchall() == [(0,)]


def test_a_clear_forgets_them(path: Path, files: list[Path], later: None, read: list[Path]) -> None:
    digests(path, files)
    FeatureCache(path).clear()
    assert digests(path, files) == of_content(files)
    assert read == files * 2


def test_the_cache_tells_no_names(path: Path, files: list[Path], later: None) -> None:
    digests(path, files)
    assert b".png" not in path.read_bytes()


# Processes

ASKER = """
import sys, time
from pathlib import Path
from cvtl import file_digests
from cvtl.feature_cache import FeatureCache
now = time.time_ns
time.time_ns = lambda: now() + 10**10
files = sorted(Path(sys.argv[2]).iterdir())
print("ready", flush=True)
for turn in range(int(sys.argv[3])):
    with FeatureCache(Path(sys.argv[1])) as cache:
        for digest in file_digests.file_digests(files[turn % len(files):], cache):
            print(digest.hex(), flush=True)
"""


def asker(path: Path, folder: Path, turns: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", ASKER, str(path), str(folder), str(turns)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_ask_at_the_same_time_all_get_the_right_ones(path: Path, files: list[Path]) -> None:
    running = [asker(path, files[0].parent, 2) for _ in range(4)]
    said = [process.communicate(timeout=60)[0].split()[1:] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    expected = [digest.hex() for digest in of_content(sorted(files))]
    assert said == [expected + expected[1:]] * 4


def test_a_process_that_is_killed_leaves_them_right(path: Path, files: list[Path], later: None) -> None:
    for line in (1, 40, 900):
        process = asker(path, files[0].parent, 10_000)
        assert process.stdout is not None
        for _ in range(line):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert digests(path, files) == of_content(files)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("module", ["cvtl.feature_cache", "cvtl.file_digests"])
def test_importing_it_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
