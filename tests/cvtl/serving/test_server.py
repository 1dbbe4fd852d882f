"""The life of a server: where it may listen, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from canned import PATIENCE, Canned, png
from processes import serving

from cvtl.errors import UsageError
from cvtl.serving.service import Service
from cvtl.serving.settings import ServeSettings

pytest.importorskip("gradio", reason="gradio is not installed")


class Running:
    """A server in a thread of this process, on a free port."""

    def __init__(self, answers: Canned, **settings: Any) -> None:
        from cvtl.serving.server import Server

        self.service = Service(answers, ServeSettings(port=0, **settings))
        listens = threading.Event()
        self.server = Server(self.service, lambda address: listens.set())
        self.thread = threading.Thread(target=self.server.run_until_stopped, daemon=True)
        self.thread.start()
        assert listens.wait(PATIENCE)

    def post(self, content: bytes) -> int:
        """Send a picture; the status."""
        request = urllib.request.Request(f"{self.server.address}api/v1/classify", content)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def tell(self, signum: signal.Signals) -> None:
        """As if a signal had come."""
        self.server.handle_exit(signum, None)


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """Start servers; they are stopped at the end."""
    made = []

    def start(answers: Canned, **settings: Any) -> Running:
        made.append((Running(answers, **settings), answers))
        return made[-1][0]

    yield start
    for running, answers in made:
        answers.go.set()
        running.server.should_exit = True
        running.thread.join(PATIENCE)
        assert not running.thread.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_server_that_is_told_to_stop_finishes_what_it_has_and_takes_no_more(run: Callable[..., Running]) -> None:
    answers = Canned()
    answers.go.clear()
    running = run(answers, batch_size=1)
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(running.post, png()) for _ in range(2)]
        wait_until(lambda: running.service.jobs.working + running.service.jobs.waiting == 2)
        running.tell(signal.SIGTERM)
        running.tell(signal.SIGTERM)  # as some tools do
        wait_until(lambda: running.service.jobs.refusing)
        assert running.post(png()) == 503
        answers.go.set()
        assert [each.result(PATIENCE) for each in sent] == [200, 200]
    running.thread.join(PATIENCE)
    assert not running.thread.is_alive()
    assert not running.server.lost
    assert not running.service.store.folder.exists()


def test_what_is_not_done_in_time_is_given_up(run: Callable[..., Running]) -> None:
    answers = Canned()
    answers.go.clear()
    running = run(answers, drain=0.05)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(running.post, png())
        assert answers.begun.wait(PATIENCE)
        running.tell(signal.SIGINT)
        assert sent.result(PATIENCE) == 499
        answers.go.set()
    running.thread.join(PATIENCE)
    assert running.server.lost


def test_a_client_who_leaves_takes_the_picture_along(run: Callable[..., Running]) -> None:
    answers = Canned()
    answers.go.clear()
    running = run(answers, batch_size=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(running.post, png())
        assert answers.begun.wait(PATIENCE)
        port = int(running.server.address.rsplit(":", 1)[1].strip("/"))
        with socket.create_connection(("127.0.0.1", port)) as leaving:
            head = f"POST /api/v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(png())}\r\n\r\n"
            leaving.sendall(head.encode() + png())
            wait_until(lambda: running.service.jobs.waiting == 1)
        wait_until(lambda: running.service.jobs.waiting == 0)
        answers.go.set()
        assert first.result(PATIENCE) == 200
    assert 'cvtl_pictures_total{status="cancelled"} 1' in running.service.metrics.lines()


def test_a_port_that_is_taken_is_told_so(run: Callable[..., Running]) -> None:
    from cvtl.serving.server import Server

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = Service(Canned(), ServeSettings(port=taken.getsockname()[1]))
        with pytest.raises(UsageError, match="cannot listen on"):
            Server(service, lambda address: None)
        service.close()


def test_a_process_that_paints_finishes_when_it_is_terminated(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "cvtl_style"))
    from tiny_style import save_vgg11

    network = save_vgg11(tmp_path / "vgg11.pth", 1)
    style = tmp_path / "style.png"
    style.write_bytes(png(90, (40, 40)))
    options = ["--size", "128", "--steps", "60", "--levels", "1", "--tolerance", "0"]
    with (
        serving("style", "--backbone", "vgg11", "--weights", network, "--style", style, *options) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        boundary = "xxxx"
        parts = [
            f'--{boundary}\r\ncontent-disposition: form-data; name="style"\r\n\r\nstyle\r\n'.encode(),
            f'--{boundary}\r\ncontent-disposition: form-data; name="picture"; filename="a/b.png"\r\n\r\n'.encode(),
            png(10, (90, 120)),
            f"\r\n--{boundary}--\r\n".encode(),
        ]
        request = urllib.request.Request(
            f"{server.address}api/v1/style",
            b"".join(parts),
            {"content-type": f"multipart/form-data; boundary={boundary}"},
        )
        sent = pool.submit(urllib.request.urlopen, request, timeout=4 * PATIENCE)
        wait_until(lambda: b"\ncvtl_working 1\n" in urllib.request.urlopen(f"{server.address}metrics").read())
        assert server.stop() == 0
        row = json.loads(sent.result(PATIENCE).read())
    assert (row["source"], row["status"], row["task"]) == ("a/b.png", "ok", "style")
    assert "Finishing what has begun" in server.said
    assert "Traceback" not in server.said
