"""Inputs that lie elsewhere: `s3://`, `gs://`, `https://` and whatever else fsspec knows. Torch-free.

Folders are listed one by one, each when the walk comes to it, in the order that local ones are walked in. What cannot
be read after a few tries is an unreadable input; how often and why depends on no clock, so rows are the same each time.
Addresses are told without user, password and query.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from cvtl.addresses import public_address
from cvtl.archives import is_archive
from cvtl.download import is_offline
from cvtl.errors import CvtlError, OfflineError, SourceError
from cvtl.patterns import WILDCARDS, match, past_stars
from cvtl.run_folder import DESCRIPTION_NAME, ROWS_NAME
from cvtl.videos import names_video

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

_TRIES = 4
_FIRST_PAUSE_SECONDS = 0.5
_WEB = ("http", "https")
_NOT_ON_A_NETWORK = ("file", "local", "memory")
# What a server may say to whom it should ask again.
_PASSING_ANSWERS = (408, 425, 429)


class RemoteFile(NamedTuple):
    """A file that lies elsewhere.

    Attributes:
        name: relative to the folder that it was asked for in, with forward slashes.
        read: gives its content; raises `OSError`.
    """

    name: str
    read: Callable[[], bytes]


def read_remote(address: str) -> bytes:
    """The content of a file, asked for several times if need be.

    Raises:
        OSError: it cannot be had; the message holds no address.
        CvtlError: it cannot be asked for, as nothing that reads it is installed, or the network is off.
    """

    def read() -> bytes:
        system, path = _open(address)
        return bytes(system.cat_file(path))

    return _tried(read)


def located(address: str, is_file: Callable[[str], bool]) -> str:
    """The same address, with a slash behind it if it is that of a folder.

    Args:
        address: of a file or a folder, or with wildcards.
        is_file: says of a path whether it is known by its name to be a file's; others are asked for.

    Raises:
        SourceError: there is nothing there, or what would read it is not installed.
        OfflineError: it would have to be asked for, and the network is off.
    """
    path = urlsplit(address).path
    if path.endswith("/") or is_file(path) or _fixed_part(address)[1]:
        return address
    with _as_source_errors(address):
        system, place = _open(address)
        if _tried(lambda: bool(system.isdir(place))):
            return f"{address}/"
        if not _tried(lambda: bool(system.exists(place))):
            raise FileNotFoundError("it is not there")
    return address


def base_of(address: str) -> str:
    """The folder that names are relative to, as an absolute path beside those of local inputs.

    Args:
        address: as `located` has it.

    Example:
        >>> base_of("s3://me:secret@bucket/photos/day*/x.jpg"), base_of("https://host/a.jpg?key=1")
        ('/s3/bucket/photos', '/https/host')
    """
    scheme, _, rest = public_address(_fixed_part(address)[0]).partition("://")
    return f"/{scheme}/{rest}".rstrip("/")


def remote_files(address: str, wanted: Callable[[str], bool]) -> Iterator[RemoteFile]:
    """The files that an address stands for: one, those of a folder and its subfolders, or those that fit a pattern.

    Args:
        address: of a file, or of a folder, which ends in a slash (`located`); or with `*`, `?`, `[...]` and `**` in it,
            `?` not on the web.
        wanted: says of the name of a file in a folder whether to give it.

    Yields:
        The files, depth first, the entries of each folder by name. A folder that cannot be listed on the way is a file
        that cannot be read. Folders that a run has written are passed over.

    Raises:
        SourceError: the first folder cannot be listed, or what would read it is not installed.
        OfflineError: it is on a network, and that is off.
    """
    path = urlsplit(address).path
    if names_video(path) or is_archive(path):
        label = public_address(address)
        raise SourceError(f"'{label}' is a video or an archive, which are read from disks only", hint="Copy it here")
    folder, pattern = _fixed_part(address)
    if not pattern and not path.endswith("/"):
        with _as_source_errors(address):
            _open(address)
        yield RemoteFile(path.rpartition("/")[2], partial(read_remote, address))
        return
    with _as_source_errors(address):
        yield from _walk(folder, pattern, wanted)


@contextmanager
def _as_source_errors(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "Check the address, and who may read what is there"
        raise SourceError(f"'{public_address(address)}' cannot be opened: {error}", hint=hint) from error


class _Folder(NamedTuple):
    """A folder that the walk is inside of.

    Attributes:
        name: relative to the walk's root, with a slash behind it unless empty.
        entries: (name, path, whether it is a folder) of those still to visit.
        matched: how many parts of the pattern the way here may have used up.
    """

    name: str
    entries: Iterator[tuple[str, str, bool]]
    matched: frozenset[int]


def _walk(address: str, pattern: Sequence[str], wanted: Callable[[str], bool]) -> Iterator[RemoteFile]:
    system, root = _open(address)
    inside = [_Folder("", _listed(system, root), past_stars({0}, pattern))]
    while inside:
        folder = inside[-1]
        entry = next(folder.entries, None)
        if entry is None:
            inside.pop()
            continue
        name, path, is_folder = entry
        matched = match(name, folder.matched, pattern)
        if not matched or name.startswith("."):
            continue
        full_name = folder.name + name
        if is_folder:
            try:
                inside.append(_Folder(f"{full_name}/", _listed(system, path), matched))
            except OSError as error:
                yield RemoteFile(full_name, partial(_refuse, str(error)))
        elif len(pattern) in matched and wanted(full_name):
            yield RemoteFile(full_name, partial(read_remote, _address_of(system, path, address)))


def _listed(system: AbstractFileSystem, path: str) -> Iterator[tuple[str, str, bool]]:
    """A folder's entries by name; none if a run has written it."""
    entries = {}
    for each in _tried(lambda: list(system.ls(path, detail=True))):
        # On the web a listing may also hold links that sort it, and links to other folders.
        folder, _, name = str(each["name"]).partition("?")[0].rstrip("/").rpartition("/")
        if name and folder == path.rstrip("/"):
            entries[name] = (name, str(each["name"]), each["type"] == "directory")
    if {DESCRIPTION_NAME, ROWS_NAME} <= entries.keys():
        return iter(())
    return iter(sorted(entries.values()))


