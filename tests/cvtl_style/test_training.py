"""A network that learns one style: its shape, what it learns from, and a tiny training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_style import noise, save_picture, save_vgg11, stripes

from cvtl import load_data, weights
from cvtl.devices import Predictor
from cvtl.options import make_options
from cvtl.results import Picture
from cvtl.training import TrainSettings, train
from cvtl_style.losses import content_loss, style_loss, total_variation
from cvtl_style.model import StyleModel
from cvtl_style.network import PaintingNetwork
from cvtl_style.options import StyleOptions
from cvtl_style.pictures import at_size, to_network

pytestmark = pytest.mark.filterwarnings("ignore:the weights reach no further")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    save_vgg11(folder / "two.pth", 2)
    save_picture(folder / "stripes.png", stripes(40, 40))
    save_picture(folder / "noise.png", noise(40, 40, seed=3))
    for number in range(10):
        save_picture(folder / "photos" / f"{number % 2}" / f"{number}.png", noise(40, 50, seed=number))
    return folder


def made(files: Path, **options: Any) -> StyleModel:
    usual = {"style": [str(files / "stripes.png")], "backbone": "vgg11", "weights": str(files / "two.pth")}
    small = {"size": 32, "channels": 4, "blocks": 1}
    torch.manual_seed(0)
    return StyleModel.initialize(make_options(StyleOptions, {**usual, **small, **options}), ())


def batch(count: int = 2) -> torch.Tensor:
    model_input = torch.stack([noise(32, 32, seed=number) for number in range(count)])
    return model_input.float() / 255


def test_the_network_gives_pictures_of_the_size_that_it_gets() -> None:
    network = PaintingNetwork(channels=4, blocks=2)
    painted = network(torch.randn(2, 3, 40, 64)).detach()
    assert painted.shape == (2, 3, 40, 64)
    assert 0 <= float(painted.min()) <= float(painted.max()) <= 1


def test_the_loss_is_the_formula_for_each_picture(files: Path) -> None:
    model = made(files, layers=["relu1_1", "relu2_1:3"], content_layer="relu2_1", alpha=2, beta=50, variation=0.5)
    critic = model.critic
    assert critic is not None
    painted, contents = batch() - 0.5, batch().flip(0) - 0.5
    terms = critic(painted, contents)
    style_file = critic.network(to_network(at_size(stripes(40, 40), (32, 32)), model.input))
    maps, wanted = critic.network(painted), critic.network(contents)
    scales = {name: each.abs().mean() for name, each in style_file.items()}
    content = sum(
        content_loss(wanted["relu2_1"][n] / scales["relu2_1"], maps["relu2_1"][n] / scales["relu2_1"]) for n in (0, 1)
    )
    style = sum(
        weight * style_loss(style_file[name][0] / scales[name], maps[name][n] / scales[name])
        for name, weight in (("relu1_1", 0.25), ("relu2_1", 0.75))
        for n in (0, 1)
    )
    assert float(terms["content"]) == pytest.approx(2 * float(content) / 2, rel=1e-4)
    assert float(terms["style"]) == pytest.approx(50 * float(style) / 2, rel=1e-4)
    assert float(terms["variation"]) == pytest.approx(0.5 * float(total_variation(painted)), rel=1e-5)


def test_a_training_lowers_the_loss_and_its_weights_hold_nothing_of_the_critic(files: Path, tmp_path: Path) -> None:
    model = made(files)
    data = load_data(files / "photos", "style")
    settings = TrainSettings(epochs=8, batch_size=2, learning_rate=1e-2, workers=0, device="cpu", weight_decay=0)
    report = train(model, data.subset(range(8)), data.subset([8, 9]), settings, tmp_path / "run", quiet=True)
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert "val_style_loss" in lines[0]
    column = lines[0].split(",").index("val_loss")
    losses = [float(line.split(",")[column]) for line in lines[1:]]
    assert losses[-1] < 0.85 * losses[0]

    loaded = weights.load(report.weights, task="style")
    assert isinstance(loaded, StyleModel)
    assert loaded.critic is None
    assert not any("critic" in name for name in loaded.state_dict())
    picture = noise(37, 50)
    (result,) = Predictor(loaded).predict([picture])
    assert isinstance(result, Picture)
    assert result.image.shape == picture.shape


@pytest.mark.parametrize("image_hw", [(1, 1), (5, 90), (33, 34)])
def test_pictures_of_any_size_are_painted(files: Path, image_hw: tuple[int, int]) -> None:
    (result,) = Predictor(made(files)).predict([noise(*image_hw)])
    assert isinstance(result, Picture)
    assert tuple(result.image.shape[1:]) == image_hw


def test_a_picture_is_painted_the_same_alone_and_among_others(files: Path) -> None:
    predictor = Predictor(made(files))
    first, second = noise(40, 40), noise(33, 50, seed=4)
    together = predictor.predict([first, second])
    for image, result in zip((first, second), together, strict=True):
        (alone,) = predictor.predict([image])
        assert torch.equal(alone.image, result.image)  # type: ignore[union-attr]


def test_the_size_can_be_changed_for_prediction(files: Path) -> None:
    model = made(files).with_predict_options(size=64)
    (result,) = Predictor(model).predict([noise(20, 40)])
    assert tuple(result.image.shape[1:]) == (32, 64)  # type: ignore[union-attr]


def test_two_styles_are_learnt_as_the_mixture_of_their_gram_matrices(files: Path) -> None:
    one, other = made(files).critic, made(files, style=[str(files / "noise.png")]).critic
    both = made(files, style=[str(files / "stripes.png"), f"{files / 'noise.png'}:3"]).critic
    assert one is not None
    assert other is not None
    assert both is not None
    name = "relu1_1"

    def gram(critic: Any) -> torch.Tensor:
        return torch.as_tensor(critic.get_buffer(f"gram_{name}") * critic.scales[name] ** 2)

    assert torch.allclose(gram(both), 0.25 * gram(one) + 0.75 * gram(other), rtol=1e-4)


def test_training_parts_differ_between_epochs_and_not_between_runs(files: Path) -> None:
    model = made(files)
    data = load_data(files / "photos", "style")
    first, again, later = (model.training_samples(data, epoch=epoch, seed=1)[0][0] for epoch in (0, 0, 1))
    assert first.shape == (3, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
