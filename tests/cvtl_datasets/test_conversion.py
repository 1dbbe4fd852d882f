from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvtl.data import (
    BoxesTarget,
    ClassTarget,
    Dataset,
    DatasetFormat,
    PointsTarget,
    Problem,
    Sample,
    Target,
    UInt8Image,
    formats,
)
from cvtl.errors import DataError, OutputError, UsageError
from cvtl_datasets.conversion import convert, writable_formats
from cvtl_datasets.writing import SIZE_CORRECTED, TURNED, UNREADABLE


def grey() -> UInt8Image:
    return np.full((8, 12, 3), 128, np.uint8)


@pytest.fixture
def data() -> Dataset:
    samples = [Sample(f"{label}.png", grey, ClassTarget(label)) for label in range(2)]
    return Dataset(samples, ("cat", "dog"), "made up", "some/where")


def save_badly(dataset: Dataset, out: Path, advance: Callable[[int], None]) -> Counter[str]:
    (out / "half.txt").write_text("half")
    raise _FAILURE[0]


_FAILURE: list[BaseException] = []


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """A format `bad` whose `save` fails half-way with the error that is put into the list."""
    bad = DatasetFormat(
        name="bad",
        summary="fails",
        tasks=("classify",),
        recognizes="cvtl_datasets.folders:recognizes",
        load="cvtl_datasets.folders:load",
        save=f"{__name__}:save_badly",
    )
    able = writable_formats()
    monkeypatch.setattr("cvtl_datasets.conversion.writable_formats", lambda: [*able, bad])
    yield _FAILURE
    _FAILURE.clear()


@pytest.mark.parametrize("exists", [False, True])
def test_the_whole_result_is_in_the_folder_in_the_end(data: Dataset, tmp_path: Path, exists: bool) -> None:
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    steps: list[int] = []
    done = convert(data, out, "folders", steps.append)
    assert sorted(os.listdir(out)) == ["cat", "dog"]
    assert steps == [1, 1]
    assert (done.source, done.source_format, done.out, done.format) == ("some/where", "made up", str(out), "folders")
    assert done.pictures == 2
    assert done.complete
    assert not any((done.unread, done.mistakes, done.unheld, done.changed, done.notes, done.fault))


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), UsageError("no points"), OSError(28, "No space left")])
@pytest.mark.parametrize("exists", [False, True])
def test_nothing_is_left_of_a_conversion_that_failed(
    data: Dataset, tmp_path: Path, failing: list[BaseException], failure: BaseException, exists: bool
) -> None:
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    failing.append(failure)
    with pytest.raises(OutputError if isinstance(failure, OSError) else type(failure)):
        convert(data, out, "bad")
    assert [path.name for path in tmp_path.rglob("*")] == (["out"] if exists else [])


def test_what_is_in_work_is_no_data_set_for_any_format(data: Dataset, tmp_path: Path) -> None:
    recognised = []

    def look(count: int) -> None:
        for each in formats().usable():
            module, function = each.recognizes.split(":")
            recognised.append(getattr(__import__(module, fromlist=[function]), function)(tmp_path / "out"))

    convert(data, tmp_path / "out", "folders", look)
    assert not any(recognised)


