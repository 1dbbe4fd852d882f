"""Options of the command line for weights that other tools wrote, which do not say all of themselves.

They stand beside the verb's own (`--layout`), not among the prediction options (`--predict.threshold`): they say what a
file is, have to be known before it can be read, and hold for every verb that takes weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cvtl.cli.parser import VerbParser, peek
from cvtl.cli.values import Value
from cvtl.errors import PluginError
from cvtl.foreign import reading_options


def add_reading_options(parser: VerbParser, words: Sequence[str | Path]) -> None:
    """Add the options of those who read the foreign files among some words, if there are any.

    Raises:
        PluginError: a plugin has an option that the verb has itself.
    """
    for suffix, options in _by_suffix(words).items():
        clashes = options.model_fields.keys() & parser.names
        if clashes:
            raise PluginError(
                f"options for reading '{suffix}' files are called as others of `{parser.prog}`: "
                f"{', '.join(sorted(clashes))}",
                hint="The author of the plugin that reads them has to rename them",
            )
        parser.add_fields(options, f"what '{suffix}' files are, where they do not say it themselves")


def peek_reading(words: Sequence[str], weights: Sequence[str | Path]) -> dict[str, Any]:
    """What the words will say of foreign weights, before the parser can be built.

    Raises:
        UsageError: a value does not fit.
    """
    fields = {name: field for each in _by_suffix(weights).values() for name, field in each.model_fields.items()}
    texts = {name: peek(words, name) for name in fields}
    return {name: Value(name, fields[name])(text) for name, text in texts.items() if text is not None}


def reading_of(weights: Sequence[str | Path], options: Mapping[str, Any]) -> dict[str, Any]:
    """What the parsed options say of foreign weights."""
    names = {name for each in _by_suffix(weights).values() for name in each.model_fields}
    return {name: options[name] for name in sorted(names) if options.get(name) is not None}


def _by_suffix(words: Sequence[str | Path]) -> dict[str, type[BaseModel]]:
    """The options classes that the words call for, each once."""
    found: dict[str, type[BaseModel]] = {}
    for word in words:
        path = Path(str(word).rpartition("=")[2])
        options = reading_options(path)
        if options is not None and options.model_fields and options not in found.values():
            found[path.suffix] = options
    return found
