"""Weights as a command names them, and the options that depend on which these are."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvtl._lazy import resolve
from cvtl.cli.config import flat, read_config
from cvtl.cli.parser import VerbParser, peek
from cvtl.errors import UsageError
from cvtl.registry import Demo, plugins
from cvtl.weights import Header, is_weights_name, plugin_options

BUILTIN = "builtin"


def add_predict_options(parser: VerbParser, header: Header, weights: Path) -> None:
    """The plugin's prediction options, with the weights' own values as defaults."""
    predict = getattr(plugin_options(header, weights), "predict", None)
    if predict is not None:
        parser.add_fields(type(predict), f"prediction options of the plugin '{header.plugin}'", "predict.")
        parser.set_defaults(dict(flat(predict.model_dump(mode="json"), "predict.")))


def with_weights_joined(words: Sequence[str]) -> list[str]:
    """The words with all that stands behind --weights in one: `--weights=a.safetensors,b.safetensors`."""
    named: list[str] = []
    others: list[str] = []
    left = deque(words)
    while left and left[0] != "--":
        word = left.popleft()
        option, equals, text = word.partition("=")
        if option != "--weights":
            others.append(word)
            continue
        value = text if equals else next(iter(left), "--")
        if value.startswith("--"):
            raise UsageError("--weights needs a value", hint="Name a weights file")
        named.append(value)
        if not equals:
            left.popleft()
        while left and is_weights_name(left[0]):
            named.append(left.popleft())
    return [f"--weights={','.join(named)}"] * bool(named) + others + list(left)


def named_weights(words: Sequence[str]) -> list[str]:
    """The weights that the command or its configuration file names."""
    named = peek(words, "weights")
    config = peek(words, "config")
    listed = read_config(config).get("weights") if named is None and config else None
    if isinstance(listed, list):
        return [str(each) for each in listed]
    return _split_names(named) if named else []


def _split_names(text: str) -> list[str]:
    """Names of weights between commas; they may hold commas themselves."""
    names, begun = [], ""
    for part in text.split(","):
        begun = f"{begun},{part}" if begun else part
        if is_weights_name(begun):
            names.append(begun)
            begun = ""
    return [*names, begun] if begun else names


def said_predict_options(parser: VerbParser, options: Mapping[str, Any]) -> dict[str, Any]:
    """The prediction options that were given a value: of several weights each keeps its own but for those."""
    return {name: value for name, value in options.get("predict", {}).items() if _is_said(name, parser.said)}


def _is_said(name: str, said: Collection[str]) -> bool:
    return any(each == f"predict.{name}" or each.startswith(f"predict.{name}.") for each in said)


def weights_files(task: str, named: list[str]) -> list[Path]:
    """The weights that the command names, or the built-in ones where it names none.

    Raises:
        UsageError: there are no built-in ones for the task.
    """
    if named not in ([], [BUILTIN]):
        return [Path(each) for each in named]
    demo = demo_of(task)
    if demo is None:
        raise UsageError(
            f"no installed plugin has built-in weights for the task '{task}'",
            hint=f"Name yours: cvtl run {task} --weights w.safetensors photos/",
        )
    return [resolve(demo.weights)()]


def demo_of(task: str) -> Demo | None:
    """What there is to show of a task, of the first plugin that has something."""
    return next((spec.demo for spec in plugins().usable() if spec.task == task and spec.demo), None)
