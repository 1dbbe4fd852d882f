"""Whatever the data, whatever the way through the formats: the same boxes, classes and splits come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cvtl.data import BoxesTarget, Dataset, PointsTarget, Sample, Split, Target, load_data
from cvtl_datasets.conversion import Conversion, convert

TURNS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image, -1),
}
# In pixels.
TOLERANCE = 1e-3
# The shade of a picture is its identity: names may change on the way.
SHADE_STEP = 20
SPLITS: tuple[Split, ...] = ("train", "val", "test")
NAMES = [
    *("1", "a/1", "b/1", "A/1", "deep/er/1", "with space", " edge ", "ünï-çødé", "Ünï-çødé", "x.y", "100%", "-x", "#1"),
    *("a,b", "quote'd", 'double"d', "[glob]*", "semi;colon", "back\\slash", "two\nlines", "<&>", "train", "images/1"),
]
CLASSES = [
    *("cat", "Cat", "traffic light", "ünï", "a/b", "<&>", "quote'd", 'double"d', "no", "1", "0", "a: b", "- x", "#4"),
    *("train", "back\\slash", "null", "[x]", "{y}", "x,y", "~", "100%"),
]


@st.composite
def boxes_in(draw: st.DrawFn, width: int, height: int, classes: int) -> BoxesTarget:
    """Boxes of any size and place in the picture, to fractions of pixels."""
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        corners = []
        for size in (width, height):
            length = draw(st.one_of(st.integers(1, size), st.floats(0.05, size)))
            start = draw(st.one_of(st.just(0), st.just(size - length), st.floats(0, size - length)))
            corners.append((start, min(start + length, size)))
        (x1, x2), (y1, y2) = corners
        flags = [draw(st.booleans()), draw(st.booleans())]
        rows.append((x1, y1, x2, y2, draw(st.integers(0, classes - 1)), *flags))
    table = np.array(rows, np.float64).reshape(-1, 7)
    return BoxesTarget(table[:, :4], table[:, 4].astype(int), table[:, 5] > 0, table[:, 6] > 0)


@st.composite
def an_object(draw: st.DrawFn, width: int, height: int, points: int) -> PointsTarget:
    """One object with some of its points, or none."""
    if draw(st.integers(0, 4)) == 0:
        return PointsTarget(np.zeros((0, points, 2)), np.zeros((0, points), bool))
    places = [(draw(st.floats(0, width)), draw(st.floats(0, height))) for _ in range(points)]
    visible = draw(st.lists(st.booleans(), min_size=points, max_size=points).filter(any))
    return PointsTarget(np.array(places), np.array(visible))


MakeTarget = Callable[[int, int, int], st.SearchStrategy[Target]]


@st.composite
def made_up_sets(draw: st.DrawFn, folder: Path, target: MakeTarget, splits: Sequence[Split | None] = SPLITS) -> Dataset:
    """A data set of pictures of one shade each, some of them stored turned, in `folder`, with splits or without."""
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=5, unique=True))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    has_splits = draw(st.booleans())
    samples = []
    for number, stem in enumerate(names):
        width, height = draw(st.integers(1, 90)), draw(st.integers(1, 90))
        name = stem + draw(st.sampled_from([".jpg", ".JPG", ".png"]))
        save_picture(folder / str(number) / name, number, (width, height), draw(st.sampled_from(sorted(TURNS))))
        split = draw(st.sampled_from(splits)) if has_splits else None
        known = draw(target(width, height, len(classes)))
        samples.append(Sample.of_file(name, folder / str(number) / name, known, split))
    return Dataset(samples, tuple(classes), "made up")


def save_picture(file: Path, number: int, size_wh: tuple[int, int], orientation: int) -> None:
    width, height = size_wh
    stored = TURNS[orientation](np.full((height, width, 3), number * SHADE_STEP, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if file.suffix == ".png" else "JPEG"
    Image.fromarray(np.ascontiguousarray(stored)).save(file, kind, exif=exif)


def by_shade(dataset: Dataset) -> dict[int, Sample]:
    """The samples by what their pictures show."""
    found = {round(sample.read().mean() / SHADE_STEP): sample for sample in dataset}
    assert len(found) == len(dataset)
    return found


def boxes_of(sample: Sample) -> BoxesTarget:
    assert isinstance(sample.target, BoxesTarget)
    return sample.target


def same_samples(
    source: Dataset, back: Dataset, split_for_none: Split | None = None
) -> Iterator[tuple[Sample, Sample]]:
    """Each sample of the source with what became of it."""
    before, after = by_shade(source), by_shade(back)
    assert back.classes == source.classes
    assert before.keys() == after.keys()
    for shade, sample in before.items():
        assert after[shade].read().shape == sample.read().shape
        assert after[shade].split == (sample.split or split_for_none)
        yield sample, after[shade]


def assert_same_boxes(source: Dataset, back: Dataset, split_for_none: Split | None = None) -> None:
    for before, after in same_samples(source, back, split_for_none):
        np.testing.assert_array_equal(boxes_of(after).labels, boxes_of(before).labels)
        np.testing.assert_allclose(boxes_of(after).boxes, boxes_of(before).boxes, rtol=0, atol=TOLERANCE)


def assert_same_points(source: Dataset, back: Dataset) -> None:
    for before, after in same_samples(source, back):
        assert isinstance(before.target, PointsTarget)
        assert isinstance(after.target, PointsTarget)
        visible = before.target.visible
        np.testing.assert_array_equal(after.target.visible, visible)
        np.testing.assert_allclose(after.target.points[visible], before.target.points[visible], rtol=0, atol=TOLERANCE)


def assert_flags_are_kept_or_counted(source: Dataset, back: Dataset, conversion: Conversion) -> None:
    before, after = by_shade(source), by_shade(back)
    for flag in ("crowd", "difficult"):
        marked = sum(int(getattr(boxes_of(sample), flag).sum()) for sample in source)
        if lost := conversion.unheld.get(flag, 0):
            assert lost == marked
        else:
            for shade, sample in before.items():
                flags = getattr(boxes_of(after[shade]), flag), getattr(boxes_of(sample), flag)
                np.testing.assert_array_equal(*flags)


def chain(source: Dataset, formats: Sequence[str], folder: Path) -> Iterator[tuple[Dataset, Dataset, Conversion]]:
    """Convert from format to format: what went in, what came out, and the account of it, for each step."""
    for number, format in enumerate(formats):
        out = folder / f"{number}-{format}"
        conversion = convert(source, out, format)
        assert conversion.complete
        assert not conversion.mistakes
        back = load_data(out)
        assert back.format == format
        assert not back.problems
        yield source, back, conversion
        source = back


BOX_FORMATS = ("coco", "voc", "yolo")


@pytest.mark.parametrize("format", BOX_FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_format_holds_boxes_classes_and_splits_and_counts_what_it_does_not(format: str, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        source = data.draw(made_up_sets(Path(folder) / "source", boxes_in, (*SPLITS, None)))
        for before, after, conversion in chain(source, [format], Path(folder)):
            put_into_train = conversion.unheld.get("no split, put into train", 0)
            assert put_into_train in (0, sum(sample.split is None for sample in before))
            assert_same_boxes(before, after, "train" if put_into_train else None)
            assert_flags_are_kept_or_counted(before, after, conversion)


@pytest.mark.parametrize("formats", [("coco", "voc", "yolo", "coco"), ("yolo", "voc", "coco", "yolo", "voc")])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_boxes_come_through_a_chain_of_formats(formats: tuple[str, ...], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        source = data.draw(made_up_sets(Path(folder) / "source", boxes_in))
        *_, (_, last, _) = chain(source, formats, Path(folder))
        assert_same_boxes(source, last)


@pytest.mark.parametrize("formats", [("landmarks", "coco-keypoints", "landmarks"), ("coco-keypoints", "landmarks")])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_points_come_through_a_chain_of_formats(formats: tuple[str, ...], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        source = data.draw(made_up_sets(Path(folder) / "source", an_object))
        for before, after, conversion in chain(source, formats, Path(folder)):
            assert_same_points(before, after)
            assert not conversion.unheld
