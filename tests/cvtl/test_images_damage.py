"""The decoder on bad pictures: each gets its status, none raises, none comes out in part."""

from __future__ import annotations

import io
import json
import resource
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from cvtl.images import Decoded, decode
from cvtl.run_settings import DEFAULT_MAX_PIXELS

# Pillow warns of damaged EXIF and TIFF tags.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "jpeg with a thumbnail": ("JPEG", {"exif": b"Exif\0\0" + b"\xff\xd8 a thumbnail \xff\xd9" * 9}),
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate tiff": ("TIFF", {"compression": "tiff_deflate"}),
    "jpeg tiff": ("TIFF", {"compression": "jpeg"}),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "ppm": ("PPM", {}),
    "tga": ("TGA", {}),
    "run-length tga": ("TGA", {"compression": "tga_rle"}),
    "ico": ("ICO", {}),
    "avif": ("AVIF", {}),
    "jpeg 2000": ("JPEG2000", {}),
}
# Their decoders do not say whether data is missing or wrong.
UNCLEAR = {"avif", "jpeg 2000"}

UNREADABLE_SAMPLES = {
    "text_named.jpg",
    "zero_bytes.jpg",
    "pillow_tests/broken.png",
    "pillow_tests/broken_data_stream.png",
    "pillow_tests/hopper.spider",
    "image_rs/Bad_badbitcount.bmp",
    "image_rs/Bad_clrsUsed.bmp",
    "pngsuite/xc1n0g08.png",
    "pngsuite/xc9n2c08.png",
    "pngsuite/xcrn0g04.png",
    "pngsuite/xd0n2c08.png",
    "pngsuite/xd3n2c08.png",
    "pngsuite/xd9n2c08.png",
    "pngsuite/xdtn0g01.png",
    "pngsuite/xhdn0g08.png",
}
TRUNCATED_SAMPLES = {
    "pillow_tests/truncated_end_chunk.png",
    "pillow_tests/truncated_image.png",
    "pillow_tests/truncated_jpeg.jpg",
    "image_rs/Bad_shortfile.bmp",
    "image_rs/Bad_unusual_extend_buffer_usage.bmp",
}
TOO_LARGE_SAMPLES = {
    "pillow_tests/decompression_bomb.gif",
    "pillow_tests/decompression_bomb.ico",
    "image_rs/Bad_height.bmp",
    "image_rs/Bad_reallybig.bmp",
    "image_rs/Bad_width.bmp",
}


@cache
def file_of(kind: str) -> bytes:
    format, options = KINDS[kind]
    y, x = np.mgrid[:48, :48]
    noise = np.random.default_rng(2).integers(0, 40, (48, 48, 3))
    stream = io.BytesIO()
    picture = Image.fromarray(np.asarray(np.stack([4 * x, 4 * y, 2 * x + 2 * y], -1) + noise, np.uint8))
    picture.save(stream, format, **options)
    return stream.getvalue()


def check(decoded: Decoded) -> None:
    """What must hold whatever the content."""
    if decoded.status == "ok":
        assert decoded.error is None
        assert decoded.image is not None
        assert decoded.image.shape == (decoded.height, decoded.width, 3)
        assert decoded.image.dtype == np.uint8
    else:
        assert decoded.status in ("unreadable", "truncated", "too_large")
        assert decoded.image is None
        assert decoded.error
        assert len(decoded.error) < 100
        assert " at 0x" not in decoded.error


@pytest.mark.shared
def test_every_bad_sample_has_the_expected_status(shared_data: Path) -> None:
    folder = shared_data / "bad_images"
    observed = json.loads((folder / "observed_pillow13_opencv5.json").read_text())
    expected = {
        **dict.fromkeys(observed, "ok"),
        **dict.fromkeys(UNREADABLE_SAMPLES, "unreadable"),
        **dict.fromkeys(TRUNCATED_SAMPLES, "truncated"),
        **dict.fromkeys(TOO_LARGE_SAMPLES, "too_large"),
    }
    decoded = {name: decode((folder / name).read_bytes()) for name in expected}
    assert {name: each.status for name, each in decoded.items()} == expected
    for each in decoded.values():
        check(each)
    others = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} - set(expected)
    assert {Path(name).suffix for name in others} <= {".txt", ".json"}


@pytest.mark.shared
def test_samples_keep_the_size_that_pillow_reports(shared_data: Path) -> None:
    folder = shared_data / "bad_images"
    observed = json.loads((folder / "observed_pillow13_opencv5.json").read_text())
    for name, seen in observed.items():
        decoded = decode((folder / name).read_bytes())
        if decoded.status == "ok":
            upright = [1200, 1800] if "Portrait" in name else seen["size"]
            assert [decoded.width, decoded.height] == upright, name


def test_an_empty_file_is_said_to_be_empty() -> None:
    assert (decode(b"").status, decode(b"").error) == ("unreadable", "it is empty")


