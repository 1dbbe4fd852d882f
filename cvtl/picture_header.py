"""What a picture's first bytes say, without decoding it: its kind, its size, and how to turn it. Torch-free."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.IcoImagePlugin import IcoImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.PsdImagePlugin import PsdImageFile
from PIL.TgaImagePlugin import TgaImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile


class TiffFile(TiffImageFile):
    """Without Pillow's global limit, which it looks at once more here; maps and slides are large."""

    def load_prepare(self) -> None:
        """Make room for the pixels."""
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)  # type: ignore[attr-defined]
        super().load_prepare()


class _Kind(NamedTuple):
    name: str
    magic: re.Pattern[bytes]
    opener: type[ImageFile]


# Pillow's classes are called directly: `Image.open` would warn of, or refuse, large pictures by a global limit, and
# would try formats that run other programs (EPS) or that almost any bytes belong to.
_KINDS = [
    _Kind("JPEG", re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    _Kind("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    _Kind("GIF", re.compile(rb"GIF8[79]a"), GifImageFile),
    _Kind("BMP", re.compile(rb"BM"), BmpImageFile),
    _Kind("TIFF", re.compile(rb"II[*+]\x00|MM\x00[*+]"), TiffFile),
    _Kind("WebP", re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    _Kind("PNM", re.compile(rb"P[1-6]\s"), PpmImageFile),
    _Kind("ICO", re.compile(rb"\x00\x00\x01\x00"), IcoImageFile),
    _Kind("PSD", re.compile(rb"8BPS"), PsdImageFile),
    _Kind("AVIF", re.compile(rb"....ftyp(?:.{4}){0,16}?avi[fs]", re.DOTALL), AvifImageFile),
    _Kind("JPEG 2000", re.compile(rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP {2}"), Jpeg2KImageFile),
]
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "ICO": (".ico",),
    "PSD": (".psd",),
    "AVIF": (".avif",),
    "JPEG 2000": (".jp2", ".j2k"),
    "TGA": (".tga",),
}
"""How the names of files of each kind end, the usual way first."""

_LONGEST_MAGIC = 76

# EXIF orientations that exchange width and height.
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's header says.

    Attributes:
        kind: "JPEG", "PNG", "GIF", "BMP", "TIFF", "WebP", "PNM", "ICO", "PSD", "AVIF", "JPEG 2000" or "TGA", found from
            the content.
        width: as it is stored, in pixels.
        height: likewise.
        orientation: EXIF's, 1 to 8; 1 where the picture is stored upright or does not say.

    Example:
        >>> PictureHeader("JPEG", 1800, 1200, orientation=6).upright_wh
        (1200, 1800)
    """

    kind: str
    width: int
    height: int
    orientation: int

    @property
    def upright_wh(self) -> tuple[int, int]:
        """Width and height of the upright picture, which boxes and points refer to."""
        return (self.height, self.width) if self.orientation in _SIDEWAYS else (self.width, self.height)


def read_header(path: str | os.PathLike[str]) -> PictureHeader | None:
    """Read a picture's header: some 0.1 ms for a JPEG, instead of milliseconds for decoding it.

    What it says is what `cvtl.images.decode` makes of the picture; whether the pixels are whole it cannot know.

    Args:
        path: the picture's file.

    Returns:
        The header; None where there is no file, it cannot be opened, or it is no picture.
    """
    try:
        with open(path, "rb") as stream:
            kind, opener = kind_of(stream.read(_LONGEST_MAGIC))
            stream.seek(0)
            picture = opener(stream)
            orientation = orientation_of(picture)
            if kind == "PNG" and orientation == 1:
                orientation = _orientation_behind_pixels(stream)
    except Exception:  # Pillow's parsers raise whatever they stumble over
        return None
    width, height = picture.size
    # Pillow's TIFF reader says the upright size.
    turned = kind == "TIFF" and orientation in _SIDEWAYS
    return PictureHeader(kind, *((height, width) if turned else (width, height)), orientation)


def kind_of(data: bytes) -> tuple[str, type[ImageFile]]:
    """Of what kind a picture is, and Pillow's class for it; whatever is unknown may be TGA, which has no magic number.

    Args:
        data: the file's content, or its first bytes.
    """
    for name, magic, opener in _KINDS:
        if magic.match(data):
            return name, opener
    return "TGA", TgaImageFile


def orientation_of(picture: ImageFile) -> int:
    """The EXIF orientation of a picture that Pillow has opened: 1 to 8, 1 where it has none or damaged EXIF."""
    # Where EXIF says nothing Pillow would ask XMP, unlike OpenCV.
    picture.info.pop("xmp", None)
    picture.info.pop("XML:com.adobe.xmp", None)
    try:
        # The base class's method, because the PNG class's decodes the picture to find EXIF behind the pixels.
        return _checked(Image.Image.getexif(picture))
    except Exception:  # damaged EXIF: the picture is taken as it is stored
        return 1


def upright_wh(picture: ImageFile) -> tuple[int, int]:
    """Width and height, when upright, of a picture that Pillow has opened."""
    # Pillow's TIFF reader turns the size, and later the pixels, on its own.
    sideways = not isinstance(picture, TiffImageFile) and orientation_of(picture) in _SIDEWAYS
    return (picture.height, picture.width) if sideways else picture.size


def _orientation_behind_pixels(stream: BinaryIO) -> int:
    """The orientation in a PNG's EXIF chunk, wherever it stands; 1 if there is none."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length = int.from_bytes(head[:4])
        if head[4:] == b"eXIf":
            exif = Image.Exif()
            exif.load(stream.read(length))
            return _checked(exif)
        stream.seek(length + 4, os.SEEK_CUR)
    return 1


def _checked(exif: Image.Exif) -> int:
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1
