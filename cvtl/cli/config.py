"""Configuration files: YAML with the options of one verb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cvtl.errors import UsageError


def read_config(path: str) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        UsageError: it cannot be read, is no YAML, or holds something else than options.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UsageError(f"cannot read the configuration file '{path}': {reason}", hint="Check --config") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(
            f"the configuration file '{path}' is not YAML: {where}{problem or error}",
            hint="Correct it, or write a new one with --print-config",
        ) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(
            f"the configuration file '{path}' does not hold options",
            hint="Write lines like 'batch_size: 4'; --print-config shows all options",
        )
    return content


def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values, those inside a group as `group.name`.

    Example:
        >>> dict(flat({"out": "o", "predict": {"mode": "conv"}}))
        {'out': 'o', 'predict.mode': 'conv'}
    """
    for name, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
