"""Patterns of paths, matched part by part while folders are walked."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

WILDCARDS = frozenset("*?[")


def match(name: str, matched: frozenset[int], pattern: Sequence[str]) -> frozenset[int]:
    """How many parts of the pattern may be used up behind `name`; nothing if it does not fit.

    Args:
        name: of a file or folder.
        matched: how many parts the way here may have used up.
        pattern: its parts; `**` stands for any number of folders.

    Example:
        >>> sorted(match("day1", past_stars({0}, ("day*", "**")), ("day*", "**")))
        [1, 2]
    """
    behind = set()
    for used in matched:
        if used == len(pattern) or pattern[used] == "**":
            behind.add(used)
        elif fnmatchcase(name, pattern[used]):
            behind.add(used + 1)
    return past_stars(behind, pattern)


def past_stars(matched: set[int], pattern: Sequence[str]) -> frozenset[int]:
    """`**` also stands for no folder at all."""
    for used, part in enumerate(pattern):
        if used in matched and part == "**":
            matched = matched | {used + 1}
    return frozenset(matched)