def _address_of(system: AbstractFileSystem, path: str, root: str) -> str:
    """A path as an address, with the user and the password of the root's."""
    address = path if "://" in path else str(system.unstrip_protocol(path))
    login, at, _ = urlsplit(root).netloc.rpartition("@")
    if at and "@" not in urlsplit(address).netloc:
        return address.replace("://", f"://{login}@", 1)
    return address


def _fixed_part(address: str) -> tuple[str, tuple[str, ...]]:
    """An address up to the folder before the first part with a wildcard, and the parts from there on.

    Of an address without wildcards: the folder that it lies in, or that it is.
    """
    scheme = urlsplit(address).scheme.lower()
    # On the web a question mark is where the path ends.
    path_end = address.find("?") if scheme in _WEB and "?" in address else len(address)
    start = address.index("://") + 3
    parts = address[start:path_end].split("/")
    wild = WILDCARDS - {"?"} if scheme in _WEB else WILDCARDS
    fixed = next((index for index, part in enumerate(parts) if index and set(part) & wild), None)
    if fixed is None:
        return address[:start] + "/".join(parts[:-1]) + "/", ()
    return address[:start] + "/".join(parts[:fixed]) + "/", tuple(parts[fixed:])


def _open(address: str) -> tuple[AbstractFileSystem, str]:
    """What reads it, and its path there.

    Raises:
        SourceError: nothing that is installed does.
        OfflineError: it is on a network, and that is off.
    """
    import fsspec
    from fsspec.registry import known_implementations

    label, scheme = public_address(address), urlsplit(address).scheme.lower()
    if is_offline() and scheme not in _NOT_ON_A_NETWORK:
        raise OfflineError(
            f"'{label}' is on the network, and --offline was given", hint="Leave it out, or copy it here"
        )
    try:
        # What was listed is not kept: memory would grow with the number of inputs.
        system, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        package = known_implementations.get(scheme, {}).get("class", "").partition(".")[0]
        hint = f"pip install {package}" if package != "fsspec" else str(known_implementations[scheme].get("err", ""))
        raise SourceError(f"'{label}' needs a package that is not installed", hint=hint) from error
    except ValueError as error:
        known = "s3, gs, az, https, sftp and others"
        raise SourceError(f"'{label}' cannot be read", hint=f"fsspec reads {known}") from error
    return system, str(path)


def _tried(ask: Callable[[], T]) -> T:
    """An answer, after as many tries as it takes.

    Raises:
        OSError: there is none, or it is no.
    """
    for number in range(_TRIES):
        if number:
            time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (number - 1))
        try:
            return ask()
        except CvtlError:
            raise
        except Exception as error:  # each file system has errors of its own
            reason, final = _reason(error)
            if final:
                break
    raise OSError(reason)


def _reason(error: Exception) -> tuple[str, bool]:
    """Why there is no answer, in the same words each time, and whether it is of no use to ask again."""
    status: Any = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "it is not there", True
    if isinstance(error, PermissionError) or status in (401, 403):
        return "access is denied", True
    if isinstance(status, int):
        return f"the server answered {status}", status < 500 and status not in _PASSING_ANSWERS
    if isinstance(error, TimeoutError):
        return "there was no answer in time", False
    return f"it cannot be reached ({type(error).__name__})", False


def _refuse(reason: str) -> bytes:
    raise OSError(reason)
