"""One look at every picture: what later checks need of it, in some hundred bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np

from cvtl.background import map_ahead
from cvtl.data import Dataset, Sample, UInt8Image
from cvtl.errors import DataError
from cvtl.fingerprints import Fingerprint, fingerprint_of
from cvtl.images import Decoded, cannot_open, decode, of_array
from cvtl.picture_header import SUFFIXES, PictureHeader, read_header
from cvtl.run_settings import default_readers
from cvtl_datasets.checks.findings import Finding, finding
from cvtl_datasets.checks.sequences import GREY_SIDE

_KIND_OF_STATUS = {
    "unreadable": "unreadable picture",
    "truncated": "truncated picture",
    "too_large": "too large picture",
}
# PNG's colour types with an alpha channel, and where the type stands.
_PNG_ALPHA, _PNG_COLOUR_TYPE = (4, 6), 25


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to keep of a picture that was looked at.

    Attributes:
        status: `ok`, `unreadable`, `truncated`, `too_large`; `missing` where there is no file.
        error: what is wrong with it, if not `ok`.
        wh: width and height of the upright picture, if known.
        header: of its file, if it has a readable one.
        fingerprint: to find duplicates by; None if not `ok`.
        grey: the picture as `GREY_SIDE` x `GREY_SIDE` grey values, uint8; empty if not `ok`.
        colourless: whether all its pixels are grey.
        transparent: whether it has an alpha channel.
    """

    status: str
    error: str | None = None
    wh: tuple[int, int] | None = None
    header: PictureHeader | None = None
    fingerprint: Fingerprint | None = None
    grey: bytes = b""
    colourless: bool = False
    transparent: bool = False


def look_at_all(dataset: Dataset, advance: Callable[[int], None]) -> list[Seen]:
    """Read and decode every picture once, a few at a time.

    Args:
        dataset: pictures of any kind; broken ones are seen as such.
        advance: called with 1 after each picture.

    Returns:
        One for each sample, in order.
    """
    found = []
    for seen in map_ahead(look_at, dataset, default_readers()):
        found.append(seen)
        advance(1)
    return found


def look_at(sample: Sample) -> Seen:
    """Read and decode one picture; a broken one is seen as such.

    Example:
        >>> look_at(Sample("a", read=lambda: np.zeros((20, 30, 3), np.uint8))).wh
        (30, 20)
    """
    try:
        data, decoded = _decode(sample)
    except (FileNotFoundError, NotADirectoryError):
        return Seen("missing", wh=sample.annotated_wh)
    header = read_header(sample.file) if sample.file else None
    image = decoded.image
    if image is None:
        wh = (decoded.width, decoded.height) if decoded.width and decoded.height else sample.annotated_wh
        return Seen(decoded.status, decoded.error, wh, header)
    return Seen(
        "ok",
        None,
        (image.shape[1], image.shape[0]),
        header,
        fingerprint_of(data or image.tobytes(), image),
        _grey(image),
        colourless=_is_colourless(image),
        transparent=data.startswith(b"\x89PNG") and data[_PNG_COLOUR_TYPE] in _PNG_ALPHA,
    )


def picture_findings(dataset: Dataset, seen: list[Seen]) -> Iterator[Finding]:
    """What is wrong with single picture files, and with the sizes that annotations give.

    Args:
        dataset: N samples.
        seen: N, one for each.
    """
    reported = {problem.sample for problem in dataset.problems if problem.kind == "label without picture"}
    readable = sum(each.status == "ok" for each in seen)
    few_are_grey = 0 < sum(each.colourless for each in seen) <= readable / 4
    for sample, each in zip(dataset, seen, strict=True):
        name = sample.name
        if each.status == "missing" and name not in reported:
            yield finding("label without picture", name, f"there is no file '{sample.file}'", (name,))
        if kind := _KIND_OF_STATUS.get(each.status):
            yield finding(kind, name, each.error or "", (name,))
        if each.header:
            yield from _file_findings(sample, each.header)
        if each.transparent:
            yield finding("alpha channel", name, "it has an alpha channel", (name,))
        if each.colourless and few_are_grey:
            yield finding("greyscale picture", name, "it has no colours", (name,))


def _file_findings(sample: Sample, header: PictureHeader) -> Iterator[Finding]:
    name, kind = sample.name, header.kind
    suffix = PurePosixPath(name if sample.file is None else sample.file.name).suffix
    if suffix and suffix.lower() not in SUFFIXES[kind]:
        yield finding("wrong suffix", name, f"it is a {kind} file, not what '{suffix}' says", (name,))
    stored, upright, stated = (header.width, header.height), header.upright_wh, sample.annotated_wh
    if header.orientation != 1:
        what = f"stored with EXIF orientation {header.orientation}; upright it is {_size(upright)}"
        yield finding("turned by EXIF", name, what, (name,))
    if stated is None or stated == upright:
        return
    if stated == stored:
        what = f"annotated as {_size(stated)}, as it is stored; upright it is {_size(upright)}, so its boxes lie wrong"
        yield finding("annotated unturned", name, what, (name,))
    else:
        yield finding("wrong annotated size", name, f"annotated as {_size(stated)}, it is {_size(upright)}", (name,))


def _decode(sample: Sample) -> tuple[bytes, Decoded]:
    """The file's bytes, and the picture in them; of one that is made when it is read, the picture alone."""
    if sample.file is None:
        try:
            return b"", of_array(sample.read())
        except DataError as error:
            return b"", Decoded(None, "unreadable", error.what)
    try:
        data = sample.file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        return b"", cannot_open(error)
    return data, decode(data)


def _grey(image: UInt8Image) -> bytes:
    # Shrinking first is many times faster than converting all pixels, and grey is linear in the colours.
    small = cv2.resize(image, (GREY_SIDE, GREY_SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).tobytes()


def _is_colourless(image: UInt8Image) -> bool:
    # A few rows tell of nearly every picture with colours.
    return all(
        np.array_equal(part[..., 0], part[..., 1]) and np.array_equal(part[..., 1], part[..., 2])
        for part in (image[:: max(1, len(image) // 8)], image)
    )


def _size(wh: tuple[int, int]) -> str:
    return f"{wh[0]} x {wh[1]}"
