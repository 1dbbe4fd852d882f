"""The weights file: one `.safetensors` that cannot run code and says all that is needed to use it.

Under the metadata key `cvtl` lies a JSON header: plugin, task, classes, options, preprocessing, metrics, and where the
weights come from. Reading it needs no torch. Files that other tools wrote are read behind the same functions, by the
plugins that know them (`cvtl.foreign`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cvtl import foreign
from cvtl.errors import OptionsError, PluginError, UsageError, WeightsError
from cvtl.files import write_atomically
from cvtl.options import make_options
from cvtl.preprocessing import InputSpec
from cvtl.registry import plugins
from cvtl.tasks import TaskName

if TYPE_CHECKING:
    import torch

    from cvtl.model import Model

METADATA_KEY = "cvtl"
_LIBRARIES = ("cvtl", "torch", "torchvision", "timm", "safetensors")


class Header(BaseModel):
    """What a weights file says about itself.

    Attributes:
        format: version of this layout.
        plugin: name of the plugin that reads the weights.
        plugin_version: version of the distribution that wrote them.
        task: what they are for.
        classes: class names in label order.
        options: the plugin's options they were trained with.
        input: the preprocessing.
        metrics: what was reached, on the validation data.
        data_digest: SHA-256 over names and targets of the training data.
        seed: of the training.
        versions: of the libraries they were made with.
        licence: under which the weights may be used.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal[1] = 1
    plugin: str
    plugin_version: str = ""
    task: TaskName
    classes: tuple[str, ...]
    options: dict[str, Any] = Field(default_factory=dict)
    input: InputSpec
    metrics: dict[str, float] = Field(default_factory=dict)
    data_digest: str = ""
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    licence: str = ""


def is_weights_name(path: str | Path) -> bool:
    """Whether a file is called as weights are, cvtl's own or those that an installed plugin reads.

    Example:
        >>> is_weights_name("cars.safetensors"), is_weights_name("cars.jpg")
        (True, False)
    """
    return str(path).endswith(foreign.OWN_SUFFIX) or foreign.is_foreign(path)


def has_header(path: str | Path) -> bool:
    """Whether a file is one of cvtl's own weights files; not if it is missing or damaged.

    Example:
        >>> has_header("imagenet")
        False
    """
    if not str(path).endswith(foreign.OWN_SUFFIX):
        return False
    try:
        return METADATA_KEY in _read_metadata(Path(path))
    except WeightsError:
        return False


def read_header(path: str | Path, reading: Mapping[str, Any] | None = None) -> Header:
    """Read a weights file's header, without torch.

    Args:
        path: a file that `save` wrote, or one of another tool's that an installed plugin reads.
        reading: what to know of another tool's file that it does not say itself: options of the plugin's
            `PluginSpec.reads`. cvtl's own files need none.

    Raises:
        WeightsError: missing, damaged, or written by nobody that is known; the message says which.
        OptionsError: the plugin that reads the file has no such option, or the value does not fit.
    """
    path = Path(path)
    if foreign.is_foreign(path):
        _check_there(path)
        return foreign.read(path, reading).header
    metadata = _read_metadata(path)
    if METADATA_KEY not in metadata:
        raise WeightsError(
            f"'{path}' is a safetensors file, but not one of cvtl's: it has no '{METADATA_KEY}' header",
            hint="To start training from a backbone's weights, give them to `cvtl train` with --backbone-weights",
        )
    try:
        return Header.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "header"
        raise WeightsError(
            f"'{path}' has a header this version of cvtl cannot use: {where}: {first['msg']}",
            hint="It may come from a newer version: upgrade cvtl",
        ) from None


