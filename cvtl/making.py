"""Models that no weights file holds: made from options alone, by plugins that need no training. Torch-free.

A plugin says in its spec how (`PluginSpec.makes`). What it makes stands where weights stand elsewhere in `cvtl run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvtl.errors import UsageError
from cvtl.options import make_options
from cvtl.registry import PluginSpec, plugins
from cvtl.weights import has_header

if TYPE_CHECKING:
    from cvtl.model import Model


@dataclass(frozen=True)
class Made:
    """A model, and what it was made of.

    Attributes:
        model: on the CPU.
        identity: what results depend on and the options do not say: digests of the files that they name.
    """

    model: Model
    identity: Mapping[str, Any]


def maker(task: str) -> PluginSpec | None:
    """The plugin that makes models for a task; None if none does."""
    return next((spec for spec in plugins().usable() if spec.task == task and spec.makes is not None), None)


def is_for_maker(task: str, named: list[str]) -> bool:
    """Whether what a user names as weights is for the task's maker to understand, and no weights file of cvtl's.

    Nothing is for the maker, if there is one; so is a word or a file that is no trained model.
    """
    if maker(task) is None or len(named) > 1:
        return False
    return not named or not has_header(named[0])


def make(task: str, options: Mapping[str, Any]) -> Made:
    """Make a model.

    Args:
        task: what it is for.
        options: of the plugin's `makes`.

    Raises:
        UsageError: no plugin makes models for the task.
        CvtlError: options do not fit, or files that they name cannot be used.
    """
    spec = maker(task)
    if spec is None:
        raise UsageError(f"no installed plugin makes models for the task '{task}'", hint="Name weights")
    assert spec.makes is not None
    checked = make_options(spec.making_options_type(), options)
    made: Made = spec.resolve("makes.make", spec.makes.make)(checked)
    return made
