"""What files hold, without reading those again that are as they were; git's index knows it likewise. Torch-free.

A file's state is its path, device, inode, size and two times: when its content changed (mtime), which anybody may set,
and when anything about it did (ctime), which nobody can. Whoever writes to a file, puts another in its place or sets
its times back gives it another state. Only two changes within one tick of the clock could leave it in the same: what
changed so shortly before it was read is not remembered, but read again. As with git, what another program goes on
writing through a memory map may be noticed late.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cvtl.feature_cache import FeatureCache

# FAT counts in steps of that many seconds, other file systems in milliseconds; clocks of servers differ a little.
_TICK_NS = 2 * 10**9
# What Windows calls ctime is when a file was made, which says nothing of changes.
_TELLS_CHANGES = os.name != "nt"


class _Read(NamedTuple):
    state: bytes
    settled: bool
    digest: bytes


def file_digests(
    files: Sequence[Path | None],
    cache: FeatureCache,
    each: Callable[[Callable[[Path], _Read | None], Iterable[Path]], Iterable[_Read | None]] = map,
) -> list[bytes | None]:
    """SHA-256 of each file's content, from the cache if it knows the state that the file is in, or by reading it.

    Args:
        files: which; None where there is none.
        cache: where digests are looked up and kept.
        each: calls a function on each of several files, in order; a pool's `map` reads several at a time.

    Returns:
        The digests in the order of the files; None for those that cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a").write_bytes(b"abc")
        >>> found = file_digests([folder / "a", folder / "missing"], FeatureCache(folder / "features.sqlite"))
        >>> [digest and digest.hex()[:8] for digest in found]
        ['ba7816bf', None]
    """
    states = [None if file is None else _state_now(file) for file in files]
    known = cache.recall([state for state in states if state is not None])
    changed = [file for file, state in zip(files, states, strict=True) if file is not None and state not in known]
    read = dict(zip(changed, each(_read, changed), strict=True))
    cache.remember({found.state: found.digest for found in read.values() if found is not None and found.settled})
    digests: list[bytes | None] = []
    for file, state in zip(files, states, strict=True):
        found = None if file is None else read.get(file)
        digests.append(found.digest if found is not None else known.get(state or b""))
    return digests


def _state_now(file: Path) -> bytes | None:
    try:
        return _state(file, os.stat(file))
    except (OSError, ValueError):
        return None


def _read(file: Path) -> _Read | None:
    try:
        with open(file, "rb") as stream:
            # Of the very file that is read, whatever its name means a moment later, and before it is read: what is
            # written into it meanwhile gives it another state.
            status, now = os.fstat(stream.fileno()), time.time_ns()
            digest = hashlib.sha256(stream.read()).digest()
    except (OSError, ValueError):
        return None
    return _Read(_state(file, status), _TELLS_CHANGES and now - status.st_ctime_ns > _TICK_NS, digest)


def _state(file: Path, status: os.stat_result) -> bytes:
    """A digest, so that the cache tells nobody what pictures there are."""
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return hashlib.blake2b(repr(numbers).encode() + os.fsencode(os.path.abspath(file)), digest_size=16).digest()
