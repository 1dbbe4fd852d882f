"""One training as several processes: where each stands, and how one command starts those of a machine. Torch-free."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any

from cvtl.errors import ExitCode, Interrupted, TrainingError, UsageError
from cvtl.training.settings import TrainSettings

OUR_LAUNCH = "CVTL_TRAINING_PROCESS"
"""Set for processes that `launch` has started."""
LOST_CODE = 75
"""How such a process ends when it has lost another one: that one has the reason to tell."""

# A process that has lost another one ends by itself within the first, and one that was sent a signal within the second.
_SECONDS_TO_FOLLOW, _SECONDS_TO_END = 10.0, 20.0
_SECONDS_BETWEEN_LOOKS = 0.05

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of its training.

    Attributes:
        process: its number; 0 leads, which means that it alone writes and speaks.
        processes: how many there are.
        local: its number on its machine.
    """

    process: int = 0
    processes: int = 1
    local: int = 0


def own_place(settings: TrainSettings) -> Place:
    """Where this process stands, as `launch` or torchrun tells it by variables.

    Raises:
        UsageError: there are other processes than the settings ask for.

    Example:
        >>> own_place(TrainSettings())
        Place(process=0, processes=1, local=0)
    """
    wanted = settings.devices * settings.num_nodes
    if not _started_as_one_of_several():
        if wanted == 1:
            return Place()
        raise UsageError(
            f"a training on {_in_words(settings)} takes {wanted} processes, and this is one that stands alone",
            hint=f"Start it on machine N with `{_torchrun(settings)} -m cvtl train ...`",
        )
    there, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if (there, local) != (wanted, settings.devices):
        raise UsageError(
            f"{there} processes were started, {local} on this machine, and the settings are for {_in_words(settings)}",
            hint="Give --devices and --num-nodes the numbers that torchrun has in --nproc-per-node and --nnodes",
        )
    return Place(int(os.environ["RANK"]), there, int(os.environ["LOCAL_RANK"]))


def leads() -> bool:
    """Whether this process is the one that writes and speaks, as the only one of a training does."""
    return not _started_as_one_of_several() or os.environ["RANK"] == "0"


def has_to_launch(settings: TrainSettings) -> bool:
    """Whether `launch` is what the settings ask for: several processes, all on this machine, none of them started."""
    return settings.devices > 1 and settings.num_nodes == 1 and not _started_as_one_of_several()


def launch(words: Sequence[str], processes: int) -> int:
    """Run a `cvtl` command as several processes of one training on this machine, and wait for them.

    All end when one fails, when a signal arrives, and when this process is killed. What the first says is said as ever;
    of what the others say, only the reason of a failure is shown.

    Args:
        words: the words behind `cvtl`.
        processes: how many.

    Returns:
        The exit code of the process that failed, or 0.

    Raises:
        TrainingError: a process was killed.
        Interrupted: a signal arrived, and the processes were killed before they could say so.
    """
    with ExitStack() as closing:
        signals = closing.enter_context(_Signals())
        spoken = [closing.enter_context(tempfile.TemporaryFile()) for _ in range(1, processes)]
        running = [
            _start(words, environment, errors)
            for environment, errors in zip(_environments(processes), [None, *spoken], strict=True)
        ]
        causes = _wait(running, signals)
        if signals.received is not None:
            return _interrupted(signals.received, running[0].returncode)
        return _outcome(causes, spoken)


def follow_launcher() -> None:
    """End this process when the one that has launched it is gone, which its standard input tells."""
    if OUR_LAUNCH in os.environ:
        threading.Thread(target=_end_with_launcher, daemon=True).start()


def _started_as_one_of_several() -> bool:
    # Batch queues set RANK and WORLD_SIZE, too, for processes that have nothing to do with one another.
    return "RANK" in os.environ and (OUR_LAUNCH in os.environ or "TORCHELASTIC_RUN_ID" in os.environ)


