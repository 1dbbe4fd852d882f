"""Models run over the pictures of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvtl import weights
from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, Target
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.found import Found, FoundBoxes, FoundClasses, FoundObject, FoundPoints
from cvtl.evaluation.predictions import predict
from cvtl.progress import Progress
from cvtl.results import Classification, Detections, Landmarks, Localization, Picture

CLASSES = ("cat", "dog")
NO_BOXES = BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))


def boxes_of(found: Found | None) -> list[list[float]]:
    assert isinstance(found, FoundBoxes)
    parts = zip(found.boxes.tolist(), found.scores, found.labels, strict=True)
    return [[*box, score, label] for box, score, label in parts]


class TinyModel(torch.nn.Module):
    """Answers by the picture's mean: what a plugin's network looks like from outside."""

    plugin = "windows"

    def __init__(self, classes: tuple[str, ...], answer: Callable[[float], Any]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.classes = classes
        self.answer = answer

    def predict(self, images: Sequence[Tensor]) -> list[Any]:
        return [self.answer(float(image.float().mean())) for image in images]

    def predict_samples(self, samples: Sequence[Sample], *, batch_size: int, progress: Progress) -> Any:
        return None


class ByName(TinyModel):
    """Answers by the samples' names, without a look at the pictures."""

    def predict(self, images: Sequence[Tensor]) -> list[Any]:
        raise AssertionError("it was shown pictures")

    def predict_samples(self, samples: Sequence[Sample], *, batch_size: int, progress: Progress) -> Iterator[Any]:
        assert not self.training
        for sample in samples:
            progress.advance(1)
            # What is computed here is not for training.
            assert torch.ones(1, requires_grad=True).mul(2).is_inference()
            number = int(sample.name.partition(".")[0])
            yield DataError("cannot read '1.jpg'") if number == 1 else self.answer(number)


def pictures(shades: Sequence[int | None], target: Target, **keywords: Any) -> Dataset:
    """A data set of grey pictures; None is one that cannot be read."""

    def reader(shade: int | None) -> Callable[[], Any]:
        def read() -> Any:
            if shade is None:
                raise DataError("cannot read 'bad.jpg': it is empty")
            return np.full((4, 6, 3), shade, np.uint8)

        return read

    samples = [Sample(f"{i}.jpg", reader(shade), target) for i, shade in enumerate(shades)]
    return Dataset(samples, **{"classes": CLASSES, "format": "memory", "root": "data"} | keywords)


@pytest.fixture
def plugin_task(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the tiny model's plugin one of another task."""

    class Spec:
        task = "detect"

    class Plugins:
        def get(self, name: str) -> type[Spec]:
            return Spec

    def choose(task: str) -> None:
        monkeypatch.setattr(Spec, "task", task)

    monkeypatch.setattr("cvtl.registry.plugins", Plugins)
    return choose


class Counting(Progress):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self, done: int) -> None:
        self.told.append("start")

    def advance(self, count: int) -> None:
        self.told.append(count)

    def finish(self) -> None:
        self.told.append("finish")


def box_answer(mean: float) -> Detections:
    boxes = torch.tensor([[0.0, 0, mean, 9]] * 3)
    return Detections(boxes, torch.tensor([0.5, 0.25, 0.1]), torch.tensor([2, 1, 0]), ("bus", "dog", "cat"))


def test_a_models_answers_stand_beside_their_pictures(plugin_task: Callable[[str], None]) -> None:
    data = pictures([10, None, 30, 40, 50], NO_BOXES)
    progress = Counting()
    model: Any = TinyModel(("bus", "dog", "cat"), box_answer)
    predictions = predict(model, data, device="cpu", batch_size=2, progress=progress)
    assert [None if each is None else boxes_of(each) for each in predictions.found] == [
        None if shade is None else [[0, 0, shade, 9, 0.5, 0], [0, 0, shade, 9, 0.25, 1]]
        for shade in (10, None, 30, 40, 50)
    ]
    assert progress.told == ["start", 2, 2, 1, "finish"]
    assert predictions.notes == (
        "1 of 5 pictures have no answer, such as '1.jpg': they count as nothing found.",
        "The data set does not have these classes of the predictions: 'bus' (1 in all).",
        "The first error: cannot read 'bad.jpg': it is empty.",
    )


