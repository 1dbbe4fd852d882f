"""Servers in processes of their own, cut off from any network."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 40

# Refuses, and tells of, whatever would leave this machine; ends by itself if nobody ends it.
_CUT_OFF = f"""
import os, sys, threading
LOCAL = ("127.0.0.1", "::1", "localhost")
def watch(event, args):
    host = args[1][0] if event == "socket.connect" and isinstance(args[1], tuple) else None
    host = args[0] if event == "socket.getaddrinfo" else host
    host = host.decode() if isinstance(host, bytes) else host
    if host is not None and host not in LOCAL:
        sys.stderr.write(f"OUTGOING {{event}} {{host}}\\n")
        raise OSError("there is no network")
sys.addaudithook(watch)
timer = threading.Timer({4 * PATIENCE}, os._exit, [99])
timer.daemon = True
timer.start()
from cvtl.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class ServerProcess:
    """A server that listens.

    Attributes:
        process: it.
        address: where, with a slash at the end.
        lines: what it has said.
    """

    process: subprocess.Popen[str]
    address: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """All that it has said, errors too."""
        return "".join(self.lines)

    def post(self, path: str, content: bytes) -> tuple[int, bytes]:
        """Send something; the status, and the answer."""
        request = urllib.request.Request(self.address + path, content, {"content-type": "application/octet-stream"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Have it stop; its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(*words: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """`cvtl serve` with some words, on a free port."""
    command = [sys.executable, "-c", _CUT_OFF, "serve", *map(str, words), "--port", "0"]
    process = subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )
    server = ServerProcess(process)
    listens = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            server.lines.append(line)
            found = re.search(r" at (http://\S+/)$", line)
            if found and not server.address:
                server.address = found[1]
                listens.set()
        listens.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert listens.wait(PATIENCE), server.said
        assert server.address, server.said
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join(PATIENCE)
        assert "OUTGOING" not in server.said
