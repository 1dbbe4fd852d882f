"""Data sets, their targets, and the look-up of the format that reads a path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cvtl import data
from cvtl.data import BoxesTarget, ClassTarget, Dataset, DatasetFormat, PointsTarget, Sample, Target, load_data
from cvtl.errors import DataError, PluginError
from cvtl.registry import Registry


def read_nothing() -> Any:
    raise AssertionError("a picture was decoded that nobody asked for")


def sample(name: str, target: Target | None = None, split: Any = None) -> Sample:
    return Sample(name, read_nothing, target, split)


def boxes_target(boxes: Any, labels: Any, crowd: Any = ()) -> BoxesTarget:
    return BoxesTarget(np.array(boxes, np.float32), np.array(labels, np.int64), np.array(crowd, bool))


def dataset(samples: Sequence[Sample]) -> Dataset:
    return Dataset(samples, ("cat", "dog"), "memory", "here")


# Data sets


def test_a_data_set_is_a_sequence_that_decodes_nothing_by_itself() -> None:
    samples = [sample("a"), sample("b"), sample("c")]
    found = dataset(samples)
    assert len(found) == 3
    assert list(found) == samples
    assert found[1].name == "b"
    assert found[-1].name == "c"


def test_a_subset_keeps_the_order_asked_for_and_the_classes() -> None:
    subset = dataset([sample("a"), sample("b"), sample("c")]).subset([2, 0])
    assert [each.name for each in subset] == ["c", "a"]
    assert (subset.classes, subset.format, subset.root) == (("cat", "dog"), "memory", "here")


def test_a_split_holds_the_samples_its_publisher_put_there() -> None:
    found = dataset([sample("a", split="train"), sample("b", split="val"), sample("c", split="train"), sample("d")])
    assert [each.name for each in found.split("train")] == ["a", "c"]
    assert len(found.split("test")) == 0


POINTS = PointsTarget(np.zeros((2, 2), np.float32), np.array([True, False]), (0.0, 0.0, 4.0, 4.0))
MOVED = PointsTarget(np.ones((2, 2), np.float32), np.array([True, False]), (0.0, 0.0, 4.0, 4.0))
UNBOXED = PointsTarget(np.zeros((2, 2), np.float32), np.array([True, False]))


@pytest.mark.parametrize(
    "other",
    [
        [sample("b", ClassTarget(0))],
        [sample("a", ClassTarget(1))],
        [sample("a", ClassTarget(0), split="train")],
        [sample("a")],
        [sample("a", ClassTarget(0)), sample("b", ClassTarget(0))],
        [],
    ],
)
def test_the_digest_changes_with_names_targets_and_splits(other: list[Sample]) -> None:
    assert dataset([sample("a", ClassTarget(0))]).digest() == dataset([sample("a", ClassTarget(0))]).digest()
    assert dataset([sample("a", ClassTarget(0))]).digest() != dataset(other).digest()


@pytest.mark.parametrize(
    ("target", "other"),
    [
        (boxes_target([[0, 0, 4, 4]], [0]), boxes_target([[0, 0, 4, 5]], [0])),
        (boxes_target([[0, 0, 4, 4]], [0]), boxes_target([[0, 0, 4, 4]], [1])),
        (boxes_target([[0, 0, 4, 4]], [0]), boxes_target([[0, 0, 4, 4]], [0], [True])),
        (POINTS, MOVED),
        (POINTS, UNBOXED),
    ],
)
def test_the_digest_changes_with_every_part_of_a_target(target: Target, other: Target) -> None:
    assert dataset([sample("a", target)]).digest() != dataset([sample("a", other)]).digest()


def test_the_digest_changes_with_the_classes() -> None:
    renamed = Dataset([sample("a")], ("cat", "cow"), "memory")
    assert dataset([sample("a")]).digest() != renamed.digest()


def test_a_file_name_that_is_no_utf8_has_a_digest() -> None:
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    assert dataset([sample(name)]).digest() != dataset([sample("cafe.jpg")]).digest()


def test_half_a_surrogate_pair_in_a_class_name_has_a_digest() -> None:
    assert Dataset([], ("\ud800",), "memory").digest() != Dataset([], ("\ud801",), "memory").digest()


def test_boxes_become_arrays_of_the_promised_types() -> None:
    target = BoxesTarget([[0, 0, 4, 4], [1, 1, 2, 2]], [0, 1])  # type: ignore[arg-type]
    assert [each.dtype.name for each in (target.boxes, target.labels, target.crowd)] == ["float64", "int64", "bool"]
    assert target.crowd.tolist() == [False, False]


def test_a_picture_without_objects_has_a_target_without_boxes() -> None:
    target = boxes_target([], [])
    assert (target.boxes.shape, target.labels.shape, target.crowd.shape) == ((0, 4), (0,), (0,))


def test_boxes_labels_and_crowd_flags_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 boxes, 2 labels, 1 crowd flags"):
        boxes_target([[0, 0, 4, 4]], [0, 1])
    with pytest.raises(ValueError, match="1 boxes, 1 labels, 2 crowd flags"):
        boxes_target([[0, 0, 4, 4]], [0], [True, False])


# The look-up


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three formats: `txt` and `list` read .txt files, `csv` those of another task; one more is broken."""
    module: Any = ModuleType("fake_formats")
    module.never = lambda path: False
    for name, task, suffix in (("txt", "detect", ".txt"), ("csv", "landmarks", ".csv"), ("list", "classify", ".txt")):
        setattr(module, f"is_{name}", lambda path, suffix=suffix: path.suffix == suffix)
        setattr(module, f"load_{name}", lambda path, name=name: Dataset([], (), name, str(path)))
        spec = DatasetFormat(
            name=name,
            summary=f"{name} files",
            tasks=(task,),  # type: ignore[arg-type]
            recognizes=f"fake_formats:is_{name}",
            load=f"fake_formats:load_{name}",
        )
        setattr(module, name, spec)
    module.broken = DatasetFormat(
        name="broken", summary="", tasks=("detect",), recognizes="fake_formats:never", load="fake_formats:missing"
    )
    monkeypatch.setitem(sys.modules, "fake_formats", module)
    points = [EntryPoint(name, f"fake_formats:{name}", "cvtl.datasets") for name in ("txt", "csv", "list", "broken")]
    registry = Registry("cvtl.datasets", DatasetFormat, "data set format", points=points)
    monkeypatch.setattr(data, "formats", lambda: registry)


