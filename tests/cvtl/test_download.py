"""Downloads: whole and checked under their final name, or an error and nothing there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from cvtl import download
from cvtl.download import fetch, fetch_from_hub, is_offline
from cvtl.errors import OfflineError, OutputError, WeightsError

CONTENT = bytes(range(256)) * 10_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f"net-{DIGEST[:8]}.pth"


class Handler(BaseHTTPRequestHandler):
    requests: list[str]

    def do_HEAD(self) -> None:
        self.send_error(404)

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        self.send_response(200)
        if not self.path.startswith("/unsized"):
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path.startswith("/cut") else CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """Address of a local server, and the paths it was asked for."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv(download.OFFLINE_VARIABLE, raising=False)
    requests: list[str] = []
    handler = type("Recording", (Handler,), {"requests": requests})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", requests
        running.shutdown()


@pytest.mark.parametrize("way", ["plain", "unsized"])
def test_a_download_arrives_whole_and_is_not_repeated(server: tuple[str, list[str]], tmp_path: Path, way: str) -> None:
    address, requests = server
    for _ in range(2):
        path = fetch(f"{address}/{way}/{NAME}?x=1", tmp_path / "deep" / "folder")
        assert path == tmp_path / "deep" / "folder" / NAME
        assert path.read_bytes() == CONTENT
    assert len(requests) == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("name", "prefix"), [("net-01234567.pth", ""), ("net.pth", "0123"), (NAME, "0123")])
def test_a_wrong_hash_is_refused_and_nothing_is_left(
    server: tuple[str, list[str]], tmp_path: Path, name: str, prefix: str
) -> None:
    with pytest.raises(WeightsError, match=f"{name}' has the SHA-256 {DIGEST[:16]}..., but it should begin with 0123"):
        fetch(f"{server[0]}/{name}", tmp_path, sha256_prefix=prefix)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_that_is_already_there_is_refused_and_left_to_its_owner(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match="it should begin with"):
        fetch(f"http://127.0.0.1:9/{NAME}", tmp_path)
    assert (tmp_path / NAME).exists()


def test_a_name_without_a_hash_is_not_checked(server: tuple[str, list[str]], tmp_path: Path) -> None:
    assert fetch(f"{server[0]}/net.pth", tmp_path).read_bytes() == CONTENT


def test_a_connection_that_is_cut_half_way_leaves_nothing(server: tuple[str, list[str]], tmp_path: Path) -> None:
    total = len(CONTENT)
    with pytest.raises(OfflineError, match=f"the connection was cut after {total // 2} of {total} bytes. Try again"):
        fetch(f"{server[0]}/cut/{NAME}", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        assert [path.name for path in tmp_path.iterdir()] != [NAME]
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_check_hash", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{server[0]}/{NAME}", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_has_no_such_file_is_quoted(server: tuple[str, list[str]], tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match=f"cannot download '{NAME}': the server answered 404 Not Found. Get http"):
        fetch(f"{server[0]}/missing/{NAME}", tmp_path)


def test_a_server_that_does_not_answer_is_an_offline_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(OfflineError, match=f"cannot download '{NAME}': .*refused") as caught:
        fetch(f"http://127.0.0.1:9/{NAME}", tmp_path, offline=False)
    assert caught.value.hint == f"Get http://127.0.0.1:9/{NAME} elsewhere and put it into {tmp_path}"


def test_offline_fails_at_once_and_names_file_address_and_folder(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, requests = server
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    with pytest.raises(OfflineError) as caught:
        fetch(f"{address}/{NAME}", tmp_path)
    assert str(caught.value) == (
        f"'{NAME}' is not in '{tmp_path}', and downloading is off. "
        f"Get {address}/{NAME} elsewhere and put it into {tmp_path}."
    )
    assert requests == []


def test_offline_takes_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(f"http://127.0.0.1:9/{NAME}", tmp_path, offline=True) == tmp_path / NAME


@pytest.mark.parametrize(("value", "expected"), [("", False), ("0", False), ("1", True), ("yes", True)])
def test_the_environment_says_whether_downloading_is_off(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: bool
) -> None:
    monkeypatch.setenv(download.OFFLINE_VARIABLE, value)
    assert is_offline() is expected
    assert is_offline(True) is True
    assert is_offline(False) is False


def test_a_folder_that_cannot_be_written_is_an_output_error(server: tuple[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=f"cannot write '.*{NAME}'"):
        fetch(f"{server[0]}/{NAME}", tmp_path / "file")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty hub cache and a hub that nobody answers for."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, name: None)
    return tmp_path


def refuse(*_: object) -> str:
    pytest.fail("the hub's client would repeat its request for most of a minute")


@pytest.mark.parametrize(("offline", "why"), [(True, "downloading is off"), (False, "refused")])
def test_an_unreachable_hub_names_repository_file_and_cache(
    hub: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, why: str
) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(OfflineError, match=f"'model.safetensors' of 'timm/net.tag'.*{why}") as caught:
        fetch_from_hub("timm/net.tag", ["model.safetensors", "pytorch_model.bin"], offline=offline)
    assert "http://127.0.0.1:9/timm/net.tag" in caught.value.hint
    assert str(hub) in caught.value.hint


def test_the_hubs_cache_is_used_first(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = hub / "pytorch_model.bin"
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda repo, name: str(cached) if name == cached.name else None
    )
    assert fetch_from_hub("timm/net", ["model.safetensors", cached.name], offline=True) == cached


def test_the_next_name_is_tried_where_a_repository_lacks_the_first(
    server: tuple[str, list[str]], hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import RemoteEntryNotFoundError

    def download_file(repo: str, name: str) -> str:
        if name == "model.safetensors":
            raise RemoteEntryNotFoundError("no such file", response=MagicMock())
        return str(hub / name)

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server[0])
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download_file)
    found = fetch_from_hub("timm/net", ["model.safetensors", "pytorch_model.bin"], offline=False)
    assert found == hub / "pytorch_model.bin"
