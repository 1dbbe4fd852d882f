"""Models run over corrupted pictures, and what is made of their answers."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, Target, UInt8Image
from cvtl.errors import DataError
from cvtl.evaluation.bootstrap import compare, draw_weights, reaches
from cvtl.evaluation.corruptions.brittleness import BrittlenessScorer, evaluate_corrupted
from cvtl.evaluation.corruptions.kinds import STRENGTHS, corrupt
from cvtl.evaluation.corruptions.passes import Case, CorruptedPredictions, predict_corrupted, shrink
from cvtl.evaluation.corruptions.settings import KINDS, Kind
from cvtl.evaluation.evaluate import evaluate
from cvtl.evaluation.found import Found, FoundClasses, FoundObject, FoundPoints, Predictions
from cvtl.evaluation.predictions import predict
from cvtl.evaluation.settings import EvalSettings
from cvtl.preprocessing import InputSpec, prepare
from cvtl.progress import Progress
from cvtl.reporting.sections import Curves, Gallery, Table
from cvtl.results import Classification, Localization

CLASSES = ("dark", "light")
SETTINGS = EvalSettings(draws=200)


class ShadeModel(torch.nn.Module):
    """Tells dark from light by the mean of what a network would be given, and keeps what it saw."""

    plugin = "shades"

    def __init__(self, task: str = "classify", size_hw: tuple[int, int] = (8, 8)) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.classes = CLASSES
        self.task = task
        self.input = InputSpec(size_hw=size_hw, resize="crop", mean=(0, 0, 0), std=(1, 1, 1))
        self.sizes: list[tuple[int, ...]] = []

    def predict_samples(self, samples: Sequence[Sample], **keywords: Any) -> None:
        """There is no better way."""

    def predict(self, images: Sequence[Tensor]) -> list[Any]:
        self.sizes += [tuple(image.shape) for image in images]
        return [self._answer(float(mean)) for mean in prepare(images, self.input).mean(dim=(1, 2, 3))]

    def _answer(self, mean: float) -> Any:
        scores = torch.tensor([1 - mean, mean])
        if self.task == "localize":
            return Localization(0.9, scores, torch.tensor([1.0, 1, 5, 5]), CLASSES)
        return Classification(scores, CLASSES)


@pytest.fixture
def plugin_task(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the model's plugin one of a task."""

    def choose(task: str) -> None:
        class Plugins:
            def get(self, name: str) -> Any:
                return type("Spec", (), {"task": task})

        monkeypatch.setattr("cvtl.registry.plugins", Plugins)

    choose("classify")
    return choose


def picture(shade: int, size_hw: tuple[int, int] = (10, 12)) -> UInt8Image:
    random = np.random.default_rng(shade)
    return np.asarray(np.clip(shade + random.normal(0, 20, (*size_hw, 3)), 0, 255), np.uint8)


def shades(values: Sequence[int | None], size_hw: tuple[int, int] = (10, 12), target: Target | None = None) -> Dataset:
    """Pictures that are dark below 128, light from there on; None cannot be read."""

    def reader(value: int | None) -> Callable[[], UInt8Image]:
        def read() -> UInt8Image:
            if value is None:
                raise DataError("cannot read 'bad.jpg': it is empty")
            return picture(value, size_hw)

        return read

    samples = [
        Sample(f"{i}.jpg", reader(value), target or ClassTarget(int((value or 0) >= 128)))
        for i, value in enumerate(values)
    ]
    return Dataset(samples, CLASSES, "memory", "data")


class Counting(Progress):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self, done: int) -> None:
        self.told.append("start")

    def advance(self, count: int) -> None:
        self.told.append(count)

    def finish(self) -> None:
        self.told.append("finish")


