"""Cross-validated accuracy of heads, and its interval."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_classify import make_data

from cvtl.features import Features, FeatureSpace
from cvtl.progress import Progress
from cvtl.splits import Groups
from cvtl.training.settings import TrainSettings
from cvtl_classify.advice.material import Material, make_material
from cvtl_classify.advice.probing import probe, share
from cvtl_classify.heads import fit_head
from cvtl_classify.options import ClassifyOptions, Head

SPACE = FeatureSpace("conv2")


def material_of(count: int, noise: float) -> tuple[Material, Features]:
    """Three classes, each with its own mean in six features."""
    random = np.random.default_rng(0)
    means = 3 * random.standard_normal((3, 6))
    vectors = means[np.arange(count) % 3] + noise * random.standard_normal((count, 6))
    features = Features({SPACE: vectors.astype(np.float32)})
    data, groups = make_data(count), Groups(range(count))
    return make_material(data, features, groups, TrainSettings(), most_folds=3, total=count)


@pytest.mark.parametrize("head", ["linear", "svm"])
def test_every_picture_is_judged_by_a_head_that_has_not_seen_it(head: Head) -> None:
    material, features = material_of(60, noise=3)
    options = ClassifyOptions(strategy="features", head=head)
    trial = probe(options, features, [SPACE], material, TrainSettings(), progress=Progress())
    right = np.zeros(60, bool)
    recipe = options.used_recipe()
    settings = TrainSettings(**recipe.settings("features", head))
    for fold in range(3):
        learnt = material.folds != fold
        made = fit_head(
            head, features.vectors[SPACE][learnt], material.labels[learnt], 3, settings=settings, recipe=recipe
        )
        logits = made(torch.from_numpy(features.vectors[SPACE][~learnt]))
        right[~learnt] = logits.argmax(dim=1).numpy() == material.labels[~learnt]
    assert trial.right.tolist() == right.tolist()
    assert 0.5 < trial.accuracy.value == right.mean() < 1


def test_labels_that_features_know_nothing_of_are_told_by_chance() -> None:
    material, features = material_of(90, noise=1000)
    options = ClassifyOptions(strategy="features")
    trial = probe(options, features, [SPACE], material, TrainSettings(), progress=Progress())
    assert trial.accuracy.low is not None
    assert trial.accuracy.high is not None
    assert trial.accuracy.low < 1 / 3 + 0.05
    assert trial.accuracy.high > 1 / 3 - 0.05


def test_what_the_user_sets_of_a_training_holds_for_probes() -> None:
    material, features = material_of(60, noise=3)
    options = ClassifyOptions(strategy="features")
    lazy, usual = (
        probe(options, features, [SPACE], material, settings, progress=Progress())
        for settings in (TrainSettings(optimizer="adamw", learning_rate=1e-9, epochs=1), TrainSettings())
    )
    assert lazy.accuracy.value < usual.accuracy.value


def test_pictures_of_one_group_count_as_little_more_than_one() -> None:
    right = (np.random.default_rng(0).random(40) < 0.7).astype(float)
    alone = share("accuracy", right, np.arange(40))
    in_fours = share("accuracy", np.repeat(right, 4), np.repeat(np.arange(40), 4))
    as_if_apart = share("accuracy", np.repeat(right, 4), np.arange(160))
    assert in_fours == alone
    assert alone.low is not None
    assert as_if_apart.low is not None
    assert alone.value - alone.low > 1.8 * (as_if_apart.value - as_if_apart.low)


def test_a_few_pictures_have_no_interval() -> None:
    assert share("accuracy", np.array([1.0, 0.0, 1.0]), np.arange(3)).low is None
