"""Plugin options and the errors they give."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from cvtl.errors import ExitCode, OptionsError
from cvtl.options import Options, change_predict_options, make_options


class Predict(Options):
    threshold: float = Field(default=0.5, ge=0, le=1)
    mode: Literal["crops", "conv"] = "conv"


class Train(Options):
    backbone: str = "resnet18"
    epochs: int = Field(default=3, gt=0)
    predict: Predict = Predict()


class Unchangeable(Options):
    epochs: int = 3


def test_values_become_checked_options() -> None:
    options = make_options(Train, {"epochs": "5", "predict": {"mode": "crops"}})
    assert options == Train(epochs=5, predict=Predict(mode="crops"))


def test_options_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Train().epochs = 4


def test_options_survive_json() -> None:
    options = Train(epochs=7, predict=Predict(threshold=0.25))
    assert make_options(Train, options.model_dump(mode="json")) == options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 5}, "option 'epoch': there is no such option. The options are backbone, epochs, predict."),
        ({"epochs": 0}, "option 'epochs': input should be greater than 0."),
        ({"epochs": "many"}, "option 'epochs': input should be a valid integer, unable to parse string as an integer."),
        ({"predict": {"mode": "slow"}}, "option 'predict.mode': input should be 'crops' or 'conv'."),
        (
            {"epochs": 0, "predict": {"threshold": 2}},
            "option 'epochs': input should be greater than 0; "
            "option 'predict.threshold': input should be less than or equal to 1.",
        ),
    ],
)
def test_every_problem_is_named_in_one_usage_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError) as raised:
        make_options(Train, values)
    assert str(raised.value) == message
    assert raised.value.exit_code == ExitCode.USAGE


def test_options_for_prediction_can_be_changed_without_the_others() -> None:
    options = Train(epochs=7, predict=Predict(mode="crops"))
    changed = change_predict_options(options, {"threshold": 0.9})
    assert changed == Train(epochs=7, predict=Predict(mode="crops", threshold=0.9))
    assert options.predict.threshold == 0.5


def test_no_changes_give_the_same_options() -> None:
    options = Unchangeable()
    assert change_predict_options(options, {}) is options


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (Train(), {"thresh": 1}, "option 'thresh': there is no such option. The options are threshold, mode."),
        (Train(), {"threshold": 7}, "option 'threshold': input should be less than or equal to 1"),
        (Unchangeable(), {"threshold": 0.5}, "this plugin has no options to change for prediction, so not threshold"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(options: Options, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError) as raised:
        change_predict_options(options, changes)
    assert str(raised.value).startswith(message)
