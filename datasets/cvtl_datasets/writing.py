"""What writing a data set takes in every format: pictures, file names that are safe everywhere, and lists of lines.

Boxes and points refer to the upright picture, and not every reader turns pictures as their EXIF orientation says. So
pictures that are stored turned are written upright; all others are copied byte for byte.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cvtl.data import Sample
from cvtl.errors import CvtlWarning, DataError
from cvtl.images import cannot_open, decode, encode
from cvtl.picture_header import SUFFIXES, read_header
from cvtl.sources import PICTURE_SUFFIXES

# What happened to pictures on the way: keys of what `save` returns.
UNREADABLE = "unreadable picture"
TURNED = "picture turned upright"
SUFFIX_CORRECTED = "suffix corrected"
NAME_CHANGED = "picture name changed"
SIZE_CORRECTED = "annotated size corrected"

# The kinds that turned pictures keep; others, which could not be written without loss, become PNG.
_KEPT_KINDS = ("JPEG", "PNG", "TIFF")

# Control characters, line ends, halves of characters, and what some file system forbids.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff<>:"/\\|?*]')
_RESERVED = re.compile(r"\.|$|(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
# File systems allow 255 bytes; there must be room for a number and a suffix.
_LONGEST_NAME = 200


class WrittenPicture(NamedTuple):
    """A picture in its new place.

    Attributes:
        path: the file.
        name: the file's name, relative to the subfolder that it was written to.
        width: of the upright picture, in pixels.
        height: likewise.
        rotated: whether it was stored turned, and is now upright.
    """

    path: Path
    name: str
    width: int
    height: int
    rotated: bool


class SafeNames:
    """Makes names of files that are safe on every system, and unique even where upper and lower case are the same.

    Example:
        >>> names = SafeNames()
        >>> [names.add(name) for name in ("cat", "Cat", "../up", "con", "")]
        ['cat', 'Cat-2', '_.._up', '_con', '_']
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()

    def add(self, name: str) -> str:
        """The name to use for what is called `name`; another one each time."""
        safe = unique = _safe(name)
        while _folded(unique) in self._taken:
            self._numbers[safe] += 1
            unique = f"{safe}-{self._numbers[safe] + 1}"
        self._taken.add(_folded(unique))
        return unique


class PictureWriter:
    """Writes the pictures of samples into a folder and its subfolders.

    A picture that is stored turned (EXIF orientation) is written upright and without EXIF: as JPEG of quality 95 if it
    was one, else without loss. A generated one becomes PNG. All others are copied byte for byte. Names keep their
    stems where these are safe and not taken; suffixes say what is inside.

    Args:
        folder: where to write; it and its subfolders are made as needed.

    Attributes:
        counts: what happened to pictures on the way, and how often; to be a part of what `save` returns.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> writer = PictureWriter(Path(tempfile.mkdtemp()))
        >>> cats = [Sample(name, lambda: np.zeros((20, 30, 3), np.uint8)) for name in ("a/cat", "b/Cat")]
        >>> [writer.write(cat, "train").name for cat in cats]
        ['cat.png', 'Cat-2.png']
        >>> writer.counts
        Counter({'picture name changed': 1})
    """

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._names: dict[str, SafeNames] = {}

    def write(self, sample: Sample, subfolder: str = "") -> WrittenPicture:
        """Write a sample's picture.

        Args:
            sample: whose picture to write.
            subfolder: below the folder, with forward slashes.

        Raises:
            DataError: there is no picture, or it cannot be decoded; the message names the file.
            OSError: it cannot be written.
        """
        picture = _picture_of(sample)
        stem = _stem(sample.name)
        unique_stem = self._names.setdefault(subfolder, SafeNames()).add(stem)
        name = unique_stem + picture.suffix
        path = self._folder / subfolder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.content)
        happened = {
            TURNED: picture.rotated,
            SUFFIX_CORRECTED: sample.file is not None and sample.file.suffix != picture.suffix,
            NAME_CHANGED: unique_stem != stem,
            SIZE_CORRECTED: sample.annotated_wh not in (None, (picture.width, picture.height)),
        }
        self.counts.update(what for what, so in happened.items() if so)
        return WrittenPicture(path, name, picture.width, picture.height, picture.rotated)


def write_pictures(
    samples: Iterable[Sample],
    writer: PictureWriter,
    advance: Callable[[int], None],
    subfolder: Callable[[Sample], str] = lambda sample: "",
) -> Iterator[tuple[Sample, WrittenPicture]]:
    """Write the pictures of many samples: what every `save` loops over.

    Samples whose pictures are missing or cannot be decoded are passed over, counted in `writer.counts`, and named by a
    `CvtlWarning`, which `cvtl data convert` shows.

    Args:
        samples: the data set or a part of it.
        writer: where to.
        advance: as `save` gets it; called with 1 after each sample, whether it was written or not.
        subfolder: the subfolder that a sample's picture belongs into.

    Yields:
        Each sample and its picture in its new place.
    """
    for sample in samples:
        try:
            written = writer.write(sample, subfolder(sample))
        except DataError as error:
            leave_out(error, writer.counts)
        else:
            yield sample, written
        advance(1)


def leave_out(error: DataError, counts: Counter[str]) -> None:
    """Count a picture that cannot be read, and name it by a `CvtlWarning`."""
    counts[UNREADABLE] += 1
    warnings.warn(f"left out: {error.what}", CvtlWarning, stacklevel=3)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file of lines, UTF-8 with line feeds on every system; its folder is made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


class _Picture(NamedTuple):
    content: bytes
    suffix: str
    width: int
    height: int
    rotated: bool


def _picture_of(sample: Sample) -> _Picture:
    if sample.file is None:
        image = sample.read()
        return _Picture(encode(image, ".png"), ".png", image.shape[1], image.shape[0], rotated=False)
    content = b""
    try:
        content = sample.file.read_bytes()
        decoded = decode(content)
    except OSError as error:
        decoded = cannot_open(error)
    if decoded.image is None:
        raise DataError(f"cannot read the picture '{sample.file}': {decoded.error}", hint="Replace or remove it")
    height, width = decoded.image.shape[:2]
    header = read_header(sample.file)
    suffix = sample.file.suffix
    if header is None:  # OpenCV is less strict
        return _Picture(content, suffix, width, height, rotated=False)
    rotated = header.orientation != 1
    kind = header.kind if header.kind in _KEPT_KINDS or not rotated else "PNG"
    if suffix.lower() not in SUFFIXES[kind]:
        suffix = SUFFIXES[kind][0]
    return _Picture(encode(decoded.image, SUFFIXES[kind][0]) if rotated else content, suffix, width, height, rotated)


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in PICTURE_SUFFIXES else path.name


def _safe(name: str) -> str:
    name = _UNSAFE.sub("_", name).strip()
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(" .")
    return f"_{name}" if _RESERVED.match(name) else name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
