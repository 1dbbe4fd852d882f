"""Ctrl-C and SIGTERM end a training at once, because the last epoch's end is already on disk. Torch-free."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from cvtl.errors import ExitCode


class SignalReceived(BaseException):
    """One of the two signals arrived; no `Exception`, so that nobody's `except Exception` swallows it."""

    def __init__(self, number: int) -> None:
        self.exit_code = ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED
        super().__init__(number)


class Interrupts:
    """While entered, both signals raise `SignalReceived` in the main thread, wherever it is.

    Elsewhere than in the main thread Python allows no handlers, and it does nothing.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None is a handler that was not set by Python, which cannot be set again by it either.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def check(self) -> None:
        """Raise for a signal whose exception was lost, as happens to one that is raised inside a `__del__`."""
        if self._received is not None:
            raise SignalReceived(self._received)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        raise SignalReceived(number)
