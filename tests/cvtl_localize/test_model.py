"""The model of the localize plugin: making, judging, predicting, saving."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_localize import CLASSES, make_data, make_model
from torch import Tensor

from cvtl import weights
from cvtl.backbones.classic import LeNet5
from cvtl.data import BoxesTarget, UInt8Image
from cvtl.errors import DataError, OptionsError, UsageError
from cvtl.options import make_options
from cvtl.registry import plugins
from cvtl.results import Localization
from cvtl_localize import LocalizeModel, LocalizeOptions, locate
from cvtl_localize.model import judge


def random_images(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


def predicted(model: LocalizeModel, *images: Tensor) -> list[Localization]:
    with torch.inference_mode():
        found = model.predict(images)
    assert all(isinstance(each, Localization) for each in found)
    return found  # type: ignore[return-value]


# Making


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, cvtl_localize, cvtl_localize.options; print([n for n in ('torch', 'cv2') if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_the_plugin_is_found_by_its_name() -> None:
    spec = plugins().get("localize")
    assert (spec.task, spec.options_type(), spec.model_type()) == ("localize", LocalizeOptions, LocalizeModel)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import cvtl_localize

    with pytest.raises(AttributeError, match="module 'cvtl_localize' has no attribute 'detect'"):
        _ = cvtl_localize.detect


def test_where_the_weights_come_from_has_to_be_said() -> None:
    with pytest.raises(UsageError, match="nothing says where the weights of the backbone 'squeezenet1_1' come from"):
        LocalizeModel.initialize(LocalizeOptions(), CLASSES)


def test_without_classes_there_is_nothing_to_find() -> None:
    with pytest.raises(DataError, match="the data have no classes"):
        LocalizeModel.initialize(LocalizeOptions(weights="none"), [])


@pytest.mark.parametrize(
    ("name", "value"), [("size", 8), ("scale", 0.5), ("shift", 0.9), ("dropout", 1), ("loss", "hinge"), ("colour", 1)]
)
def test_options_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(OptionsError, match=f"option '{name}'"):
        make_options(LocalizeOptions, {name: value})


def test_the_dense_layer_gives_five_numbers_and_one_for_each_class() -> None:
    model = make_model()
    assert model.network(torch.zeros(2, 3, 32, 32)).shape == (2, 5 + len(CLASSES))


@pytest.mark.parametrize("size", [32, 48, 75])
def test_any_size_of_the_input_will_do(size: int) -> None:
    model = make_model(size=size)
    assert model.input.size_hw == (size, size)
    assert len(predicted(model, *random_images((20, 30)))) == 1


def test_weights_of_the_backbone_are_read_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(7)
    network = LeNet5()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    read = make_model(weights=str(tmp_path / "w.pth")).network.backbone
    kept = {tuple(each.shape): each for each in network.parameters()}
    assert all(torch.equal(each, kept[tuple(each.shape)]) for each in read.parameters())


# Learning


def test_layers_behind_the_backbone_learn_at_the_full_rate() -> None:
    model = make_model(backbone_rate=0.1)
    (full, head), (part, body) = model.parameter_groups()
    assert (full, part) == (1.0, 0.1)
    assert {id(each) for each in body} == {id(each) for each in model.network.backbone.parameters()}
    assert len(head) + len(body) == len(list(model.parameters()))


def test_what_is_frozen_does_not_learn() -> None:
    ((factor, _),) = make_model(freeze="all").parameter_groups()
    assert factor == 1.0
    model = make_model(freeze="conv2")
    learning = {name for name, each in model.network.backbone.named_parameters() if each.requires_grad}
    assert learning
    assert all("conv2" in name for name in learning)


def test_loss_and_assessment_agree() -> None:
    for loss in ("modern", "squared"):
        model = make_model(loss=loss)
        made = model.validation_samples(make_data(6), seed=0)
        images = torch.stack([image for image, _ in made]).float() / 255
        vectors = [vector for _, vector in made]
        terms, figures = model.assess(images, vectors, training=False)
        for name, value in model.loss(images, vectors).items():
            assert torch.equal(value, terms[name])
        assert figures.keys() == {"score", "iou", "accuracy", "presence"}


def plain_judge(answer: list[float], truth: list[float]) -> dict[str, float]:
    there, found = truth[0] == 1, answer[0] >= 0.5
    if not there:
        return {"score": float(not found), "presence": float(not found)}
    sides = [
        (max(0, min(a + u / 2, b + v / 2) - max(a - u / 2, b - v / 2)))
        for a, u, b, v in ((answer[1], answer[3], truth[1], truth[3]), (answer[2], answer[4], truth[2], truth[4]))
    ]
    shared = sides[0] * sides[1]
    overlap = shared / (answer[3] * answer[4] + truth[3] * truth[4] - shared)
    right = answer[5:].index(max(answer[5:])) == truth[5:].index(1)
    return {
        "score": overlap if found and right else 0,
        "iou": overlap,
        "accuracy": float(right),
        "presence": float(found),
    }


def test_figures_equal_a_plain_loop_and_are_not_numbers_where_they_say_nothing() -> None:
    random = torch.Generator().manual_seed(0)
    answers = torch.rand(40, 8, generator=random)
    targets = torch.zeros(40, 8)
    targets[:30, 0] = 1
    targets[:30, 1:5] = (answers[:30, 1:5] + 0.1 * torch.randn(30, 4, generator=random)).clamp(0.05, 0.95)
    targets[torch.arange(30), 5 + torch.randint(0, 3, (30,), generator=random)] = 1
    found = judge(answers, targets)
    for row in range(40):
        expected = plain_judge(answers[row].tolist(), targets[row].tolist())
        for name, values in found.items():
            assert values[row].item() == pytest.approx(expected.get(name, np.nan), abs=1e-5, nan_ok=True), name


# Predicting


def test_pictures_of_odd_sizes_keep_their_own_answers() -> None:
    sizes = [(1, 1), (3, 500), (211, 97), (32, 32), (500, 2)]
    images, model = random_images(*sizes), make_model()
    for together, image, (height, width) in zip(predicted(model, *images), images, sizes, strict=True):
        (alone,) = predicted(model, image)
        assert torch.allclose(together.box, alone.box, atol=1e-3)
        assert together.present == pytest.approx(alone.present, abs=1e-5)
        left, top, right, bottom = together.box.tolist()
        assert 0 <= left <= right <= width
        assert 0 <= top <= bottom <= height
        assert float(together.scores.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_network_that_says_the_truth_is_right_in_the_picture(resize: str) -> None:
    model, data = make_model(resize=resize), make_data(12, empty=0)
    for sample, (_, vector) in zip(data, model.validation_samples(data, seed=0), strict=True):
        logits = torch.cat([vector[:5].clamp(1e-6, 1 - 1e-6).logit(), 30 * vector[5:]])
        model.network.forward = lambda images, logits=logits: logits[None]
        (found,) = predicted(model, torch.from_numpy(sample.read()).permute(2, 0, 1))
        assert isinstance(sample.target, BoxesTarget)
        assert found.box.numpy() == pytest.approx(sample.target.boxes[0], abs=0.01)
        assert int(found.scores.argmax()) == sample.target.labels[0]
        assert found.present > 0.99


def test_saved_weights_give_the_same_answers(tmp_path: Path) -> None:
    model, images = make_model(loss="squared", resize="letterbox"), random_images((40, 60), (31, 17))
    weights.save(model, tmp_path / "w.safetensors", seed=0)
    loaded = weights.load(tmp_path / "w.safetensors")
    assert isinstance(loaded, LocalizeModel)
    assert (loaded.options, loaded.classes, loaded.input) == (model.options, model.classes, model.input)
    for before, after in zip(predicted(model, *images), predicted(loaded, *images), strict=True):
        assert before.to_dict() == after.to_dict()


def test_another_program_gives_an_array_and_gets_an_answer() -> None:
    sample = make_data(1, empty=0)[0]
    model = make_model()
    found = locate(model, sample.read())
    (expected,) = predicted(model, torch.from_numpy(sample.read()).permute(2, 0, 1))
    assert found.to_dict() == expected.to_dict()
    turned = np.ascontiguousarray(sample.read()[:, ::-1])
    assert locate(model, turned[:, ::-1]).to_dict() == expected.to_dict()


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_picture_is_refused(image: UInt8Image) -> None:
    with pytest.raises(UsageError, match=r"a picture is uint8 \(H, W, 3\)"):
        locate(make_model(), image)
