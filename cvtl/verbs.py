"""Verbs that packages add to the `cvtl` command, found through the entry-point group `cvtl.verbs`. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from cvtl._lazy import resolve
from cvtl.errors import PluginError
from cvtl.registry import Registry

VERBS_GROUP = "cvtl.verbs"


@dataclass(frozen=True, kw_only=True)
class VerbSpec:
    """What a package declares about one verb.

    Attributes:
        name: the word behind `cvtl`.
        summary: one line for `cvtl --help`.
        main: `module:function`, `list[str] -> int`: takes the words behind the verb and gives the exit code.

    Raises:
        PluginError: a field is wrong.
    """

    name: str
    summary: str
    main: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise PluginError(f"verb {self.name!r}: name must be lower-case letters, digits and dashes")
        if not re.fullmatch(r"[\w.]+:\w+", self.main):
            raise PluginError(f"verb '{self.name}': main must be 'module:function', not {self.main!r}")

    def check(self) -> None:
        """Nothing is imported before the verb is used: `cvtl --help` lists them all."""

    def function(self) -> Callable[[list[str]], int]:
        """What runs the verb.

        Raises:
            PluginError: it cannot be imported.
        """
        try:
            function: Callable[[list[str]], int] = resolve(self.main)
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f"verb '{self.name}': '{self.main}' cannot be imported: {error}",
                hint="Repair or uninstall the package that brings it",
            ) from error
        return function


@cache
def verbs() -> Registry[VerbSpec]:
    """The verbs that installed packages add."""
    return Registry(VERBS_GROUP, VerbSpec, "verb")
