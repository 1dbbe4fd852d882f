"""Who may come in: passwords, host names, other sites, and what gradio's own routes would give away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from canned import png

if TYPE_CHECKING:
    from starlette.testclient import TestClient

Served = Callable[..., Any]
UPLOAD = "/gradio_api/upload"
JOIN = "/gradio_api/queue/join"


def test_with_a_password_nothing_is_open(served: Served) -> None:
    client = served(auth="me:secret")
    for path in ("/", "/docs", "/metrics", "/health", "/config", "/gradio_api/queue/data", "/nothing"):
        assert client.get(path).status_code == 401
        assert client.get(path, auth=("me", "wrong")).status_code == 401
        assert client.get(path, headers={"authorization": "Basic !!!"}).status_code == 401
        assert client.get(path, headers={"authorization": "Bearer me:secret"}).status_code == 401


def test_the_right_password_lets_in(served: Served) -> None:
    client = served(auth="me:sécret: with colons")
    answer = client.post(
        "/api/v1/classify", content=png(), headers={"authorization": "Basic bWU6c8OpY3JldDogd2l0aCBjb2xvbnM="}
    )
    assert answer.status_code == 200


def test_a_browser_is_asked_for_the_password(served: Served) -> None:
    assert served(auth="me:secret").get("/").headers["www-authenticate"].startswith("Basic ")


def test_a_foreign_name_for_this_machine_is_refused(served: Served) -> None:
    client = served(hosts=("art.example.org",))
    codes = {"127.0.0.1:7860": 200, "localhost": 200, "art.example.org": 200, "evil.example.org": 421}
    for host, code in codes.items():
        assert client.get("/health", headers={"host": host}).status_code == code


@pytest.mark.parametrize(
    ("site", "code"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
def test_what_another_site_sends_is_refused(client: TestClient, site: str, code: int) -> None:
    answer = client.post("/api/v1/classify", content=png(), headers={"sec-fetch-site": site})
    assert answer.status_code == code


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://example.org/",
        "/gradio_api/component_server",
        "/gradio_api/info",
        "/gradio_api/run/predict",
        "/gradio_api/call/predict",
        "/gradio_api/stream/x/y/z/playlist.m3u8",
        "/gradio_api/process_recording",
        "/gradio_api/vibe-code",
        "/gradio_api/deep_link",
        "/gradio_api/file/etc/passwd",
        "/monitoring",
        "/login",
        "/svelte/x.js",
        "/file=/etc/passwd",
        "/assets/../../../../etc/passwd",
        "/static/..%2f..%2f..%2fetc/passwd",
        "/custom_component/a/b/c/d",
    ],
)
def test_gradios_other_routes_are_not_there(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.post(path, json={}).status_code == 404


def test_pages_may_load_and_send_nothing_elsewhere(client: TestClient) -> None:
    headers = client.get("/").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["connect-src"] == "'self' data: blob:"
    assert not any("http" in part or "*" in part for part in policy.values())
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "//etc/passwd",
        "../../etc/passwd",
        "{folder}/../../etc/passwd",
        "{folder}",
        "{folder}/",
        "C:\\boot.ini",
    ],
)
def test_no_file_but_kept_pictures_can_be_had(client: TestClient, path: str) -> None:
    folder = client.service.store.folder
    for quoted in (path, path.replace("/", "%2F"), path.replace("..", "%2e%2e")):
        answer = client.get(f"/gradio_api/file={quoted.format(folder=folder)}")
        assert answer.status_code == 404
        assert "root:" not in answer.text


def test_a_link_among_the_kept_pictures_is_not_followed(client: TestClient, tmp_path: Path) -> None:
    store = client.service.store
    (tmp_path / "secret.png").write_bytes(b"secret")
    kept = store.keep(b"x", ".png")
    kept.unlink()
    kept.symlink_to(tmp_path / "secret.png")
    assert client.get(f"/gradio_api/file={kept}").status_code == 404
    (store.folder / "link.png").symlink_to(tmp_path / "secret.png")
    assert client.get(f"/gradio_api/file={store.folder / 'link.png'}").status_code == 404


def test_no_address_is_fetched_in_place_of_a_file(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **more: object) -> None:
        raise AssertionError("the server looked up an address")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert client.get("/gradio_api/file=http://example.org/a.png").status_code == 404


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{folder}/../x.png", "http://127.0.0.1:1/a.png", 7, ["/etc/passwd"], {"a": 1}]
)
def test_gradio_is_not_told_of_files_that_were_not_uploaded(client: TestClient, path: object) -> None:
    folder = client.service.store.folder
    path = path.format(folder=folder) if isinstance(path, str) else path
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "fn_index": 0, "session_hash": "a"}
    assert client.post(JOIN, json=body).status_code == 403
    assert client.post(JOIN, json={**body, "data": [[{"deep": body["data"]}]]}).status_code == 403


@pytest.mark.parametrize("body", [b"no json", b"[" * 100_000, b'{"a": "' + b"x" * 2_000_000 + b'"}'])
def test_what_is_no_json_does_not_reach_gradio(client: TestClient, body: bytes) -> None:
    answer = client.post(JOIN, content=body)
    assert answer.status_code in (400, 413)
    assert "Traceback" not in answer.text


def test_an_upload_gets_a_name_of_its_own(served: Served) -> None:
    client = served()
    name = "../../../etc/cron.d/x;rm -rf.png"
    answer = client.post(UPLOAD, files={"files": (name, png(), "text/html")})
    assert answer.status_code == 200
    (path,) = map(Path, answer.json())
    store = client.service.store
    assert path.parent == store.folder
    assert [each.name for each in store.folder.iterdir()] == [path.name]
    assert path.read_bytes() == png()
    shown = client.get(f"/gradio_api/file={path}")
    assert (shown.content, shown.headers["content-type"]) == (png(), "image/png")


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (
            b"<script>alert(1)</script>",
            415,
            "This cannot be used: it is not a picture, or of a kind that cannot be read.",
        ),
        (b"", 415, "This cannot be used: it is empty."),
        (png(size_hw=(60, 60)), 413, "This cannot be used: it has 3600 pixels, more than the limit of 2500."),
    ],
)
def test_an_upload_that_is_no_picture_is_refused_and_not_kept(
    served: Served, content: bytes, code: int, said: str
) -> None:
    client = served(max_pixels=2500)
    answer = client.post(UPLOAD, files={"files": ("photo.png", content, "image/png")})
    assert (answer.status_code, answer.text) == (code, said)
    assert list(client.service.store.folder.iterdir()) == []


def test_several_files_at_once_are_refused(client: TestClient) -> None:
    files = [("files", (f"{number}.png", png())) for number in range(40)]
    assert client.post(UPLOAD, files=files).status_code == 400


def test_the_folder_of_uploads_is_gone_when_the_server_ends(served: Served) -> None:
    client = served()
    client.post(UPLOAD, files={"files": ("a.png", png())})
    folder = client.service.store.folder
    assert folder.exists()
    client.__exit__()
    assert not folder.exists()
