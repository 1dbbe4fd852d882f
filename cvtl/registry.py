"""Who offers what: registries of specs, found through entry points and imported on use.

Torch-free. Built-in plugins have no private door: they are found through the same entry-point group
`cvtl.plugins` as everybody else's. Data set formats (`cvtl.datasets`) use the same kind of registry.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from cvtl._lazy import resolve
from cvtl.errors import PluginError
from cvtl.tasks import TASKS, TaskName

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cvtl.model import Model

PLUGINS_GROUP = "cvtl.plugins"
DISABLE_VARIABLE = "CVTL_DISABLE_PLUGINS"
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What `cvtl run TASK` uses when it is given neither weights nor pictures.

    Attributes:
        weights: `module:function`, no arguments, returns the path of the weights that ship with the plugin.
        picture: `module:function`, no arguments, returns a picture as NumPy (H, W, 3) RGB uint8.
    """

    weights: str
    picture: str


@dataclass(frozen=True, kw_only=True)
class ForeignWeights:
    """Files that other tools wrote and a plugin reads. Plugins of one package may share one of these.

    Attributes:
        suffixes: how their names end, in lower case, with the dot: `(".onnx",)`.
        header: `module:function`, takes the path and the options below, returns a `cvtl.weights.Header` that says what
            cvtl's own files say themselves; it raises `WeightsError` for what it cannot read. Imports no torch.
        load: `module:function`, takes the path and that header, returns the `cvtl.model.Model` on the CPU.
        options: `module:Class` of a pydantic model with `extra="forbid"`, each field with a default: what a user may
            say of a file that does not say it itself. The command line shows its fields as options.
    """

    suffixes: tuple[str, ...]
    header: str
    load: str
    options: str = "cvtl.options:Options"


