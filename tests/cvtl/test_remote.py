"""Inputs that lie elsewhere are found, named and read as local ones are, and no secret of an address is told."""

from __future__ import annotations

import base64
import json
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest

import cvtl
from cvtl import remote
from cvtl.errors import OfflineError, SourceError
from cvtl.images import encode
from cvtl.remote import base_of, read_remote
from cvtl.sources import count_sources, open_sources


def picture(value: int = 0) -> bytes:
    return encode(np.full((4, 6, 3), value, np.uint8), ".png")


def names(*inputs: str | Path, **options: tuple[str, ...]) -> list[str]:
    return [item.source for item in open_sources(inputs, **options)]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.0)


Put = Callable[..., None]


@pytest.fixture
def bucket() -> Iterator[Put]:
    """Put pictures into an object store in memory, called `memory://b/`."""
    store = fsspec.filesystem("memory")

    def put(*paths: str) -> None:
        for value, path in enumerate(paths):
            store.pipe(f"/b/{path}", picture(value))

    yield put
    store.rm("/b", recursive=True)


class Server(SimpleHTTPRequestHandler):
    """Serves a folder; stumbles, forbids and asks for a password as its paths say."""

    stumbles: dict[str, int]

    def do_GET(self) -> None:
        left = self.stumbles.get(self.path, 0)
        if left:
            self.stumbles[self.path] = left - 1
            self.send_error(503)
        elif "forbidden" in self.path:
            self.send_error(403)
        elif self.path.startswith("/locked") and self.headers["Authorization"] != f"Basic {LOGIN}":
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