def read_headers(
    paths: Sequence[str | Path], task: str | None = None, reading: Mapping[str, Any] | None = None
) -> list[Header]:
    """Read the headers of weights that answer together: one file, or several whose probabilities are averaged.

    Args:
        paths: at least one.
        task: refuse weights made for another task.
        reading: as for `read_header`.

    Raises:
        WeightsError: a file is missing, damaged, or written by nobody that is known.
        UsageError: one is for another task, or they cannot be averaged: only weights that classify can, and only if
            they know the same classes, in any order; the message names the differences.
    """
    headers = [read_header(path, reading) for path in paths]
    for path, header in zip(paths, headers, strict=True):
        check_task(header, task or headers[0].task, path)
        if len(paths) > 1 and header.task != "classify":
            raise UsageError(
                f"{len(paths)} weights were named, but those for the task '{header.task}' cannot be averaged",
                hint="Name one of them: only the probabilities of weights that classify are averaged",
            )
        lacks = sorted(set(headers[0].classes) - set(header.classes))
        adds = sorted(set(header.classes) - set(headers[0].classes))
        if lacks or adds:
            differences = [_listed("it does not know", lacks), _listed("it alone knows", adds)]
            raise UsageError(
                f"'{path}' has other classes than '{paths[0]}': {'; '.join(filter(None, differences))}",
                hint="Weights can be averaged if they know the same classes, in any order",
            )
    return headers


