"""The one decoder: bytes in, an upright RGB picture or the reason why there is none out. Torch-free.

OpenCV decodes the common case, an undamaged JPEG, because it is the fastest at that. Everything else goes through
Pillow, which is as fast for the other formats and, unlike OpenCV, says when rows are missing.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import MAXBLOCK, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import STRIPBYTECOUNTS, STRIPOFFSETS, TILEBYTECOUNTS, TILEOFFSETS, TiffImageFile

from cvtl.data import UInt8Image
from cvtl.errors import DataError, OutputError
from cvtl.picture_header import kind_of, orientation_of, upright_wh
from cvtl.run_settings import DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from cvtl.results import Status


# What `encode` writes, with OpenCV's parameters.
_ENCODINGS: dict[str, list[int]] = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
    ".png": [],
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
}
ENCODED_SUFFIXES = tuple(_ENCODINGS)

_NO_PICTURE = "it is not a picture, or of a kind that cannot be read"
_NOT_HEIC = "it is a HEIC picture, which cannot be read: convert it to JPEG"
_HEIC = re.compile(rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL)

_JPEG_END = b"\xff\xd9"

# EXIF orientation -> how to make such a picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture, or why there is none.

    Attributes:
        image: upright RGB uint8 (H, W, 3), contiguous; None where `status` is not `ok`.
        status: `ok`, `unreadable`, `truncated` or `too_large`.
        error: what is wrong with "it", the input: for people, without the input's name and without a full stop.
        width: of the upright picture in pixels; from the header where there is no image, None if that is unreadable.
        height: likewise.
    """

    image: UInt8Image | None
    status: Status
    error: str | None = None
    width: int | None = None
    height: int | None = None


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """Decode a picture of any common format, recognised by its content.

    Grey, palette, CMYK and Lab pictures become RGB; 16-bit values are divided by 256; transparency and colour
    profiles are ignored; of an animation or a document the first frame or page counts. EXIF orientation is applied.
    Safe to call from several threads.

    Args:
        data: the file's content.
        max_pixels: pictures whose header promises more are refused before anything is decoded. For WebP, and for
            what is inside GIF and ICO, more than the default has no effect: Pillow has that limit, too.

    Returns:
        The picture, or its status; bad content raises nothing. Damage inside a JPEG that its decoder can step over
        goes unnoticed.

    Example:
        >>> decode(encode(np.zeros((20, 30, 3), np.uint8), ".png")).width
        30
        >>> decode(b"hello").error
        'it is not a picture, or of a kind that cannot be read'
    """
    if not data:
        return Decoded(None, "unreadable", "it is empty")
    size = _whole_jpeg_size(data)
    if size and size[0] * size[1] <= max_pixels:
        with contextlib.suppress(cv2.error):  # then Pillow says what is wrong
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            if image is not None:
                return of_array(np.asarray(image, np.uint8))
    return _decode_carefully(data, max_pixels)


def read_image(path: str | os.PathLike[str]) -> UInt8Image:
    """Read a picture that has to be there, such as a data set's: upright RGB uint8 (H, W, 3).

    Raises:
        DataError: there is none, or it cannot be decoded; the message names the file.
    """
    return decode_file(read_file(path), path)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a picture's file that has to be there.

    Raises:
        DataError: it cannot be had; the message names the file.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _bad_file(path, cannot_open(error)) from error


def decode_file(data: bytes, path: str | os.PathLike[str]) -> UInt8Image:
    """Decode the content of a picture's file that has to be good: upright RGB uint8 (H, W, 3).

    Raises:
        DataError: it cannot be decoded; the message names the file.
    """
    decoded = decode(data)
    if decoded.image is None:
        raise _bad_file(path, decoded)
    return decoded.image


def of_array(image: UInt8Image) -> Decoded:
    """What is decoded already, (H, W, 3), as if it had just been."""
    return Decoded(image, "ok", None, image.shape[1], image.shape[0])


def cannot_open(error: OSError | ValueError) -> Decoded:
    """What there is to say of an input whose bytes cannot be had."""
    return Decoded(None, "unreadable", f"it cannot be opened: {getattr(error, 'strerror', None) or error}")


def encode(image: UInt8Image, suffix: str) -> bytes:
    """Encode a picture for a file; JPEG and WebP with quality 95, the others without loss.

    Args:
        image: RGB uint8 (H, W, 3).
        suffix: one of `ENCODED_SUFFIXES`, in any case.

    Raises:
        OutputError: the format cannot hold a picture of this size.
    """
    suffix = suffix.lower()
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    try:
        done, data = cv2.imencode(suffix, bgr, _ENCODINGS[suffix])
    except cv2.error:
        done = False
    if not done:
        height, width = image.shape[:2]
        raise OutputError(f"a '{suffix}' file cannot hold {width} x {height} pixels", hint="Choose another format")
    return data.tobytes()


def _bad_file(path: str | os.PathLike[str], found: Decoded) -> DataError:
    return DataError(f"cannot read the picture '{path}': {found.error}", hint="Replace or remove it")


