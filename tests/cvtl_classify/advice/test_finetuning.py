"""The short fine-tune: what learns, from which pictures, and what is measured of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_classify import make_data

from cvtl import backbones
from cvtl.backbones import Backbone
from cvtl.features import Features, extract
from cvtl.progress import Progress
from cvtl.splits import Groups
from cvtl.training.settings import TrainSettings
from cvtl_classify.advice import finetuning
from cvtl_classify.advice.finetuning import (
    ShortFineTune,
    _Network,
    can_finetune,
    learnt_and_judged,
    short_finetune,
    work,
)
from cvtl_classify.advice.material import Material, make_material
from cvtl_classify.advice.probing import used_spaces
from cvtl_classify.options import ClassifyOptions


def material_of(count: int) -> Material:
    settings = TrainSettings()
    return make_material(make_data(count), Features({}), Groups(range(count)), settings, most_folds=5, total=count)[0]


def tune(lenet: Backbone, material: Material, progress: Progress | None = None, **options: object) -> ShortFineTune:
    made = ClassifyOptions(strategy="finetune", **options)  # type: ignore[arg-type]
    settings = TrainSettings(learning_rate=1e-2)
    return short_finetune(made, lenet, material, lenet.input, settings, progress=progress or Progress())


@pytest.mark.parametrize(
    "options",
    [{}, {"stages": "all"}, {"pooling": "grid"}, {"stages": "all", "unfreeze": "conv1"}, {"unfreeze": "conv1"}],
)
def test_before_it_learns_its_features_are_those_of_the_backbone(lenet: Backbone, options: dict[str, str]) -> None:
    material, made = material_of(30), ClassifyOptions(strategy="finetune", **options)  # type: ignore[arg-type]
    spaces = used_spaces(lenet, made)
    wanted = extract(lenet, material.data, spaces, input=lenet.input).matrix(spaces)
    network = _Network(lenet, made, lenet.input, "cpu")
    known = network.look(material, np.arange(30), Progress())
    with torch.inference_mode():
        features = network._features(known, torch.arange(30)).numpy()
    # What is kept in memory has half precision.
    assert np.allclose(features, wanted, rtol=5e-3, atol=5e-3)


def test_the_backbone_stays_as_it_is(lenet: Backbone) -> None:
    before = {name: each.clone() for name, each in lenet.state_dict().items()}
    tune(lenet, material_of(30))
    assert all(torch.equal(each, before[name]) for name, each in lenet.state_dict().items())


def test_the_same_arguments_give_the_same_answers(lenet: Backbone) -> None:
    once, again = (tune(lenet, material_of(40)) for _ in range(2))
    assert once.trial.right.tolist() == again.trial.right.tolist()
    assert (once.gain, once.mirror_loss) == (again.gain, again.mirror_loss)


def test_it_learns(lenet: Backbone) -> None:
    found = tune(lenet, material_of(150))
    assert found.trial.accuracy.value > 0.6
    assert (found.learnt, len(found.trial.judged), found.epochs) == (90, 60, 6)


def test_mirrored_noise_is_told_as_well_as_noise(lenet: Backbone) -> None:
    assert abs(tune(lenet, material_of(150)).mirror_loss) < 0.15


def test_pictures_that_judge_are_not_learnt_from_and_neither_are_more_than_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    material = material_of(150)
    learnt, judged = learnt_and_judged(material, 0)
    assert sorted([*learnt, *judged]) == list(range(150))
    assert set(material.folds[judged]) == {0, 1}
    monkeypatch.setattr(finetuning, "MOST_LEARNT", 20)
    monkeypatch.setattr(finetuning, "MOST_JUDGED", 10)
    assert [len(each) for each in learnt_and_judged(material, 0)] == [20, 10]


def test_of_two_folds_one_judges() -> None:
    material = material_of(12)
    halves = replace(material, folds=np.arange(12) % 2)
    assert learnt_and_judged(halves, 0)[1].tolist() == [0, 2, 4, 6, 8, 10]


def test_progress_is_told_of_as_many_passes_as_were_announced(lenet: Backbone) -> None:
    class Counting(Progress):
        done = 0

        def advance(self, count: int) -> None:
            self.done += count

    material, progress = material_of(150), Counting()
    tune(lenet, material, progress)
    assert progress.done == work(ClassifyOptions(strategy="finetune"), material, TrainSettings())


def test_a_backbone_that_is_no_chain_cannot_be_divided(lenet: Backbone) -> None:
    assert can_finetune(lenet)
    assert not can_finetune(lenet.cut("conv1"))
    assert not can_finetune(backbones.load("timm:test_vit"))
