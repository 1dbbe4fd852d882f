"""Writing files so that nothing half-written ever stands under its final name. Torch-free."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cvtl.errors import OutputError


def write_atomically(path: str | Path, content: bytes | str) -> Path:
    """Write a whole file beside its place and move it there; folders are made as needed.

    Raises:
        OutputError: no space, no permission, or a folder in the way; the message names the file.

    Example:
        >>> import tempfile
        >>> write_atomically(Path(tempfile.mkdtemp()) / "deep" / "a.txt", "hello").read_text()
        'hello'
    """
    path = Path(path)
    # Not longer than the name itself may be.
    partial = path.with_name(f".{path.name[:40]}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise output_error(path, error) from error
    return path


def output_error(path: str | Path, error: OSError) -> OutputError:
    """Say why `path` cannot be written."""
    return OutputError(
        f"cannot write '{path}': {error.strerror or error}",
        hint="Free some space, check the permissions, or choose another folder with --out",
    )
