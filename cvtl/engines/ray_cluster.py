"""Ray, quiet and on a leash: no dashboard, no usage statistics, nothing left behind."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cvtl.errors import EngineError, PluginError

ADDRESS_VARIABLE = "RAY_ADDRESS"
# Rows are small; what does not fit is written to the disk by Ray.
_STORE_BYTES = 256 << 20
_AUTO_CONNECT = "RAY_ENABLE_AUTO_CONNECT"
_PATIENCE_SECONDS = 5
_REMOVALS, _SECONDS_BETWEEN_REMOVALS = 50, 0.1
# Paths of Unix sockets inside it may have 107 characters.
_SHORT_TEMPORARY_FOLDER = "/tmp"


@dataclass(frozen=True)
class Capacity:
    """What a cluster has.

    Attributes:
        cpus: cores of each machine that has some to give.
        gpus: in all.
    """

    cpus: tuple[int, ...]
    gpus: int

    def workers(self, *, threads: int, on_gpus: bool) -> int:
        """How many workers fit: one for each GPU, or for so many cores as it has threads.

        Example:
            >>> Capacity((2, 16), 1).workers(threads=4, on_gpus=False)
            5
        """
        return max(1, self.gpus) if on_gpus else sum(max(1, cpus // threads) for cpus in self.cpus)


def require_ray() -> None:
    """See to it that Ray is there, without importing it.

    Raises:
        PluginError: it is not.
    """
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise PluginError("--engine ray needs Ray, which is not installed", hint="pip install 'cvtl[ray]'")


def import_ray() -> Any:
    """Ray, told to keep to itself; what it reads when it is imported stays as it is where it was imported before."""
    # Ray reports to its makers unless told not to, and says on stderr what concerns its makers only.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    before = os.environ.get(_AUTO_CONNECT)
    # Otherwise a thread of Ray Data's that outlives the run begins another Ray when that of the run has ended.
    os.environ[_AUTO_CONNECT] = "0"
    try:
        import ray
    finally:
        if before is None:
            del os.environ[_AUTO_CONNECT]
        else:
            os.environ[_AUTO_CONNECT] = before
    return ray


@contextmanager
def cluster(address: str | None) -> Iterator[Capacity]:
    """Be connected to a cluster, or to one on this machine that lives as long as the block.

    Args:
        address: of a cluster; the one that `RAY_ADDRESS` names if None, and one on this machine if that names none. A
            program that is connected already stays so.

    Raises:
        PluginError: Ray is not installed.
        EngineError: the cluster cannot be reached.
    """
    require_ray()
    ray = import_ray()
    if ray.is_initialized():
        yield _capacity(ray.nodes())
        return
    address = address or os.environ.get(ADDRESS_VARIABLE) or None
    with _folder_for_ray(address) as own:
        try:
            _connect(ray, address, own)
            yield _capacity(ray.nodes())
        finally:
            # What ended the run has to be told, not what Ray stumbles over while it is ended.
            with _signals_later(), contextlib.suppress(Exception):
                ray.shutdown()


def _connect(ray: Any, address: str | None, own: dict[str, Any]) -> None:
    if address is not None:
        _reach(address)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    try:
        with _stderr_dropped(), _signals_kept():
            ray.init(address=address or "local", **own, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        where = f"the Ray cluster at '{address}' cannot be reached" if address else "Ray cannot be started here"
        raise EngineError(f"{where}: {reason}", hint="`ray status` shows what it makes of it") from error


def _reach(address: str) -> None:
    """Find out whether anybody is there: Ray would try for minutes.

    Raises:
        EngineError: nobody is, or it is no address of a cluster.
    """
    if address == "auto":  # Ray looks for one on this machine
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        raise EngineError(f"'{address}' is no address of a Ray cluster", hint="It is HOST:PORT, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"there is no Ray cluster at '{address}': {getattr(error, 'strerror', None) or error}",
            hint="`ray start --head` says where it listens",
        ) from error


@contextmanager
def _folder_for_ray(address: str | None) -> Iterator[dict[str, Any]]:
    """What to start Ray on this machine with; its logs and sockets are removed when it has ended."""
    if address is not None:
        yield {}
        return
    short = _SHORT_TEMPORARY_FOLDER if os.path.isdir(_SHORT_TEMPORARY_FOLDER) else None
    folder = Path(tempfile.mkdtemp(prefix=f"cvtl-ray-{os.getpid()}-", dir=short))
    try:
        yield {
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": str(folder),
        }
    finally:
        with _signals_later():
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove Ray's folder, into which processes that are about to end may still write."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_SECONDS_BETWEEN_REMOVALS)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is done: half of Ray ended would be left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = _handlers()
    for number in handlers:
        signal.signal(number, lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        _put_back(handlers)
    if arrived:
        signal.raise_signal(arrived[0])


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = _handlers()
    yield
    _put_back(handlers)


def _handlers() -> dict[signal.Signals, Any]:
    """Those of the two signals that end a command; not such as are no function of Python's."""
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    return {number: handler for number, handler in found.items() if handler is not None}


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def _stderr_dropped() -> Iterator[None]:
    """Ray's part in C++ says at the start which level it logs at, whatever the level."""
    with contextlib.ExitStack() as stack:
        kept = os.dup(2)
        stack.callback(os.close, kept)
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        stack.callback(os.dup2, kept, 2)
        yield


def _capacity(nodes: list[dict[str, Any]]) -> Capacity:
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cpus = tuple(int(each["CPU"]) for each in alive if each.get("CPU", 0) >= 1)
    return Capacity(cpus, int(sum(each.get("GPU", 0) for each in alive)))
