"""What is chosen from what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_classify import make_data

from cvtl.backbones import Backbone
from cvtl.cli.main import main
from cvtl.errors import UsageError
from cvtl.features import Features
from cvtl.progress import Progress
from cvtl.reporting.sections import Figure
from cvtl.training.settings import TrainSettings
from cvtl_classify.advice import measuring, probing
from cvtl_classify.advice.choosing import choose, decide
from cvtl_classify.advice.finetuning import ShortFineTune
from cvtl_classify.advice.material import Material
from cvtl_classify.advice.measuring import Limits, Measurements, best_of, head_candidates, measure
from cvtl_classify.advice.probing import Trial, describe
from cvtl_classify.options import ClassifyOptions

QUICK = TrainSettings(near_duplicates=False, epochs=2)
HARD = ("red", "green", "blue", "red, too")
"""Two of these four classes look alike."""


def trial(accuracy: float, **options: Any) -> Trial:
    return Trial(
        options=ClassifyOptions(**{"strategy": "features"} | options),
        judged=np.arange(10),
        right=np.ones(10, bool),
        seconds=1.0,
        accuracy=Figure(name="accuracy", value=accuracy, low=accuracy - 0.02, high=accuracy + 0.02),
    )


def measured(*trials: Trial, gain: float | None = None, mirror_loss: float = 0.0) -> Measurements:
    labels = np.arange(10) % 2
    material = Material(data=make_data(10), labels=labels, groups=np.arange(10), folds=labels, total=10)
    start = trials[0] if gain is not None else None
    tuned = None
    if start is not None and gain is not None:
        options = start.options.model_copy(update={"strategy": "finetune"})
        tuned = ShortFineTune(
            trial=trial(0.9, **options.model_dump()),
            gain=Figure(name="gain", value=gain),
            mirror_loss=mirror_loss,
            learnt=10,
            epochs=6,
            pass_seconds=0.1,
        )
    return Measurements(
        material=material,
        features=Features({}),
        trials=trials,
        finetune=tuned,
        start=start,
        why_no_finetune="" if tuned else "there was no time",
        look_seconds=0.1,
        notes=(),
    )


@pytest.mark.parametrize(
    ("linear", "svm", "gain", "chosen"),
    [
        (0.90, 0.85, None, "linear, last stage"),
        (0.90, 0.95, None, "svm, last stage"),
        (0.90, 0.90, None, "linear, last stage"),
        (0.90, 0.85, 0.02, "finetune: linear, last stage"),
        (0.90, 0.85, 0.004, "linear, last stage"),
        (0.90, 0.85, -0.05, "linear, last stage"),
        (0.90, 0.92, 0.02, "svm, last stage"),
        (0.90, 0.91, 0.02, "finetune: linear, last stage"),
    ],
)
def test_the_best_is_chosen_and_a_fine_tune_where_it_gains_enough(
    linear: float, svm: float, gain: float | None, chosen: str
) -> None:
    decision = decide(measured(trial(linear), trial(svm, head="svm"), gain=gain), ClassifyOptions())
    assert describe(decision.options) == chosen


def test_pictures_are_not_mirrored_where_mirrored_ones_are_told_worse() -> None:
    found = measured(trial(0.9), gain=0.05, mirror_loss=0.4)
    assert decide(found, ClassifyOptions()).options.flip is False
    assert "40 points less often" in decide(found, ClassifyOptions()).reason
    assert decide(found, ClassifyOptions(flip=True)).options.flip is True
    assert decide(measured(trial(0.9), gain=0.05, mirror_loss=0.05), ClassifyOptions()).options.flip is True


def test_the_reason_names_the_figures() -> None:
    reason = decide(measured(trial(0.9), gain=0.02), ClassifyOptions()).reason
    assert "90.0 % (88.0 to 92.0)" in reason
    assert "+2.0 points" in reason


@pytest.mark.parametrize(
    ("options", "tried"),
    [
        ({"head": "mlp", "pooling": "average"}, ["mlp, last stage", "mlp, all stages", "mlp, up to conv1"]),
        (
            {"head": "svm", "cut": "conv2"},
            ["svm, up to conv2", "svm, all stages up to conv2", "svm, up to conv2, grid"],
        ),
        ({"stages": "all", "pooling": "grid"}, ["linear, all stages, grid", "svm, all stages, grid"]),
    ],
)
def test_what_the_user_has_set_is_not_varied(lenet: Backbone, options: dict[str, Any], tried: list[str]) -> None:
    assert [describe(each) for each in head_candidates(lenet, ClassifyOptions(**options))] == tried


def test_a_choice_leaves_nothing_open_and_can_be_written_down(lenet: Backbone, lenet_file: Path) -> None:
    options = ClassifyOptions(backbone="lenet5", weights=str(lenet_file), cache=False)
    choice = choose(make_data(60, classes=HARD), options, QUICK, lenet)
    assert choice.options.strategy in ("features", "finetune")
    assert choice.settings.learning_rate == choice.options.train_defaults()["learning_rate"]
    assert json.loads(json.dumps(choice.measured))["pictures"] == 60
    assert {each["strategy"] for each in choice.measured["heads"]} >= {"linear, last stage", "svm, all stages"}
    again = choose(make_data(60, classes=HARD), options, QUICK, lenet)
    assert again == choice


def test_a_choice_keeps_what_the_user_has_set(lenet: Backbone, lenet_file: Path) -> None:
    options = ClassifyOptions(backbone="lenet5", weights=str(lenet_file), cache=False, pooling="max", head="svm")
    settings = TrainSettings(near_duplicates=False, epochs=1, seed=3, batch_size=7)
    choice = choose(make_data(60), options, settings, lenet)
    assert (choice.options.pooling, choice.options.head, choice.options.strategy) == ("max", "svm", "features")
    assert (choice.settings.seed, choice.settings.batch_size) == (3, 7)


def test_with_random_weights_everything_learns_and_nothing_is_measured(lenet: Backbone) -> None:
    choice = choose(make_data(6), ClassifyOptions(weights="none"), TrainSettings(), lenet)
    assert choice.options.strategy == "scratch"
    assert choice.settings.epochs == choice.options.train_defaults()["epochs"]
    assert "heads" not in choice.measured


def test_progress_is_told_of_each_picture_once(lenet: Backbone, lenet_file: Path) -> None:
    class Counting(Progress):
        done = started = finished = 0

        def start(self, done: int) -> None:
            self.started += 1

        def advance(self, count: int) -> None:
            self.done += count

        def finish(self) -> None:
            self.finished += 1

    progress = Counting()
    options = ClassifyOptions(backbone="lenet5", weights=str(lenet_file), cache=False, head="linear")
    choose(make_data(30), options, QUICK, lenet, progress=progress)
    assert (progress.done, progress.started, progress.finished) == (30, 1, 1)


def test_an_svm_that_would_take_hours_is_left_out_and_said_so(
    lenet: Backbone, show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(kind: str, *args: Any, **keywords: Any) -> Any:
        if kind == "svm":
            raise UsageError("an SVM of so many pictures would take hours")
        return real(kind, *args, **keywords)  # type: ignore[arg-type]

    real = probing.fit_head
    monkeypatch.setattr(probing, "fit_head", refuse)
    settings, limits = QUICK, Limits(finetune=False)
    found = measure(make_data(30), ClassifyOptions(cache=False), settings, lenet, limits=limits, show=show)
    assert {each.options.head for each in found.trials} == {"linear"}
    assert "svm, last stage was not tried: an SVM of so many pictures would take hours" in found.notes
    with pytest.raises(UsageError, match="would take hours"):
        measure(make_data(30), ClassifyOptions(cache=False, head="svm"), settings, lenet, limits=limits, show=show)


@pytest.mark.parametrize(
    ("options", "limits", "count", "reason"),
    [
        ({}, Limits(finetune=False), 30, "was not to be measured"),
        ({"head": "svm"}, Limits(), 30, "an SVM learns from features"),
        ({"head": "linear"}, Limits(), 30, "30 pictures cannot tell a gain from chance"),
        ({"weights": "none", "head": "linear"}, Limits(), 60, "random weights know nothing"),
    ],
)
def test_no_fine_tune_is_measured_where_it_could_not_pay(
    lenet: Backbone, show: Any, options: dict[str, str], limits: Limits, count: int, reason: str
) -> None:
    made = ClassifyOptions(**{"cache": False, **options})  # type: ignore[arg-type]
    found = measure(make_data(count, classes=HARD), made, QUICK, lenet, limits=limits, show=show)
    assert found.finetune is None
    assert reason in found.why_no_finetune


def test_no_fine_tune_is_measured_where_what_is_left_to_learn_from_is_of_one_class(
    lenet: Backbone, show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "NO_ROOM", 2.0)
    some = make_data(174)
    # With this seed the two folds that judge hold both red ones.
    data = some.subset([0, 3, *range(1, 174, 3)])
    settings = TrainSettings(near_duplicates=False, epochs=2, seed=2)
    found = measure(data, ClassifyOptions(cache=False, head="linear"), settings, lenet, show=show)
    assert found.finetune is None
    assert found.why_no_finetune.endswith("all others are of one class")


def test_no_fine_tune_is_measured_with_an_optimizer_that_cannot_do_it(
    lenet: Backbone, lenet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "NO_ROOM", 2.0)
    options = ClassifyOptions(backbone="lenet5", weights=str(lenet_file), cache=False, head="linear")
    settings = TrainSettings(near_duplicates=False, epochs=2, optimizer="lbfgs")
    choice = choose(make_data(60, classes=HARD), options, settings, lenet)
    assert (choice.options.strategy, choice.settings.optimizer) == ("features", "lbfgs")
    assert "L-BFGS needs all samples at once" in choice.measured["reason"]


def test_what_is_announced_is_done(lenet: Backbone, show: Any, shown: list[Any]) -> None:
    options = ClassifyOptions(cache=False, head="linear")
    measure(make_data(60, classes=HARD), options, TrainSettings(epochs=2), lenet, show=show)
    assert [each.noun for each in shown] == ["fingerprints", "pictures", "trainings", "passes"]
    assert [each.done for each in shown] == [each.total for each in shown]


def test_a_dense_layer_is_tried_on_what_the_best_of_the_other_heads_sees(lenet: Backbone, show: Any) -> None:
    options = ClassifyOptions(cache=False)
    found = measure(make_data(60, classes=HARD), options, QUICK, lenet, show=show)
    *others, dense = found.trials
    best = best_of(others).options
    assert dense.options == best.model_copy(update={"head": "mlp"})
    assert {trial.options.head for trial in others} == {"linear", "svm"}


@pytest.mark.parametrize(("said", "data"), [({"head": "svm"}, {"classes": HARD}), ({}, {})])
def test_no_dense_layer_is_tried_if_a_head_is_said_or_nothing_is_to_gain(
    lenet: Backbone, show: Any, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], data: dict[str, Any]
) -> None:
    if not said:
        monkeypatch.setattr("cvtl_classify.advice.measuring.NO_ROOM", 0.0)
    options = ClassifyOptions(cache=False, **said)
    found = measure(make_data(60, **data), options, QUICK, lenet, show=show)
    assert "mlp" not in {trial.options.head for trial in found.trials}


def test_what_is_not_said_on_the_command_line_is_open(folders: Path, lenet_file: Path, tmp_path: Path) -> None:
    words = [
        "--backbone",
        "lenet5",
        "--weights",
        str(lenet_file),
        "--pooling",
        "max",
        "--epochs",
        "1",
        "--workers",
        "0",
    ]
    assert main(["train", "classify", str(folders), *words, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    heads = json.loads((tmp_path / "run" / "choice.json").read_text())["measured"]["heads"]
    assert {each["strategy"] for each in heads} >= {"linear, last stage, max", "svm, all stages, max"}
    assert all(each["strategy"].endswith("max") for each in heads)