@dataclass(frozen=True, kw_only=True)
class Making:
    """How a plugin makes a model that no weights file holds, for work that needs no training (`cvtl.making`).

    Attributes:
        options: `module:Class` of a pydantic model with `extra="forbid"`; its module imports no torch. The command line
            shows its fields as options of `cvtl run TASK`. A field `weights` gets what is named with `--weights`, as
            text.
        make: `module:function`, takes these options, returns a `cvtl.making.Made`.
        example: words behind `cvtl run TASK` that show what it is for.
        settings: of the options, what a person who has one picture to make may choose, in the order to show it in; for
            numbers the least and the most, for anything else None. `cvtl serve` asks for these and no others. For the
            task style there has to be an option `style` besides: paths of the pictures whose style to take.
    """

    options: str
    make: str
    example: str = ""
    settings: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PluginSpec:
    """What a plugin package declares about itself, without importing torch.

    Attributes:
        name: the word of `cvtl train NAME`; lower-case letters, digits and underscores.
        task: one of the five tasks.
        summary: one line for `cvtl plugins` and `--help`.
        options: `module:Class` of a pydantic model with `extra="forbid"`; its module imports no torch. A field
            `predict`, itself such a model, holds what `cvtl run` may change without training anew.
        model: `module:Class` of a `cvtl.model.Model`; resolved on first use.
        demo: what to show a newcomer who has neither weights nor pictures.
        reads: files of others that hold weights for this plugin.
        makes: how it makes models for its task from options alone; one plugin of a task may.
        trains: whether it can train; not where it only runs what others have trained.

    Raises:
        PluginError: a field is wrong; the message names the field.

    Example:
        >>> PluginSpec(name="pose", task="landmarks", summary="points", options="m:O", model="m").model
        Traceback (most recent call last):
        cvtl.errors.PluginError: plugin 'pose': model must be 'module:attribute', not 'm'.
    """

    name: str
    task: TaskName
    summary: str
    options: str
    model: str
    demo: Demo | None = None
    reads: ForeignWeights | None = None
    makes: Making | None = None
    trains: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise PluginError(f"plugin {self.name!r}: name must be lower-case letters, digits and underscores")
        if self.task not in TASKS:
            raise PluginError(f"plugin '{self.name}': task must be one of {', '.join(TASKS)}, not {self.task!r}")
        if not isinstance(self.summary, str) or not self.summary.strip():
            raise PluginError(f"plugin '{self.name}': summary must be a line of text")
        references = {"options": self.options, "model": self.model}
        if self.demo is not None:
            references |= {"demo.weights": self.demo.weights, "demo.picture": self.demo.picture}
        if self.reads is not None:
            references |= {f"reads.{name}": getattr(self.reads, name) for name in ("header", "load", "options")}
            for suffix in self.reads.suffixes:
                if not re.fullmatch(r"(\.[a-z0-9]+)+", suffix):
                    raise PluginError(f"plugin '{self.name}': reads.suffixes must be like '.onnx', not {suffix!r}")
        if self.makes is not None:
            references |= {"makes.options": self.makes.options, "makes.make": self.makes.make}
        for field_name, reference in references.items():
            if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
                raise PluginError(f"plugin '{self.name}': {field_name} must be 'module:attribute', not {reference!r}")

    def check(self) -> None:
        """Import the options (torch-free) and see that they are what they should be."""
        self.options_type()
        if self.reads is not None:
            self.reading_options_type()
        if self.makes is not None:
            unknown = self.makes.settings.keys() - self.making_options_type().model_fields.keys()
            if unknown:
                raise PluginError(f"plugin '{self.name}': makes.settings has no options {', '.join(sorted(unknown))}")

    def options_type(self) -> type[BaseModel]:
        """The options class, checked.

        Raises:
            PluginError: it cannot be imported, is no pydantic model, or takes unknown fields in silence.
        """
        return self._options_type("options", self.options)

    def reading_options_type(self) -> type[BaseModel]:
        """The options of `reads`, checked.

        Raises:
            PluginError: as `options_type` raises.
        """
        assert self.reads is not None
        return self._options_type("reads.options", self.reads.options)

    def making_options_type(self) -> type[BaseModel]:
        """The options of `makes`, checked.

        Raises:
            PluginError: as `options_type` raises.
        """
        assert self.makes is not None
        return self._options_type("makes.options", self.makes.options)

    def model_type(self) -> type[Model]:
        """The model class, checked (imports torch).

        Raises:
            PluginError: it cannot be imported or is no `cvtl.model.Model`.
        """
        from cvtl.model import Model

        found = self.resolve("model", self.model)
        if not (isinstance(found, type) and issubclass(found, Model)):
            raise PluginError(f"plugin '{self.name}': model '{self.model}' is not a subclass of cvtl.model.Model")
        return found

    def _options_type(self, field_name: str, reference: str) -> type[BaseModel]:
        from pydantic import BaseModel

        found = self.resolve(field_name, reference)
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            raise PluginError(f"plugin '{self.name}': {field_name} '{reference}' is not a pydantic model")
        if found.model_config.get("extra") != "forbid":
            raise PluginError(f"plugin '{self.name}': {field_name} '{reference}' must be declared extra='forbid'")
        return found

    def resolve(self, field_name: str, reference: str) -> Any:
        """What one of the references names.

        Raises:
            PluginError: it cannot be imported; the message names the field.
        """
        try:
            return resolve(reference)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"plugin '{self.name}': {field_name} '{reference}' cannot be imported: {_describe(error)}",
                hint="`cvtl doctor` shows the broken plugins",
            ) from error


class Spec(Protocol):
    """What a registry needs of the specs it holds."""

    @property
    def name(self) -> str:
        """The name it is found by, equal to its entry point's."""

    def check(self) -> None:
        """Raise `PluginError` if what the spec promises is not there; imports no torch."""


SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[SpecT]):
    """One registered name and its state: a line of `cvtl plugins`."""

    name: str
    distribution: str
    version: str
    state: Literal["ok", "broken", "disabled"]
    reason: str = ""
    spec: SpecT | None = None


