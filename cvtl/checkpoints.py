"""Reading other people's weights: no code is run, and what does not fit is named."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cvtl.errors import WeightsError

FOREIGN = "It belongs to another network, or to another version of it"
_COPY_AGAIN = "Copy it again and compare its size or SHA-256 with the original's"
_OTHER_FILES = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not fetched",
    b"<": "a web page, perhaps an error message",
}


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a `.pth`, `.pt` or `.safetensors` file; its content decides, not its extension.

    Pickles are read with `weights_only`, which cannot run code. Wrappers under `state_dict` or `model` are opened, the
    prefix `module.` of data-parallel training is dropped, and half precision becomes float32.

    Returns:
        Tensors on the CPU by name, in the file's order; floating ones are float32 and finite.

    Raises:
        WeightsError: missing, empty, truncated, something else under a new name, a pickle that holds code, no state
            dict, or one with NaN or infinite values; the message says which.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"there is no weights file '{path}'", hint="Check the path")
    if path.is_dir():
        raise WeightsError(f"'{path}' is a folder, not a weights file", hint="Give the .pth or .safetensors file in it")
    tensors = _tensors_of(_read(path))
    if not tensors:
        raise WeightsError(
            f"'{path}' holds no state dict: nothing in it is a named tensor",
            hint="Save one with torch.save(model.state_dict(), path)",
        )
    state = {
        name.removeprefix("module."): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise WeightsError(
            f"'{path}' holds NaN or infinite values in {list_some(broken)}",
            hint="Its training diverged or the file is damaged: take an earlier checkpoint",
        )
    return state


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str | Path,
    *,
    may_miss: Callable[[str], bool] = lambda key: False,
    name: str = "",
    hint: str = "",
) -> None:
    """Copy tensors into a network, or change nothing and name all that does not fit.

    Args:
        module: whose parameters and buffers are overwritten.
        state: tensors by name, as `read_state_dict` gives them.
        source: what to call the file in messages.
        may_miss: says of a name that it does not matter: it may be missing, unexpected, or of another shape, and is
            then left alone (the classification head, where only the backbone is wanted).
        name: what to call the network in messages; by default its class.
        hint: what to advise if it does not fit.

    Raises:
        WeightsError: names are missing or unexpected, or shapes differ; the first few of each are named.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> load_into(layer, {"weight": torch.ones(1, 2)}, "ones.pth")
        >>> layer.weight.tolist()
        [[1.0, 1.0]]
        >>> load_into(layer, {"bias": torch.ones(1)}, "ones.pth")
        Traceback (most recent call last):
        cvtl.errors.WeightsError: 'ones.pth' does not fit 'Linear': 1 missing: weight; 1 unexpected: bias. ...
    """
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not may_miss(name)}
    # Checkpoints from before torch 0.4.1 have no batch counters; only momentum=None makes use of them.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in wanted and not may_miss(name)]
    fitting = wanted.keys() & state.keys()
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in fitting and state[name].shape != wanted[name].shape
    ]
    problems = {"missing": missing, "of another shape": misshapen, "unexpected": unexpected}
    if any(problems.values()):
        listed = "; ".join(f"{len(names)} {what}: {list_some(names)}" for what, names in problems.items() if names)
        raise WeightsError(
            f"'{source}' does not fit '{name or type(module).__name__}': {listed}",
            hint=hint or FOREIGN,
        )
    with torch.no_grad():
        for name in fitting:
            wanted[name].copy_(state[name])


def _read(path: Path) -> Any:
    with open(path, "rb") as stream:
        start = stream.read(32)
    if not start:
        raise WeightsError(f"weights file '{path}' is empty", hint="Copy it again")
    # Before pickles: the header's length, which comes first, may begin like one.
    if start[8:9] == b"{":
        return _read_safetensors(path)
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return _read_pickle(path)
    what = next((name for magic, name in _OTHER_FILES.items() if start.startswith(magic)), "something else")
    raise WeightsError(
        f"'{path}' is neither a PyTorch nor a safetensors file but {what}",
        hint="Check the path, or download the weights again",
    )


def _read_pickle(path: Path) -> Any:
    try:
        # A stream, since torch would go by a path's extension.
        with open(path, "rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        objects = re.findall(r"GLOBAL ([\w.]+)", str(error))
        raise WeightsError(
            f"'{path}' is a pickle that holds more than tensors{f' ({objects[0]})' if objects else ''}, and reading "
            "those could run code",
            hint="Where you trust it, save its tensors alone: torch.save(model.state_dict(), path)",
        ) from error
    except Exception as error:  # A damaged file makes the reader stumble in any way.
        raise WeightsError(
            f"cannot read '{path}': it is truncated or damaged ({_first_sentence(error)})", hint=_COPY_AGAIN
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"cannot read '{path}': it is truncated or damaged ({_first_sentence(error)})", hint=_COPY_AGAIN
        ) from error


def _tensors_of(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for wrapper in ("state_dict", "model"):
        if isinstance(content.get(wrapper), Mapping):
            return _tensors_of(content[wrapper])
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def list_some(names: Sequence[str], most: int = 3) -> str:
    """The first few names and how many more there are.

    Example:
        >>> list_some(["a", "b", "c", "d"])
        'a, b, c and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _first_sentence(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0].partition(". ")[0].rstrip(".")
