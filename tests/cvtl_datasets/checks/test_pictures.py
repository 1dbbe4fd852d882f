from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from cvtl.data import ClassTarget, Dataset, Problem, Sample, UInt8Image
from cvtl_datasets.checks import Finding, check
from cvtl_datasets.checks.pictures import look_at

Picture = Callable[..., UInt8Image]
Write = Callable[..., Path]
Found = Callable[..., list[Finding]]


def of_file(path: Path, annotated_wh: tuple[int, int] | None = None) -> Sample:
    return Sample.of_file(path.name, path, ClassTarget(0), annotated_wh=annotated_wh)


def write_turned(path: Path, image: UInt8Image, orientation: int) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(image).save(path, exif=exif)
    return path


def test_a_file_that_is_no_picture_is_unreadable(found: Found, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (finding,) = found("unreadable picture", [of_file(tmp_path / "a.jpg")])
    assert (finding.severity, finding.where, finding.samples) == ("error", "a.jpg", ("a.jpg",))
    assert "not a picture" in finding.what


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_that_is_cut_off_is_truncated(found: Found, write: Write, picture: Picture, suffix: str) -> None:
    path = write(f"a{suffix}", picture(0, (200, 300)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert [each.where for each in found("truncated picture", [of_file(path)])] == [f"a{suffix}"]


def test_a_picture_that_cannot_be_made_is_unreadable(found: Found) -> None:
    from cvtl.errors import DataError

    def fail() -> UInt8Image:
        raise DataError("there is nothing to draw")

    assert [each.what for each in found("unreadable picture", [Sample("a", fail)])] == ["there is nothing to draw"]


def test_a_missing_file_is_a_label_without_picture(found: Found, tmp_path: Path) -> None:
    (finding,) = found("label without picture", [of_file(tmp_path / "gone.jpg")])
    assert finding.where == "gone.jpg"


def test_a_missing_file_that_the_reader_has_reported_is_reported_once(tmp_path: Path) -> None:
    problem = Problem(kind="label without picture", where="a.xml:3", what="no file", sample="gone.jpg")
    dataset = Dataset([of_file(tmp_path / "gone.jpg")], ("cat",), "example", problems=(problem,))
    assert [each.where for each in check(dataset) if each.kind == "label without picture"] == ["a.xml:3"]


def test_a_suffix_that_belies_the_content_is_found(found: Found, write: Write, picture: Picture) -> None:
    (finding,) = found("wrong suffix", [of_file(write("a.jpg", picture(0), ".png"))])
    assert "PNG" in finding.what


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.png", "a.webp", "a.tiff"])
def test_a_right_suffix_is_no_finding(found: Found, write: Write, picture: Picture, name: str) -> None:
    assert not found("wrong suffix", [of_file(write(name, picture(0)))])


def test_a_picture_that_exif_turns_is_a_note(found: Found, tmp_path: Path, picture: Picture) -> None:
    (finding,) = found("turned by EXIF", [of_file(write_turned(tmp_path / "a.jpg", picture(0), 6))])
    assert finding.severity == "note"
    assert "48 x 64" in finding.what


def test_the_size_as_it_is_stored_means_that_boxes_refer_to_the_unturned_picture(
    found: Found, tmp_path: Path, picture: Picture
) -> None:
    path = write_turned(tmp_path / "a.jpg", picture(0), 6)
    assert [each.severity for each in found("annotated unturned", [of_file(path, (64, 48))])] == ["error"]
    assert not found("annotated unturned", [of_file(path, (48, 64))])


def test_an_annotated_size_that_is_neither_is_wrong(found: Found, write: Write, picture: Picture) -> None:
    path = write("a.jpg", picture(0))
    (finding,) = found("wrong annotated size", [of_file(path, (640, 480))])
    assert finding.what == "annotated as 640 x 480, it is 64 x 48"
    assert not found("wrong annotated size", [of_file(path, (64, 48))])


def test_an_alpha_channel_is_a_note(found: Found, tmp_path: Path, picture: Picture) -> None:
    Image.fromarray(picture(0)).convert("RGBA").save(tmp_path / "a.png")
    assert [each.severity for each in found("alpha channel", [of_file(tmp_path / "a.png")])] == ["note"]


def test_a_greyscale_picture_among_coloured_ones_is_a_note(found: Found, write: Write, picture: Picture) -> None:
    grey = np.repeat(picture(0)[..., :1], 3, axis=2)
    assert [each.where for each in found("greyscale picture", [of_file(write("a.png", grey))])] == ["a.png"]


def test_pictures_that_are_all_greyscale_are_no_finding(picture: Picture) -> None:
    samples = [Sample(f"{i}", lambda i=i: np.repeat(picture(i)[..., :1], 3, axis=2)) for i in range(9)]  # type: ignore[misc]
    assert not [each for each in check(Dataset(samples, (), "example")) if each.kind == "greyscale picture"]


def test_nothing_of_a_picture_is_kept_but_some_hundred_bytes(picture: Picture) -> None:
    import pickle

    large = look_at(Sample("a", lambda: picture(0, (1000, 1500))))
    buffer = io.BytesIO()
    pickle.dump(large, buffer)
    assert len(buffer.getvalue()) < 1000


def test_progress_is_told_of_every_picture(tmp_path: Path, picture: Picture) -> None:
    counts: list[int] = []
    check(Dataset([of_file(tmp_path / f"{i}.jpg") for i in range(30)], ("cat",), "example"), advance=counts.append)
    assert sum(counts) == 30
