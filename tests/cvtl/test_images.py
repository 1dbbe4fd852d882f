"""The decoder on good pictures: every kind comes out as upright 8-bit RGB."""

from __future__ import annotations

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from cvtl.data import UInt8Image
from cvtl.errors import DataError, OutputError
from cvtl.images import ENCODED_SUFFIXES, decode, encode, read_image

# EXIF orientation -> the picture as stored, from the upright one: the definition, in NumPy's words.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}


def photo(height: int = 40, width: int = 60) -> UInt8Image:
    """Smooth, without symmetry, with some noise: (H, W, 3) RGB."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 16, (height, width, 3))
    return np.asarray(np.stack([4 * x % 200, 5 * y % 180, (x + 2 * y) % 150], -1) + noise, np.uint8)


def saved(image: UInt8Image | Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def tiff(pixels: np.ndarray[Any, Any], sample_format: int) -> bytes:
    """A little-endian, uncompressed grey TIFF, written by hand: 1 is unsigned, 2 signed, 3 floating point."""
    height, width = pixels.shape
    bits = pixels.itemsize * 8
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: pixels.nbytes}
    entries = [struct.pack("<HHLL", tag, 4, 1, value) for tag, value in (tags | {339: sample_format}).items()]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return struct.pack("<2sHL", b"II", 42, 8 + pixels.nbytes) + pixels.tobytes() + directory


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "TGA", "GIF", "PSD"])
def test_lossless_formats_keep_every_pixel(format: str) -> None:
    image = np.repeat(photo()[..., :1], 3, axis=2)  # grey, which a GIF's palette can hold
    data = psd(image) if format == "PSD" else saved(image, format)
    decoded = decode(data)
    assert decoded.status == "ok"
    assert_array_equal(decoded.image, image)


def psd(image: UInt8Image) -> bytes:
    height, width = image.shape[:2]
    header = struct.pack(">4sH6xHLLHH", b"8BPS", 1, 3, height, width, 8, 3)
    return header + bytes(4 + 4 + 4 + 2) + image.transpose(2, 0, 1).tobytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_equals_pillows_decoding_to_the_bit(mode: str, options: dict[str, Any]) -> None:
    data = saved(Image.fromarray(photo()).convert(mode), "JPEG", **options)
    assert_array_equal(decode(data).image, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_png_equals_opencvs_decoding_to_the_bit(mode: str) -> None:
    data = saved(Image.fromarray(photo()).convert(mode), "PNG")
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert_array_equal(decode(data).image, expected)


@pytest.mark.shared
def test_real_jpegs_equal_pillows_decoding_to_the_bit(shared_data: Path) -> None:
    paths = sorted((shared_data / "detection_raccoon").rglob("*.jpg"))[:20]
    assert paths
    for path in paths:
        assert_array_equal(read_image(path), np.asarray(Image.open(path).convert("RGB")), err_msg=path.name)


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied_exactly(format: str, orientation: int) -> None:
    stored = np.ascontiguousarray(STORED[orientation](photo()))
    data = saved(stored, format, exif=with_orientation(orientation), **LOSSLESS[format])
    decoded = decode(data)
    assert (decoded.width, decoded.height) == (60, 40)
    assert_array_equal(decoded.image, photo())


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_of_a_jpeg_is_applied(orientation: int) -> None:
    stored = np.ascontiguousarray(STORED[orientation](photo()))
    image = decode(saved(stored, "JPEG", quality=100, subsampling=0, exif=with_orientation(orientation))).image
    assert image is not None
    assert np.abs(image.astype(int) - photo()).mean() < 2


@pytest.mark.shared
@pytest.mark.parametrize("orientation", range(9))
def test_the_same_photograph_in_every_orientation_comes_out_the_same(shared_data: Path, orientation: int) -> None:
    folder = shared_data / "bad_images" / "exif_orientation"
    image = read_image(folder / f"Portrait_{orientation}.jpg")
    upright = read_image(folder / "Portrait_1.jpg").astype(int)
    assert image.shape == (1800, 1200, 3)
    assert np.abs(image - upright).mean() < 4
    assert np.abs(image[:, ::-1] - upright).mean() > 20


def test_damaged_exif_leaves_the_picture_as_it_is_stored() -> None:
    decoded = decode(saved(photo(), "PNG", exif=b"Exif\0\0 this is not EXIF"))
    assert_array_equal(decoded.image, photo())


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_16_bit_grey_is_divided_by_256_not_clipped(byte_order: str) -> None:
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    picture = Image.frombytes("I;16B" if byte_order == ">" else "I;16", (64, 64), values.astype(f"{byte_order}u2"))
    decoded = decode(saved(picture, "TIFF"))
    assert decoded.image is not None
    for channel in range(3):
        assert_array_equal(decoded.image[..., channel], values // 256)


@pytest.mark.parametrize(
    ("suffix", "channels"), [(".png", 1), (".png", 3), (".tif", 1), (".tif", 3), (".pgm", 1), (".ppm", 3)]
)
def test_16_bit_pictures_of_every_format_are_divided_by_256(suffix: str, channels: int) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (30, 20, channels), dtype=np.uint16)
    image = decode(cv2.imencode(suffix, values)[1].tobytes()).image
    assert image is not None
    difference = image.astype(int) - values[..., ::-1] // 256
    assert np.abs(difference).max() <= (1 if suffix == ".ppm" else 0)  # Pillow rounds those to the nearest


@pytest.mark.parametrize(
    ("pixels", "sample_format"),
    [
        (np.zeros((3, 4), np.float32), 3),
        (np.zeros((3, 4), np.int32), 2),
        (np.zeros((3, 4), np.int16), 2),
    ],
)
def test_numbers_without_a_fixed_range_are_refused(pixels: np.ndarray[Any, Any], sample_format: int) -> None:
    decoded = decode(tiff(pixels, sample_format))
    assert (decoded.status, decoded.width, decoded.height) == ("unreadable", 4, 3)
    assert decoded.error == "its pixels are not 8- or 16-bit numbers"


def test_transparency_is_dropped_and_its_colours_kept() -> None:
    rgba = np.dstack([photo(), np.zeros((40, 60), np.uint8)])
    assert_array_equal(decode(saved(Image.fromarray(rgba), "PNG")).image, photo())


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_warns_of_nothing() -> None:
    palette = Image.fromarray(photo()).convert("P")
    expected = np.asarray(palette.convert("RGB"))
    data = saved(palette, "PNG", transparency=bytes(range(256)))
    assert_array_equal(decode(data).image, expected)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(format: str) -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 1:3] = 255  # magenta and yellow
    options = {"quality": 100} if format == "JPEG" else {}
    image = decode(saved(Image.fromarray(ink, "CMYK"), format, **options)).image
    assert image is not None
    assert np.abs(image.astype(int) - (255, 0, 0)).max() <= 3


def test_lab_becomes_rgb() -> None:
    lab = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in (138, 208, 195)])  # sRGB's red
    image = decode(saved(lab, "TIFF")).image
    assert image is not None
    assert image[0, 0, 0] > 200
    assert image[0, 0, 1:].max() < 60


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(format: str) -> None:
    first, second = (Image.new("RGB", (20, 10), colour) for colour in ("red", "blue"))
    data = saved(
        first, format, save_all=True, append_images=[second], **({"lossless": True} if format == "WEBP" else {})
    )
    assert_array_equal(decode(data).image, np.asarray(first))


@pytest.mark.parametrize("format", ["ICO", "AVIF", "JPEG2000"])
def test_other_formats_are_read_too(format: str) -> None:
    image = decode(saved(photo(48, 48), format)).image
    assert image is not None
    assert image.shape == (48, 48, 3)
    assert np.abs(image.astype(int) - photo(48, 48)).mean() < 12


def test_wrong_suffixes_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(saved(photo(), "PNG"))
    assert_array_equal(read_image(path), photo())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "TIFF", "BMP"])
def test_what_is_decoded_is_contiguous_and_writable(format: str) -> None:
    image = decode(
        saved(photo(), format, exif=with_orientation(6)) if format != "GIF" else saved(photo(), format)
    ).image
    assert image is not None
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert image.dtype == np.uint8


def test_data_behind_the_end_of_a_jpeg_is_ignored() -> None:
    data = saved(photo(), "JPEG")
    assert_array_equal(decode(data + b"\0\0moov" * 1000).image, decode(data).image)


def test_threads_get_the_same_pictures() -> None:
    files = [saved(photo(height, 64), format) for height in range(8, 40) for format in ("JPEG", "PNG", "TIFF", "WEBP")]
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(decode, files))
    for data, each in zip(files, decoded, strict=True):
        assert_array_equal(each.image, decode(data).image)


@pytest.mark.parametrize("suffix", ENCODED_SUFFIXES)
def test_what_is_encoded_can_be_decoded(suffix: str) -> None:
    image = decode(encode(photo(), suffix.upper())).image
    assert image is not None
    lossy = suffix in (".jpg", ".jpeg", ".webp")
    assert np.abs(image.astype(int) - photo()).mean() < (6 if lossy else 1e-9)


def test_a_picture_too_wide_for_its_format_cannot_be_encoded() -> None:
    with pytest.raises(OutputError, match=r"'\.webp' file cannot hold 20000 x 1 pixels"):
        encode(np.zeros((1, 20_000, 3), np.uint8), ".webp")


def test_read_image_names_the_file_and_the_reason(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(DataError, match=r"empty\.jpg': it is empty"):
        read_image(empty)
    with pytest.raises(DataError, match=r"gone\.jpg': it cannot be opened: No such file"):
        read_image(tmp_path / "gone.jpg")
