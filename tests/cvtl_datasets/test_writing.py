from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cvtl.data import Sample, UInt8Image
from cvtl.errors import CvtlWarning, DataError
from cvtl.images import encode, read_image
from cvtl_datasets.writing import (
    NAME_CHANGED,
    SIZE_CORRECTED,
    SUFFIX_CORRECTED,
    TURNED,
    UNREADABLE,
    PictureWriter,
    SafeNames,
    write_lines,
    write_pictures,
)


def colours(height: int = 64, width: int = 96) -> UInt8Image:
    """A picture with another colour in each quarter, so that every way of turning it shows."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[0, 1], image[1, 0] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    return image.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def turned(image: UInt8Image, kind: str, orientation: int) -> bytes:
    """A file whose pixels are turned and whose EXIF orientation says so; what a camera held on its side writes."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {3: image[::-1, ::-1], 6: np.rot90(image), 2: image[:, ::-1]}[orientation]
    stream = BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(stream, kind, exif=exif, **lossless)
    return stream.getvalue()


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str, bytes], Sample]:
    """Makes a sample with a picture file of the given content."""

    def make(name: str, content: bytes) -> Sample:
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return Sample.of_file(name, file)

    return make


MakeSample = Callable[[str, bytes], Sample]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".bmp", ".tif", ".webp"])
def test_upright_pictures_are_copied_byte_for_byte(sample: MakeSample, tmp_path: Path, suffix: str) -> None:
    content = encode(colours(), suffix)
    writer = PictureWriter(tmp_path / "out")
    written = writer.write(sample(f"a/cat{suffix}", content), "train")
    assert written.path == tmp_path / "out" / "train" / f"cat{suffix}"
    assert written.path.read_bytes() == content
    assert written[1:] == (f"cat{suffix}", 96, 64, False)
    assert not writer.counts


@pytest.mark.parametrize("orientation", [2, 3, 6])
@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("JPEG", "cat.jpg", "cat.jpg"),
        ("JPEG", "cat.JPEG", "cat.JPEG"),
        ("PNG", "cat.png", "cat.png"),
        ("TIFF", "cat.tiff", "cat.tiff"),
        ("WEBP", "cat.webp", "cat.png"),
    ],
)
def test_turned_pictures_are_written_upright_for_every_reader(
    sample: MakeSample, tmp_path: Path, orientation: int, kind: str, name: str, expected: str
) -> None:
    writer = PictureWriter(tmp_path / "out")
    written = writer.write(sample(name, turned(colours(), kind, orientation)))
    assert written[1:] == (expected, 96, 64, True)
    with Image.open(written.path) as picture:  # which does not look at the orientation
        assert picture.getexif().get(0x0112, 1) == 1
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(pixels - colours()).mean() <= (3 if kind == "JPEG" else 0)
    assert writer.counts[TURNED] == 1


def test_a_generated_picture_becomes_png(tmp_path: Path) -> None:
    written = PictureWriter(tmp_path).write(Sample("train-0.v2", colours))
    assert written.name == "train-0.v2.png"
    np.testing.assert_array_equal(read_image(written.path), colours())


def test_suffixes_say_what_is_inside(sample: MakeSample, tmp_path: Path) -> None:
    content = encode(colours(), ".png")
    writer = PictureWriter(tmp_path / "out")
    written = writer.write(sample("cat.jpg", content))
    assert written.name == "cat.png"
    assert written.path.read_bytes() == content
    assert writer.counts == {SUFFIX_CORRECTED: 1}


def test_stems_are_unique_in_each_subfolder_whatever_the_suffix_and_the_case(
    sample: MakeSample, tmp_path: Path
) -> None:
    writer = PictureWriter(tmp_path / "out")
    content = encode(colours(), ".png")
    names = ["a/1.png", "b/1.png", "c/1.jpg", "d/1-2.png", "Ä.png", "x/ä.png", "x/a\u0308.png"]
    written = [writer.write(sample(name, content)).name for name in names]
    assert written == ["1.png", "1-2.png", "1-3.png", "1-2-2.png", "Ä.png", "ä-2.png", "a\u0308-3.png"]
    assert writer.write(sample("a/1.png", content), "other").name == "1.png"
    assert writer.counts[NAME_CHANGED] == 5


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("with space", "with space"),
        ("ünï-çødé 100%", "ünï-çødé 100%"),
        ("a/b\\c:d", "a_b_c_d"),
        ("..", "_"),
        ("../../etc", "_.._.._etc"),
        (".hidden", "_.hidden"),
        (" ", "_"),
        ("", "_"),
        ("ends.", "ends"),
        ("two\nlines\u2028", "two_lines_"),
        ("NUL", "_NUL"),
        ("com1.left", "_com1.left"),
        ("console", "console"),
        (os.fsdecode(b"\xff"), "_"),
        ("ü" * 300, "ü" * 100),
    ],
)
def test_names_become_safe_on_every_system(name: str, safe: str) -> None:
    assert SafeNames().add(name) == safe


