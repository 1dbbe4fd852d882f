"""What a person may choose for one picture: options of a plugin that makes models, within limits. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from cvtl.errors import OptionsError
from cvtl.options import make_options
from cvtl.registry import PluginSpec

Scalar = int | float | str | bool


@dataclass(frozen=True)
class Choice:
    """One of them.

    Attributes:
        name: of the option.
        help: what it is.
        default: where nobody chooses.
        least: of a number; None for words.
        most: likewise.
        is_whole: whether the number has no fraction.
        words: to choose from; none for a number.
    """

    name: str
    help: str
    default: Scalar
    least: float | None = None
    most: float | None = None
    is_whole: bool = False
    words: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name as a person reads it.

        Example:
            >>> Choice("style_scale", "", 1).label
            'Style scale'
        """
        return self.name.replace("_", " ").capitalize()

    @property
    def step(self) -> float:
        """Of a slider."""
        if self.is_whole:
            return 1
        return ((self.most or 0) - (self.least or 0)) / 200

    def check(self, value: Any) -> None:
        """Refuse a number beyond the limits.

        Raises:
            OptionsError: it is.
        """
        if self.least is None or self.most is None:
            return
        if not isinstance(value, (int, float)):
            raise OptionsError(f"option '{self.name}': there has to be a number")
        if not self.least <= value <= self.most:
            raise OptionsError(f"option '{self.name}': must lie between {self.least:g} and {self.most:g}, not {value}")


def choices_of(spec: PluginSpec, options: Mapping[str, Any]) -> list[Choice]:
    """What a plugin that makes models lets people choose.

    Args:
        spec: the plugin.
        options: what whoever serves has chosen: the defaults, and limits where they lie beyond the plugin's.
    """
    assert spec.makes is not None
    fields = spec.making_options_type().model_fields
    return [
        _choice(name, fields[name], limits, options.get(name, fields[name].default))
        for name, limits in spec.makes.settings.items()
    ]


def checked_options(
    spec: PluginSpec, choices: Sequence[Choice], options: Mapping[str, Any], chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """The options with what was chosen.

    Args:
        spec: the plugin.
        choices: what there is to choose.
        options: as whoever serves has them.
        chosen: values, or texts, by name.

    Raises:
        OptionsError: there is no such choice, or a value does not fit.
    """
    known = {choice.name: choice for choice in choices}
    unknown = sorted(chosen.keys() - known.keys())
    if unknown:
        listed = ", ".join(known) or "none"
        raise OptionsError(f"there is no setting '{unknown[0]}'", hint=f"The settings are {listed}")
    made = make_options(spec.making_options_type(), {**options, **chosen})
    values = {name: getattr(made, name) for name in chosen}
    for name, value in values.items():
        known[name].check(value)
    return {**options, **values}


def _choice(name: str, field: FieldInfo, limits: tuple[float, float] | None, default: Any) -> Choice:
    # Nothing is no choice here.
    help = "; ".join(part for part in (field.description or "").split("; ") if "null" not in part)
    kind = _without_none(field.annotation)
    if limits is None:
        words = tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()
        return Choice(name, help, default, words=words)
    least, most = limits
    if default is None:
        default = most
    return Choice(name, help, default, min(least, default), max(most, default), is_whole=kind is int)


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        return next(each for each in get_args(kind) if each is not NoneType)
    return kind