def _whole_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """The stored width and height of a grey or colour JPEG whose end is there, else None.

    Segments are stepped over by their length, so that the end of a thumbnail inside one is not taken for the end.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    size = None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            height = int.from_bytes(data[position + 5 : position + 7])
            width = int.from_bytes(data[position + 7 : position + 9])
            size = (width, height) if data[position + 9] in (1, 3) else None
        elif marker == 0xDA:  # scan data from here on, in which 0xFF 0xD9 can only be the end
            return size if data.rfind(_JPEG_END, position + length) > 0 else None
        position += 2 + length
    return None


class _Bytes(io.BytesIO):
    """Notices when its reader wants more than there is."""

    ended_early = False

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size is not None and size > 0:
            # Pillow's codecs ask for large blocks and are content with less; only an empty one is too little.
            wanted = size if size < MAXBLOCK else 1
            self.ended_early |= len(content) < wanted
        return content


def _decode_carefully(data: bytes, max_pixels: int) -> Decoded:
    name, opener = kind_of(data)
    # Zeros behind a JPEG come from an interrupted copy; they would pass for pixels.
    stream = _Bytes(data.rstrip(b"\0") if name == "JPEG" else data)
    picture: ImageFile | None = None
    try:
        picture = opener(stream)
        if picture.width * picture.height > max_pixels:
            return _too_large(picture.width * picture.height, max_pixels, picture)
        if picture.mode == "F" or (picture.mode == "I" and name != "PNM"):
            return Decoded(None, "unreadable", "its pixels are not 8- or 16-bit numbers", *_size(picture))
        return of_array(_upright_rgb(picture))
    except Image.DecompressionBombError as error:  # of what is inside an icon or a frame; its text has both numbers
        pixels, limit = map(int, re.findall(r"\d+", str(error))[:2])
        return _too_large(pixels, limit)
    except Exception as error:  # Pillow's parsers raise whatever they stumble over
        if picture is None and name == "TGA":
            return Decoded(None, "unreadable", _NOT_HEIC if _HEIC.match(data) else _NO_PICTURE)
        if not (stream.ended_early or "truncated" in str(error).lower() or _lacks_its_end(data, picture)):
            return Decoded(None, "unreadable", f"it is damaged, or an unusual kind of {name}", *_size(picture))
    if isinstance(picture, JpegImageFile) and (image := _unless_rows_are_missing(data)) is not None:
        return of_array(image)
    return Decoded(None, "truncated", "it is cut off: the end of the file is missing", *_size(picture))


def _unless_rows_are_missing(data: bytes) -> UInt8Image | None:
    """The picture of a JPEG that lacks its end marker but no pixels, else None.

    What follows complete data changes nothing in the picture; in the place of missing data it would be seen.
    """
    data = data.rstrip(b"\0").removesuffix(_JPEG_END[:1])
    try:
        pictures = [JpegImageFile(io.BytesIO(data + fill * 64 + _JPEG_END)) for fill in (b"\0", b"\x92", b"\x6d")]
        first, *others = map(_upright_rgb, pictures)
    except Exception:  # as above
        return None
    # Of a progressive one a whole scan may be missing.
    whole = "progressive" not in pictures[0].info and all(np.array_equal(first, other) for other in others)
    return first if whole else None


def _too_large(pixels: int, limit: int, picture: ImageFile | None = None) -> Decoded:
    return Decoded(None, "too_large", f"it has {pixels} pixels, more than the limit of {limit}", *_size(picture))


def _lacks_its_end(data: bytes, picture: ImageFile | None) -> bool:
    """Whether the header speaks of bytes behind the end, in the formats that are decoded from memory as a whole."""
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if not isinstance(picture, TiffImageFile):
        return False
    tags = picture.tag_v2
    try:
        offsets = [*tags.get(STRIPOFFSETS, ()), *tags.get(TILEOFFSETS, ())]
        counts = [*tags.get(STRIPBYTECOUNTS, ()), *tags.get(TILEBYTECOUNTS, ())]
        return max(map(sum, zip(offsets, counts, strict=True)), default=0) > len(data)
    except (TypeError, ValueError):  # tags that are damaged, not cut off
        return False


def _size(picture: ImageFile | None) -> tuple[int, int] | tuple[None, None]:
    """Width and height when upright."""
    return (None, None) if picture is None else upright_wh(picture)


def _upright_rgb(picture: ImageFile) -> UInt8Image:
    picture.load()
    method = _UPRIGHT.get(orientation_of(picture))
    upright: Image.Image = picture if method is None else picture.transpose(method)
    if upright.mode.startswith("I"):  # 0 to 65535, which Pillow would clip at 255
        grey = (np.asarray(upright) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if upright.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return np.array(ImageCms.profileToProfile(upright, lab, rgb, outputMode="RGB"))
    upright.info.pop("transparency", None)  # which `convert` would warn of
    return np.array(upright.convert("RGB"))