def same(a: Found | None, b: Found | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(np.array_equal(value, getattr(b, name)) for name, value in vars(a).items())


def test_each_case_has_the_answers_to_the_pictures_corrupted_one_by_one(plugin_task: Any) -> None:
    data = shades([20, 110, 150, 240, 90])
    model: Any = ShadeModel()
    made = predict_corrupted(model, data, ["brightness", "rotation"], seed=5, device="cpu", batch_size=2)
    assert set(made.corrupted) == {(kind, strength) for kind in ("brightness", "rotation") for strength in STRENGTHS}
    for (kind, strength), predictions in made.corrupted.items():
        for sample, found in zip(data, predictions.found, strict=True):
            image = corrupt(shrink(sample.read(), model.input), kind, strength, seed=5, name=sample.name)
            (expected,) = model.predict([torch.from_numpy(image).permute(2, 0, 1)])
            assert isinstance(found, FoundClasses)
            assert found.labels[0] == int(expected.scores.argmax())
            assert found.scores[0] == pytest.approx(float(expected.scores.max()), abs=1e-6)


@pytest.mark.parametrize("size_hw", [(6, 7), (10, 12), (61, 40), (8, 300)])
def test_the_clean_pass_is_the_prediction_to_the_bit(plugin_task: Any, size_hw: tuple[int, int]) -> None:
    data = shades([20, 110, 150, 240, 90], size_hw)
    model: Any = ShadeModel()
    clean = predict_corrupted(model, data, ["blur"], device="cpu", batch_size=2).clean
    plain = predict(model, data, device="cpu", batch_size=2)
    assert all(map(same, clean.found, plain.found))


def test_each_picture_is_read_once_and_memory_holds_a_few_batches(plugin_task: Any) -> None:
    reads: Counter[int] = Counter()
    lock, alive, most = threading.Lock(), 0, 0

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def reader(number: int) -> Callable[[], UInt8Image]:
        def read() -> UInt8Image:
            nonlocal alive, most
            image = np.zeros((6, 6, 3), np.uint8)
            weakref.finalize(image, gone)
            with lock:
                reads[number] += 1
                alive += 1
                most = max(most, alive)
            return image

        return read

    samples = [Sample(f"{i}.jpg", reader(i), ClassTarget(0)) for i in range(40)]
    model: Any = ShadeModel()
    predict_corrupted(model, Dataset(samples, CLASSES, "memory"), KINDS, device="cpu", batch_size=2)
    assert set(reads.values()) == {1}
    assert len(reads) == 40
    assert most <= 12


def test_progress_counts_every_look_at_a_picture(plugin_task: Any) -> None:
    progress = Counting()
    model: Any = ShadeModel()
    predict_corrupted(model, shades([1, 2, 3]), ["noise", "jpeg"], device="cpu", batch_size=2, progress=progress)
    assert progress.told == ["start", *[2] * 11, *[1] * 11, "finish"]


def test_a_picture_that_cannot_be_read_has_no_answer_anywhere(plugin_task: Any) -> None:
    model: Any = ShadeModel()
    made = predict_corrupted(model, shades([20, None, 200]), ["contrast"], device="cpu")
    for predictions in (made.clean, *made.corrupted.values()):
        assert [found is None for found in predictions.found] == [False, True, False]


def test_a_picture_that_cannot_be_corrupted_has_no_answer_there(
    plugin_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(image: UInt8Image, kind: Kind, strength: int, *, seed: int, name: str) -> UInt8Image:
        if name == "1.jpg" and strength == 2:
            raise DataError("it is too long")
        return image

    monkeypatch.setattr("cvtl.evaluation.corruptions.passes.corrupt", refuse)
    model: Any = ShadeModel()
    data = shades([20, 100, 200])
    made = predict_corrupted(model, data, ["jpeg", "blur"], device="cpu")
    lost = {case: [i for i, found in enumerate(each.found) if found is None] for case, each in made.corrupted.items()}
    assert {case for case, missing in lost.items() if missing} == {("jpeg", 2), ("blur", 2)}
    notes = evaluate_corrupted(made, data, SETTINGS).notes
    assert notes == ("2 corrupted pictures have no answer, such as '1.jpg' (jpeg 2): they count as nothing found.",)


def test_pictures_to_classify_are_made_as_small_as_the_network_sees_them_and_others_not(plugin_task: Any) -> None:
    boxes = BoxesTarget(np.array([[1, 1, 5, 5]]), np.array([1]))
    classifier: Any = ShadeModel()
    predict_corrupted(classifier, shades([20], (80, 120)), ["noise"], device="cpu")
    assert set(classifier.sizes) == {(3, 8, 12)}
    plugin_task("localize")
    localizer: Any = ShadeModel("localize")
    predict_corrupted(localizer, shades([20], (80, 120), boxes), ["noise"], device="cpu")
    assert set(localizer.sizes) == {(3, 80, 120)}


def answers(right: Sequence[bool], truth: Sequence[int]) -> Predictions:
    found = [
        FoundClasses(np.array([label if hit else 1 - label]), np.array([0.75]))
        for hit, label in zip(right, truth, strict=True)
    ]
    return Predictions(name="model", task="classify", found=found)


@pytest.fixture
def made() -> tuple[CorruptedPredictions, Dataset, np.ndarray[Any, Any]]:
    """Answers that are right at random, seldomer with more strength; the third value is (pictures, 1 + cases)."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 60).tolist()
    data = shades([200 if label else 50 for label in truth])
    cases: list[Case] = [(kind, strength) for kind in ("blur", "noise") for strength in STRENGTHS]
    right = np.column_stack([random.random(60) < 0.9, *(random.random(60) < 0.9 - 0.1 * s for _, s in cases)])
    clean, *corrupted = (answers(column, truth) for column in right.T.tolist())
    predictions = CorruptedPredictions(
        clean=clean,
        corrupted=dict(zip(cases, corrupted, strict=True)),
        read=lambda sample, case: sample.read(),
    )
    return predictions, data, right


def test_the_figures_are_the_mean_and_the_drop_with_paired_intervals(made: Any) -> None:
    predictions, data, right = made
    mean, drop = evaluate_corrupted(predictions, data, SETTINGS).figures
    per_picture = np.column_stack([right[:, 1:].mean(axis=1), right[:, 0] - right[:, 1:].mean(axis=1)])
    assert (mean.name, drop.name) == ("mean corrupted top-1 accuracy", "drop of top-1 accuracy")
    assert [mean.value, drop.value] == pytest.approx(per_picture.mean(axis=0))
    (weights,) = draw_weights(60, 200, 0)
    drawn = weights @ per_picture / weights.sum(axis=1, keepdims=True)
    reach = reaches(per_picture.mean(axis=0), drawn, 60)
    for figure, expected in zip((mean, drop), reach, strict=True):
        assert figure.high == pytest.approx(figure.value + expected)
        assert figure.low == pytest.approx(figure.value - expected)


def test_the_table_has_every_case_and_their_means(made: Any) -> None:
    predictions, data, right = made
    table = evaluate_corrupted(predictions, data, SETTINGS).sections[0]
    assert isinstance(table, Table)
    assert table.columns == ("corruption", "1", "2", "3", "4", "5", "mean", "drop")
    figures = right.mean(axis=0)
    grid = figures[1:].reshape(2, 5)
    clean, blur, noise, over_all = table.rows
    assert clean[:6] + clean[7:] == ("clean", None, None, None, None, None, None)
    assert clean[6] == pytest.approx(figures[0])
    for (name, *cells), row in ((blur, grid[0]), (noise, grid[1]), (over_all, grid.mean(axis=0))):
        assert name in ("blur", "noise", "all")
        assert cells == pytest.approx([*row, row.mean(), figures[0] - row.mean()])


def test_the_curves_start_at_the_clean_figure(made: Any) -> None:
    predictions, data, right = made
    curves = next(each for each in evaluate_corrupted(predictions, data, SETTINGS).sections if isinstance(each, Curves))
    assert list(curves.lines) == ["blur", "noise", "clean"]
    figures = right.mean(axis=0)
    x, y = curves.lines["noise"]
    assert x.tolist() == [0, 1, 2, 3, 4, 5]
    assert y == pytest.approx([figures[0], *figures[6:]])
    assert curves.lines["clean"][1] == pytest.approx([figures[0]] * 6)


def test_the_strengths_are_explained(made: Any) -> None:
    predictions, data, _ = made
    table = evaluate_corrupted(predictions, data, SETTINGS).sections[1]
    assert isinstance(table, Table)
    assert table.rows[0] == (
        "blur",
        "Gaussian's deviation as a part of the shorter side",
        *(0.005, 0.01, 0.015, 0.02, 0.03),
    )


def test_one_picture_is_shown_under_everything_with_what_was_found(plugin_task: Any) -> None:
    data = shades([None, 60, 200])
    model: Any = ShadeModel()
    predictions = predict_corrupted(model, data, ["brightness"], device="cpu", seed=0)
    gallery = evaluate_corrupted(predictions, data, SETTINGS).sections[-1]
    assert isinstance(gallery, Gallery)
    assert gallery.note == "It shows: dark."
    assert {each.sample.name for each in gallery.thumbnails} == {"1.jpg"}
    seen = shrink(data[1].read(), model.input)
    for strength, item in enumerate(gallery.thumbnails):
        expected = corrupt(seen, "brightness", strength, seed=0, name="1.jpg")
        assert np.array_equal(item.sample.read(), expected)
    assert gallery.thumbnails[0].caption.startswith("clean: dark (0.7")
    assert gallery.thumbnails[5].caption.startswith("brightness 5: ")


@pytest.mark.parametrize(("labels", "shown"), [((1, 0, 0), "1.jpg"), ((1, 1, 1), "0.jpg")])
def test_the_picture_shown_is_rather_one_that_is_known_when_clean(
    plugin_task: Any, labels: tuple[int, ...], shown: str
) -> None:
    dark = partial(picture, 50)
    samples = [Sample(f"{i}.jpg", dark, ClassTarget(label)) for i, label in enumerate(labels)]
    data = Dataset(samples, CLASSES, "memory")
    model: Any = ShadeModel()
    predictions = predict_corrupted(model, data, ["blur"], device="cpu")
    gallery = evaluate_corrupted(predictions, data, SETTINGS).sections[-1]
    assert isinstance(gallery, Gallery)
    assert {each.sample.name for each in gallery.thumbnails} == {shown}


def test_without_examples_there_is_no_gallery(made: Any) -> None:
    predictions, data, _ = made
    sections = evaluate_corrupted(predictions, data, EvalSettings(draws=0, examples=0)).sections
    assert not any(isinstance(each, Gallery) for each in sections)


def test_without_any_answer_there_is_nothing_to_show_and_all_is_wrong(plugin_task: Any) -> None:
    model: Any = ShadeModel()
    data = shades([None] * 3)
    predictions = predict_corrupted(model, data, ["blur"], device="cpu")
    evaluation = evaluate_corrupted(predictions, data, SETTINGS)
    assert [figure.value for figure in evaluation.figures] == [0, 0]
    assert not any(isinstance(each, Gallery) for each in evaluation.sections)


def test_two_models_are_compared_on_the_same_draws(made: Any) -> None:
    predictions, data, right = made
    a = evaluate_corrupted(predictions, data, SETTINGS)
    swapped = CorruptedPredictions(
        clean=predictions.clean,
        corrupted=dict.fromkeys(predictions.corrupted, predictions.clean),
        read=predictions.read,
    )
    table = compare(a, evaluate_corrupted(swapped, data, SETTINGS), 200, 0)
    mean, drop = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    figures = right.mean(axis=0)
    assert mean["A - B"] == pytest.approx(figures[1:].mean() - figures[0])
    assert (mean["verdict"], mean["better"]) == ("more than noise", "B")
    assert (drop["verdict"], drop["better"]) == ("more than noise", "B")


@pytest.mark.parametrize("task", ["localize", "landmarks"])
def test_other_tasks_are_measured_by_their_first_figure_of_which_more_is_better(task: Any) -> None:
    boxes = np.array([[1.0, 1, 5, 5]])
    target: Target = BoxesTarget(boxes, np.array([1]))
    right: Found = FoundObject(0.9, 1, 0.9, boxes[0])
    wrong: Found = FoundObject(0.9, 0, 0.9, boxes[0] + 4)
    if task == "landmarks":
        points = np.array([[[1.0, 1], [5, 5]]])
        target = PointsTarget(points, np.ones((1, 2), bool), boxes)
        right, wrong = FoundPoints(points, np.ones((1, 2))), FoundPoints(points + 3, np.ones((1, 2)))
    data = shades([100] * 30, target=target)

    def predictions(hits: int) -> Predictions:
        return Predictions(name="model", task=task, found=[right] * hits + [wrong] * (30 - hits))

    made = CorruptedPredictions(
        clean=predictions(27),
        corrupted={("blur", strength): predictions(27 - 3 * strength) for strength in STRENGTHS},
        read=lambda sample, case: sample.read(),
    )
    evaluation = evaluate_corrupted(made, data, SETTINGS)
    figure = evaluate(made.clean, data, SETTINGS).figures[0 if task == "localize" else 1].name
    assert [each.name for each in evaluation.figures] == [f"mean corrupted {figure}", f"drop of {figure}"]
    assert [each.value for each in evaluation.figures] == pytest.approx([0.6, 0.3])


def test_a_scorer_weighs_pictures_as_those_it_rests_on() -> None:
    class Column:
        names = ("error", "hits")
        higher_is_better = (False, True)

        def __init__(self, column: Sequence[float]) -> None:
            self.column = np.array(column)

        def __call__(self, weights: Any) -> Any:
            hits = weights @ self.column / weights.sum(axis=1)
            return np.column_stack([1 - hits, hits])

    scorer = BrittlenessScorer(Column([1, 1, 0]), [Column([1, 0, 0]), Column([0, 0, 0])], figure=1)
    assert scorer(np.array([[1.0, 1, 1], [2, 0, 0]])) == pytest.approx(np.array([[1 / 6, 1 / 2], [1 / 2, 1 / 2]]))
    assert scorer.names == ("mean corrupted hits", "drop of hits")