@pytest.mark.parametrize(
    ("content", "message"),
    [("cat.txt", "'.*out' is not empty"), (".partial/cat/1.png", "holds what an interrupted conversion left")],
)
def test_a_folder_that_is_in_use_is_refused_and_left_alone(
    data: Dataset, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "out" / content
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(OutputError, match=message):
        convert(data, tmp_path / "out", "folders")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_a_file_in_the_place_of_the_folder_is_refused(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"cannot write '.*out'"):
        convert(data, tmp_path / "out", "folders")


def test_a_folder_inside_the_data_set_is_refused(data: Dataset, tmp_path: Path) -> None:
    inside = Dataset(data.samples, data.classes, "folders", str(tmp_path))
    with pytest.raises(UsageError, match="lies inside the data set"):
        convert(inside, tmp_path / "out", "folders")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_refused_and_the_known_ones_named(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'nonsense' does not exist.*folders"):
        convert(data, tmp_path / "out", "nonsense")


def test_a_format_that_can_only_be_read_is_refused(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvtl_datasets.conversion.writable_formats", list)
    with pytest.raises(UsageError, match="'folders' cannot be written"):
        convert(data, tmp_path / "out", "folders")


@pytest.mark.parametrize(
    ("target", "to", "message"),
    [
        (ClassTarget(0), "voc", r"'voc' cannot hold classes of whole pictures\. Formats that can: folders"),
        (BoxesTarget(np.zeros((0, 4)), np.zeros(0, int)), "landmarks", r"boxes\. Formats that can: coco, folders, voc"),
        (
            PointsTarget(np.zeros((1, 2)), np.ones(1, bool)),
            "folders",
            r"points\. Formats that can: coco-key.*landmarks",
        ),
    ],
)
def test_a_format_that_cannot_hold_such_targets_is_refused_and_the_others_named(
    target: Target, to: str, message: str, tmp_path: Path
) -> None:
    data = Dataset([Sample("bare", grey), Sample("1", grey, target)], ("a",), "made up")
    with pytest.raises(UsageError, match=message):
        convert(data, tmp_path / "out", to)


def test_everything_that_is_lost_is_accounted_for(data: Dataset, tmp_path: Path) -> None:
    gone = Sample.of_file("gone.jpg", tmp_path / "gone.jpg", ClassTarget(0))
    wrong = Sample("wrong", grey, ClassTarget(1), annotated_wh=(8, 12))
    problems = [
        Problem(kind="zero-area box", where="a.xml:1", what="no area"),
        Problem(kind="unknown class", where="a.xml:2", what="no class", fatal=True),
    ]
    lossy = Dataset(
        [*data, gone, wrong, Sample("bare", grey)],
        ("dog", "cat", "cow"),
        "made up",
        "some/where",
        problems=tuple(problems),
        unheld={"pose": 3},
    )
    done = convert(lossy, tmp_path / "out", "folders")
    assert not done.complete
    assert done.unreadable == done.fatal == 1
    assert done.unread == {"pose": 3}
    assert done.mistakes == {"zero-area box": 1, "unknown class": 1}
    assert done.unheld == {"picture without label": 1, "class without pictures": 1, "class order": 2}
    assert done.changed == {SIZE_CORRECTED: 1}
    assert UNREADABLE not in {*done.unheld, *done.changed}
    assert f"left out: cannot read the picture '{tmp_path / 'gone.jpg'}'" in done.notes[0]
    assert done.notes[1:] == ("the classes are now: cat, dog",)


def test_a_result_that_cannot_be_used_as_it_is_says_why(tmp_path: Path) -> None:
    data = Dataset([Sample("1.png", grey, ClassTarget(0))], ("cat",), "made up", "some/where")
    done = convert(data, tmp_path / "out", "folders")
    assert done.fault.startswith(f"'{tmp_path / 'out'}' has only the class folder 'cat'")


def test_a_result_that_would_be_refused_says_why(tmp_path: Path) -> None:
    far_outside = BoxesTarget(np.array([[100.0, 100, 200, 200]]), np.array([0]))
    data = Dataset([Sample("1.png", grey, far_outside)], ("cat",), "made up", "some/where")
    assert "lies between 0 and 1" in convert(data, tmp_path / "out", "yolo").fault


def test_a_data_set_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no pictures in 'some/where'"):
        convert(Dataset([], ("cat",), "made up", "some/where"), tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()


def test_thousands_of_classes_are_not_all_named(tmp_path: Path) -> None:
    samples = [Sample(f"{label}.png", grey, ClassTarget(label)) for label in range(50)]
    classes = tuple(str(label) for label in range(50))
    done = convert(Dataset(samples, classes, "made up", "some/where"), tmp_path / "out", "folders")
    assert done.notes[-1].endswith(" and 30 more")


@pytest.mark.shared
def test_boxes_fit_the_pixels_for_readers_that_know_nothing_of_exif(shared_data: Path, tmp_path: Path) -> None:
    upright_box = np.array([[60.5, 80, 300, 410.25]])
    files = sorted((shared_data / "bad_images" / "exif_orientation").glob("Portrait_[1-8].jpg"))
    samples = [Sample.of_file(file.name, file, BoxesTarget(upright_box, np.zeros(1, int))) for file in files]
    done = convert(Dataset(samples, ("person",), "made up"), tmp_path / "out", "coco")
    assert done.changed == {TURNED: 7}
    coco = json.loads((tmp_path / "out" / "annotations" / "instances_all.json").read_text())
    contents = []
    for image, annotation in zip(coco["images"], coco["annotations"], strict=True):
        with Image.open(tmp_path / "out" / "images" / "all" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
            x, y, width, height = annotation["bbox"]
            box = (round(x), round(y), round(x + width), round(y + height))
            contents.append(np.asarray(picture.crop(box).resize((16, 16))).astype(int))
    assert len(contents) == 8
    for content in contents[1:]:
        assert np.abs(content - contents[0]).max() <= 6