def test_names_of_a_kind_are_found_quickly() -> None:
    names = SafeNames()
    assert len({names.add("1") for _ in range(20_000)}) == 20_000


def test_a_size_that_the_annotations_state_wrongly_is_counted(tmp_path: Path) -> None:
    writer = PictureWriter(tmp_path)
    writer.write(Sample("right", colours, annotated_wh=(96, 64)))
    writer.write(Sample("wrong", colours, annotated_wh=(64, 96)))
    assert writer.counts == {SIZE_CORRECTED: 1}


@pytest.mark.parametrize("content", [b"", b"no picture", encode(colours(), ".jpg")[:-60]])
def test_a_picture_that_cannot_be_decoded_is_an_error_that_names_it(
    sample: MakeSample, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(DataError, match=r"cannot read the picture '.*bad\.jpg'"):
        PictureWriter(tmp_path / "out").write(sample("bad.jpg", content))
    assert not (tmp_path / "out").exists()


def test_bad_pictures_are_passed_over_counted_and_named(sample: MakeSample, tmp_path: Path) -> None:
    good = encode(colours(), ".png")
    samples = [
        sample("1.png", good),
        sample("2.png", b"no picture"),
        Sample.of_file("gone.png", tmp_path / "gone.png"),
        sample("3.png", good),
    ]
    writer = PictureWriter(tmp_path / "out")
    steps: list[int] = []
    with pytest.warns(CvtlWarning, match="left out") as said:
        written = [picture.name for _, picture in write_pictures(samples, writer, steps.append, lambda s: "x")]
    assert written == ["1.png", "3.png"]
    assert sorted(os.listdir(tmp_path / "out" / "x")) == ["1.png", "3.png"]
    assert steps == [1, 1, 1, 1]
    assert writer.counts == {UNREADABLE: 2}
    assert [Path(str(each.message).split("'")[1]).name for each in said] == ["2.png", "gone.png"]


def test_pictures_that_lie_behind_links_are_copied(sample: MakeSample, tmp_path: Path) -> None:
    file = sample("cat.png", encode(colours(), ".png")).file
    assert file is not None
    (tmp_path / "link.png").symlink_to(file)
    written = PictureWriter(tmp_path / "out").write(Sample.of_file("link.png", tmp_path / "link.png"))
    assert not written.path.is_symlink()


def test_no_space_is_no_unreadable_picture() -> None:
    written = write_pictures([Sample("a", colours)], PictureWriter(Path("/dev/null")), lambda count: None)
    with pytest.raises(OSError, match="null"):
        next(written)


def test_lines_are_utf8_with_line_feeds(tmp_path: Path) -> None:
    write_lines(tmp_path / "deep" / "list.txt", ["ä", "b c"])
    assert (tmp_path / "deep" / "list.txt").read_bytes() == "ä\nb c\n".encode()


@pytest.mark.shared
@pytest.mark.parametrize("orientation", range(1, 9))
def test_real_turned_pictures_look_the_same_to_readers_that_ignore_exif(
    shared_data: Path, tmp_path: Path, orientation: int
) -> None:
    file = shared_data / "bad_images" / "exif_orientation" / f"Portrait_{orientation}.jpg"
    written = PictureWriter(tmp_path).write(Sample.of_file(file.name, file))
    with Image.open(written.path) as picture:
        assert picture.size == (written.width, written.height)
        pixels = np.asarray(picture)
    smooth = [cv2.blur(image, (9, 9)).astype(int) for image in (pixels, read_image(file))]
    assert np.abs(smooth[0] - smooth[1]).max() <= 3
    assert written.rotated == (orientation != 1)
