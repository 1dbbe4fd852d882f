"""Results: what they check, their row form, their drawings; and the row itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvtl.results import Classification, Detections, Landmarks, Localization, Picture, Result, Row, UInt8Image
from cvtl.tasks import TASKS

CLASSES = ("car", "bus", "tram")


def classification() -> Classification:
    return Classification(torch.tensor([0.2, 0.7, 0.1]), CLASSES)


def localization(present: float = 0.9) -> Localization:
    return Localization(present, torch.tensor([0.2, 0.7, 0.1]), torch.tensor([8.0, 20, 60.12345, 50]), CLASSES)


def detections(count: int = 2) -> Detections:
    boxes = torch.tensor([[8.0, 20, 30, 50], [40, 22, 70, 55]])[:count]
    return Detections(boxes, torch.tensor([0.5, 0.75])[:count], torch.tensor([0, 2])[:count], CLASSES)


def landmarks() -> Landmarks:
    points = torch.tensor([[[10.0, 12], [50, 40.5]]])
    return Landmarks(points, torch.tensor([[0.9, 0.25]]), ("nose", "tail"), edges=((0, 1),))


def landmarks_in_boxes(count: int = 2) -> Landmarks:
    points = torch.tensor([[10.0, 12], [50, 40]]).repeat(count, 1, 1)
    boxes = torch.tensor([[5.0, 6, 60, 50]]).repeat(count, 1)
    return Landmarks(points, torch.full((count, 2), 0.5), ("nose", "tail"), boxes=boxes)


def picture() -> Picture:
    return Picture(torch.arange(36, dtype=torch.uint8).reshape(3, 3, 4))


def scene() -> UInt8Image:
    return np.full((64, 80, 3), 90, np.uint8)


# Row forms


@pytest.mark.parametrize(
    ("result", "form"),
    [
        (classification(), {"labels": ["bus", "car", "tram"], "scores": [0.7, 0.2, 0.1]}),
        (localization(), {"present": 0.9, "label": "bus", "score": 0.7, "box": [8.0, 20.0, 60.123, 50.0]}),
        (
            detections(),
            {"boxes": [[40, 22, 70, 55], [8, 20, 30, 50]], "scores": [0.75, 0.5], "labels": ["tram", "car"]},
        ),
        (detections(0), {"boxes": [], "scores": [], "labels": []}),
        (landmarks(), {"points": [[10, 12], [50, 40.5]], "scores": [0.9, 0.25]}),
        (
            landmarks_in_boxes(1),
            {"instances": [{"points": [[10, 12], [50, 40]], "scores": [0.5, 0.5], "box": [5, 6, 60, 50]}]},
        ),
        (landmarks_in_boxes(0), {"instances": []}),
        (picture(), {"picture": None}),
    ],
)
def test_the_row_form_is_json_that_reads_back_the_same(result: Result, form: dict[str, Any]) -> None:
    assert result.to_dict() == form
    assert json.loads(json.dumps(result.to_dict())) == form


def test_a_classification_says_at_most_five_classes_best_first_and_ties_in_class_order() -> None:
    result = Classification(torch.tensor([0.1, 0.2, 0.2, 0.1, 0.1, 0.1, 0.2]), tuple("abcdefg"))
    assert result.to_dict()["labels"] == ["b", "c", "g", "a", "d"]
    assert [name for name, _ in result.top(2)] == ["b", "c"]


@pytest.mark.parametrize(("top_k", "labels"), [(1, ["b"]), (3, ["b", "c", "a"]), (9, ["b", "c", "a"])])
def test_the_row_form_names_as_many_classes_as_asked_for(top_k: int, labels: list[str]) -> None:
    result = Classification(torch.tensor([0.1, 0.6, 0.3]), ("a", "b", "c"), top_k)
    assert result.to_dict()["labels"] == labels
    assert len(result.to_dict()["scores"]) == len(labels)


def test_detections_are_sorted_best_first_and_ties_keep_their_order() -> None:
    scores = torch.tensor([0.5, 0.9] * 50)
    result = Detections(torch.arange(400).reshape(100, 4), scores, torch.zeros(100), ("a",))
    assert result.boxes[:, 0].tolist() == [*range(4, 400, 8), *range(0, 400, 8)]


# What is checked


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(torch.zeros(2), CLASSES), r"Classification.scores must have shape \(3,\), not \(2,\)"),
        (lambda: Localization(0.5, torch.zeros(3), torch.zeros(1, 5), CLASSES), r"box must have shape \(4,\)"),
        (lambda: Detections(torch.zeros(2, 4), torch.zeros(3), torch.zeros(3), CLASSES), r"boxes must have shape \(3"),
        (lambda: Detections(torch.zeros(2, 4), torch.zeros(2), torch.zeros(1), CLASSES), r"labels must have shape"),
        (
            lambda: Detections(torch.zeros(1, 4), torch.zeros(1), torch.tensor([3]), CLASSES),
            r"labels must lie in \[0, 3",
        ),
        (lambda: Detections(torch.zeros(1, 4), torch.zeros(1), torch.tensor([-1]), CLASSES), "labels must lie in"),
        (lambda: Landmarks(torch.zeros(1, 2, 2), torch.zeros(1, 2), ("nose",)), r"points must have shape \(1, 1, 2\)"),
        (lambda: Landmarks(torch.zeros(2, 1, 2), torch.zeros(2, 1), ("nose",)), "without boxes"),
        (lambda: Landmarks(torch.zeros(0, 1, 2), torch.zeros(0, 1), ("nose",)), "without boxes"),
        (lambda: Picture(torch.zeros(3, 4, 4)), "image must be uint8"),
        (lambda: Picture(torch.zeros(4, 4, 3, dtype=torch.uint8)), r"not torch.uint8 \(4, 4, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Result], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_results_are_float32_on_the_cpu_and_free_of_gradients() -> None:
    scores = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    result = Detections(torch.tensor([[0, 0, 4, 4]]), scores * 1, torch.tensor([0], dtype=torch.int32), ("car",))
    assert (result.boxes.dtype, result.scores.dtype, result.labels.dtype) == (
        torch.float32,
        torch.float32,
        torch.int64,
    )
    assert not result.scores.requires_grad


@pytest.mark.parametrize("empty", [torch.zeros(0), torch.zeros(0, 4), torch.zeros(1, 0)])
def test_no_boxes_may_come_in_any_empty_shape(empty: Tensor) -> None:
    assert Detections(empty, torch.zeros(0), torch.zeros(0), CLASSES).boxes.shape == (0, 4)


def test_results_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        detections().boxes = torch.zeros(2, 4)  # type: ignore[misc]


# Drawings


@pytest.mark.parametrize(
    "result", [classification(), localization(), detections(), landmarks(), landmarks_in_boxes()], ids=type
)
def test_drawing_gives_a_changed_copy_and_leaves_the_picture(result: Result) -> None:
    image = scene()
    image.setflags(write=False)
    drawn = result.draw(image)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any()
    assert (image == 90).all()
    assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize("result", [detections(0), landmarks_in_boxes(0), localization(present=0.4)], ids=type)
def test_drawing_nothing_gives_an_equal_copy(result: Result) -> None:
    image = scene()
    drawn = result.draw(image)
    assert (drawn == image).all()
    assert not np.shares_memory(drawn, image)


def test_boxes_are_drawn_where_they_are_and_keep_rgb_order() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[...] = 10, 20, 30
    drawn = Detections(torch.tensor([[100.0, 80, 200, 160]]), torch.ones(1), torch.zeros(1), ("car",)).draw(image)
    rows, columns = np.nonzero((drawn != image).any(axis=2))
    assert abs(rows.max() - 160) <= 1
    assert abs(columns.min() - 100) <= 1
    assert abs(columns.max() - 200) <= 1
    assert drawn[120, 150].tolist() == [10, 20, 30]


def test_a_painted_picture_is_its_own_drawing() -> None:
    drawn = picture().draw(scene())
    assert drawn.shape == (3, 4, 3)
    assert drawn[1, 2].tolist() == [6, 18, 30]


def test_drawing_on_a_picture_of_one_pixel_works() -> None:
    assert detections().draw(np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3)


# supervision


def test_detections_go_to_supervision_with_their_class_names() -> None:
    found = detections().to_supervision()
    assert found.xyxy.tolist() == [[40, 22, 70, 55], [8, 20, 30, 50]]
    assert np.asarray(found.confidence).tolist() == [0.75, 0.5]
    assert np.asarray(found.class_id).tolist() == [2, 0]
    assert np.asarray(found.data["class_name"]).tolist() == ["tram", "car"]


def test_no_detections_go_to_supervision_as_none() -> None:
    assert len(detections(0).to_supervision()) == 0


def test_landmarks_go_to_supervision() -> None:
    found = landmarks().to_supervision()
    assert found.xy.tolist() == [[[10, 12], [50, 40.5]]]
    assert np.asarray(found.keypoint_confidence).tolist() == np.array([[0.9, 0.25]], np.float32).tolist()


def test_a_classification_goes_to_supervision() -> None:
    names = [CLASSES[i] for i in classification().to_supervision().get_top_k(2)[0]]
    assert names == ["bus", "car"]


# Rows


def test_a_row_is_one_line_of_json_that_reads_back_the_same() -> None:
    row = Row(
        source='Ürlaub/a "b"\n.jpg',
        status="ok",
        task="detect",
        width=8,
        height=6,
        result=detections().to_dict(),
        frame=3,
    )
    text = row.to_json()
    assert "\n" not in text
    assert "Ürlaub" in text
    assert json.loads(text) == {
        "source": 'Ürlaub/a "b"\n.jpg',
        "frame": 3,
        "time": None,
        "status": "ok",
        "error": None,
        "width": 8,
        "height": 6,
        "task": "detect",
        "result": detections().to_dict(),
    }


def test_a_file_name_that_is_no_utf8_is_written_and_read_back() -> None:
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    text = Row(source=name, status="unreadable", error="it is empty", task="detect").to_json()
    assert json.loads(text.encode()) == json.loads(text)
    assert json.loads(text)["source"].encode(errors="surrogateescape") == b"caf\xe9.jpg"


def test_every_result_type_is_that_of_a_task() -> None:
    types = {task.result_type() for task in TASKS.values()}
    assert types == {Classification, Localization, Detections, Landmarks, Picture}
