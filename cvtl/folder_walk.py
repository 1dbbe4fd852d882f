"""Walking through folders of this machine, lazily and always in the same order. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cvtl.errors import SourceError
from cvtl.patterns import match, past_stars
from cvtl.run_folder import is_run_folder


class _Folder(NamedTuple):
    """A folder that the walk is inside of.

    Attributes:
        name: relative to the walk's root, with a slash behind it unless empty.
        entries: those still to visit.
        matched: how many parts of the pattern the way here may have used up.
        identity: device and inode, to know it again behind a link.
    """

    name: str
    entries: Iterator[os.DirEntry[str]]
    matched: frozenset[int]
    identity: tuple[int, int]


def local_files(
    root: str, pattern: Sequence[str], wanted: Callable[[str], bool]
) -> Iterator[tuple[str, str | OSError]]:
    """The files below a folder whose path fits a pattern, or that lie in a folder whose path does.

    Depth first, the entries of each folder by name. Only the listings of folders that the walk is inside of are held.
    Hidden ones and folders that a run has written are passed over, and links that lead in a circle are not followed.

    Args:
        root: of the walk.
        pattern: parts of a path, with wildcards; nothing for all that is there.
        wanted: says of a file's name, relative to `root`, whether to give it.

    Yields:
        The name, relative to `root`, and the path; or what is wrong with a folder that cannot be opened.

    Raises:
        SourceError: `root` cannot be opened.
    """
    try:
        inside = [_enter(root, "", past_stars({0}, pattern))]
    except OSError as error:
        raise SourceError(f"cannot open the folder '{root}': {error.strerror}", hint="Check the path") from error
    while inside:
        folder = inside[-1]
        entry = next(folder.entries, None)
        if entry is None:
            inside.pop()
            continue
        matched = match(entry.name, folder.matched, pattern)
        if not matched or entry.name.startswith("."):
            continue
        name = folder.name + entry.name
        if _is_folder(entry):
            try:
                inner = _enter(entry.path, f"{name}/", matched)
            except OSError as error:
                yield name, error
                continue
            circular = inner.identity in [outer.identity for outer in inside]
            if not circular and not is_run_folder(entry.path):
                inside.append(inner)
        elif len(pattern) in matched and wanted(name) and _is_file(entry):
            yield name, entry.path


def _enter(path: str, name: str, matched: frozenset[int]) -> _Folder:
    with os.scandir(path) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    status = os.stat(path)
    return _Folder(name, iter(ordered), matched, (status.st_dev, status.st_ino))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Not a pipe or a device; a link that leads nowhere is a file that cannot be opened."""
    if not entry.is_symlink():
        return entry.is_file()
    return os.path.isfile(entry.path) or not os.path.exists(entry.path)
