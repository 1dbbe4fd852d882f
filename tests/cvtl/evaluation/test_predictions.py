"""Predictions from files and models, put beside the samples of a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, Target
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.alignment import Pictures
from cvtl.evaluation.found import Found, FoundBoxes, FoundClasses, FoundObject, FoundPoints, Predictions
from cvtl.evaluation.predictions import read_predictions, write_rows
from cvtl.results import Row

CLASSES = ("cat", "dog")
NO_BOXES = BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))


def dataset(
    names: Sequence[str] = ("a.jpg", "b.jpg", "c.jpg"), target: Target | None = NO_BOXES, **keywords: Any
) -> Dataset:
    samples = [Sample.of_file(name, name, target, image_id=10 + i) for i, name in enumerate(names)]
    return Dataset(
        samples, **{"classes": CLASSES, "format": "memory", "root": "data", "category_ids": (1, 7)} | keywords
    )


def row(source: str, result: Any = None, task: str = "detect", status: Any = "ok") -> str:
    return Row(source=source, status=status, task=task, result=result).to_json()


def detections(*labels: str) -> dict[str, Any]:
    boxes = [[i, i, i + 10, i + 20] for i in range(len(labels))]
    return {"boxes": boxes, "scores": [0.5] * len(labels), "labels": list(labels)}


def coco(image_id: Any, category_id: Any = 1, bbox: Any = (1, 2, 30, 40), score: Any = 0.5) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Any], Path]:
    """Write rows, given as lines, or COCO results, given as a list of entries."""

    def write(content: Sequence[Any]) -> Path:
        rows = bool(content) and isinstance(content[0], str)
        path = tmp_path / ("rows.jsonl" if rows else "results.json")
        path.write_text("".join(f"{line}\n" for line in content) if rows else json.dumps(content))
        return path

    return write


File = Callable[[Any], Path]


def boxes_of(found: Found | None) -> list[list[float]]:
    assert isinstance(found, FoundBoxes)
    return [
        [*box, score, label] for box, score, label in zip(found.boxes.tolist(), found.scores, found.labels, strict=True)
    ]


# COCO results


def test_coco_results_go_to_the_pictures_and_classes_with_their_numbers(file: File) -> None:
    entries = [coco(12, 7, score=0.25), coco(10), coco(12, bbox=[0, 0, 5.25, 6])]
    predictions = read_predictions(file(entries), dataset())
    assert predictions.task == "detect"
    assert [boxes_of(found) for found in predictions.found] == [
        [[1, 2, 31, 42, 0.5, 0]],
        [],
        [[1, 2, 31, 42, 0.25, 1], [0, 0, 5.25, 6, 0.5, 0]],
    ]
    assert predictions.notes == ()


def test_coco_keypoints_go_to_the_pictures_with_their_numbers(file: File) -> None:
    entries = [{"image_id": 11, "category_id": 1, "keypoints": [1, 2, 1, 3, 4, 0], "score": 0.75}] * 2
    target = PointsTarget(np.zeros((1, 2, 2)), np.ones((1, 2), bool))
    predictions = read_predictions(file(entries), dataset(target=target, category_ids=()))
    assert predictions.task == "landmarks"
    shapes = [found.points.shape for found in predictions.found if isinstance(found, FoundPoints)]
    assert shapes == [(0, 2, 2), (2, 2, 2), (0, 2, 2)]
    found = predictions.found[1]
    assert isinstance(found, FoundPoints)
    assert found.points[0].tolist() == [[1, 2], [3, 4]]
    assert found.scores[0].tolist() == [0.75, 0.75]


def test_an_empty_list_of_coco_results_finds_nothing(file: File) -> None:
    predictions = read_predictions(file([]), dataset())
    assert [boxes_of(found) for found in predictions.found] == [[], [], []]


def test_coco_results_for_other_pictures_and_classes_are_left_out_and_counted(file: File) -> None:
    predictions = read_predictions(file([coco(10), coco(99), coco(99), coco(98), coco(10, 5)]), dataset())
    assert [len(boxes_of(found)) for found in predictions.found] == [1, 0, 0]
    assert predictions.notes == (
        "The predictions for 2 pictures are left out, because these are not in the data set, such as '99'.",
        "The data set does not have these classes of the predictions: '5' (1 results left out).",
    )


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([coco(99), coco(98)], "no image_id in common: 99, 98 there, 10, 11, 12 here"),
        ([coco(10, 5)], "no category_id in common: 5 there, 1, 7 here"),
        ([coco(10), coco(10, bbox=[1, 2, 3])], "entry 1 has no 'bbox' of 4 numbers"),
        ([coco(10), coco(10, bbox=[1, 2, 3, "x"])], "entry 1 has no 'bbox' of 4 numbers"),
        ([coco(10), coco(10, bbox=None)], "entry 1 has no 'bbox' of 4 numbers"),
        ([coco(10, score=None)], "entry 0 has no 'score' of a number"),
        ([coco(10, score=float("nan"))], "entry 0 has no 'score' of a number"),
        ([{"image_id": 10, "category_id": 1, "score": 1}], "entry 0 has no 'bbox'"),
        ([coco(10), {"category_id": 1, "score": 1, "bbox": [1, 2, 3, 4]}], "entry 1 has no 'image_id'"),
        ([coco(10), coco([10])], "entry 1 has no 'image_id'"),
        ([coco(10, score=10**400)], "entry 0 has no 'score' of a number"),
        ([coco("10")], "no image_id in common: '10' there, 10, 11, 12 here"),
        ([coco(10), 5], "entry 1 is not an object"),
    ],
)
def test_coco_results_that_do_not_fit_or_are_malformed_are_refused(
    file: File, entries: list[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_predictions(file(entries), dataset())


def test_malformed_json_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('[\n{"image_id": 10},\n{"image_id": ]')
    with pytest.raises(DataError, match=r"results\.json:3' is malformed JSON"):
        read_predictions(path, dataset())


@pytest.mark.parametrize("keywords", [{"category_ids": ()}, {"samples": [Sample.of_file("a.jpg", "a.jpg", NO_BOXES)]}])
def test_coco_results_need_a_data_set_with_coco_numbers(file: File, keywords: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"'data' has none.*cvtl data convert data OUT --to coco"):
        read_predictions(file([coco(10)]), replace(dataset(), **keywords))


def test_many_detections_are_read_as_arrays(tmp_path: Path) -> None:
    count, pictures = 100_000, 500
    entry = '{"image_id": %d, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}'
    path = tmp_path / "results.json"
    path.write_text("[" + ",".join(entry % (10 + i % pictures) for i in range(count)) + "]")
    predictions = read_predictions(path, dataset([f"{i}.jpg" for i in range(pictures)]))
    assert {len(found.scores) for found in predictions.found if isinstance(found, FoundBoxes)} == {count // pictures}


# Rows


def test_rows_go_to_the_samples_that_they_name(file: File) -> None:
    lines = [row("c.jpg", detections("dog", "cat")), row("a.jpg", detections()), row("b.jpg", detections("cat"))]
    predictions = read_predictions(file(lines), dataset())
    assert [boxes_of(found) for found in predictions.found] == [
        [],
        [[0, 0, 10, 20, 0.5, 0]],
        [[0, 0, 10, 20, 0.5, 1], [1, 1, 11, 21, 0.5, 0]],
    ]
    assert predictions.notes == ()


def test_the_folder_of_a_run_stands_for_its_rows(file: File) -> None:
    path = file([row("a.jpg", detections("cat"))])
    by_folder, by_file = (read_predictions(each, dataset(["a.jpg"])) for each in (path.parent, path))
    assert boxes_of(by_folder.found[0]) == boxes_of(by_file.found[0])


NAMES = ["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "2.jpg", "x/2.jpg", "deep/er/3.jpg"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("train/cat/1.jpg", "train/cat/1.jpg"),
        ("./train/cat/1.jpg", "train/cat/1.jpg"),
        ("dog/1.jpg", "train/dog/1.jpg"),
        ("flowers/val/cat/1.jpg", "val/cat/1.jpg"),
        ("2.jpg", "2.jpg"),
        ("photos/2.jpg", "2.jpg"),
        ("photos/x/2.jpg", "x/2.jpg"),
        ("er/3.jpg", "deep/er/3.jpg"),
        ("3.jpg", "deep/er/3.jpg"),
        ("other/3.jpg", None),
        ("test/cat/1.jpg", None),
        ("3.png", None),
        ("13.jpg", None),
    ],
)
def test_a_source_is_the_only_sample_where_one_path_ends_with_the_other(source: str, name: str | None) -> None:
    index = Pictures(NAMES).find(source)
    assert (None if index is None else NAMES[index]) == name


def test_what_cannot_be_told_is_left_out_and_counted(file: File) -> None:
    names = ["train/a.jpg", "val/a.jpg", "val/b.jpg", "val/c.jpg"]
    lines = [row("a.jpg", detections()), row("b.jpg", detections("cat", "bus")), row("z.jpg", detections())]
    lines.append(row("c.jpg", status="unreadable"))
    predictions = read_predictions(file(lines), dataset(names))
    assert [found is None for found in predictions.found] == [True, True, False, True]
    assert boxes_of(predictions.found[2]) == [[0, 0, 10, 20, 0.5, 0]]
    assert predictions.notes == (
        "2 of 4 pictures have no row, such as 'train/a.jpg': they count as nothing found.",
        "1 of 4 pictures have a row without an answer, such as 'c.jpg': they count as nothing found.",
        "The predictions for 1 picture are left out, because these are not in the data set, such as 'z.jpg'.",
        "The predictions for 1 picture are left out, because these could be several of the data set's, such as "
        "'a.jpg'.",
        "The data set does not have these classes of the predictions: 'bus' (1 detections left out).",
    )


def test_class_rows_keep_classes_that_the_data_set_does_not_have_as_minus_one(file: File) -> None:
    lines = [row("a.jpg", {"labels": ["bus", "dog", "cat"], "scores": [0.5, 0.25, 0.125]}, "classify")]
    (found,) = read_predictions(file(lines), dataset(["a.jpg"])).found
    assert isinstance(found, FoundClasses)
    assert found.labels.tolist() == [-1, 1, 0]
    assert found.scores.tolist() == [0.5, 0.25, 0.125]


def test_localize_rows_are_read(file: File) -> None:
    result = {"present": 0.75, "label": "dog", "score": 0.5, "box": [1, 2, 3, 4]}
    (found,) = read_predictions(file([row("a.jpg", result, "localize")]), dataset(["a.jpg"])).found
    assert isinstance(found, FoundObject)
    assert (found.present, found.label, found.score, found.box.tolist()) == (0.75, 1, 0.5, [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("result", "count", "boxed"),
    [
        ({"points": [[1, 2], [3, 4]], "scores": [1, 0.5]}, 1, False),
        ({"instances": [{"points": [[1, 2], [3, 4]], "scores": [1, 0.5], "box": [0, 0, 9, 9]}] * 3}, 3, True),
        ({"instances": []}, 0, False),
    ],
)
def test_landmark_rows_are_read_by_the_order_of_points(file: File, result: Any, count: int, boxed: bool) -> None:
    data = dataset(["a.jpg"], PointsTarget(np.zeros((2, 2)), np.ones(2, bool)), classes=("left", "right"))
    (found,) = read_predictions(file([row("a.jpg", result, "landmarks")]), data).found
    assert isinstance(found, FoundPoints)
    assert found.points.tolist() == [[[1, 2], [3, 4]]] * count
    assert (found.boxes is not None) == boxed


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ([row("a.jpg", detections()), row("x/a.jpg", detections())], DataError, r"rows\.jsonl:2' is about 'a.jpg'.*1"),
        ([row("a.jpg", detections()), "{"], DataError, r"rows\.jsonl:2' is malformed JSON"),
        ([row("a.jpg", detections()), "[]"], DataError, r"rows\.jsonl:2' is no row"),
        (['{"images": []}'], DataError, r"rows\.jsonl:1' is no row of `cvtl run`: it has no 'source'"),
        ([row("a.jpg")], DataError, r"rows\.jsonl:1' is no row.*its result is malformed"),
        ([row("a.jpg", detections("cat") | {"scores": []})], DataError, r"rows\.jsonl:1.*numbers of shape"),
        ([row("a.jpg", detections("cat") | {"scores": [float("nan")]})], DataError, "not finite"),
        ([row("a.jpg", detections("bus", "tram"))], DataError, "no class in common: bus, tram there, cat, dog here"),
        ([row("z.jpg", detections())], DataError, "no picture in common.*'z.jpg' is no picture.*like 'a.jpg'"),
        ([row("a.jpg", {"points": [[1, 2]], "scores": [1]}, "landmarks")], DataError, "1 points, where .* has 2"),
        ([row("a.jpg", {"picture": "a.png"}, "style")], UsageError, "task 'style', which has no figures"),
        ([row("a.jpg", detections()), row("b.jpg", {}, "classify")], UsageError, "rows.jsonl:2' is of the task 'cl"),
        (["  "], DataError, "has no rows"),
    ],
)
def test_rows_that_do_not_fit_or_are_malformed_are_refused_with_their_line(
    file: File, lines: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_predictions(file(lines), dataset())


def test_rows_that_could_all_be_of_several_pictures_are_refused(file: File) -> None:
    with pytest.raises(DataError, match=r"'a\.jpg' could be several pictures of the data set"):
        read_predictions(file([row("a.jpg", detections())]), dataset(["x/a.jpg", "y/a.jpg"]))


@pytest.mark.parametrize("content", [[row("a.jpg", detections())], [coco(10)]])
def test_predictions_of_another_task_than_expected_are_refused(file: File, content: Any) -> None:
    assert read_predictions(file(content), dataset(), "detect").task == "detect"
    with pytest.raises(UsageError, match="task 'detect', not 'classify'"):
        read_predictions(file(content), dataset(), "classify")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DataError, match="cannot read predictions from"):
            read_predictions(path, dataset())


# Writing

BOX = np.array([[0.1, 0.2, 1 / 3, 10.7]])


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ("classify", FoundClasses(np.array([1, -1]), np.array([0.7, 1 / 3]))),
        ("localize", FoundObject(0.9, 1, 1 / 3, BOX[0])),
        ("detect", FoundBoxes(BOX, np.array([1 / 3]), np.array([1]))),
        ("landmarks", FoundPoints(BOX.reshape(1, 2, 2), np.array([[1 / 3, 1]]))),
        ("landmarks", FoundPoints(BOX.reshape(1, 2, 2), np.array([[1 / 3, 1]]), BOX)),
        ("landmarks", FoundPoints(np.zeros((0, 2, 2)), np.zeros((0, 2)))),
    ],
)
def test_what_is_written_as_rows_reads_back_the_same(tmp_path: Path, task: Any, found: Found) -> None:
    data = dataset(["a.jpg", "b/ü.jpg"])
    written = Predictions(name="model", task=task, found=[found, None])
    read = read_predictions(write_rows(written, data, tmp_path / "rows.jsonl"), data)
    assert read.task == task
    assert read.found[1] is None
    again = read.found[0]
    assert type(again) is type(found)
    for name, value in vars(found).items():
        assert np.array_equal(getattr(again, name), value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "holds lists in lists"),
        (b"\x1f\x8b\x08\x00 packed", "rows:1' is no text"),
        (b'{\n "annotations": []\n}', "rows:1' is malformed JSON"),
        (
            b'{"source": "a.jpg", "status": "ok", "task": ["detect"]}',
            "is of the task '\\['detect'\\]', which has no figures",
        ),
        (b'{"source": "a.jpg", "status": "ok", "task": "landmarks", "result": [1]}', "rows:1' is no row of `cvtl run`"),
        (
            b'{"source": "a.jpg", "status": "ok", "task": "detect", "result": '
            b'{"boxes": [[0, 0, 1%s, 5]], "scores": [1], "labels": ["cat"]}}' % (b"0" * 400),
            "rows:1' is no row of `cvtl run`: its result is malformed",
        ),
        (b"5\n", "rows:1' is no row of `cvtl run`: it is no object"),
    ],
)
def test_what_no_tool_should_have_written_is_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises((DataError, UsageError), match=message):
        read_predictions(path, dataset())


def test_classes_are_put_in_the_order_of_their_scores(file: File) -> None:
    lines = [row("a.jpg", {"labels": ["cat", "dog"], "scores": [0.25, 0.75]}, "classify")]
    found = read_predictions(file(lines), dataset(["a.jpg"], ClassTarget(0))).found[0]
    assert isinstance(found, FoundClasses)
    assert (found.labels.tolist(), found.scores.tolist()) == ([1, 0], [0.75, 0.25])


def test_logits_are_no_probabilities(file: File) -> None:
    lines = [row("a.jpg", {"labels": ["cat", "dog"], "scores": [4.5, -1.0]}, "classify")]
    with pytest.raises(DataError, match=r"rows\.jsonl:1' is no row.*scores that are no probabilities"):
        read_predictions(file(lines), dataset(["a.jpg"], ClassTarget(0)))
