"""Features of pictures on disk, by what the pictures and the network hold, for every process that needs them again.

One SQLite file in WAL mode: processes read and write beside each other, and one that is killed leaves the file whole.
Whatever is wrong with the file costs a warning and the cache, never the work. Torch-free.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
import platformdirs

from cvtl.errors import CvtlError, CvtlWarning, UsageError
from cvtl.feature_database import bytes_on_disk, files_of, open_database, reason, transaction, used_bytes
from cvtl.files import output_error

FOLDER_VARIABLE = "CVTL_CACHE"
LIMIT_VARIABLE = "CVTL_CACHE_GB"
OFF = "off"
FILE_NAME = "features.sqlite"

_GB = 10**9
_DEFAULT_LIMIT_GB = 10.0
# One statement, because between two of them somebody may clear the cache and give the number to another space.
_GET = """
SELECT picture, vector, checksum FROM vectors JOIN spaces ON spaces.id = space WHERE key = ? AND picture IN ({})
"""
_RECALL = "SELECT state, digest, checksum FROM files WHERE state IN ({})"
_PUT_SPACE = """
INSERT INTO spaces (key, backbone, weights, stage, pooling, input, used) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET used = excluded.used
"""
# SQLite's limit on what one question may hold is far above.
_ASKED_TOGETHER = 500
# States of files, at some 140 bytes each; those that were remembered longest ago go first.
_MOST_FILES = 10**6
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

Vector = npt.NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True)
class VectorSpace:
    """What vectors have in common that may be compared with one another.

    Attributes:
        key: differs wherever the same picture could have another vector.
        backbone: name of the network, for people, as all that follows.
        weights: the first digits of its digest.
        stage: whose map the vectors come from.
        pooling: how the map became a vector.
        input: how pictures became its input.
    """

    key: str
    backbone: str
    weights: str
    stage: str
    pooling: str
    input: str


@dataclass(frozen=True)
class SpaceInfo:
    """A space and what the cache holds of it.

    Attributes:
        space: the space.
        vectors: how many.
        used: when it was last read or written, in seconds since 1970.
    """

    space: VectorSpace
    vectors: int
    used: float


@dataclass(frozen=True)
class CacheInfo:
    """What the cache holds.

    Attributes:
        path: its file; None where it is switched off.
        bytes: on disk.
        limit_bytes: on disk at most.
        spaces: the most recently used one first.
    """

    path: Path | None
    bytes: int
    limit_bytes: int
    spaces: tuple[SpaceInfo, ...]


@dataclass(frozen=True)
class Cleared:
    """What was dropped.

    Attributes:
        vectors: how many; 0 where the file was damaged, so that they could not be counted.
        bytes: by which the cache is smaller on disk.
    """

    vectors: int
    bytes: int


def cache_folder() -> Path | None:
    """Where the cache lies: the environment's `CVTL_CACHE`, or the user's cache folder; None where that says `off`."""
    named = os.environ.get(FOLDER_VARIABLE, "")
    if named.lower() == OFF:
        return None
    return Path(named) if named else platformdirs.user_cache_path("cvtl", appauthor=False)


def cache_limit() -> int:
    """Most bytes on disk, as the environment's `CVTL_CACHE_GB` says.

    Raises:
        UsageError: it is no positive number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    with contextlib.suppress(ValueError, OverflowError):
        limit = int(float(text or _DEFAULT_LIMIT_GB) * _GB)
        if limit > 0:
            return limit
    raise UsageError(
        f"{LIMIT_VARIABLE}={text} is no size in gigabytes",
        hint=f"Give a number above 0; {FOLDER_VARIABLE}={OFF} does without the cache",
    )