def test_a_picture_that_the_model_fails_on_has_no_answer(plugin_task: Callable[[str], None]) -> None:
    def answer(mean: float) -> Detections:
        if mean == 30:
            raise ValueError("too grey")
        return box_answer(mean)

    model: Any = TinyModel(("bus", "dog", "cat"), answer)
    predictions = predict(model, pictures([10, 30, 50], NO_BOXES), device="cpu")
    assert [found is None for found in predictions.found] == [False, True, False]
    assert "The first error: too grey" in predictions.notes


def test_a_model_with_a_better_way_than_decoded_pictures_is_asked_for_that(plugin_task: Callable[[str], None]) -> None:
    data = pictures([None, None, None], NO_BOXES)
    progress = Counting()
    model: Any = ByName(("bus", "dog", "cat"), box_answer)
    predictions = predict(model, data, device="cpu", progress=progress)
    assert [None if each is None else boxes_of(each)[0] for each in predictions.found] == [
        [0, 0, 0, 9, 0.5, 0],
        None,
        [0, 0, 2, 9, 0.5, 0],
    ]
    assert progress.told == ["start", 1, 1, 1, "finish"]
    assert "The first error: cannot read '1.jpg'." in predictions.notes


POINTS = PointsTarget(np.zeros((2, 2)), np.ones(2, bool))


@pytest.mark.parametrize(
    ("task", "target", "answer", "expected"),
    [
        (
            "classify",
            ClassTarget(0),
            Classification(torch.tensor([0.25, 0.125, 0.625]), ("bus", "dog", "cat")),
            FoundClasses(np.array([0, -1, 1]), np.array([0.625, 0.25, 0.125])),
        ),
        (
            "localize",
            NO_BOXES,
            Localization(0.5, torch.tensor([0.25, 0.5, 0.25]), torch.tensor([1.0, 2, 3, 4]), ("bus", "dog", "cat")),
            FoundObject(0.5, 1, 0.5, np.array([1.0, 2, 3, 4])),
        ),
    ],
)
def test_results_of_each_task_become_what_was_found(
    plugin_task: Callable[[str], None], task: str, target: Target, answer: Any, expected: Found
) -> None:
    plugin_task(task)
    model: Any = TinyModel(("bus", "dog", "cat"), lambda mean: answer)
    (found,) = predict(model, pictures([10], target), device="cpu").found
    assert type(found) is type(expected)
    for name, value in vars(expected).items():
        assert np.array_equal(getattr(found, name), value)


def test_landmarks_are_taken_by_order(plugin_task: Callable[[str], None]) -> None:
    plugin_task("landmarks")
    names = ("nose", "chin")
    answer = Landmarks(torch.ones(1, 2, 2), torch.ones(1, 2), names)
    model: Any = TinyModel(names, lambda mean: answer)
    (found,) = predict(model, pictures([10], POINTS), device="cpu").found
    assert isinstance(found, FoundPoints)
    assert found.points.tolist() == [[[1, 1], [1, 1]]]


@pytest.mark.parametrize(
    ("task", "target", "classes", "error", "message"),
    [
        ("detect", NO_BOXES, ("bus", "tram"), DataError, "no class in common: bus, tram there, cat, dog here"),
        ("landmarks", POINTS, ("nose",), DataError, "finds 1 points, the data set 'data' has 2"),
        ("detect", ClassTarget(0), CLASSES, DataError, "needs pictures with boxes, but '0.jpg'"),
        ("style", NO_BOXES, CLASSES, UsageError, "'style' has no figures"),
    ],
)
def test_a_model_that_does_not_fit_the_data_set_is_refused_before_it_runs(
    plugin_task: Callable[[str], None],
    task: str,
    target: Target,
    classes: tuple[str, ...],
    error: type[Exception],
    message: str,
) -> None:
    def answer(mean: float) -> Picture:
        raise AssertionError("it ran")

    plugin_task(task)
    model: Any = TinyModel(classes, answer)
    with pytest.raises(error, match=message):
        predict(model, pictures([10], target), device="cpu")


def test_weights_are_loaded_from_their_file(glow: Path) -> None:
    data = pictures([0, 200], NO_BOXES, classes=("lamp",))
    predictions = predict(glow, data, device="cpu")
    assert (predictions.name, predictions.task) == (str(glow), "detect")
    model = weights.load(glow)
    for found, sample in zip(predictions.found, data, strict=True):
        (expected,) = model.predict([torch.from_numpy(sample.read()).permute(2, 0, 1)])
        assert isinstance(found, FoundBoxes)
        assert isinstance(expected, Detections)
        assert found.scores.tolist() == pytest.approx(expected.scores.tolist())
        assert found.boxes.tolist() == [[0, 0, 6, 4]]
