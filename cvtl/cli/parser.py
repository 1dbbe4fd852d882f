"""The argument parser that the verbs share: jsonargparse for groups, defaults and printing, pydantic for values."""

from __future__ import annotations

import re
import sys
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import pairwise
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from pydantic import BaseModel

from cvtl.cli.config import flat, read_config
from cvtl.cli.values import Value
from cvtl.errors import UsageError

_OPTION = re.compile(r"(?<![\w-])--[a-z][\w.-]*")
_NOT_IN_FILES = {"config", "print_config"}


class VerbParser(ArgumentParser):
    """Parser of one verb.

    Options may stand anywhere, with dashes or underscores in their names; flags stand alone or with `=true` or
    `=false`; an option that takes a list takes `a,b`, or is repeated. The command line overrides `--config FILE`.

    Args:
        verb: the words behind `cvtl`, for the usage line.
        description: what it does, one line.
        examples: (command, what it does) pairs.
        operands: what stands behind the verb besides options, for the usage line.
        config: whether it takes `--config` and `--print-config`.
    """

    def __init__(
        self,
        verb: str,
        description: str,
        examples: Sequence[tuple[str, str]],
        *,
        operands: str = "",
        config: bool = False,
    ) -> None:
        lines = "\n".join(f"  # {what}\n  {command}" for command, what in examples)
        super().__init__(
            prog=f"cvtl {verb}",
            usage=" ".join(filter(None, ("cvtl", verb, operands, "[options]"))),
            description=description,
            epilog=f"examples:\n{lines}",
            formatter_class=_HelpFormatter,
            add_help=False,
        )
        self._values: dict[str, Value] = {}
        self._operand = ""
        self._most_operands: int | None = 0
        self.said: frozenset[str] = frozenset()
        """Of the words last parsed: the options that they, or the configuration file they name, give a value."""
        self.add_argument("-h", "--help", action="help", help="show this and stop")
        if config:
            self.add_option("config", str | None, metavar="FILE", help="YAML file with any of these options")
            self.add_flag("print_config", help="print all options as YAML, for --config, and stop")

    @property
    def names(self) -> set[str]:
        """What the options are called, with underscores and without dashes before them."""
        return {option[2:] for option in self._option_string_actions if option.startswith("--")}

    def add_operand(self, name: str, help: str, *, many: bool = False) -> None:
        """Add what is given without a name: one word (None where it is missing) or a list of them."""
        self.add_argument(name, nargs="*" if many else "?", metavar=name.upper(), help=help)
        self._operand, self._most_operands = name, None if many else 1

    def add_listing(self, title: str, texts: Mapping[str, str]) -> None:
        """Show names, and what they mean, in the help text."""
        width = max(map(len, texts), default=0) + 2
        columns = get_terminal_size().columns - 4
        lines = (fill(f"{name:{width}}{text}", columns, subsequent_indent=" " * width) for name, text in texts.items())
        self.add_argument_group(title, "\n".join(lines))

    def add_option(self, name: str, kind: Any, help: str, *, default: Any = None, metavar: str | None = None) -> None:
        """Add an option that is no field of an options class."""
        self._add(self, Value(name, kind), name, default, help, metavar)

    def add_flag(self, name: str, help: str) -> None:
        """Add an option that is true or false."""
        self.add_option(name, bool, help, default=False)

    def add_fields(self, options: type[BaseModel], title: str, prefix: str = "", without: Collection[str] = ()) -> None:
        """Add the fields of an options class but for some; those of a class inside it become `--field.name`."""
        container = self.add_argument_group(title)
        for field_name, field in options.model_fields.items():
            if field_name in without:
                continue
            name = prefix + field_name
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                self.add_fields(field.annotation, field.description or f"{title}: {name}", f"{name}.")
                continue
            value = Value(name, field)
            default = None if field.is_required() else value.plain(field.get_default(call_default_factory=True))
            self._add(container, value, name, default, field.description or "")

    def _add(
        self, container: Any, value: Value, name: str, default: Any, help: str, metavar: str | None = None
    ) -> None:
        help = help.replace("%", "%%")
        container.add_argument(f"--{name}", type=value, default=default, metavar=metavar or value.metavar, help=help)
        self._values[name] = value

    def parse(
        self, words: Sequence[str], defaults: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Every option's value, whether the words behind the verb name it or not; groups are dictionaries.

        Args:
            words: behind the verb.
            defaults: gives values, for options that nobody named, that depend on those of the others.

        Raises:
            UsageError: the words do not fit; the message names the option.
        """
        options, operands = self._read(words)
        config = options.pop("config", None)
        self.said = frozenset(options)
        if "help" in options and defaults is not None:
            self._propose(options, defaults)
        if config is not None:
            configured = self._configure(config)
            operands = operands or configured
        if self._most_operands is not None and len(operands) > self._most_operands:
            raise UsageError(f"'{operands[self._most_operands]}' is one word too many", hint=self._hint)
        said = [f"--{name}" if text is None else f"--{name}={text}" for name, text in options.items()]
        found = self.parse_args([*said, *(["--"] if operands else []), *operands])
        found.pop("config", None)
        if defaults is not None:
            for name, value in defaults(dict(found.as_dict())).items():
                if name not in self.said:
                    found[name] = value
        if found.pop("print_config", False):
            sys.stdout.write(self.dump(found))
            self.exit()
        return dict(found.as_dict())

    def _propose(
        self, options: Mapping[str, str | None], defaults: Callable[[dict[str, Any]], Mapping[str, Any]]
    ) -> None:
        """Have the help show what will be taken for options that nobody named."""
        said = [f"--{name}={text}" for name, text in options.items() if text is not None]
        with suppress(UsageError):  # of what is wrong somebody learns who asks for more than help
            proposed = defaults(dict(self.parse_args(said).as_dict()))
            self.set_defaults({name: value for name, value in proposed.items() if name not in self.said})

    def format_help(self, *more: Any) -> str:
        """The help text, options written with dashes."""
        return _with_dashes(super().format_help(*more))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what the user did wrong as one sentence."""
        raise UsageError(_with_dashes(" ".join(message.split())), hint=self._hint)

    @property
    def _hint(self) -> str:
        return f"`{self.prog} --help` lists the options"

    def _read(self, words: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
        """What the words say: the options' values as text, and the operands."""
        options: dict[str, str | None] = {}
        operands: list[str] = []
        left = iter(words)
        for word in left:
            if word == "--":
                operands += left
            elif word == "-" or not word.startswith("-"):
                operands.append(word)
            else:
                option, equals, text = word.partition("=")
                name = self._name_of(option, self.names)
                value = self._values.get(name)
                if value is None:
                    options[name] = None  # --help
                    continue
                if not equals:
                    text = "true" if value.is_flag else next(left, "--")
                    if text.startswith("--"):
                        raise UsageError(f"{option} needs a value", hint=self._hint)
                options[name] = f"{options[name]},{text}" if value.is_list and name in options else text
        return options, operands

    def _name_of(self, option: str, known: Collection[str]) -> str:
        name = "help" if option == "-h" else option[2:].replace("-", "_")
        if not option.startswith("-") or name not in known:
            similar = " or ".join(f"--{each}" for each in get_close_matches(name, known, n=2))
            hint = f"Similar is {_with_dashes(similar)}; " if similar else ""
            raise UsageError(f"there is no option {_with_dashes(option)}", hint=hint + self._hint)
        return name

    def _configure(self, path: str) -> list[str]:
        """Make a configuration file's values the defaults; gives the operands that it names."""
        content = read_config(path)
        operands = content.pop(self._operand, None) or []
        try:
            known = self._values.keys() - _NOT_IN_FILES
            values = {name: self._values[self._name_of(f"--{name}", known)](each) for name, each in flat(content)}
        except UsageError as error:
            raise UsageError(f"configuration file '{path}': {error.what}", hint=error.hint) from error
        self.set_defaults(values)
        self.said |= values.keys()
        return [str(each) for each in operands] if isinstance(operands, list) else [str(operands)]


class _HelpFormatter(RawDescriptionHelpFormatter):
    """Keeps the examples' lines, shows flags without a value, and defaults where they say something."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(
            indent + (line if len(line) <= width or line.startswith(" ") else fill(line, width)) for line in lines
        )

    def _format_action_invocation(self, action: Action) -> str:
        if isinstance(action.type, Value) and action.type.is_flag:
            return action.option_strings[0] + ("=false" if action.default else "")
        return super()._format_action_invocation(action)

    def _get_help_string(self, action: Action) -> str:
        default = action.default
        if default is None or isinstance(default, bool) or default in ([], "", SUPPRESS):
            return action.help or ""
        text = ",".join(map(str, default)) if isinstance(default, list) else str(default)
        return f"{action.help} (default: {text.replace('%', '%%')})"


def values_of(options_type: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Of what was parsed, the part that belongs to an options class; required fields that nobody set are left out."""
    return {
        name: options[name]
        for name, field in options_type.model_fields.items()
        if not (field.is_required() and options[name] is None)
    }


def peek(words: Sequence[str], name: str) -> str | None:
    """What `--name` will be, before the parser whose options depend on it can be built.

    Raises:
        UsageError: a configuration file cannot be read.

    Example:
        >>> peek(["a.jpg", "--weights=w.safetensors"], "weights")
        'w.safetensors'
    """
    given, config = _last(words, name), _last(words, "config")
    if given or not config:
        return given or None
    value = read_config(config).get(name)
    return value if isinstance(value, str) else None


def _last(words: Sequence[str], name: str) -> str | None:
    found = None
    for word, following in pairwise([*words, ""]):
        option, equals, text = word.partition("=")
        if option == f"--{name}":
            found = text if equals else following
    return found


def _with_dashes(text: str) -> str:
    return _OPTION.sub(lambda found: found[0].replace("_", "-"), text)
