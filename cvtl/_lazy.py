"""Importing by name, so that listing and `--help` need not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def resolve(reference: str) -> Any:
    """Import what `"package.module:attribute"` names.

    Raises:
        ImportError: the module cannot be imported.
        AttributeError: the module has no such attribute.

    Example:
        >>> resolve("math:tau") > 6
        True
    """
    module_name, _, attribute = reference.partition(":")
    return getattr(import_module(module_name), attribute)
