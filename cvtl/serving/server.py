"""The server's life: it listens, and when it is told to stop, it finishes what has begun."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from cvtl.errors import UsageError
from cvtl.serving.service import Service
from cvtl.serving.settings import ServeSettings

# For pages to fetch what they were told of last, and for answers on their way.
_GRACE_SECONDS = 1.0
# Each may have an upload in memory.
_MOST_CONNECTIONS = 256


class Server(uvicorn.Server):
    """Stops in order: it refuses new pictures, finishes those it has, and then ends.

    Args:
        service: what to serve; it is closed at the end.
        started: is called with the address once the server listens.

    Attributes:
        address: where it listens.
        stopped_by: the signal that ended it; None before.
        lost: whether pictures had to be given up when it stopped.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, service: Service, started: Callable[[str], None]) -> None:
        from cvtl.serving.app import make_app

        settings = service.settings
        self._listening = _listen(settings)
        self.address = _address(settings, self._listening.getsockname()[1])
        config = uvicorn.Config(
            make_app(service),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=settings.behind_proxy,
            timeout_graceful_shutdown=max(1, round(_GRACE_SECONDS)),
            timeout_keep_alive=30,
            limit_concurrency=_MOST_CONNECTIONS,
        )
        super().__init__(config)
        self._service = service
        self._when_started = started
        self.stopped_by: signal.Signals | None = None
        self.lost = False
        self._told_at = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._when_started(self.address)

    def run_until_stopped(self) -> None:
        """Serve until a signal ends it."""
        asyncio.run(self.serve(sockets=[self._listening]))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order at the first signal, at once at one that comes later."""
        if self.stopped_by is None:
            self.stopped_by = signal.Signals(sig)
            self._told_at = time.monotonic()
            sys.stderr.write("Finishing what has begun; again to stop at once.\n")
            threading.Thread(target=self._drain, name="cvtl-drain", daemon=True).start()
        elif time.monotonic() - self._told_at > _GRACE_SECONDS:
            # Some tools send a signal to the process and to its group.
            self.lost = True
            self.should_exit = self.force_exit = True

    def _drain(self) -> None:
        # That pages are cut off in the end is no error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self.lost |= not self._service.jobs.drain(self._service.settings.drain)
        time.sleep(_GRACE_SECONDS)
        self.should_exit = True


def _listen(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}",
            hint="Choose another --port, or --port 0 for any that is free",
        ) from error
    return listening


def _address(settings: ServeSettings, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://[{host}]:{port}/" if ":" in host and not host.startswith("[") else f"http://{host}:{port}/"
