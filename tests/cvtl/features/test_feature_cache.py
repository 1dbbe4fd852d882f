"""The feature cache: what it keeps, shared by processes, safe when they are killed, and never in the way."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvtl import feature_cache
from cvtl.errors import CvtlError, CvtlWarning, OutputError, UsageError
from cvtl.feature_cache import FeatureCache, VectorSpace, cache_folder, cache_limit

SPACE = VectorSpace("key", "resnet18", "0a1b2c3d", "layer4", "average", "224 x 224, crop")
PROCESSES = 4

# What the processes of these tests do: put vectors one by one, each told of when it is safe.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from cvtl.feature_cache import FeatureCache, VectorSpace
path, key, first, count = sys.argv[1:]
space = VectorSpace(key, "resnet18", "0a1b2c3d", "layer4", "average", "224 x 224, crop")
cache = FeatureCache(Path(path))
for number in range(int(first), int(first) + int(count)):
    cache.put({space: {b"%d" % number: np.full(500, number, np.float32)}})
    print(number, flush=True)
"""


def writer(path: Path, first: int, count: int, key: str = "key") -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", WRITER, str(path), key, str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def vector(number: int) -> np.ndarray:
    return np.full(500, number, np.float32)


def put(cache: FeatureCache, asked: Iterable[int], *spaces: VectorSpace) -> None:
    """Put numbered vectors one by one."""
    for number in asked:
        cache.put({space: {b"%d" % number: vector(number)} for space in spaces or [SPACE]})


def numbers(cache: FeatureCache, asked: range, space: VectorSpace = SPACE) -> list[int]:
    """Which of the numbered vectors it has; each has to be the right one."""
    found = cache.get(space, [b"%d" % number for number in asked])
    for digest, content in found.items():
        np.testing.assert_array_equal(content, vector(int(digest)))
    return sorted(map(int, found))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "features.sqlite"


def test_vectors_come_back_to_the_bit_in_another_object(path: Path) -> None:
    random = np.random.default_rng(0)
    put = {random.bytes(32): random.normal(size=size).astype(np.float32) for size in (1, 7, 2048, 50_000) * 5}
    FeatureCache(path).put({SPACE: put})
    found = FeatureCache(path).get(SPACE, [*put, b"another"])
    assert found.keys() == put.keys()
    assert all(found[digest].tobytes() == put[digest].tobytes() for digest in put)


def test_more_pictures_than_one_question_holds_are_all_found(path: Path) -> None:
    cache = FeatureCache(path)
    cache.put({SPACE: {b"%d" % number: np.float32([number]) for number in range(1700)}})
    assert len(cache.get(SPACE, [b"%d" % number for number in range(1700)])) == 1700


def test_spaces_do_not_mix(path: Path) -> None:
    cache, other = FeatureCache(path), replace(SPACE, key="other")
    cache.put({SPACE: {b"1": vector(1)}, other: {b"1": vector(2), b"2": vector(2)}})
    assert numbers(cache, range(3)) == [1]
    assert cache.get(other, [b"1"])[b"1"][0] == 2
    assert cache.get(replace(SPACE, key="third"), [b"1"]) == {}


def test_a_picture_put_again_has_the_later_vector(path: Path) -> None:
    cache = FeatureCache(path)
    cache.put({SPACE: {b"1": vector(9)}})
    cache.put({SPACE: {b"1": vector(1)}})
    assert numbers(cache, range(3)) == [1]
    assert [each.vectors for each in cache.info().spaces] == [1]


def test_nothing_asked_is_nothing_found(path: Path) -> None:
    assert FeatureCache(path).get(SPACE, []) == {}


def test_threads_share_one_object(path: Path) -> None:
    cache = FeatureCache(path)
    barrier = threading.Barrier(8)

    def work(first: int) -> None:
        barrier.wait()
        for number in range(first, first + 25):
            cache.put({SPACE: {b"%d" % number: vector(number)}})
            assert numbers(cache, range(number, number + 1)) == [number]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(0, 200, 25)))
    assert numbers(cache, range(200)) == list(range(200))


# Processes


