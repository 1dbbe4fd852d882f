"""The file behind the feature cache: how it is laid out, opened and measured. Torch-free."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_LAYOUT = 1
_SCHEMA = """
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
    backbone TEXT NOT NULL, weights TEXT NOT NULL, stage TEXT NOT NULL, pooling TEXT NOT NULL, input TEXT NOT NULL,
    used REAL NOT NULL
);
CREATE TABLE vectors (
    space INTEGER NOT NULL, picture BLOB NOT NULL, vector BLOB NOT NULL, checksum INTEGER NOT NULL,
    UNIQUE (space, picture)
);
"""
# Made where it is missing, for it came later; those who know nothing of it are not disturbed by it.
_FILES = """
CREATE TABLE IF NOT EXISTS files (state BLOB NOT NULL UNIQUE, digest BLOB NOT NULL, checksum INTEGER NOT NULL)
"""
# Seven vectors of 512 numbers fill such a page well; one would waste half of SQLite's usual 4096.
_PAGE_BYTES = 16384
# How long to wait for other processes' writes, which take milliseconds each.
_PATIENCE_SECONDS = 20.0


def open_database(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is made where there is none.

    Raises:
        OSError: its folder cannot be made.
        sqlite3.Error: it is damaged, has another layout, or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        if _layout(database) == 0:
            database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            with transaction(database):
                if _layout(database) == 0:  # nobody else was quicker
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        database.execute(statement)
                    database.execute(f"PRAGMA user_version = {_LAYOUT}")
        if _layout(database) != _LAYOUT:
            raise sqlite3.DatabaseError("another version of cvtl wrote it")
        database.execute(_FILES)
        database.execute("PRAGMA journal_mode = WAL").fetchall()
        # A power cut may then cost the last vectors, but not the file.
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and nobody else writes meanwhile."""
    database.execute("BEGIN IMMEDIATE")
    with database:
        yield


def _layout(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def used_bytes(database: sqlite3.Connection) -> int:
    """What the file's pages take that hold something."""
    pages, free = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return int(pages - free) * _PAGE_BYTES


def reason(error: OSError | sqlite3.Error) -> str:
    """What was wrong, in words, with the name of the file that it was about if the error knows one."""
    return f"{error.strerror}: '{error.filename}'" if isinstance(error, OSError) else str(error)


def files_of(path: Path) -> list[Path]:
    """The file, and what SQLite puts beside it while it is in use."""
    return [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))]


def bytes_on_disk(path: Path) -> int:
    """The size of all these files together."""
    return sum(file.stat().st_size for file in files_of(path) if file.exists())
