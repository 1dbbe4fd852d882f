"""From a `.pt` file to plain facts and tensors. Torch-free: the file is opened by a child process (`unpickling.py`)."""

from __future__ import annotations

import json
import os
import pickletools
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cvtl.errors import WeightsError
from cvtl_ultralytics.architecture import Architecture
from cvtl_ultralytics.isolation import PACKAGE, SAFELY, package_folder

_SCRIPT = Path(__file__).with_name("unpickling.py")
_MOST_PICKLE_BYTES = 2**26
_MOST_NAMES = 3
_USUAL = ("torch.", "collections.", "_codecs.", "numpy.", "__builtin__.set")
_NEVER_RUN = "Nothing of it was run"
_OTHER_FILES = {
    b"\x80": "a pickle from before PyTorch 1.6, or of another program",
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not fetched",
    b"<": "a web page, perhaps an error message",
}


class Facts(BaseModel):
    """What a checkpoint says of itself.

    Attributes:
        network: class of the network.
        architecture: its table of layers, unchecked.
        names: of the classes: by number, or in order.
        task: as Ultralytics names it.
        size: side of the pictures it was trained with, or height and width.
        quantized: whether it learnt with quantized weights.
        metrics: of its validation.
        version: of ultralytics.
        date: when it was saved.
        license: its licence, as Ultralytics writes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    network: str
    architecture: Architecture
    names: dict[str, str] | list[str]
    task: str | None = None
    size: int | list[int] | None = None
    quantized: bool = False
    metrics: dict[str, Any] | None = None
    version: str | None = None
    date: str | None = None
    license: str | None = None


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An opened file.

    Attributes:
        facts: what it says.
        folder: holds its tensors while this process lives.
    """

    facts: Facts
    folder: tempfile.TemporaryDirectory[str]

    @property
    def tensors(self) -> Path:
        """The tensors, as a safetensors file."""
        return Path(self.folder.name) / "tensors.safetensors"


def open_checkpoint(path: Path) -> Checkpoint:
    """Have a child process open a file in Ultralytics' safe mode. One command that asks twice waits once.

    Raises:
        PluginError: ultralytics is not installed.
        WeightsError: the file is no checkpoint of Ultralytics, is damaged, or names what could run code; the message
            has that name, and nothing of the file was run.
    """
    names = names_in_pickle(path)
    if not any(name.startswith(f"{PACKAGE}.") for name in names):
        raise _stranger(path, names)
    state = path.stat()
    try:
        return _open(path.absolute(), state.st_size, state.st_mtime_ns)
    except _Refusal as refusal:
        raise _explained(path, refusal) from None


def names_in_pickle(path: Path) -> list[str]:
    """What a PyTorch file would import, read off its pickle without running it.

    Raises:
        WeightsError: it is no file that `torch.save` wrote.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
            if "data.pkl" not in entries or "constants.pkl" in entries:
                what = "a TorchScript archive" if "constants.pkl" in entries else "a zip archive of other things"
                raise _no_checkpoint(path, f"it is {what}")
            if entries["data.pkl"].file_size > _MOST_PICKLE_BYTES:
                raise _no_checkpoint(path, "its pickle is far too large")
            return sorted(set(_names(archive.read(entries["data.pkl"]))))
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise _no_checkpoint(path, f"it is {_kind_of(path)}") from error


def _names(pickle: bytes) -> Iterator[str]:
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif operation.name == "STACK_GLOBAL":
            # The names lie on the stack; torch.save never writes this.
            yield "(a computed name)"


class _Refusal(Exception):
    """The child did not open a file.

    Args:
        why: the end of a sentence that begins with the file.
        kind: `unsafe`, `version`, `failed`, or what makes it no checkpoint.
    """

    def __init__(self, why: str, kind: str) -> None:
        super().__init__(why)
        self.why, self.kind = why, kind


@lru_cache(maxsize=2)
def _open(path: Path, size: int, mtime_ns: int) -> Checkpoint:
    package_folder()
    folder = tempfile.TemporaryDirectory(prefix="cvtl-")
    environment = os.environ | SAFELY | {"YOLO_CONFIG_DIR": folder.name}
    # -P: what lies in the working folder is not imported.
    command = [sys.executable, "-P", "-B", str(_SCRIPT), str(path), folder.name]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    answer = Path(folder.name) / "facts.json"
    if done.returncode != 0 or not answer.exists():
        raise _Refusal(done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}", "failed")
    facts = json.loads(answer.read_text(encoding="utf-8"))
    if "refused" in facts:
        raise _Refusal(facts["refused"], facts["kind"])
    try:
        return Checkpoint(Facts.model_validate(facts), folder)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise _Refusal(f"what it says of its {where} is not understood", "content") from None


def _explained(path: Path, refusal: _Refusal) -> WeightsError:
    if refusal.kind == "unsafe":
        return WeightsError(
            f"'{path}' is refused: {refusal.why}, which has no place in a checkpoint and could run code",
            hint=f"{_NEVER_RUN}. Take the file from where it was published, or have one of an old version saved anew",
        )
    if refusal.kind == "version":
        return WeightsError(
            f"'{path}' is not opened: {refusal.why}",
            hint=f"Upgrade it with `pip install --upgrade 'cvtl[{PACKAGE}]'`",
        )
    if refusal.kind == "failed":
        return WeightsError(f"cannot read '{path}': the process that opens it failed: {refusal.why}")
    return _no_checkpoint(path, refusal.why)


def _stranger(path: Path, names: list[str]) -> WeightsError:
    unusual = [name for name in names if not name.startswith(_USUAL)]
    more = f" and {len(unusual) - _MOST_NAMES} more" if len(unusual) > _MOST_NAMES else ""
    if not unusual:
        return _no_checkpoint(path, "it holds tensors alone", "Weights of a backbone are given to `cvtl train`")
    listed = f"{', '.join(unusual[:_MOST_NAMES])}{more}"
    if any(name.startswith("models.") for name in unusual):
        return _no_checkpoint(
            path,
            f"it names {listed}, as those of the separate yolov5 or yolov7 repositories do",
            "Export it there as ONNX, which cvtl runs, too",
        )
    return _no_checkpoint(path, f"it names {listed}", _NEVER_RUN)


def _no_checkpoint(path: Path, why: str, hint: str = "Give a .pt file that Ultralytics wrote") -> WeightsError:
    return WeightsError(f"'{path}' is no checkpoint of Ultralytics: {why}", hint=hint)


def _kind_of(path: Path) -> str:
    with open(path, "rb") as stream:
        start = stream.read(32)
    if start.startswith(b"PK"):
        return "truncated or damaged"
    return next((what for magic, what in _OTHER_FILES.items() if start.startswith(magic)), "no PyTorch file")