def _in_words(settings: TrainSettings) -> str:
    machines = f"{settings.num_nodes} machines" if settings.num_nodes > 1 else "1 machine"
    return f"{machines} with --devices {settings.devices}"


def _torchrun(settings: TrainSettings) -> str:
    count = f"--nnodes {settings.num_nodes} --node-rank N --nproc-per-node {settings.devices}"
    return f"torchrun {count} --master-addr HOST --master-port PORT"


def _environments(processes: int) -> Iterator[Mapping[str, str]]:
    """What PyTorch reads in each process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))}
    if sys.platform == "linux":
        # Else gloo goes by the machine's name, which may lead to the network or nowhere.
        own["GLOO_SOCKET_IFNAME"] = "lo"
    for number in range(processes):
        yield {
            **own,
            **os.environ,
            OUR_LAUNCH: "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": str(number),
            "LOCAL_RANK": str(number),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
        }


def _start(words: Sequence[str], environment: Mapping[str, str], errors: IO[bytes] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cvtl", *words],
        env=environment,
        # Open as long as this process lives.
        stdin=subprocess.PIPE,
        stdout=None if errors is None else subprocess.DEVNULL,
        stderr=errors,
        # A terminal's Ctrl-C reaches this process alone, which hands it on once.
        start_new_session=True,
    )


def _wait(running: Sequence[subprocess.Popen[bytes]], signals: _Signals) -> list[int | None]:
    """Wait until all have ended, by force if one has failed and the others do not follow.

    Returns:
        The code with which each ended of itself; None for what had to be ended.
    """
    deadline: float | None = None
    causes: list[int | None] | None = None
    try:
        while None in (codes := [process.poll() for process in running]):
            number = signals.take()
            if number is None and deadline is None and any(codes):
                deadline = time.monotonic() + _SECONDS_TO_FOLLOW
            elif number is None and deadline is not None and time.monotonic() > deadline:
                number = signal.SIGTERM if causes is None else _KILL
            if number is not None:
                causes = causes or codes
                _send(running, number)
                deadline = time.monotonic() + _SECONDS_TO_END
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()
    return causes or [process.returncode for process in running]


def _send(running: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in running:
        if process.poll() is None:
            # Windows has no others to send.
            process.send_signal(number if os.name == "posix" else signal.SIGTERM)


def _interrupted(received: int, first_code: int) -> int:
    code = ExitCode.TERMINATED if received == signal.SIGTERM else ExitCode.INTERRUPTED
    if first_code not in (0, code):
        raise Interrupted("the training was interrupted", hint="Go on with --resume", exit_code=code)
    return first_code


def _outcome(causes: Sequence[int | None], spoken: Sequence[IO[bytes]]) -> int:
    """The exit code of all, with the reason shown if the first process has not said it."""
    for number, code in enumerate(causes):
        if code is not None and code > 0 and code != LOST_CODE:
            if number:
                spoken[number - 1].seek(0)
                sys.stderr.write(spoken[number - 1].read().decode(errors="backslashreplace"))
            return code
    killed = [(number, -code) for number, code in enumerate(causes) if code is not None and code < 0]
    if killed:
        raise TrainingError(
            f"process {killed[0][0]} of the training was ended from outside by signal {killed[0][1]}, as for want of "
            "memory",
            hint="Go on with the same command and --resume",
        )
    if any(causes):
        raise TrainingError("the processes of the training lost one another", hint="Go on with --resume")
    return ExitCode.OK


class _Signals:
    """While entered, Ctrl-C and SIGTERM are noted to be handed on. Elsewhere than in the main thread that cannot be."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._waiting: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def take(self) -> int | None:
        """A signal that was not handed on yet."""
        number, self._waiting = self._waiting, None
        return number

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self._waiting = number


def _end_with_launcher() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # It may be waiting for another process, inside a library that listens to no signal.
    time.sleep(_SECONDS_TO_END)
    os._exit(ExitCode.TERMINATED)
