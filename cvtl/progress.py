"""What long work tells of how it gets on. Torch-free; `cvtl.terminal_progress` shows it."""

from __future__ import annotations


class Progress:
    """Is told how the work gets on; this one keeps quiet."""

    def start(self, done: int) -> None:
        """The work begins, `done` inputs being done already."""

    def advance(self, count: int) -> None:
        """So many more inputs are done."""

    def note(self, text: str) -> None:
        """A line on how the work on one input gets on."""

    def finish(self) -> None:
        """The work is over, however it ended."""
