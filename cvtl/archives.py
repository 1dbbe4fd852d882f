"""Members of zip and tar archives, read into memory and never unpacked. Torch-free."""

from __future__ import annotations

import lzma
import os
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial

from cvtl.errors import SourceError

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

Reader = Callable[[], bytes]

_DAMAGED = "the archive is damaged here, and what follows in it cannot be read"
_DAMAGES = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)


def is_zip(path: str) -> bool:
    """Whether the name is that of a zip archive."""
    return path.lower().endswith(ZIP_SUFFIXES)


def is_archive(path: str) -> bool:
    """Whether the name is that of an archive that can be read.

    Example:
        >>> is_archive("photos/2024.TGZ"), is_archive("photos.7z")
        (True, False)
    """
    return path.lower().endswith((*ZIP_SUFFIXES, *TAR_SUFFIXES))


def members(path: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Reader]]:
    """The files in an archive, in the order in which they are stored.

    A zip's members are read when asked for, a tar's as the iteration passes them, since there is no way back.

    Args:
        path: the archive.
        wanted: says of a member's name whether to give it.

    Yields:
        Name and reader. Names are relative, with forward slashes and without `..`. Readers raise `OSError` for what
        is encrypted or damaged. Where a tar archive is damaged, a last pair with the archive's own name stands for
        all that would have followed.

    Raises:
        SourceError: it is no archive, or cannot be opened.
    """
    return _zip_members(path, wanted) if is_zip(path) else _tar_members(path, wanted)


def _zip_members(path: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Reader]]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise _unusable(path, error) from error
    for info in archive.infolist():
        name = _safe(info.filename)
        if wanted(name) and not info.is_dir():
            yield name, partial(_read_zip_member, archive, info)


def _read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & 1:
        raise OSError("it is encrypted")
    try:
        return archive.read(info)
    except Exception as error:  # zipfile and its codecs raise whatever they stumble over
        raise OSError("it is damaged inside the archive, or packed in an unknown way") from error


def _tar_members(path: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Reader]]:
    with _open_tar(path) as archive:
        try:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # where it would remember every member
                name = _safe(info.name)
                if wanted(name) and not info.isdir():
                    yield name, _read_tar_member(archive, info)
        except _DAMAGES:
            yield os.path.basename(path), partial(_refuse, _DAMAGED)


def _open_tar(path: str) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r|*", tarinfo=_StrictTarInfo)
    except _DAMAGES as error:
        raise _unusable(path, error) from error


def _read_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Reader:
    content = archive.extractfile(info) if info.isreg() else None
    if content is None:
        return partial(_refuse, "it is a link or a device; inside archives these are not followed")
    return partial(bytes, content.read())


class _StrictTarInfo(tarfile.TarInfo):
    """Tells a damaged header from the end of the archive, which `tarfile` does not."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictTarInfo:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):  # the end is marked by zeros, or by nothing
                raise tarfile.ReadError(str(error)) from error
            raise


def _refuse(reason: str) -> bytes:
    raise OSError(reason)


def _safe(name: str) -> str:
    parts = posixpath.normpath(name.replace("\\", "/")).split("/")
    return "/".join("_up" if part == ".." else part for part in parts if part)


def _unusable(path: str, error: Exception) -> SourceError:
    reason = getattr(error, "strerror", None) or "it is empty, damaged, or not of the kind that its name says"
    return SourceError(f"cannot read the archive '{path}': {reason}", hint="Copy or download it again")
