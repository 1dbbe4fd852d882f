"""Recipes and options: which settings come of them, and what does not go together."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from cvtl.errors import OptionsError
from cvtl.options import make_options
from cvtl.training import TrainSettings
from cvtl.training.start import with_defaults
from cvtl_classify.options import ClassifyOptions
from cvtl_classify.recipes import RECIPES

STRATEGIES = ("features", "augmented", "finetune", "full", "scratch")


def settings(**options: Any) -> TrainSettings:
    return with_defaults(TrainSettings(), make_options(ClassifyOptions, options))


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("alexnet", {"optimizer": "sgd", "learning_rate": 1e-2, "weight_decay": 5e-4, "batch_size": 128}),
        ("resnet", {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-5, "batch_size": 256}),
        ("modern", {"optimizer": "adamw", "schedule": "cosine"}),
    ],
)
def test_a_recipe_is_what_its_paper_says(recipe: str, expected: dict[str, Any]) -> None:
    made = settings(recipe=recipe, strategy="scratch").model_dump()
    assert {name: made[name] for name in expected} == expected
    if recipe != "modern":
        assert made["schedule"] == "plateau"


def test_recipes_differ_in_what_is_no_setting() -> None:
    assert [RECIPES[name].dropout for name in RECIPES] == [0.0, 0.5, 0.0]
    assert [RECIPES[name].label_smoothing for name in RECIPES] == [0.1, 0.0, 0.0]
    assert [RECIPES[name].he_init for name in RECIPES] == [False, False, True]


@pytest.mark.parametrize(("recipe", "strategy"), [*product(RECIPES, STRATEGIES)])
def test_every_recipe_goes_with_every_strategy(recipe: Any, strategy: str) -> None:
    for head in ("linear", "mlp"):
        TrainSettings.model_validate(RECIPES[recipe].settings(strategy, head))


@pytest.mark.parametrize("recipe", RECIPES)
def test_pretrained_layers_learn_more_slowly_than_new_ones(recipe: str) -> None:
    rates = {each: settings(recipe=recipe, strategy=each).learning_rate for each in STRATEGIES}
    assert rates["finetune"] < rates["scratch"]
    assert rates["full"] < rates["scratch"]


def test_what_a_user_says_goes_before_the_recipe() -> None:
    options = make_options(ClassifyOptions, {"strategy": "finetune"})
    said = TrainSettings(learning_rate=1e-5, optimizer="rmsprop")
    made = with_defaults(said, options)
    assert (made.learning_rate, made.optimizer) == (1e-5, "rmsprop")
    assert made.epochs == RECIPES["modern"].settings("finetune", "linear")["epochs"]


def test_auto_proposes_no_settings_before_it_has_measured() -> None:
    assert settings(strategy="auto") == TrainSettings()


def test_an_svm_is_one_epoch() -> None:
    assert settings(strategy="features", head="svm").epochs == 1


@pytest.mark.parametrize(
    ("options", "dropout"),
    [
        ({"head": "linear"}, 0.0),
        ({"head": "mlp"}, 0.5),
        ({"head": "linear", "recipe": "alexnet"}, 0.5),
        ({"head": "mlp", "dropout": 0.25}, 0.25),
        ({"head": "mlp", "dropout": 0.0}, 0.0),
    ],
)
def test_dropout_is_the_options_or_the_heads_or_the_recipes(options: dict[str, Any], dropout: float) -> None:
    assert make_options(ClassifyOptions, options).used_recipe().dropout == dropout


@pytest.mark.parametrize("strategy", ["augmented", "finetune", "full", "scratch"])
def test_an_svm_cannot_learn_with_a_backbone(strategy: str) -> None:
    with pytest.raises(OptionsError, match=f"strategy {strategy}.*use strategy features, or head linear"):
        make_options(ClassifyOptions, {"head": "svm", "strategy": strategy})


@pytest.mark.parametrize("strategy", ["auto", "features"])
def test_an_svm_learns_from_features(strategy: str) -> None:
    assert make_options(ClassifyOptions, {"head": "svm", "strategy": strategy}).head == "svm"
