"""Picture headers say, without decoding, what the decoder would find."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from cvtl.images import decode
from cvtl.picture_header import PictureHeader, read_header

SUFFIX_OF = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WebP": ".webp", "AVIF": ".avif", "BMP": ".bmp"}
SUFFIX_OF |= {"GIF": ".gif", "PNM": ".ppm", "TGA": ".tga", "ICO": ".ico", "JPEG 2000": ".jp2"}


def saved(path: Path, orientation: int | None = None, **options: Any) -> Path:
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    Image.new("RGB", (30, 20), (10, 200, 30)).save(path, **options)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def exif_bytes(orientation: int) -> bytes:
    return b"II*\0" + struct.pack("<LHHHLHHL", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


@pytest.mark.parametrize("kind", SUFFIX_OF)
def test_kind_and_size_are_found_from_the_content(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / f"a{SUFFIX_OF[kind]}", sizes=[(30, 20)])
    assert read_header(path.rename(tmp_path / "no_suffix")) == PictureHeader(kind, 30, 20, 1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_stored_size_and_the_upright_one_are_told_apart(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = saved(tmp_path / f"a{suffix}", orientation)
    header = read_header(path)
    assert header is not None
    assert (header.width, header.height, header.orientation) == (30, 20, orientation)
    decoded = decode(path.read_bytes())
    assert header.upright_wh == (decoded.width, decoded.height)
    assert header.upright_wh == ((20, 30) if orientation > 4 else (30, 20))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_exif_does_not_know_mean_upright(tmp_path: Path, orientation: int) -> None:
    assert read_header(saved(tmp_path / "a.jpg", orientation)) == PictureHeader("JPEG", 30, 20, 1)


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    end = chunk(b"IEND", b"")
    path.write_bytes(path.read_bytes().removesuffix(end) + chunk(b"eXIf", exif_bytes(6)) + end)
    header, decoded = read_header(path), decode(path.read_bytes())
    assert header == PictureHeader("PNG", 30, 20, 6)
    assert header.upright_wh == (decoded.width, decoded.height) == (20, 30)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_orientation_in_xmp_is_not_looked_at_by_header_and_decoder(tmp_path: Path, suffix: str) -> None:
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    if suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        path = saved(tmp_path / "a.png", pnginfo=info)
    else:
        path = saved(tmp_path / f"a{suffix}", xmp=xmp)
    header, decoded = read_header(path), decode(path.read_bytes())
    assert header is not None
    assert header.upright_wh == (decoded.width, decoded.height) == (30, 20)


def test_a_header_behind_large_segments_is_found(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.new("RGB", (30, 20)).save(whole, "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", 65535) + bytes(65533)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8" + 40 * segment + whole.getvalue()[2:])
    assert read_header(tmp_path / "a.jpg") == PictureHeader("JPEG", 30, 20, 1)


def test_a_picture_that_is_cut_off_still_has_its_header(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    for name in ("a.jpg", "a.png"):
        path = tmp_path / name
        cv2.imwrite(str(path), noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        header = read_header(path)
        assert header is not None
        assert header.upright_wh == (300, 200)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<html>" * 100, bytes(100)])
def test_what_is_no_picture_has_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_header(tmp_path / "a.jpg") is None


def test_a_missing_file_and_a_folder_have_none(tmp_path: Path) -> None:
    assert read_header(tmp_path / "missing.jpg") is None
    assert read_header(tmp_path) is None


@pytest.mark.shared
def test_headers_of_odd_pictures_agree_with_the_decoder(shared_data: Path) -> None:
    files = [path for path in (shared_data / "bad_images").rglob("*.*") if path.suffix not in (".txt", ".json")]
    decoded = {path: decode(path.read_bytes()) for path in files}
    readable = {path: (found.width, found.height) for path, found in decoded.items() if found.status == "ok"}
    assert len(readable) > 30
    headers = {path: read_header(path) for path in readable}
    assert {path: header and header.upright_wh for path, header in headers.items()} == readable
