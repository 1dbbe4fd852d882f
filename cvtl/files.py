"""Writing files so that nothing half-written ever stands under its final name. Torch-free."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cvtl.errors import OutputError


@contextlib.contextmanager
def open_atomically(path: str | Path) -> Iterator[IO[bytes]]:
    """Write a file beside its place, piece by piece, and move it there at the end; folders are made as needed.

    Raises:
        OutputError: no space, no permission, or a folder in the way; the message names the file.
    """
    path = Path(path)
    # Not longer than the name itself may be.
    partial = path.parent / f".{path.name[:40]}.{os.getpid()}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as stream:
            yield stream
        os.replace(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise output_error(path, error) from error
        raise


def write_atomically(path: str | Path, content: bytes | str) -> Path:
    """Write a whole file beside its place and move it there; folders are made as needed.

    Raises:
        OutputError: no space, no permission, or a folder in the way; the message names the file.

    Example:
        >>> import tempfile
        >>> write_atomically(Path(tempfile.mkdtemp()) / "deep" / "a.txt", "hello").read_text()
        'hello'
    """
    with open_atomically(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
    return Path(path)


def output_error(path: str | Path, error: OSError) -> OutputError:
    """Say why `path` cannot be written."""
    return OutputError(
        f"cannot write '{path}': {error.strerror or error}",
        hint="Free some space, check the permissions, or choose another place, with --out where there is one",
    )
