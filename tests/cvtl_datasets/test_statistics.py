"""What is counted in a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Problem, Sample, load_data
from cvtl_datasets.statistics import measure

Picture = Callable[..., Path]


def boxes_target(*boxes: tuple[float, float, float, float, int], areas: list[float] | None = None) -> BoxesTarget:
    rows = np.array(boxes, np.float64).reshape(-1, 5)
    return BoxesTarget(rows[:, :4], rows[:, 4].astype(np.int64), areas=np.array(areas or []))


def blank(name: str, target: object = None, split: object = None) -> Sample:
    return Sample(name, lambda: np.zeros((30, 40, 3), np.uint8), target, split)  # type: ignore[arg-type]


def test_pictures_are_counted_by_split_and_size(tmp_path: Path, write_picture: Picture) -> None:
    sizes = [(24, 32), (24, 32), (48, 100)]
    files = [write_picture(tmp_path / f"{i}.jpg", size_hw=size) for i, size in enumerate(sizes)]
    samples = [Sample.of_file(file.name, file, ClassTarget(0), "train") for file in files]
    samples += [blank("made", ClassTarget(0)), blank("made, too", ClassTarget(0), "val")]
    found = measure(Dataset(samples, ("cat",), "test"))
    assert (found.kind, found.pictures, found.missing, found.unreadable, found.turned) == ("classes", 5, 0, 0, 0)
    assert found.splits == {"train": 3, "no split": 1, "val": 1}
    assert list(found.sizes.items()) == [("32 x 24", 2), ("40 x 30", 2), ("100 x 48", 1)]
    assert found.quantiles["picture width"]["least"] == 32
    assert found.quantiles["picture width"]["median"] == 40
    assert found.quantiles["picture megapixels"]["most"] == pytest.approx(0.0048)


def test_missing_unreadable_and_turned_pictures_are_counted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "broken.jpg").write_text("no picture")
    samples = [Sample.of_file(name, tmp_path / name) for name in ("turned.jpg", "broken.jpg", "gone.jpg")]
    found = measure(Dataset(samples, (), "test"))
    assert (found.turned, found.unreadable, found.missing) == (1, 1, 1)
    assert found.sizes == {"30 x 40": 1}
    assert found.kind == "nothing"


def test_boxes_are_counted_by_class_and_cocos_sizes() -> None:
    samples = [
        blank("a", boxes_target((0, 0, 31, 32, 0), (0, 0, 32, 32, 0), (0, 0, 95, 96, 1)), "train"),
        blank("b", boxes_target((0, 0, 96, 96, 0)), "val"),
        blank("c", boxes_target()),
    ]
    found = measure(Dataset(samples, ("cat", "dog", "cow"), "test"))
    assert [asdict(each) for each in found.classes] == [
        {
            "name": "cat",
            "pictures": 2,
            "splits": {"train": 1, "val": 1},
            "boxes": 3,
            "small": 1,
            "medium": 1,
            "large": 1,
        },
        {"name": "dog", "pictures": 1, "splits": {"train": 1}, "boxes": 1, "small": 0, "medium": 1, "large": 0},
        {"name": "cow", "pictures": 0, "splits": {}, "boxes": 0, "small": 0, "medium": 0, "large": 0},
    ]
    assert (found.objects, found.per_picture) == (4, {0: 1, 1: 1, 3: 1})


def test_sizes_go_by_outlines_where_there_are_any() -> None:
    found = measure(Dataset([blank("a", boxes_target((0, 0, 200, 200, 0), areas=[1000.0]))], ("cat",), "test"))
    assert (found.classes[0].small, found.classes[0].large) == (1, 0)


def test_quantiles_of_boxes_equal_numpys() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 100, (200, 2))
    sizes = random.uniform(1, 50, (200, 2))
    boxes = np.hstack([corners, corners + sizes])
    targets = [BoxesTarget(part, np.zeros(len(part), np.int64)) for part in np.array_split(boxes, 7)]
    found = measure(Dataset([blank(str(i), each) for i, each in enumerate(targets)], ("cat",), "test"))
    assert found.quantiles["box aspect"]["median"] == pytest.approx(np.median(sizes[:, 0] / sizes[:, 1]))
    assert found.quantiles["box side"]["95 %"] == pytest.approx(np.quantile(np.sqrt(sizes.prod(axis=1)), 0.95))
    assert found.quantiles["box width"]["most"] == pytest.approx(sizes[:, 0].max())


def test_crowd_and_difficult_are_counted() -> None:
    target = BoxesTarget(
        np.array([[0, 0, 4, 4], [1, 1, 3, 3.0]]), np.zeros(2, int), np.array([True, False]), np.array([True, True])
    )
    found = measure(Dataset([blank("a", target)], ("cat",), "test"))
    assert (found.crowd, found.difficult) == (1, 2)


def test_points_are_counted_and_missing_ones_by_name() -> None:
    visible = np.array([[True, False, True], [True, False, False]])
    samples = [
        blank("a", PointsTarget(np.zeros((2, 3, 2)), visible)),
        blank("b", PointsTarget(np.zeros((3, 2)), visible[0])),
    ]
    found = measure(Dataset(samples, ("nose", "left eye", "right eye"), "test"))
    assert (found.kind, found.objects, found.per_picture, found.classes) == ("points", 3, {1: 1, 2: 1}, ())
    assert found.points == {"nose": 0, "left eye": 3, "right eye": 1}


def test_problems_are_counted_by_kind() -> None:
    problem = Problem(kind="zero-area box", where="a.xml:3", what="no area")
    found = measure(Dataset([], (), "test", problems=(problem, problem), unheld={"pose": 7}))
    assert (found.problems, found.unheld) == ({"zero-area box": 2}, {"pose": 7})


def test_nothing_is_in_an_empty_data_set() -> None:
    found = measure(Dataset([], ("cat",), "test"))
    assert (found.pictures, found.objects, found.quantiles, found.per_picture) == (0, 0, {}, {})


def test_every_sample_advances_the_progress() -> None:
    advanced: list[int] = []
    measure(Dataset([blank("a"), blank("b")], (), "test"), advanced.append)
    assert advanced == [1, 1]


@pytest.mark.shared
def test_bccd_has_its_published_counts(shared_data: Path) -> None:
    found = measure(load_data(shared_data / "detection_bccd"))
    assert {each.name: each.boxes for each in found.classes} == {"Platelets": 361, "RBC": 4153, "WBC": 372}
    assert found.sizes == {"640 x 480": 364}
    assert found.splits == {"train": 205, "val": 87, "test": 72}