def test_processes_that_begin_and_write_at_the_same_time_lose_nothing(path: Path) -> None:
    count = 60
    running = [writer(path, number * count, count, key="key" if number % 2 else "other") for number in range(PROCESSES)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    assert [len(text.split()) for text in said] == [count] * PROCESSES
    cache = FeatureCache(path)
    everything = range(PROCESSES * count)
    odd = numbers(cache, everything)
    even = numbers(cache, everything, replace(SPACE, key="other"))
    assert odd == [number for number in everything if number // count % 2]
    assert sorted(odd + even) == list(everything)


def test_a_process_killed_while_it_writes_leaves_the_cache_whole(path: Path) -> None:
    for round_ in range(4):
        first = round_ * 100_000
        process = writer(path, first, 100_000)
        assert process.stdout is not None
        for _ in range(1 + 7 * round_):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        last = max([last, *map(int, process.stdout.read().split())])
        process.wait()
        with sqlite3.connect(path) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        cache = FeatureCache(path)
        assert set(numbers(cache, range(first, last + 1))) == set(range(first, last + 1))
        cache.put({SPACE: {b"%d" % (first + 50_000): vector(first + 50_000)}})
        assert numbers(cache, range(first + 50_000, first + 50_001)) == [first + 50_000]


def test_a_running_process_survives_a_clear(path: Path) -> None:
    process = writer(path, 0, 400)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 100:
        pass
    assert FeatureCache(path).clear().vectors > 100
    rest = process.communicate(timeout=60)[0].split()
    assert process.returncode == 0
    assert int(rest[-1]) == 399
    kept = numbers(FeatureCache(path), range(400))
    assert kept == list(range(kept[0], 400))


def test_an_object_in_use_survives_a_clear(path: Path) -> None:
    cache = FeatureCache(path)
    cache.put({SPACE: {b"1": vector(1)}})
    FeatureCache(path).clear()
    assert numbers(cache, range(5)) == []
    cache.put({SPACE: {b"2": vector(2)}})
    assert numbers(cache, range(5)) == [2]


# The limit


def fill(path: Path, key: str, count: int, limit_bytes: int | None = None) -> None:
    with FeatureCache(path, limit_bytes=limit_bytes) as cache:
        put(cache, range(count), replace(SPACE, key=key))


def test_the_space_that_was_used_least_recently_makes_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(feature_cache.time, "time", lambda: float(next(clock)))
    for key in ("a", "b", "c"):
        fill(path, key, 200)
    with FeatureCache(path) as cache:
        assert len(numbers(cache, range(9), replace(SPACE, key="a"))) == 9
    limit = FeatureCache(path).info().bytes
    fill(path, "d", 150, limit)
    info = FeatureCache(path).info()
    assert [(each.space.key, each.vectors) for each in info.spaces] == [("d", 150), ("a", 200), ("c", 200)]
    assert info.bytes < 1.1 * limit


def test_what_is_in_use_is_not_dropped_for_more_of_it(path: Path) -> None:
    cache = FeatureCache(path, limit_bytes=400_000)
    other = replace(SPACE, key="other")
    with pytest.warns(CvtlWarning, match="has reached its limit of 0.0004 GB; CVTL_CACHE_GB=NUMBER") as said:
        put(cache, range(400), SPACE, other)
    assert len(said) == 1
    kept = numbers(cache, range(400))
    assert 50 < len(kept) < 150
    assert kept == numbers(cache, range(400), other) == list(range(len(kept)))
    cache.close()
    assert cache.info().bytes < 600_000


# What can be wrong with the file


def damaged_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"no database" + content[11:])


def cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    found = content.index(vector(3).tobytes())
    content[found + 100] ^= 1
    path.write_bytes(content)


def other_layout(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")


DAMAGES = [damaged_header, cut_off, flipped_bits, other_layout]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_costs_one_note_and_is_replaced_after_a_clear(
    path: Path, damage: Callable[[Path], None]
) -> None:
    with FeatureCache(path) as cache:
        cache.put({SPACE: {b"%d" % number: vector(number) for number in range(200)}})
    damage(path)
    with pytest.warns(CvtlWarning, match=r"features are not kept: the cache .*features.sqlite' cannot be used") as said:
        assert numbers(cache, range(200)) == []
    put(cache, range(9))
    assert numbers(cache, range(9)) == []
    assert len(said) == 1
    assert "`cvtl cache clear`" in str(said[0].message)
    cache.clear()
    fresh = FeatureCache(path)
    assert numbers(fresh, range(200)) == []
    fresh.put({SPACE: {b"7": vector(7)}})
    assert numbers(fresh, range(200)) == [7]


@pytest.mark.parametrize("damage", [damaged_header, other_layout])
def test_asking_what_a_damaged_file_holds_is_an_error(path: Path, damage: Callable[[Path], None]) -> None:
    FeatureCache(path).put({SPACE: {b"1": vector(1)}})
    damage(path)
    with pytest.raises(CvtlError, match=r"cannot read the feature cache .*`cvtl cache clear`"):
        FeatureCache(path).info()


def test_a_folder_that_cannot_be_made_costs_one_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file" / "features.sqlite")
    with pytest.warns(CvtlWarning, match=f"cannot be used: {os.strerror(errno.EEXIST)}: .*file'") as said:
        put(cache, range(9))
    assert numbers(cache, range(9)) == []
    assert len(said) == 1


def test_a_folder_in_the_files_place_costs_one_note_and_is_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.warns(CvtlWarning, match="unable to open"):
        FeatureCache(path).put({SPACE: {b"1": vector(1)}})
    with pytest.raises(OutputError, match=r"cannot write .*features.sqlite'"):
        FeatureCache(path).clear()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_costs_one_note(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.warns(CvtlWarning, match="cannot be used"):
        FeatureCache(tmp_path / "features.sqlite").put({SPACE: {b"1": vector(1)}})


def test_a_full_disk_costs_one_note_and_keeps_what_there_was(path: Path) -> None:
    cache = FeatureCache(path)
    cache.put({SPACE: {b"1": vector(1)}})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.warns(CvtlWarning, match="cannot be used") as said:
            put(cache, range(2, 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(said) == 1
    cache.close()
    kept = numbers(FeatureCache(path), range(200))
    assert kept == list(range(1, len(kept) + 1))


# The environment, and looking at it


def test_the_environment_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVTL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert FeatureCache().path == tmp_path / "features.sqlite"


@pytest.mark.parametrize("unset", ["", None])
def test_by_default_it_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, unset: str | None) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.delenv("CVTL_CACHE", raising=False)
    if unset is not None:
        monkeypatch.setenv("CVTL_CACHE", unset)
    folder = cache_folder()
    assert folder is not None
    assert folder.name == "cvtl"
    if sys.platform == "linux":
        assert folder == Path("/somewhere/cvtl")


@pytest.mark.parametrize("off", ["off", "OFF"])
def test_off_keeps_and_finds_nothing_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    monkeypatch.setenv("CVTL_CACHE", off)
    monkeypatch.chdir(tmp_path)
    cache = FeatureCache()
    cache.put({SPACE: {b"1": vector(1)}})
    assert cache.get(SPACE, [b"1"]) == {}
    assert cache.info().path is None
    assert cache.clear().vectors == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "limit"), [(None, 10**10), ("", 10**10), ("0.5", 5 * 10**8), ("200", 2 * 10**11)])
def test_the_environment_says_how_large_it_may_be(
    monkeypatch: pytest.MonkeyPatch, text: str | None, limit: int
) -> None:
    monkeypatch.delenv("CVTL_CACHE_GB", raising=False)
    if text is not None:
        monkeypatch.setenv("CVTL_CACHE_GB", text)
    assert cache_limit() == limit


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan", "inf"])
def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CVTL_CACHE_GB", text)
    with pytest.raises(UsageError, match=f"CVTL_CACHE_GB={text} is no size in gigabytes"):
        FeatureCache()


def test_info_tells_what_there_is_the_last_used_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 200.0, 300.0])
    monkeypatch.setattr(feature_cache.time, "time", lambda: next(times))
    other = replace(SPACE, key="other", stage="layer3")
    with FeatureCache(path) as cache:
        cache.put({SPACE: {b"1": vector(1), b"2": vector(2)}})
        cache.put({other: {b"1": vector(1)}})
    with FeatureCache(path) as cache:
        numbers(cache, range(3))
        numbers(cache, range(3))
    info = FeatureCache(path).info()
    assert [(each.space, each.vectors, each.used) for each in info.spaces] == [(SPACE, 2, 300), (other, 1, 200)]
    assert info.path == path
    assert info.bytes == path.stat().st_size


def test_info_of_nothing_makes_nothing(path: Path) -> None:
    info = FeatureCache(path).info()
    assert (info.path, info.bytes, info.spaces) == (path, 0, ())
    assert not path.parent.exists()


def test_a_clear_says_what_it_freed(path: Path) -> None:
    fill(path, "key", 300)
    before = FeatureCache(path).info().bytes
    cleared = FeatureCache(path).clear()
    assert cleared.vectors == 300
    assert cleared.bytes == before - FeatureCache(path).info().bytes > 300 * 500 * 4
    assert FeatureCache(path).info().spaces == ()


def test_a_clear_of_nothing_makes_nothing(path: Path) -> None:
    assert FeatureCache(path).clear().vectors == 0
    assert not path.parent.exists()