def digest(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save(
    model: Model,
    path: str | Path,
    *,
    metrics: Mapping[str, float] | None = None,
    data_digest: str = "",
    seed: int | None = None,
    licence: str = "",
) -> Path:
    """Write a model as one weights file; nothing half-written is left under `path`.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save as to_bytes

    spec = plugins().get(model.plugin)
    header = Header(
        plugin=spec.name,
        plugin_version=_version(type(model).__module__.partition(".")[0]) or _version("cvtl"),
        task=spec.task,
        classes=model.classes,
        options=model.options.model_dump(mode="json"),
        input=model.input,
        metrics={name: round(float(value), 6) for name, value in (metrics or {}).items()},
        data_digest=data_digest,
        seed=seed,
        versions=installed_versions(model.libraries),
        licence=licence or model.licence,
    )
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.saved_state().items()}
    text = json.dumps(header.model_dump(mode="json"), sort_keys=True)
    return write_atomically(path, to_bytes(tensors, metadata={METADATA_KEY: text}))


def load(
    path: str | Path,
    *,
    task: str | None = None,
    device: str | torch.device = "cpu",
    reading: Mapping[str, Any] | None = None,
) -> Model:
    """Read a weights file and give the model, ready to predict.

    Args:
        path: a file that `save` wrote, or one of another tool's that an installed plugin reads.
        task: refuse weights made for another task.
        device: where to put the model.
        reading: as for `read_header`.

    Raises:
        UsageError: the weights are for another task.
        WeightsError: missing, damaged, foreign, or not fitting the network that its header describes.
        PluginError: the plugin it names is not installed or broken.
    """
    from safetensors.torch import load_file

    path = Path(path)
    if foreign.is_foreign(path):
        _check_there(path)
        found = foreign.read(path, reading)
        check_task(found.header, task, path)
        return found.load().to(device).eval()
    header = read_header(path)
    check_task(header, task, path)
    options = plugin_options(header, path)
    model = plugins().get(header.plugin).model_type()(options, header.classes, header.input)
    tensors = load_file(path)
    missing, unexpected = _mismatch(model.state_dict(), tensors)
    if missing or unexpected:
        raise WeightsError(
            f"'{path}' does not fit the network its header describes: "
            + "; ".join(part for part in (_listed("missing", missing), _listed("unexpected", unexpected)) if part),
            hint="The file was changed by hand, or the plugin has changed since it was written",
        )
    model.load_state_dict(tensors)
    return model.to(device).eval()


def convert(source: str | Path, target: str | Path, reading: Mapping[str, Any] | None = None) -> Path:
    """Write weights that another tool made as one of cvtl's own files, which says the same of them.

    Args:
        source: a file that an installed plugin reads.
        target: the `.safetensors` file to write; it must not be there yet.
        reading: as for `read_header`.

    Raises:
        UsageError: it is one of cvtl's own files already, or the target is none, or is there.
        WeightsError: the file cannot be read, or the plugin cannot hold such weights in a file of cvtl's.
        OutputError: the file cannot be written.
    """
    source, target = Path(source), Path(target)
    if not foreign.is_foreign(source):
        own = source.name.endswith(foreign.OWN_SUFFIX)
        why = "is one of cvtl's own files already" if own else "is of a kind that no installed plugin reads"
        raise UsageError(f"'{source}' {why}", hint="`cvtl plugins` lists the plugins")
    if not target.name.endswith(foreign.OWN_SUFFIX):
        raise UsageError(f"'{target}' is no name for weights", hint=f"Call it '{target.stem}{foreign.OWN_SUFFIX}'")
    if target.exists():
        raise UsageError(f"'{target}' is there already", hint="Give another name, or remove it first")
    header = read_header(source, reading)
    kept = header.model_dump(include={"metrics", "data_digest", "seed", "licence"})
    return save(load(source, reading=reading), target, **kept)


def plugin_options(header: Header, path: str | Path) -> BaseModel:
    """The options that weights were trained with, made by the plugin they belong to; without torch.

    Raises:
        PluginError: the plugin is not installed or broken; the message names the file.
        WeightsError: the plugin no longer takes such options.
    """
    try:
        spec = plugins().get(header.plugin)
    except PluginError as error:
        raise PluginError(f"'{path}' cannot be used: {error.what}", hint=error.hint) from error
    try:
        return make_options(spec.options_type(), header.options)
    except OptionsError as error:
        raise WeightsError(
            f"'{path}' was trained with options that plugin '{spec.name}' does not take: {error.what}",
            hint=f"It was written by version {header.plugin_version or 'unknown'} of the plugin: install that one",
        ) from error


def installed_versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Versions of the libraries that results depend on, and of more."""
    return {name: _version(name) for name in (*_LIBRARIES, *more)}


def check_task(header: Header, task: str | None, path: str | Path) -> None:
    """Refuse weights that were made for another task.

    Raises:
        UsageError: they were; the message has the command that fits.
    """
    if task is not None and header.task != task:
        raise UsageError(
            f"'{path}' holds weights for the task '{header.task}', not '{task}'",
            hint=f"Use `cvtl run {header.task} --weights {path}`",
        )


def _read_metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    _check_there(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"cannot read weights file '{path}': {_reason(path, error)}", hint=_advice(path)) from error


def _check_there(path: Path) -> None:
    if not path.exists():
        raise WeightsError(f"there is no weights file '{path}'", hint="Check the path given to --weights")
    if path.is_dir():
        raise WeightsError(f"'{path}' is a folder, not a weights file", hint="Give the .safetensors file in it")
    if path.stat().st_size == 0:
        raise WeightsError(f"weights file '{path}' is empty", hint="Copy or train it again")


def _reason(path: Path, error: Exception) -> str:
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        start = stream.read(8)
        if start.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
            return "it is a PyTorch pickle (.pth or .pt), which cvtl never executes"
        if len(start) == 8 and 8 + int.from_bytes(start, "little") > os.path.getsize(path):
            return "it is truncated, or no safetensors file at all"
    return f"it is truncated or damaged ({error})"


def _advice(path: Path) -> str:
    if path.suffix in (".pt", ".pth"):
        return "`cvtl run` takes the .safetensors that `cvtl train` wrote"
    return "Copy it again and compare its SHA-256 with the original's"


def _mismatch(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    for name in wanted.keys() & given.keys():
        if wanted[name].shape != given[name].shape:
            unexpected.append(f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}")
    return missing, sorted(unexpected)


def _listed(word: str, names: list[str], most: int = 5) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{word} {', '.join(names[:most])}{more}"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