class FeatureCache:
    """Vectors of pictures, kept on disk.

    Vectors that do not fit the limit push out those of the space that was used least recently. Threads may share one
    object; processes open the same file.

    Args:
        path: the file; by default `features.sqlite` in `cache_folder()`.
        limit_bytes: by default as `cache_limit` says.

    Raises:
        UsageError: `CVTL_CACHE_GB` is no size.

    Example:
        >>> import tempfile
        >>> space = VectorSpace("k1", "resnet18", "0a1b", "layer4", "average", "224 x 224")
        >>> cache = FeatureCache(Path(tempfile.mkdtemp()) / "f.sqlite")
        >>> cache.put({space: {b"picture 1": np.ones(2, np.float32)}})
        >>> cache.get(space, [b"picture 1", b"picture 2"])
        {b'picture 1': array([1., 1.], dtype=float32)}
        >>> cache.clear().vectors
        1
    """

    def __init__(self, path: Path | None = None, *, limit_bytes: int | None = None) -> None:
        folder = cache_folder()
        self.path = path or (folder and folder / FILE_NAME)
        self.limit_bytes = limit_bytes or cache_limit()
        self._usable = self.path is not None
        self._full = False
        self._database: sqlite3.Connection | None = None
        self._used: set[str] = set()
        self._lock = threading.Lock()

    def get(self, space: VectorSpace, pictures: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors of those of the pictures, by their digests, that it has."""
        return self._attempt(lambda database: self._get(database, space, pictures), {})

    def put(self, vectors: Mapping[VectorSpace, Mapping[bytes, Vector]]) -> None:
        """Keep vectors by their pictures' digests: all of them, or none if it fails or the process ends."""
        self._attempt(lambda database: self._put(database, vectors), None)

    def recall(self, states: Sequence[bytes]) -> dict[bytes, bytes]:
        """What those of the files hold, as digests, that were remembered in these states (`cvtl.file_digests`)."""
        return self._attempt(lambda database: dict(_ask(database, _RECALL, states)), {})

    def remember(self, digests: Mapping[bytes, bytes]) -> None:
        """Keep digests of files by the states that the files were in, unless the limit is reached."""
        if digests:
            self._attempt(lambda database: self._remember(database, digests), None)

    def close(self) -> None:
        """Let go of the file, as `with` does at the end; the next call opens it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None
            self._used.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def info(self) -> CacheInfo:
        """What it holds.

        Raises:
            CvtlError: the file cannot be read.
        """
        if self.path is None or not self.path.exists():
            return CacheInfo(self.path, 0, self.limit_bytes, ())
        columns = ", ".join(field.name for field in fields(VectorSpace))
        counts = "(SELECT COUNT(*) FROM vectors WHERE space = spaces.id)"
        try:
            with contextlib.closing(open_database(self.path)) as database:
                rows = database.execute(
                    f"SELECT {columns}, {counts}, used FROM spaces ORDER BY used DESC, id"
                ).fetchall()
        except (OSError, sqlite3.Error) as error:
            raise CvtlError(
                f"cannot read the feature cache '{self.path}': {reason(error)}",
                hint="`cvtl cache clear` makes room for a new one",
            ) from error
        spaces = tuple(SpaceInfo(VectorSpace(*row[:-2]), *row[-2:]) for row in rows)
        return CacheInfo(self.path, bytes_on_disk(self.path), self.limit_bytes, spaces)

    def clear(self) -> Cleared:
        """Drop all vectors, or the whole file where it is damaged; processes that use the cache go on.

        Raises:
            OutputError: other processes keep the file busy for long, or it cannot be changed.
        """
        self.close()
        if self.path is None or not self.path.exists():
            return Cleared(0, 0)
        before, count = bytes_on_disk(self.path), 0
        try:
            with contextlib.closing(open_database(self.path)) as database:
                count = database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0]
                with transaction(database):
                    database.execute("DELETE FROM vectors")
                    database.execute("DELETE FROM spaces")
                    database.execute("DELETE FROM files")
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in _BUSY:
                raise output_error(self.path, OSError(str(error))) from error
            self._remove()
        return Cleared(count, before - bytes_on_disk(self.path))

    def _remove(self) -> None:
        assert self.path is not None
        for file in files_of(self.path):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise output_error(file, error) from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do something with the file; if that fails, say so once and do without the file from then on."""
        with self._lock:
            if not self._usable or self.path is None:
                return otherwise
            try:
                if self._database is None:
                    self._database = open_database(self.path)
                return work(self._database)
            except (OSError, sqlite3.Error) as error:
                self._usable = False
                _warn(
                    f"features are not kept: the cache '{self.path}' cannot be used: {reason(error)}. "
                    f"`cvtl cache clear` removes a damaged one, {FOLDER_VARIABLE}=FOLDER puts it elsewhere, "
                    f"{FOLDER_VARIABLE}={OFF} does without"
                )
                return otherwise

    def _get(self, database: sqlite3.Connection, space: VectorSpace, pictures: Sequence[bytes]) -> dict[bytes, Vector]:
        rows = _ask(database, _GET, pictures, space.key)
        found = {picture: np.frombuffer(content, np.float32) for picture, content in rows}
        if found and space.key not in self._used:
            database.execute("UPDATE spaces SET used = ? WHERE key = ?", (time.time(), space.key))
            self._used.add(space.key)
        return found

    def _put(self, database: sqlite3.Connection, vectors: Mapping[VectorSpace, Mapping[bytes, Vector]]) -> None:
        if self._full:
            return
        with transaction(database):
            self._used.update(space.key for space in vectors)
            if not self._make_room(database):
                self._full = True
                _warn(
                    f"features are no longer kept: the cache '{self.path}' has reached its limit of "
                    f"{self.limit_bytes / _GB:g} GB; {LIMIT_VARIABLE}=NUMBER raises it"
                )
                return
            for space, entries in vectors.items():
                # Whoever cleared the cache meanwhile took the space with it.
                database.execute(_PUT_SPACE, (*astuple(space), time.time()))
                (number,) = database.execute("SELECT id FROM spaces WHERE key = ?", (space.key,)).fetchone()
                contents = ((picture, np.asarray(vector, np.float32).tobytes()) for picture, vector in entries.items())
                database.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)",
                    ((number, picture, content, zlib.crc32(content)) for picture, content in contents),
                )

    def _remember(self, database: sqlite3.Connection, digests: Mapping[bytes, bytes]) -> None:
        with transaction(database):
            if used_bytes(database) < self.limit_bytes:
                rows = ((state, digest, zlib.crc32(digest)) for state, digest in digests.items())
                database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
                oldest = "(SELECT MAX(rowid) FROM files) - ?"
                database.execute(f"DELETE FROM files WHERE rowid <= {oldest}", (_MOST_FILES,))

    def _make_room(self, database: sqlite3.Connection) -> bool:
        """Drop files' digests, then the spaces that were used least recently, but none in use; whether it sufficed."""
        others = None
        if used_bytes(database) >= self.limit_bytes:
            database.execute("DELETE FROM files")
        while used_bytes(database) >= self.limit_bytes:
            if others is None:
                rows = database.execute("SELECT id, key FROM spaces ORDER BY used DESC").fetchall()
                others = [number for number, key in rows if key not in self._used]
            if not others:
                return False
            oldest = others.pop()
            database.execute("DELETE FROM vectors WHERE space = ?", (oldest,))
            database.execute("DELETE FROM spaces WHERE id = ?", (oldest,))
        return True


def _ask(
    database: sqlite3.Connection, question: str, keys: Sequence[bytes], *before: object
) -> Iterator[tuple[bytes, bytes]]:
    """The keys that are known, and what is kept for each; some at a time, as many as a question may hold.

    Raises:
        sqlite3.Error: the file cannot be read, or what it holds is not what was written.
    """
    for first in range(0, len(keys), _ASKED_TOGETHER):
        asked = keys[first : first + _ASKED_TOGETHER]
        for key, content, checksum in database.execute(question.format(", ".join("?" * len(asked))), (*before, *asked)):
            if zlib.crc32(content) != checksum:
                raise sqlite3.DatabaseError("it is damaged")
            yield key, content


def _warn(text: str) -> None:
    warnings.warn(text, CvtlWarning, stacklevel=2)
