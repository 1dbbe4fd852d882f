"""Pictures that are kept for a while, in a temporary folder, under names of our own. Torch-free."""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
import threading
import time
from pathlib import Path

from cvtl.files import write_atomically

# What browsers show, by the kinds that `cvtl.picture_header` tells.
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "GIF": ".gif", "BMP": ".bmp"}
MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
}
_NAME = re.compile(r"[0-9a-f]{32}\.(jpg|png|webp|gif|bmp)")

KEPT_SECONDS = 3600
MOST_BYTES = 2**30


class Store:
    """A folder of pictures that nobody finds who was not told their names; what is old goes first.

    Args:
        kept_seconds: how long a picture stays.
        most_bytes: of all pictures together.

    Example:
        >>> with Store() as store:
        ...     name = store.keep(b"...", ".png").name
        ...     store.find(name) is not None, store.find("../" + name), store.find("/etc/passwd")
        (True, None, None)
    """

    def __init__(self, *, kept_seconds: float = KEPT_SECONDS, most_bytes: int = MOST_BYTES) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="cvtl-serve-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name).resolve()
        self._kept_seconds = kept_seconds
        self._most_bytes = most_bytes
        self._kept: dict[str, tuple[float, int]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def keep(self, content: bytes, suffix: str, *, forever: bool = False) -> Path:
        """Write a picture; `suffix` is one of `MEDIA_TYPES`.

        Raises:
            OutputError: it cannot be written.
        """
        name = f"{secrets.token_hex(16)}{suffix}"
        path = write_atomically(self.folder / name, content)
        with self._lock:
            self._kept[name] = (float("inf") if forever else time.monotonic() + self._kept_seconds, len(content))
            self._bytes += len(content)
            self._make_room(but=name)
        return path

    def drop(self, path: Path) -> None:
        """Remove a picture now."""
        with self._lock:
            self._drop(path.name)

    def find(self, name: str) -> Path | None:
        """The path of a picture that was kept here; None for anything else."""
        if not _NAME.fullmatch(name) or name not in self._kept:
            return None
        path = self.folder / name
        return path if path.is_file() and not path.is_symlink() else None

    def find_path(self, path: str) -> Path | None:
        """Like `find`, for a whole path, which has to be written just so."""
        found = self.find(Path(path).name)
        return found if found is not None and str(found) == path else None

    def close(self) -> None:
        """Remove the folder."""
        self._temporary.cleanup()

    def _make_room(self, but: str) -> None:
        now = time.monotonic()
        for name, (until, _) in list(self._kept.items()):
            if name != but and until < float("inf") and (until <= now or self._bytes > self._most_bytes):
                self._drop(name)

    def _drop(self, name: str) -> None:
        if name in self._kept:
            self._bytes -= self._kept.pop(name)[1]
            with contextlib.suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)