LOGIN = base64.b64encode(b"me:secret").decode()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a server on this machine shows it."""
    folder = tmp_path / "served"
    folder.mkdir()
    Server.stumbles = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def put(folder: Path, *paths: str) -> None:
    for value, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(picture(value))


TREE = ("z.png", "a/2.png", "a/10.png", "a/deep/x.jpg", "b.png", "a/notes.txt", "a/.hidden.png", ".dir/y.png")


def test_a_folder_in_an_object_store_is_walked_like_a_local_one(bucket: Put, tmp_path: Path) -> None:
    bucket(*TREE)
    put(tmp_path, *TREE)
    assert names("memory://b") == names("memory://b/") == names(tmp_path)
    assert names("memory://b/a") == ["10.png", "2.png", "deep/x.jpg"]


@pytest.mark.parametrize("pattern", ["*.png", "a/*", "**/*.png", "a/**", "[ab]*", "**/1?.png", "nothing*"])
def test_patterns_fit_what_they_fit_locally(bucket: Put, tmp_path: Path, pattern: str) -> None:
    bucket(*TREE)
    put(tmp_path, *TREE)
    if pattern == "nothing*":
        with pytest.raises(SourceError, match=r"there are no pictures in 'memory://b/nothing\*'"):
            names(f"memory://b/{pattern}")
        return
    assert names(f"memory://b/{pattern}") == names(f"{tmp_path}/{pattern}")


def test_include_and_exclude_choose_among_the_names(bucket: Put) -> None:
    bucket(*TREE)
    assert names("memory://b", include=("*.png",), exclude=("a/*",)) == ["b.png", "z.png"]


def test_one_file_is_named_by_its_name_and_read_when_loaded(bucket: Put) -> None:
    bucket("a/x.png")
    (item,) = open_sources(["memory://b/a/x.png"])
    assert item.source == "x.png"
    assert item.load().width == 6


def test_lists_name_what_lies_beside_them_and_addresses(bucket: Put, tmp_path: Path) -> None:
    bucket("a/x.png", "a/y.png")
    fsspec.filesystem("memory").pipe("/b/a/list.txt", b"x.png\n# comment\nmemory://b/a/y.png\nnowhere.png\n")
    items = list(open_sources(["memory://b/a/list.txt"]))
    assert [(item.source, item.load().status) for item in items] == [
        ("x.png", "ok"),
        ("memory://b/a/y.png", "ok"),
        ("nowhere.png", "unreadable"),
    ]
    put(tmp_path, "here.png")
    (tmp_path / "list.txt").write_text("here.png\nmemory://b/a/y.png\n")
    items = list(open_sources([tmp_path / "list.txt"]))
    assert [(item.source, item.load().status) for item in items] == [("here.png", "ok"), ("memory://b/a/y.png", "ok")]


def test_local_and_remote_inputs_of_one_run_have_different_names(bucket: Put, tmp_path: Path) -> None:
    bucket("a/x.png", "c/x.png")
    put(tmp_path, "x.png")
    assert names("memory://b/a", "memory://b/c") == ["a/x.png", "c/x.png"]
    here, there = names(tmp_path, "memory://b/a")
    assert (here, there) == (f"{tmp_path}/x.png"[1:], "memory/b/a/x.png")


def test_what_a_run_has_written_is_no_input(bucket: Put) -> None:
    bucket("x.png", "out/pictures/x.png", "out/run.json", "out/rows.jsonl")
    assert names("memory://b") == ["x.png"]


def test_how_many_there_are_is_not_asked_for(bucket: Put) -> None:
    bucket("x.png")
    assert count_sources(["memory://b"]) is None


def test_a_walk_lists_a_folder_only_when_it_comes_to_it(bucket: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket("a/1.png", "b/2.png", "c/3.png")
    listed: list[str] = []
    store = type(fsspec.filesystem("memory"))
    plain = store.ls

    def watched(self: object, path: str, **options: object) -> object:
        listed.append(path)
        return plain(self, path, **options)

    monkeypatch.setattr(store, "ls", watched)
    items = open_sources(["memory://b/"])
    next(items)
    assert "/b/c" not in listed
    assert [item.source for item in items] == ["b/2.png", "c/3.png"]


@pytest.mark.parametrize("address", ["memory://b/nowhere", "memory://b/nowhere/", "memory://b/nowhere/*.png"])
def test_a_folder_that_is_not_there_is_a_wrong_path(bucket: Put, address: str) -> None:
    bucket("x.png")
    with pytest.raises(SourceError, match=r"cannot be opened: it is not there|there are no pictures"):
        names(address)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "clip.mp4"])
def test_archives_and_videos_are_read_from_disks_only(name: str) -> None:
    with pytest.raises(SourceError, match=r"which are read from disks only. Copy it here"):
        names(f"memory://b/{name}")


def test_a_store_whose_package_is_missing_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(address: str, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(SourceError, match=r"'s3://b/a.png' needs a package that is not installed. pip install s3fs"):
        read_remote("s3://key:secret@b/a.png")


def test_an_address_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SourceError, match=r"'quux://b/a' cannot be read. fsspec reads s3, gs"):
        names("quux://b/a")


def test_offline_nothing_on_a_network_is_read(bucket: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVTL_OFFLINE", "1")
    with pytest.raises(OfflineError, match="'https://host/a/' is on the network"):
        names("https://me:secret@host/a/?key=1")
    (tmp_path / "list.txt").write_text("https://host/a.png\n")
    (item,) = open_sources([tmp_path / "list.txt"])
    with pytest.raises(OfflineError):
        item.load()
    bucket("x.png")
    assert names("memory://b") == ["x.png"]


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("s3://bucket/a/b.jpg", "/s3/bucket/a"),
        ("s3://bucket/a/**/b*.jpg", "/s3/bucket/a"),
        ("https://me:pw@host:81/x/?C=M", "/https/host:81/x"),
        ("memory://b/", "/memory/b"),
    ],
)
def test_names_are_relative_to_an_address_s_folder(address: str, base: str) -> None:
    assert base_of(address) == base


# On the web


def test_a_listing_on_the_web_is_a_folder(web: tuple[Path, str]) -> None:
    folder, address = web
    put(folder, *TREE)
    assert names(f"{address}/") == names(folder)
    assert names(f"{address}/a/*.png") == ["10.png", "2.png"]


def test_pictures_and_lists_on_the_web_are_read(web: tuple[Path, str]) -> None:
    folder, address = web
    put(folder, "a/x.png", "y.png")
    (folder / "list.txt").write_text("a/x.png\ny.png\n")
    items = list(open_sources([f"{address}/list.txt"]))
    assert [(item.source, item.load().status) for item in items] == [("a/x.png", "ok"), ("y.png", "ok")]


def test_a_server_that_stumbles_is_asked_again(web: tuple[Path, str]) -> None:
    folder, address = web
    put(folder, "x.png")
    Server.stumbles = {"/x.png": 3}
    assert read_remote(f"{address}/x.png") == (folder / "x.png").read_bytes()
    Server.stumbles = {"/x.png": 4}
    with pytest.raises(OSError, match=r"^the server answered 503$"):
        read_remote(f"{address}/x.png")


@pytest.mark.parametrize(
    ("path", "reason"), [("nowhere.png", "it is not there"), ("forbidden.png", "access is denied")]
)
def test_a_no_is_taken_for_one(web: tuple[Path, str], path: str, reason: str) -> None:
    _, address = web
    Server.stumbles = {}
    with pytest.raises(OSError, match=f"^{reason}$"):
        read_remote(f"{address}/{path}")


def test_a_server_that_is_gone_costs_a_row_and_no_crash(glow: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("http://127.0.0.1:9/a.png?token=secret\n")
    report = cvtl.run([tmp_path / "list.txt"], glow, tmp_path / "out")
    assert report.counts == {"unreadable": 1}
    (row,) = (tmp_path / "out" / "rows.jsonl").read_text().splitlines()
    assert json.loads(row)["source"] == "http://127.0.0.1:9/a.png"
    assert "it cannot be reached" in json.loads(row)["error"]


def test_a_password_opens_the_door_and_is_told_to_nobody(
    web: tuple[Path, str], glow: Path, tmp_path: Path, cvtl: Callable[..., object]
) -> None:
    folder, address = web
    put(folder, "locked/x.png", "locked/deep/y.png")
    named = address.replace("://", "://me:secret@") + "/locked/"
    said = cvtl("run", "detect", named, "--weights", glow, "--out", tmp_path / "out", "--save-images")
    assert said.returncode == 0, said.stderr  # type: ignore[attr-defined]
    told = said.stdout + said.stderr  # type: ignore[attr-defined]
    for path in (tmp_path / "out" / "rows.jsonl", tmp_path / "out" / "run.json"):
        told += path.read_text()
    assert "secret" not in told
    assert '"source": "deep/y.png"' in told.replace('":"', '": "')
    assert f"{address}/locked/" in told


def test_items_can_be_sent_to_another_process(bucket: Put) -> None:
    bucket("x.png")
    (item,) = open_sources(["memory://b/"])
    assert pickle.loads(pickle.dumps(item.read))() == picture(0)


def test_a_run_over_addresses_goes_on_where_it_was_killed(bucket: Put, glow: Path, tmp_path: Path) -> None:
    bucket(*(f"{number:02d}.png" for number in range(20)))
    cvtl.run(["memory://b/"], glow, tmp_path / "out")
    rows = tmp_path / "out" / "rows.jsonl"
    whole = rows.read_bytes()
    os.truncate(rows, len(whole) // 2)
    assert cvtl.run(["memory://b/"], glow, tmp_path / "out", resume=True).resumed == 8
    assert rows.read_bytes() == whole
