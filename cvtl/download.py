"""Downloads that are asked for: progress, hash, nothing half-written, and a clear word when there is no network.

Importing this module touches no network and imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from cvtl.errors import OfflineError, WeightsError
from cvtl.files import output_error

OFFLINE_VARIABLE = "CVTL_OFFLINE"
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 20
# torchvision's convention: `resnet18-f37072fd.pth` begins its SHA-256 with f37072fd.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


def is_offline(offline: bool | None = None) -> bool:
    """Whether downloading is off: as asked, else as the environment variable `CVTL_OFFLINE` says.

    Example:
        >>> is_offline(True)
        True
    """
    if offline is not None:
        return offline
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def fetch(url: str, folder: str | Path, *, sha256_prefix: str = "", offline: bool | None = None) -> Path:
    """The file of this address, from the folder if it is there, else downloaded into it.

    A progress bar is shown on a terminal. A download that stops half-way leaves nothing under the final name.

    Args:
        url: http or https address whose last part is the file's name.
        folder: where the file is kept; made as needed.
        sha256_prefix: the first hexadecimal digits of its SHA-256; by default those in its name, torchvision's way
            (`name-0123abcd.pth`), and no check where the name has none. A file already there is checked too.
        offline: raise instead of downloading; by default as `CVTL_OFFLINE` says.

    Returns:
        Path of the whole, checked file.

    Raises:
        OfflineError: downloading is off or failed; the message has the address and the folder.
        WeightsError: the file does not have the hash.
        OutputError: the folder cannot be written.
    """
    name = PurePosixPath(urlsplit(url).path).name
    path = Path(folder) / name
    found = _HASH_IN_NAME.search(name)
    sha256_prefix = sha256_prefix or (found.group(1) if found else "")
    if path.exists():
        with open(path, "rb") as stream:
            _check_hash(path, hashlib.file_digest(stream, "sha256").hexdigest(), sha256_prefix)
        return path
    advice = f"Get {url} elsewhere and put it into {path.parent}"
    if is_offline(offline):
        raise OfflineError(f"'{name}' is not in '{path.parent}', and downloading is off", hint=advice)
    partial = path.with_name(f".{name}.{os.getpid()}.partial")
    try:
        digest = _write(partial, _received(url, name, advice))
        _check_hash(path, digest, sha256_prefix)
        os.replace(partial, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return path


def fetch_from_hub(repo: str, names: Sequence[str], *, offline: bool | None = None) -> Path:
    """A file of a Hugging Face model repository, from its cache or downloaded into it.

    Args:
        repo: such as `timm/resnet50.a1_in1k`.
        names: the file's possible names, the preferred first.
        offline: look into the cache only; by default as `CVTL_OFFLINE` or the hub's own `HF_HUB_OFFLINE` says.

    Raises:
        OfflineError: downloading is off or failed; the message names repository, file and cache folder.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RemoteEntryNotFoundError

    for name in names:
        cached = try_to_load_from_cache(repo, name)
        if isinstance(cached, str):
            return Path(cached)
    what = f"'{names[0]}' of '{repo}'"
    advice = (
        f"Get it from {constants.ENDPOINT}/{repo} and give its path as the weights, or copy the repository's folder "
        f"from another machine's cache into {constants.HF_HUB_CACHE}"
    )
    if is_offline(offline) or constants.HF_HUB_OFFLINE:
        raise OfflineError(f"{what} is not in '{constants.HF_HUB_CACHE}', and downloading is off", hint=advice)
    try:
        # Without a network the hub's own client repeats its request for most of a minute.
        _reach(constants.ENDPOINT)
        for name in names:
            try:
                return Path(hf_hub_download(repo, name))
            except RemoteEntryNotFoundError:
                continue
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise OfflineError(f"cannot download {what}: {_reason(error)}", hint=advice) from error
    raise OfflineError(f"cannot download {what}: the repository has no such file", hint=advice)


def _received(url: str, name: str, advice: str) -> Iterator[bytes]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    # Started only once the server answers, so that a failure is not drawn as a bar.
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, bar:
            length = response.headers.get("Content-Length")
            total, received = int(length) if length else None, 0
            task = bar.add_task(name, total=total)
            while chunk := response.read(_CHUNK_BYTES):
                received += len(chunk)
                bar.update(task, completed=received)
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise OfflineError(f"cannot download '{name}': {_reason(error)}", hint=advice) from error
    # http.client takes a connection that is cut for the end of the file.
    if total is not None and received < total:
        raise OfflineError(
            f"cannot download '{name}': the connection was cut after {received} of {total} bytes",
            hint=f"Try again. {advice}",
        )


def _write(path: Path, chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        for chunk in chunks:
            digest.update(chunk)
            stream.write(chunk)
    return digest.hexdigest()


def _check_hash(path: Path, digest: str, prefix: str) -> None:
    if not digest.startswith(prefix):
        raise WeightsError(
            f"'{path}' has the SHA-256 {digest[: max(16, len(prefix))]}..., but it should begin with {prefix}",
            hint="It was damaged or changed on the way: delete it if it is there, and get it again",
        )


def _reach(address: str) -> None:
    # An answer that is an error is an answer.
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=5).close()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    return str(getattr(error, "reason", "") or error).partition("\n")[0]
