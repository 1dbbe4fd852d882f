"""What the verbs write to the terminal with. File names and messages are shown as they are: never as markup."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def terminal(*, stderr: bool = False) -> Console:
    """A console that takes nothing it prints for markup, emoji codes or numbers to colour."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def table(*columns: str, title: str | None = None) -> Table:
    """A table with light lines whose cells are wrapped, and never cut off."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def printable(text: str) -> str:
    r"""Text on one line: what is not printable, and could move the cursor or change colours, is written as `\x1b`.

    Example:
        >>> printable("two\nlines")
        'two\\nlines'
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
