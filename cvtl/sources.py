"""Where pictures come from: files, videos, folders, globs, lists, stdin, archives, addresses, arrays. Torch-free.

Everything is lazy: a folder's listing is held only while the walk is inside it, so memory does not grow with the number
of inputs. The order is always the same: inputs as given; in folders and globs depth first, the entries of each
folder by name; in archives and lists as stored.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from cvtl.addresses import is_address, public_address
from cvtl.archives import is_archive, is_zip, members
from cvtl.data import UInt8Image
from cvtl.errors import SourceError
from cvtl.folder_walk import local_files
from cvtl.images import Decoded, cannot_open, decode, of_array
from cvtl.patterns import WILDCARDS
from cvtl.remote import base_of, located, read_remote, remote_files
from cvtl.run_settings import DEFAULT_MAX_PIXELS
from cvtl.videos import names_video, read_frames

if TYPE_CHECKING:
    from cvtl.profiling import Profile

# HEIC cannot be read, but a holiday's worth of it must not be passed over in silence.
PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".psd", ".avif", ".jp2", ".j2k", ".heic", ".heif"),
)
LIST_SUFFIX = ".txt"
STDIN = "-"


@dataclass(frozen=True, eq=False)
class Item:
    """One input of a run.

    Attributes:
        source: its name in rows: relative, with forward slashes.
        read: gives the file's content, once or more; raises `OSError`. None where there is an `image`.
        image: the picture, upright RGB uint8 (H, W, 3), where it is decoded already.
        fault: what is wrong with a video from this frame on.
        frame: number of the frame in a video, from 0.
        time: of the frame, in seconds from the video's start.
        video: path of the video that stands for its frames.
        rate: frames a second of the video that this is a frame of.
        arrived: when a live source gave it, on the clock of `time.perf_counter`.

    Example:
        >>> Item("empty.jpg", read=bytes).load().error
        'it is empty'
    """

    source: str
    read: Callable[[], bytes] | None = None
    image: UInt8Image | None = None
    fault: Decoded | None = None
    frame: int | None = None
    time: float | None = None
    video: str | None = None
    rate: float | None = None
    arrived: float | None = None

    def load(self, *, max_pixels: int = DEFAULT_MAX_PIXELS, profile: Profile | None = None) -> Decoded:
        """Read and decode; what cannot be opened is `unreadable`.

        Args:
            max_pixels: as for `decode`.
            profile: is told how long reading and decoding took.
        """
        if self.fault is not None:
            return self.fault
        if self.image is not None:
            return of_array(self.image)
        assert self.read is not None, "an item has a picture or a way to read one"
        try:
            with profile.measure("read") if profile else nullcontext():
                content = self.read()
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
            return cannot_open(error)
        except MemoryError:
            return cannot_open(OSError(errno.ENOMEM, "the file is larger than the memory"))
        with profile.measure("decode") if profile else nullcontext():
            return decode(content, max_pixels=max_pixels)


def open_sources(
    inputs: Sequence[str | Path | UInt8Image],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stdin: Iterable[bytes] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Iterator[Item]:
    """The pictures of all inputs, lazily.

    Args:
        inputs: each one a file; a folder, walked with its subfolders; a pattern with `*`, `?`, `[...]` or `**` (any
            number of folders); a `.txt` list of paths relative to the list's folder, one on a line, `#` before
            comments; `-`, such a list on standard input, relative to the working folder; a zip or tar archive; the
            address of a file, folder, pattern or list elsewhere (`s3://`, `https://`, ...: `cvtl.remote`); or an array,
            RGB uint8 (H, W, 3) or grey (H, W). In folders, patterns and archives only names that end in one of
            `PICTURE_SUFFIXES` count, and hidden ones do not. Files whose names end in one of
            `cvtl.videos.VIDEO_SUFFIXES` are videos, with an item for each frame; not in folders and archives, and in
            patterns only where these end in such a suffix.
        include: patterns; only names that fit one are taken. They are held against the name inside the input
            (`sub/x.jpg`, where `*` spans slashes) and against the last part alone (`x.jpg`).
        exclude: patterns; names that fit one are left out.
        stdin: what to read for `-`, instead of the process's standard input.
        max_pixels: videos with larger frames are not decoded.

    Returns:
        An item for each picture and each frame. Names are relative to the input, or with several inputs to the deepest
        folder that holds them all, so that equal names mean the same picture. Paths in lists keep the form they have
        there. Bytes that are not UTF-8 are written in hexadecimal. What a list names but is not there, and a folder or
        archive that turns out to be closed or damaged on the way, is an item that cannot be loaded. Folders that a
        run has written are passed over.

    Raises:
        SourceError: an input does not exist or holds no pictures; at once, but for `-` and for include and exclude.
    """
    sources = _parse(inputs, stdin)
    for source in sources:
        if source.can_peek and next(source.items(), None) is None:
            raise SourceError(f"there are no pictures in '{source.label}'", hint=source.hint)
    return _selected(sources, include, exclude, max_pixels)


def count_sources(
    inputs: Sequence[str | Path | UInt8Image], *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> int | None:
    """How many items `open_sources` will give; None where only reading would tell.

    That is of standard input, tar archives and videos.

    Raises:
        SourceError: an input does not exist.
    """
    sources = _parse(inputs, ())
    if not all(source.can_count for source in sources):
        return None
    count = 0
    for item in (item for source in sources for item in source.items()):
        if _fits(item.source, include, exclude):
            if item.video is not None:
                return None
            count += 1
    return count


@dataclass(frozen=True)
class _Source:
    """One input.

    Attributes:
        label: the input as given, for messages.
        items: gives its items anew at each call.
        base: absolute path that the items' names are relative to; None for arrays.
        hint: what to do if there are no items.
        can_peek: whether items may be asked for before the run begins.
        can_count: whether going through the items is cheap.
    """

    label: str
    items: Callable[[], Iterator[Item]]
    base: str | None
    hint: str = f"Pictures are known by their names, which end in {', '.join(PICTURE_SUFFIXES)}"
    can_peek: bool = True
    can_count: bool = True


def _parse(inputs: Sequence[str | Path | UInt8Image], stdin: Iterable[bytes] | None) -> list[_Source]:
    if not inputs:
        raise SourceError("there are no inputs", hint="Name files, folders, patterns, lists or archives")
    paths = [os.fspath(each) for each in inputs if not isinstance(each, np.ndarray)]
    if paths.count(STDIN) > 1:
        raise SourceError("standard input ('-') is named twice", hint="It can be read only once")
    return [
        _array_source(each, index) if isinstance(each, np.ndarray) else _path_source(os.fspath(each), stdin)
        for index, each in enumerate(inputs)
    ]


def _array_source(image: UInt8Image, index: int) -> _Source:
    grey = image.ndim == 2
    if image.dtype != np.uint8 or image.size == 0 or not (grey or (image.ndim == 3 and image.shape[2] == 3)):
        found = f"{image.dtype} {image.shape}"
        raise SourceError(
            f"input {index} is an array {found}", hint="Give uint8 (H, W, 3) in RGB order, or grey (H, W)"
        )
    rgb = np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2) if grey else image)
    name = f"array/{index}"
    return _Source(name, lambda: iter([Item(name, image=rgb)]), base=None)


def _path_source(path: str, stdin: Iterable[bytes] | None) -> _Source:
    line_hint = "Write one path on each line"
    if path == STDIN:
        # A stream of its own: a thread that waits for a line in sys.stdin would hold up the end of the process.
        lines = open(0, "rb", closefd=False) if stdin is None else stdin  # noqa: SIM115
        items = partial(_listed, lines, "")
        return _Source("standard input", items, os.getcwd(), line_hint, can_peek=False, can_count=False)
    if is_address(path):
        path = located(path, _names_file)
        # Counting would list everything once more, which takes its time and is paid for.
        source = partial(_Source, public_address(path), base=base_of(path), can_count=False)
        if urlsplit(path).path.lower().endswith(LIST_SUFFIX):
            return source(partial(_remote_list, path), hint=line_hint)
        return source(partial(_remote, path))
    if os.path.isdir(path):
        return _Source(path, partial(_walk, path), os.path.abspath(path))
    if not os.path.exists(path):
        return _glob_source(path)
    folder = os.path.abspath(os.path.dirname(path))
    if path.lower().endswith(LIST_SUFFIX):
        return _Source(path, partial(_list_file, path), folder, line_hint)
    if is_archive(path):
        # Counting a tar archive's members takes as long as reading them all.
        return _Source(path, partial(_archived, path), os.path.abspath(path), can_count=is_zip(path))
    return _Source(path, lambda: iter([_file(os.path.basename(path), path)]), folder)


def _glob_source(pattern: str) -> _Source:
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts) if set(part) & WILDCARDS), None)
    if fixed is None:
        raise SourceError(f"there is no file or folder '{pattern}'", hint="Check the path")
    folder = os.path.join(*parts[:fixed]) if fixed else os.curdir
    return _Source(pattern, partial(_walk, folder, parts[fixed:]), os.path.abspath(folder))


def _selected(
    sources: Sequence[_Source], include: Sequence[str], exclude: Sequence[str], max_pixels: int
) -> Iterator[Item]:
    bases = [source.base for source in sources if source.base is not None]
    common = os.path.commonpath(bases) if bases else ""
    nothing = True
    for source in sources:
        prefix = "" if source.base is None else Path(os.path.relpath(source.base, common)).as_posix()
        for item in source.items():
            if _fits(item.source, include, exclude):
                nothing = False
                # An absolute path or an address in a list stays one.
                relative = not is_address(item.source)
                name = posixpath.normpath(posixpath.join(prefix, item.source)) if relative else item.source
                named = replace(item, source=_printable(name))
                yield from [named] if named.video is None else _frames(named, named.video, max_pixels)
    if nothing:
        what = " or ".join(f"'{source.label}'" for source in sources)
        raise SourceError(
            f"there are no pictures in {what}"
            + (" that --include and --exclude let through" * bool(include or exclude)),
            hint="Patterns are held against names like 'sub/x.jpg' and 'x.jpg'" if include or exclude else "",
        )


def _fits(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    def fits_one_of(patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(each, pattern) for pattern in patterns for each in (name, posixpath.basename(name)))

    return (not include or fits_one_of(include)) and not fits_one_of(exclude)


def _printable(name: str) -> str:
    """File names may be any bytes; JSON holds text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _names_picture(name: str) -> bool:
    """Whether a name in a folder or an archive is a picture's."""
    hidden = name.startswith(".") or "/." in name
    return name.lower().endswith(PICTURE_SUFFIXES) and not hidden