class Registry(Generic[SpecT]):
    """The specs that the installed distributions offer under one entry-point group.

    Args:
        group: the entry-point group.
        spec_type: what each entry point must name an instance of.
        noun: what one of them is called in messages.
        points: entry points to use instead of the installed ones.
        disabled: names to leave alone; by default those in `CVTL_DISABLE_PLUGINS`.

    Example:
        >>> "windows" in Registry(PLUGINS_GROUP, PluginSpec, "plugin").names()
        True
    """

    def __init__(
        self,
        group: str,
        spec_type: type[SpecT],
        noun: str,
        *,
        points: Iterable[EntryPoint] | None = None,
        disabled: Iterable[str] | None = None,
    ) -> None:
        self.noun = noun
        self._spec_type = spec_type
        self._specs: dict[str, SpecT] = {}
        by_name: dict[str, dict[tuple[str, str], EntryPoint]] = defaultdict(dict)
        for point in entry_points(group=group) if points is None else points:
            # One distribution is listed twice when its folder is on the path twice.
            by_name[point.name][_distribution(point), point.value] = point
        self._points = {name: list(found.values()) for name, found in sorted(by_name.items())}
        self._disabled = frozenset(_disabled_by_environment() if disabled is None else disabled)

    def names(self) -> list[str]:
        """The names that may be used, without importing anything."""
        return [name for name in self._points if name not in self._disabled]

    def get(self, name: str) -> SpecT:
        """Import and check one spec; the others stay untouched.

        Raises:
            PluginError: the name is unknown (the known ones are listed), disabled, offered by two distributions
                (both are named), or broken (with its own error).
        """
        if name in self._specs:
            return self._specs[name]
        if name not in self._points:
            known = ", ".join(self.names()) or "(none)"
            raise PluginError(f"there is no {self.noun} '{name}'", hint=f"Installed are: {known}")
        if name in self._disabled:
            raise PluginError(f"{self.noun} '{name}' is disabled", hint=f"Take it out of {DISABLE_VARIABLE}")
        self._specs[name] = self._load(name)
        return self._specs[name]

    def usable(self) -> Iterator[SpecT]:
        """Every spec that loads; broken ones are passed over."""
        for name in self.names():
            try:
                yield self.get(name)
            except PluginError:
                continue

    def listings(self) -> list[Listing[SpecT]]:
        """Every name there is with its state, broken and disabled ones too."""
        return [self._listing(name) for name in self._points]

    def _listing(self, name: str) -> Listing[SpecT]:
        points = self._points[name]
        where = " and ".join(sorted(_distribution(point) for point in points))
        version = (points[0].dist and points[0].dist.version) or ""
        state: Literal["ok", "broken", "disabled"] = "ok"
        reason, spec = "", None
        if name in self._disabled:
            state, reason = "disabled", f"listed in {DISABLE_VARIABLE}"
        else:
            try:
                spec = self.get(name)
            except PluginError as error:
                state, reason = "broken", error.what
        return Listing(name=name, distribution=where, version=version, state=state, reason=reason, spec=spec)

    def _load(self, name: str) -> SpecT:
        points = self._points[name]
        if len(points) > 1:
            owners = " and ".join(sorted(f"'{_distribution(point)}'" for point in points))
            raise PluginError(
                f"two {self.noun}s are called '{name}': they come from {owners}", hint="Uninstall one of them"
            )
        (point,) = points
        origin = f"{self.noun} '{name}' of '{_distribution(point)}'"
        try:
            spec = point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{origin} cannot be imported: {_describe(error)}",
                hint=f"Repair or uninstall it; {DISABLE_VARIABLE}={name} silences it",
            ) from error
        if not isinstance(spec, self._spec_type):
            wanted = self._spec_type.__name__
            raise PluginError(f"{origin}: '{point.value}' is not a {wanted} but {type(spec).__name__}")
        if spec.name != name:
            raise PluginError(f"{origin}: its spec says '{spec.name}', its entry point says '{name}'")
        spec.check()
        return spec


@cache
def plugins() -> Registry[PluginSpec]:
    """The plugins of this installation."""
    return Registry(PLUGINS_GROUP, PluginSpec, "plugin")


def _disabled_by_environment() -> Iterator[str]:
    listed = os.environ.get(DISABLE_VARIABLE, "").split(",")
    return (name.strip() for name in listed if name.strip())


def _distribution(point: EntryPoint) -> str:
    # A distribution that was uninstalled halfway has no name.
    return (point.dist and point.dist.name) or "(unknown distribution)"


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().rstrip(":")