@pytest.fixture
def folder(formats: None, tmp_path: Path) -> Path:
    for name in ("a.txt", "a.csv", "a.doc"):
        (tmp_path / name).write_text("")
    return tmp_path


def test_the_format_is_found_from_the_path(folder: Path) -> None:
    found = load_data(folder / "a.csv")
    assert (found.format, found.root) == ("csv", str(folder / "a.csv"))
    assert load_data(str(folder / "a.csv"), "landmarks").format == "csv"


def test_only_formats_of_the_task_are_asked(folder: Path) -> None:
    assert load_data(folder / "a.txt", "detect").format == "txt"
    assert load_data(folder / "a.txt", "classify").format == "list"


def test_a_format_that_is_named_is_not_doubted(folder: Path) -> None:
    assert load_data(folder / "a.doc", format="list").format == "list"


@pytest.mark.parametrize(
    ("name", "task", "format", "message"),
    [
        ("b.txt", None, None, "there is no data set at '{path}'"),
        ("a.txt", None, None, "'{path}' is read by list and txt. Name one with --format. Formats here: list: "),
        ("a.doc", None, None, "'{path}' is in no known format. Name one with --format. Formats here: csv: csv files;"),
        ("a.csv", "style", None, "'{path}' is in no known format. Name one with --format. Formats here: (none)"),
        ("a.csv", "detect", "csv", "data set format 'csv' has no targets for the task 'detect'"),
    ],
)
def test_what_cannot_be_opened_says_why(folder: Path, name: str, task: Any, format: str | None, message: str) -> None:
    with pytest.raises(DataError) as raised:
        load_data(folder / name, task, format=format)
    assert str(raised.value).startswith(message.format(path=folder / name))


def test_where_several_formats_would_do_only_these_are_offered(folder: Path) -> None:
    with pytest.raises(DataError) as raised:
        load_data(folder / "a.txt")
    assert raised.value.hint is not None
    assert "csv" not in raised.value.hint


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("xml", "there is no data set format 'xml'. Installed are: broken, csv, list, txt"),
        ("broken", "data set format 'broken': 'fake_formats:missing' cannot be imported"),
    ],
)
def test_a_format_that_is_not_there_is_refused(folder: Path, format: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        load_data(folder / "a.txt", format=format)