@pytest.mark.parametrize("data", [b"this is not a picture", b"\0" * 500, b"%PDF-1.7", b"\x89PNG", b"{}"])
def test_other_content_is_no_picture(data: bytes) -> None:
    decoded = decode(data)
    assert decoded.status == "unreadable"
    assert decoded.error == "it is not a picture, or of a kind that cannot be read"


def test_heic_is_named_as_such() -> None:
    assert "HEIC" in str(decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)).error)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_off_never_passes_for_a_picture(kind: str, fraction: float) -> None:
    data = file_of(kind)
    decoded = decode(data[: int(len(data) * fraction)])
    check(decoded)
    assert decoded.status in ({"truncated", "unreadable"} if kind in UNCLEAR else {"truncated"})


@pytest.mark.parametrize("kind", ["jpeg", "jpeg with a thumbnail"])
def test_a_jpeg_cut_anywhere_is_whole_or_truncated(kind: str) -> None:
    data = file_of(kind)
    whole = decode(data).image
    for length in range(3, len(data)):
        decoded = decode(data[:length])
        if decoded.status == "ok":
            assert length >= len(data) - 2  # only the end marker is missing
            assert_array_equal(decoded.image, whole)
        else:
            assert decoded.status == "truncated", length


def test_a_jpeg_that_lacks_only_its_end_marker_is_ok() -> None:
    data = file_of("jpeg")
    for end in (data[:-2], data[:-1], data[:-2] + bytes(5000)):
        assert_array_equal(decode(end).image, decode(data).image)


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg"])
def test_a_jpeg_whose_end_is_zeros_is_truncated(kind: str, fraction: float) -> None:
    data = file_of(kind)
    kept = int(len(data) * fraction)
    assert decode(data[:kept] + bytes(len(data) - kept)).status == "truncated"


def test_an_animation_that_is_cut_behind_its_first_frame_is_ok() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    assert_array_equal(decode(stream.getvalue()[:-10]).image, np.asarray(frames[0]))


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
def test_a_compressed_tiff_with_its_directory_first_is_found_truncated(fraction: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)
    strip = zlib.compress(pixels.tobytes())
    tags = {256: 40, 257: 50, 258: 8, 259: 8, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 50, 279: len(strip)}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
    data = struct.pack("<2sHLH", b"II", 42, 8, len(tags)) + entries + bytes(4) + strip
    image = decode(data).image
    assert image is not None
    assert_array_equal(image[..., 0], pixels)
    assert decode(data[: int(len(data) * fraction)]).status == "truncated"


def test_a_png_with_a_flipped_byte_in_its_pixels_is_unreadable() -> None:
    data = bytearray(file_of("png"))
    data[len(data) // 2] ^= 1
    assert decode(bytes(data)).status == "unreadable"


def test_a_jpeg_with_a_broken_table_is_unreadable() -> None:
    data = bytearray(file_of("jpeg"))
    table = data.index(b"\xff\xc4") + 5
    data[table : table + 16] = b"\xff" * 16
    assert decode(bytes(data)).status == "unreadable"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ico"])
def test_what_exceeds_the_limit_is_too_large_in_every_format(kind: str) -> None:
    decoded = decode(file_of(kind), max_pixels=48 * 48 - 1)
    assert (decoded.status, decoded.width, decoded.height) == ("too_large", 48, 48)
    assert decoded.error == "it has 2304 pixels, more than the limit of 2303"
    assert decode(file_of(kind), max_pixels=48 * 48).status == "ok"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_size_of_what_is_refused_is_that_of_the_upright_picture(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("RGB", (60, 40)).save(stream, format, exif=exif)
    refused = decode(stream.getvalue(), max_pixels=100)
    assert (refused.status, refused.width, refused.height) == ("too_large", 40, 60)


def test_a_small_file_with_a_huge_header_is_refused_without_allocating() -> None:
    data = bytearray(file_of("png"))
    data[16:24] = struct.pack(">LL", 60_000, 60_000)
    data[29:33] = struct.pack(">L", zlib.crc32(data[12:29]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decoded = decode(bytes(data))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (decoded.status, decoded.width, decoded.height) == ("too_large", 60_000, 60_000)
    assert grown < 100_000  # KiB


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "tiff", "gif"])
@pytest.mark.filterwarnings("error")
def test_the_limit_is_ours_and_not_pillows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode(file_of(kind)).status == "ok"
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_the_default_limit_is_where_pillow_sees_a_bomb() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert abs(DEFAULT_MAX_PIXELS - 2 * Image.MAX_IMAGE_PIXELS) <= 1


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"", *(file_of(kind)[:12] for kind in KINDS)]),
    rest=st.binary(max_size=400),
)
def test_no_bytes_raise(start: bytes, rest: bytes) -> None:
    check(decode(start + rest, max_pixels=100_000))


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8),
    end=st.floats(0.5, 1),
)
@example(kind="jpeg", flips=[(0.0, 1)], end=1)
def test_no_damage_raises(kind: str, flips: list[tuple[float, int]], end: float) -> None:
    data = bytearray(file_of(kind))
    for place, value in flips:
        data[int(place * len(data))] ^= value
    check(decode(bytes(data[: int(end * len(data))]), max_pixels=100_000))
