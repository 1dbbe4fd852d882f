"""The values of options: pydantic decides what fits, for the command line and for configuration files alike."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from cvtl.errors import UsageError

_METAVARS = {int: "N", float: "X", bool: "BOOL", str: "TEXT"}


class Value:
    """What an option takes; called with text or with what YAML says, it gives the plain value (as JSON has them).

    Args:
        option: its name, for messages.
        kind: a type, or the field of an options class.

    Example:
        >>> sizes = Value("sizes", tuple[int, ...])
        >>> sizes("3,5"), sizes("[3, 5]"), sizes([3, 5])
        ([3, 5], [3, 5], [3, 5])
        >>> Value("pairs", tuple[tuple[int, int], ...])("[[0, 1], [4, 5]]")
        [[0, 1], [4, 5]]
        >>> Value("epochs", int | None)("many")
        Traceback (most recent call last):
        cvtl.errors.UsageError: --epochs must be a valid integer, not 'many'.
    """

    def __init__(self, option: str, kind: Any) -> None:
        annotation = kind.annotation if isinstance(kind, FieldInfo) else kind
        inner = _without_none(annotation)
        self._option = option
        # A field carries limits besides its type.
        checked: Any = Annotated[annotation, kind] if isinstance(kind, FieldInfo) else kind
        self._adapter: TypeAdapter[Any] = TypeAdapter(checked)
        self._optional = inner is not annotation
        self.is_flag = inner is bool
        self.is_list = _is_list(inner)
        self._holds_lists = self.is_list and _is_list(get_args(inner)[0])
        self.metavar = _metavar(inner)

    def __call__(self, given: Any) -> Any:
        """The checked value.

        Raises:
            UsageError: it does not fit; the message names the option.
        """
        if isinstance(given, str):
            if self._optional and given == "null":
                given = None
            elif self._holds_lists:
                given = self._read_json(given)
            elif self.is_list:
                # Patterns of file names have brackets of their own.
                inside = given if self.metavar.startswith("TEXT") else given.removeprefix("[").removesuffix("]")
                given = [part.strip() for part in inside.split(",") if part]
        try:
            return self.plain(self._adapter.validate_python(given))
        except ValidationError as error:
            first = error.errors()[0]
            option, message = f"--{self._option.replace('_', '-')}", first["msg"].partition(", unable to")[0]
            if message.startswith("Input should "):
                message = f"{option} must {message.removeprefix('Input should ')}, not {first['input']!r}"
            else:
                message = f"{option}: {message}"
            raise UsageError(message) from None

    def _read_json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            option = f"--{self._option.replace('_', '-')}"
            raise UsageError(f"{option} must be {self.metavar}, not '{text}'") from None

    def plain(self, value: Any) -> Any:
        """A value as YAML and JSON write it."""
        return self._adapter.dump_python(value, mode="json")


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        others = [each for each in get_args(kind) if each is not NoneType]
        return others[0] if len(others) == 1 else Union[tuple(others)]  # noqa: UP007 - of types known only here
    return kind


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (list, tuple)


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if _is_list(kind):
        inner = get_args(kind)[0]
        return f"[[{_metavar(inner)}],...]" if _is_list(inner) else f"{_metavar(inner)},..."
    return _METAVARS.get(kind, "VALUE")