def _names_file(path: str) -> bool:
    """Whether a path is known by its name to be a file's."""
    return path.lower().endswith((*PICTURE_SUFFIXES, LIST_SUFFIX)) or names_video(path) or is_archive(path)


def _file(name: str, path: str) -> Item:
    return Item(name, Path(path).read_bytes, video=path if names_video(path) else None)


def _frames(item: Item, path: str, max_pixels: int) -> Iterator[Item]:
    for frame in read_frames(path, max_pixels=max_pixels):
        image = frame.decoded.image
        fault = frame.decoded if image is None else None
        yield Item(item.source, image=image, fault=fault, frame=frame.number, time=frame.time, rate=frame.rate)


def _remote(address: str) -> Iterator[Item]:
    for name, read in remote_files(address, _names_picture):
        yield Item(name, read)


def _remote_list(address: str) -> Iterator[Item]:
    try:
        (file,) = remote_files(address, bool)
        lines = file.read().splitlines()
    except OSError as error:
        raise SourceError(f"cannot read the list '{public_address(address)}': {error}", hint="Check it") from error
    yield from _listed(lines, address.rpartition("/")[0])


def _listed(lines: Iterable[bytes], folder: str) -> Iterator[Item]:
    for line in lines:
        path = os.fsdecode(line).strip("\ufeff \t\r\n")
        if not path or path.startswith("#"):
            continue
        if is_address(path):
            yield Item(public_address(path), partial(read_remote, path))
        elif is_address(folder):
            yield Item(path, partial(read_remote, f"{folder}/{path}"))
        else:
            yield _file(Path(path).as_posix(), os.path.join(folder, path))


def _list_file(path: str) -> Iterator[Item]:
    try:
        with open(path, "rb") as stream:
            yield from _listed(stream, os.path.dirname(path))
    except OSError as error:
        raise SourceError(f"cannot read the list '{path}': {error.strerror}", hint="Check its permissions") from error


def _archived(path: str) -> Iterator[Item]:
    for name, read in members(path, _names_picture):
        yield Item(name, read)


def _walk(root: str, pattern: Sequence[str] = ()) -> Iterator[Item]:
    """The pictures below `root` whose path fits the pattern's parts, or that lie in a folder whose path does."""
    wanted = names_video if pattern and names_video(pattern[-1]) else _names_picture
    for name, found in local_files(root, pattern, wanted):
        yield _file(name, found) if isinstance(found, str) else Item(name, partial(_raise, found))


def _raise(error: OSError) -> bytes:
    raise error
