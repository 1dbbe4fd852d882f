"""Several weights that classify as one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from cvtl import ensemble, weights
from cvtl.data import Sample
from cvtl.ensemble import Ensemble
from cvtl.errors import DataError, OptionsError, UsageError, WeightsError
from cvtl.progress import Progress
from cvtl.results import Classification

SaveWeights = Callable[..., Path]

CLASSES = ("daisy", "rose", "tulip", "iris")


def make_images(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shades = torch.randint(0, 256, (count, 3, 1, 1), generator=generator)
    return [shade.expand(3, 10 + i, 12).to(torch.uint8) for i, shade in enumerate(shades)]


def probabilities(path: Path, image: torch.Tensor) -> dict[str, float]:
    """What one file alone says of a picture."""
    with torch.inference_mode():
        (result,) = weights.load(path).predict([image])
    assert isinstance(result, Classification)
    return dict(zip(result.classes, result.scores.double().tolist(), strict=True))


def predict(paths: list[Path], images: list[torch.Tensor]) -> list[Classification]:
    with torch.inference_mode():
        return ensemble.load(paths).predict(images)  # type: ignore[return-value]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_probabilities_are_averaged(save_weights: SaveWeights, count: int) -> None:
    paths = [save_weights(f"{seed}.safetensors", *CLASSES, seed=seed) for seed in range(count)]
    images = make_images(6)
    for image, found in zip(images, predict(paths, images), strict=True):
        alone = [probabilities(path, image) for path in paths]
        expected = [sum(each[name] for each in alone) / count for name in CLASSES]
        assert found.classes == CLASSES
        assert found.scores.tolist() == pytest.approx(expected, abs=1e-6)
        assert float(found.scores.sum()) == pytest.approx(1, abs=1e-6)


def test_classes_are_matched_by_name_whatever_their_order(save_weights: SaveWeights) -> None:
    first = save_weights("a.safetensors", *CLASSES, seed=1)
    images = make_images(4)
    expected = predict([first, save_weights("b.safetensors", *CLASSES, seed=2)], images)
    for order in (CLASSES[::-1], ("iris", "daisy", "tulip", "rose")):
        found = predict([first, save_weights("c.safetensors", *order, seed=2)], images)
        for one, other in zip(found, expected, strict=True):
            assert one.classes == CLASSES
            torch.testing.assert_close(one.scores, other.scores)


def test_weights_with_themselves_say_what_they_say_alone(save_weights: SaveWeights) -> None:
    path = save_weights("a.safetensors", *CLASSES)
    images = make_images(3)
    for one, two in zip(predict([path], images), predict([path, path], images), strict=True):
        assert torch.equal(one.scores, two.scores)


def test_of_one_file_the_model_is_its_own(save_weights: SaveWeights) -> None:
    path = save_weights("a.safetensors", *CLASSES)
    assert type(ensemble.load([path])) is type(weights.load(path))


def test_an_ensemble_is_ready_to_predict_where_it_was_asked_to_be(save_weights: SaveWeights) -> None:
    model = ensemble.load([save_weights(f"{seed}.safetensors", *CLASSES, seed=seed) for seed in (1, 2)], device="cpu")
    assert isinstance(model, Ensemble)
    assert not any(module.training for module in model.modules())
    assert len(list(model.parameters())) == 4


# What cannot be averaged


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (("daisy", "rose", "tulip"), "it does not know iris. "),
        ((*CLASSES, "lily"), "it alone knows lily. "),
        (("rose", "Daisy", "tulip", "iris"), "it does not know daisy; it alone knows Daisy. "),
        (
            tuple(f"class {n}" for n in range(9)),
            "it alone knows class 0, class 1, class 2, class 3, class 4 and 4 more",
        ),
    ],
)
def test_other_classes_are_refused_and_the_differences_named(
    save_weights: SaveWeights, others: tuple[str, ...], message: str
) -> None:
    paths = [save_weights("a.safetensors", *CLASSES), save_weights("b.safetensors", *others)]
    with pytest.raises(UsageError, match=r"b\.safetensors' has other classes than '.*a\.safetensors': ") as raised:
        ensemble.load(paths)
    assert message in str(raised.value)
    assert "can be averaged if they know the same classes, in any order" in str(raised.value)


def test_weights_for_another_task_cannot_be_averaged(glow: Path) -> None:
    with pytest.raises(UsageError, match=r"2 weights were named, but those for the task 'detect' cannot be averaged"):
        ensemble.load([glow, glow])
    with pytest.raises(UsageError, match="holds weights for the task 'detect', not 'classify'"):
        ensemble.load([glow], task="classify")


def test_every_file_has_to_be_there(save_weights: SaveWeights) -> None:
    with pytest.raises(WeightsError, match=r"there is no weights file 'nowhere\.safetensors'"):
        ensemble.load([save_weights("a.safetensors", *CLASSES), "nowhere.safetensors"])


def test_it_cannot_be_trained(save_weights: SaveWeights) -> None:
    model = ensemble.load([save_weights("a.safetensors", *CLASSES)] * 2)
    with pytest.raises(UsageError, match="made of others cannot be trained"):
        model.loss(torch.zeros(1, 3, 8, 8), [])
    with pytest.raises(UsageError, match="made of others cannot be trained"):
        type(model).initialize(model.options, CLASSES)


# Prediction options


def test_what_is_asked_of_the_prediction_is_asked_of_all_members_that_can(save_weights: SaveWeights) -> None:
    paths = [
        save_weights("a.safetensors", *CLASSES, seed=1, predict={"gain": 2.0}),
        save_weights("b.safetensors", *CLASSES, seed=2, predict={"gain": 3.0}),
        save_weights("c.safetensors", *CLASSES, seed=3, plugin="plain"),
    ]
    model = ensemble.load(paths)

    def gains() -> list[float]:
        return [member["predict"]["gain"] for member in model.options.model_dump()["members"] if "predict" in member]

    assert gains() == [2.0, 3.0]
    model.with_predict_options(top_k=2)
    assert gains() == [2.0, 3.0]
    model.with_predict_options(gain=0.0)
    assert gains() == [0.0, 0.0]
    (found,) = model.predict(make_images(1))
    assert isinstance(found, Classification)
    plain = probabilities(paths[2], make_images(1)[0])
    assert found.scores.tolist() == pytest.approx([(2 / 4 + plain[name]) / 3 for name in CLASSES], abs=1e-6)
    assert len(found.to_dict()["labels"]) == 2


def test_options_are_those_of_the_first_ones_plugin(save_weights: SaveWeights) -> None:
    paths = [
        save_weights("a.safetensors", *CLASSES, plugin="plain"),
        save_weights("b.safetensors", *CLASSES, plugin="shades"),
    ]
    with pytest.raises(OptionsError, match="this plugin has no options to change for prediction, so not gain"):
        ensemble.load(paths).with_predict_options(gain=1.0)
    with pytest.raises(OptionsError, match="option 'gian': there is no such option"):
        ensemble.load(paths[::-1]).with_predict_options(gian=1.0)


# Samples of a data set


def make_samples(count: int, bad: int) -> list[Sample]:
    def read(index: int) -> np.ndarray:
        if index == bad:
            raise DataError("cannot read it")
        return np.full((6, 7, 3), 20 * index, np.uint8)

    return [Sample(f"{i}.png", partial(read, i)) for i in range(count)]


class Count(Progress):
    steps: list[int]

    def __init__(self) -> None:
        self.steps = []

    def advance(self, count: int) -> None:
        self.steps.append(count)


def test_samples_are_predicted_in_the_members_better_way(save_weights: SaveWeights) -> None:
    paths = [save_weights(f"{seed}.safetensors", *CLASSES, seed=seed, knows_samples=True) for seed in (1, 2, 3)]
    model, progress, samples = ensemble.load(paths), Count(), make_samples(5, bad=2)
    answers = model.predict_samples(samples, batch_size=2, progress=progress)
    assert answers is not None
    for index, (sample, answer) in enumerate(zip(samples, list(answers), strict=True)):
        if index == 2:
            assert isinstance(answer, DataError)
        else:
            (expected,) = model.predict([torch.from_numpy(sample.read()).permute(2, 0, 1)])
            assert isinstance(answer, Classification)
            assert isinstance(expected, Classification)
            assert torch.equal(answer.scores, expected.scores)
    assert sum(progress.steps) == 5


def test_there_is_no_better_way_unless_all_members_have_one(save_weights: SaveWeights) -> None:
    paths = [save_weights(f"{has}.safetensors", *CLASSES, knows_samples=has) for has in (True, False)]
    assert ensemble.load(paths).predict_samples(make_samples(2, bad=9), batch_size=2, progress=Progress()) is None


# Ten thousand classes


def test_ten_thousand_classes_are_averaged_and_ranked_by_name(save_weights: SaveWeights) -> None:
    classes = [f"class {number:05d}" for number in range(10_000)]
    shuffled = [classes[i] for i in np.random.default_rng(0).permutation(len(classes))]
    paths = [save_weights("a.safetensors", *classes, seed=1), save_weights("b.safetensors", *shuffled, seed=2)]
    image = make_images(1)[0]
    (found,) = predict(paths, [image])
    one, other = (probabilities(path, image) for path in paths)
    mean = {name: (one[name] + other[name]) / 2 for name in classes}
    best = sorted(mean, key=lambda name: -mean[name])
    assert found.to_dict()["labels"][0] in best[:5]
    assert found.scores.tolist() == pytest.approx([mean[name] for name in classes], abs=1e-7)
    assert found.draw(np.zeros((60, 80, 3), np.uint8)).shape == (60, 80, 3)
    assert all(path.stat().st_size < 1_000_000 for path in paths)
