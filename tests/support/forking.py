"""Commands in real processes that begin at once: forked off a process that has imported everything already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import TracebackType

_SERVER = """
import json, os, sys
import cv2, supervision, torchvision
import cvtl.pipeline, cvtl.cli.run
from cvtl.cli.main import main
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(quiet, stream)
        os._exit(main(json.loads(line)))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class ForkedCommands:
    """Runs `cvtl` commands one after the other, each in a process of its own.

    Use it as a context manager; `start` gives a process's number, which may be killed, and `wait` its exit code.
    """

    def __enter__(self) -> ForkedCommands:
        command = [sys.executable, "-c", _SERVER]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.communicate(timeout=60)

    def start(self, *words: object) -> int:
        """Begin a command."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self._server.stdin.flush()
        return self._read()

    def wait(self) -> int:
        """Wait for the end of the command; the negative number of the signal where one ended it."""
        return self._read()

    def _read(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())
