"""Opens a checkpoint of Ultralytics: a script, run in a process of its own that ends when it has said what is in it.

    python -P unpickling.py CHECKPOINT FOLDER

writes FOLDER/facts.json and FOLDER/tensors.safetensors, or into facts.json why it does not. It needs the environment of
`cvtl_ultralytics.isolation.SAFELY`, and imports nothing of cvtl.

Three things keep a file from doing harm: torch's restricted unpickler, which makes nothing but what is on Ultralytics'
list; an audit hook, which ends whatever would still start a process, open a connection or write a file; and that
only numbers and text leave this process.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = (
    *("socket.", "subprocess.", "shutil.", "ctypes.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "pty."),
    *("os.chmod", "os.chown", "os.exec", "os.fork", "os.kill", "os.link", "os.mkdir", "os.posix_spawn", "os.remove"),
    *("os.rename", "os.rmdir", "os.spawn", "os.startfile", "os.symlink", "os.system", "os.truncate"),
)
# How torch's restricted unpickler and Ultralytics' list say what they do not let pass.
_NAMED = re.compile(r"(?:GLOBAL|global|class|function) ([\w.]+) (?:was not an allowed|whose module)")
_BLOCKED = re.compile(r"unsafe getattr\([^)]*\)")


class ForbiddenError(Exception):
    """A checkpoint tried to do something."""


def main(checkpoint: Path, folder: Path) -> None:
    """Open a checkpoint and write down what it holds, or why it is not opened."""
    import torch
    from safetensors.torch import save_file
    from ultralytics.nn import tasks

    if not (getattr(tasks, "SAFE_LOAD", False) and tasks._SafeLoad.SUPPORTED):
        _answer(folder, {"refused": "this version of ultralytics has no safe mode", "kind": "version"})
        return
    _forbid_everything_else(folder)
    try:
        content, _ = tasks.torch_safe_load(str(checkpoint), safe_only=True)  # type: ignore[no-untyped-call]
    # Whatever a damaged or malicious file makes the reader stumble over.
    except Exception as error:
        _answer(folder, _refusal(error))
        return
    network = content.get("ema") or content.get("model") if isinstance(content, dict) else None
    if not isinstance(network, torch.nn.Module):
        _answer(folder, {"refused": "it holds no network", "kind": "content"})
        return
    save_file(dict(_tensors(vars(network)["_modules"]["model"], "model.")), folder / "tensors.safetensors")
    _answer(folder, _facts(content, network))


def _forbid_everything_else(folder: Path) -> None:
    """From now on, no process, no connection, and no file but those in the folder."""
    inside = os.path.realpath(folder)

    def watch(event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = details
            writes = isinstance(flags, int) and flags & _WRITING
            if writes and not (isinstance(path, str | Path) and os.path.realpath(path).startswith(inside + os.sep)):
                raise ForbiddenError(f"write to {path!r}")
        elif event.startswith(_FORBIDDEN):
            raise ForbiddenError(f"call {event}{details[:1]!r}")

    sys.addaudithook(watch)


def _refusal(error: BaseException) -> dict[str, str]:
    """What the file is refused for: by name, where it names or tries what has no place in it."""
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    for each in chain:
        if isinstance(each, ForbiddenError):
            return {"refused": f"it tried to {each}", "kind": "unsafe"}
        found = _NAMED.search(str(each))
        if found:
            name = found[1] if "." in found[1] else f"builtins.{found[1]}"
            return {"refused": f"it names {name}", "kind": "unsafe"}
        found = _BLOCKED.search(str(each))
        if found:
            return {"refused": f"it holds an {found[0]}", "kind": "unsafe"}
    return {"refused": _line(chain[-1]), "kind": "damaged"}


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300]


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The state of a module by names, read from its fields: none of its methods is called."""
    fields = vars(module)
    passing = fields.get("_non_persistent_buffers_set", ())
    for name, tensor in {**fields["_parameters"], **fields["_buffers"]}.items():
        if tensor is not None and name not in passing:
            yield prefix + name, tensor.detach().contiguous().clone()
    for name, child in fields["_modules"].items():
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.")


def _facts(content: dict[str, Any], network: Any) -> dict[str, Any]:
    fields = vars(network)
    arguments = content.get("train_args") or {}
    return {
        "network": type(network).__name__,
        "architecture": _plain(fields.get("yaml")),
        "names": _plain(fields.get("names")),
        "task": _plain(fields.get("task") or (arguments.get("task") if isinstance(arguments, dict) else None)),
        "size": _plain(arguments.get("imgsz") if isinstance(arguments, dict) else None),
        "quantized": bool(content.get("modelopt")),
        "metrics": _plain(content.get("train_metrics")),
        **{name: _plain(content.get(name)) for name in ("version", "date", "license")},
    }


def _plain(value: Any) -> Any:
    """Values as JSON has them; of anything else its type."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    return f"<{type(value).__name__}>"


def _answer(folder: Path, facts: dict[str, Any]) -> None:
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
