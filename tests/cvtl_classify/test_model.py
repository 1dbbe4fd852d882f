"""The model: its network, prediction in its several ways, and what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_classify import CLASSES, SIDE, make_data, make_model, picture
from torch import Tensor

from cvtl import weights
from cvtl.data import ClassTarget, Sample
from cvtl.errors import DataError, UsageError, WeightsError
from cvtl.preprocessing import InputSpec, normalize, resize, resize_to
from cvtl.progress import Progress
from cvtl.results import Classification
from cvtl_classify.model import ClassifyModel
from cvtl_classify.network import stage_parameters
from cvtl_classify.options import ClassifyOptions


def pictures(count: int) -> list[Tensor]:
    """Of several sizes."""
    sizes = [(40, 48), (32, 32), (90, 33)]
    return [
        torch.from_numpy(picture(index, 3, size_hw=sizes[index % 3])).permute(2, 0, 1) for index in range(count)
    ]  # fmt: skip


def randomized(model: ClassifyModel) -> ClassifyModel:
    """With a head that answers, where a new one starts from zero."""
    torch.nn.init.normal_(model.classifier.head.get_submodule("logits").weight)
    return model


def scores(model: ClassifyModel, images: list[Tensor]) -> Tensor:
    with torch.inference_mode():
        results = model.predict(images)
    assert all(isinstance(result, Classification) for result in results)
    return torch.stack([result.scores for result in results])


# The network


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({}, 16),
        ({"pooling": "max"}, 16),
        ({"pooling": "grid"}, 64),
        ({"stages": "all"}, 38),
        ({"stages": "all", "pooling": "grid"}, 152),
        ({"cut": "conv1"}, 6),
        ({"cut": "conv1", "stages": "all"}, 6),
    ],
)
def test_features_are_pooled_maps_side_by_side(options: dict[str, Any], width: int) -> None:
    model = make_model(**options)
    images = torch.rand(2, 3, SIDE, SIDE)
    features = model.classifier.features(images)
    assert features.shape == (2, width)
    if options == {"stages": "all"}:
        maps = model.classifier.backbone.features(images)
        expected = torch.cat([maps[name].mean((2, 3)) for name in maps], dim=1)
        torch.testing.assert_close(features, expected)


def test_layers_behind_the_cut_are_not_there() -> None:
    model = make_model(cut="conv1")
    assert [stage.name for stage in model.classifier.backbone.stages] == ["conv1"]
    with pytest.raises(UsageError, match="no stage 'conv9'"):
        make_model(cut="conv9")


def test_a_frozen_backbone_keeps_no_graph_unless_the_pictures_ask_for_one() -> None:
    network = make_model().classifier
    images = torch.rand(2, 3, SIDE, SIDE)
    assert not network.features(images).requires_grad
    assert network(images).requires_grad
    assert network.features(images.requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("options", "learning"),
    [
        ({"strategy": "auto"}, set()),
        ({"strategy": "features"}, set()),
        ({"strategy": "augmented"}, set()),
        ({"strategy": "finetune"}, {"conv2"}),
        ({"strategy": "finetune", "unfreeze": "conv1"}, {"conv1", "conv2"}),
        ({"strategy": "full"}, {"conv1", "conv2"}),
        ({"strategy": "scratch"}, {"conv1", "conv2"}),
    ],
)
def test_what_learns_is_what_the_strategy_says(options: dict[str, Any], learning: set[str]) -> None:
    model = make_model(**options)
    named = dict(model.classifier.backbone.named_parameters())
    assert {name.split(".")[1] for name, each in named.items() if each.requires_grad} == learning
    assert all(parameter.requires_grad for parameter in model.classifier.head.parameters())


def test_each_stage_learns_more_slowly_than_the_one_behind_it() -> None:
    model = make_model(strategy="full", backbone="squeezenet1_1", size=64, discriminative=0.5)
    groups = model.parameter_groups()
    assert [factor for factor, _ in groups] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    body = model.classifier.backbone.body
    assert body is not None
    wanted = [model.classifier.head, *reversed(list(body))]
    for (_, group), module in zip(groups, wanted, strict=True):
        assert [id(each) for each in group] == [id(each) for each in module.parameters()]


def test_frozen_stages_are_in_no_group() -> None:
    model = make_model(strategy="finetune", backbone="squeezenet1_1", size=64, discriminative=0.1)
    assert [factor for factor, _ in model.parameter_groups()] == [1.0, 0.1]
    assert [factor for factor, _ in make_model(strategy="augmented").parameter_groups()] == [1.0]


def test_a_timm_backbone_that_is_no_chain_has_groups_too() -> None:
    model = make_model(strategy="finetune", backbone="timm:test_convnext", size=64, discriminative=0.5)
    grouped = [parameter for _, group in model.parameter_groups() for parameter in group]
    assert sorted(map(id, grouped)) == sorted(id(each) for each in model.parameters() if each.requires_grad)


def test_one_pass_gives_the_loss_and_the_accuracy() -> None:
    model = randomized(make_model(label_smoothing=0.2))
    images = torch.rand(6, 3, SIDE, SIDE)
    targets = [ClassTarget(index % 3) for index in range(6)]
    terms, figures = model.assess(images, targets, training=False)
    logits, labels = model.classifier(images), torch.arange(6) % 3
    smoothed = 0.8 * torch.eye(3)[labels] + 0.2 / 3
    torch.testing.assert_close(terms["class"], -(smoothed * logits.log_softmax(1)).sum(1).mean())
    assert float(figures["accuracy"]) == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert model.loss(images, targets) == terms


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": None}, InputSpec(size_hw=(32, 32), resize="crop")),
        ({"size": 48}, InputSpec(size_hw=(48, 48), resize="crop")),
        ({"size": 48, "resize": "letterbox"}, InputSpec(size_hw=(48, 48), resize="letterbox")),
    ],
)
def test_the_input_is_the_backbones_unless_the_options_say_otherwise(
    options: dict[str, Any], expected: InputSpec
) -> None:
    assert make_model(**options).input == expected


@pytest.mark.parametrize(("backbone", "size"), [("squeezenet1_1", 16), ("timm:test_vit", 40)])
def test_a_size_that_the_backbone_cannot_take_is_refused(backbone: str, size: int) -> None:
    with pytest.raises(UsageError, match=rf"cannot take pictures of {size} x {size} pixels.*--size"):
        make_model(backbone=backbone, size=size)


def test_one_class_is_nothing_to_tell_apart() -> None:
    with pytest.raises(DataError, match="nothing to tell apart: the data have 1 class"):
        make_model(classes=("cat",))


def test_scratch_needs_no_weights_and_everything_else_does(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pth")
    assert make_model(weights=missing, strategy="scratch").options.strategy == "scratch"
    for strategy in ("auto", "features", "augmented", "finetune", "full"):
        with pytest.raises(WeightsError, match=r"missing\.pth"):
            make_model(weights=missing, strategy=strategy)


def test_he_initialization_reaches_the_backbone_where_all_is_new() -> None:
    model = make_model(strategy="scratch", recipe="resnet")
    layer = stage_parameters(model.classifier.backbone)["conv2"][0]
    assert float(layer.detach().std()) == pytest.approx((2 / layer[0].numel()) ** 0.5, rel=0.1)


# Prediction


def test_probabilities_are_those_of_each_picture_whatever_stands_beside_it() -> None:
    model, images = randomized(make_model()), pictures(7)
    found = scores(model, images)
    torch.testing.assert_close(found.sum(1), torch.ones(7))
    for image, expected in zip(images, found, strict=True):
        logits = model.classifier(normalize(resize(image, model.input), model.input)[None])
        torch.testing.assert_close(logits[0].softmax(0).detach(), expected)


def test_as_many_classes_are_named_as_were_asked_for() -> None:
    model = make_model().with_predict_options(top_k=2)
    assert len(model.predict(pictures(1))[0].to_dict()["labels"]) == 2


def test_flipping_makes_a_picture_and_its_mirror_alike() -> None:
    model, images = randomized(make_model()), pictures(3)
    mirrored = [image.flip(-1) for image in images]
    plain, both = scores(model, images), scores(model.with_predict_options(tta="flip"), images)
    torch.testing.assert_close(both, scores(model, mirrored))
    model.with_predict_options(tta="none")
    torch.testing.assert_close(both, (plain + scores(model, mirrored)) / 2, atol=1e-3, rtol=0)


def test_ten_crops_are_averaged_as_a_plain_loop_does_it() -> None:
    model, (image,) = randomized(make_model(resize="stretch")), pictures(1)
    larger, side = round(SIDE * 256 / 224), SIDE
    picture, far = resize_to(image, (larger, larger)), larger - side
    expected = []
    for top, left in [(0, 0), (0, far), (far, 0), (far, far), (far // 2, far // 2)]:
        crop = picture[:, top : top + side, left : left + side]
        for view in (crop, crop.flip(-1)):
            expected.append(model.classifier(normalize(view[None], model.input)).softmax(1)[0])
    assert len({tuple(each.tolist()) for each in expected}) == 10
    found = scores(model.with_predict_options(tta="ten-crop"), [image])
    torch.testing.assert_close(found[0], torch.stack(expected).mean(0).detach())


@pytest.fixture
def files(tmp_path: Path) -> list[Sample]:
    """Seven pictures, of which the fourth is none."""
    for index in range(7):
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), picture(index, 3)[..., ::-1])
    (tmp_path / "3.png").write_bytes(b"no picture")
    return [Sample.of_file(f"{index}.png", tmp_path / f"{index}.png", ClassTarget(index % 3)) for index in range(7)]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("stages", ["last", "all"])
def test_predictions_by_features_equal_those_by_pictures(
    files: list[Sample], tmp_path: Path, cache: bool, stages: str
) -> None:
    model = randomized(make_model(cache=cache, stages=stages))
    readable = [index for index in range(7) if index != 3]
    expected = scores(model, [torch.from_numpy(files[index].read()).permute(2, 0, 1) for index in readable])
    for _ in range(2):
        answers = model.predict_samples(files, batch_size=2, progress=Progress())
        assert answers is not None
        found = list(answers)
        assert isinstance(found[3], DataError)
        assert "3.png" in str(found[3])
        given = torch.stack([found[index].scores for index in readable])
        torch.testing.assert_close(given, expected, atol=1e-5, rtol=0)
    assert (tmp_path / "cache").exists() == cache


def test_predictions_by_features_come_in_parts_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = randomized(make_model()), make_data(11)
    whole = list(model.predict_samples(data, batch_size=2, progress=Progress()) or ())
    monkeypatch.setattr("cvtl_classify.model._SAMPLES_AT_ONCE", 4)
    parts = list(model.predict_samples(data, batch_size=2, progress=Progress()) or ())
    for one, two in zip(whole, parts, strict=True):
        assert torch.equal(one.scores, two.scores)


@pytest.mark.parametrize("tta", ["flip", "ten-crop"])
def test_test_time_augmentation_needs_the_pictures(tta: str) -> None:
    model = make_model().with_predict_options(tta=tta)
    assert model.predict_samples(make_data(2), batch_size=2, progress=Progress()) is None


@pytest.mark.parametrize("head", ["linear", "mlp", "svm"])
def test_a_saved_model_predicts_as_before(tmp_path: Path, head: str) -> None:
    options = {"backbone": "squeezenet1_1", "size": 64, "cut": "fire2-3", "stages": "all", "pooling": "grid"}
    model = randomized(make_model(head=head, **options))
    path = weights.save(model, tmp_path / "w.safetensors")
    loaded = weights.load(path, task="classify")
    assert loaded.classes == CLASSES
    assert loaded.options == model.options
    assert loaded.input == model.input
    assert torch.equal(scores(loaded, pictures(3)), scores(model, pictures(3)))


def test_loading_reads_no_other_weights(tmp_path: Path) -> None:
    source = tmp_path / "backbone.pth"
    torch.save(make_model().classifier.backbone.body.state_dict(), source)
    model = make_model()
    model.options = model.options.model_copy(update={"weights": str(source)})
    path = weights.save(model, tmp_path / "w.safetensors")
    source.unlink()
    assert weights.load(path).options.weights == str(source)


def test_ten_thousand_classes_are_told_apart() -> None:
    classes = tuple(f"class {number}" for number in range(10_000))
    model = randomized(make_model(classes=classes))
    (result,) = model.predict(pictures(1))
    assert len(result.to_dict()["labels"]) == 5
    assert result.scores.shape == (10_000,)


def test_numbers_that_are_none_are_no_answer() -> None:
    model = make_model()
    with torch.no_grad():
        model.classifier.head.get_submodule("logits").weight.fill_(np.nan)
    with pytest.raises(ValueError, match="not finite"):
        model.predict(pictures(1))


def test_weights_are_not_downloaded_unless_that_is_said() -> None:
    with pytest.raises(
        UsageError, match="nothing says where the weights of the backbone 'resnet18' come from"
    ) as caught:
        ClassifyModel.initialize(ClassifyOptions(backbone="resnet18", strategy="features"), ("a", "b"))
    assert "--weights imagenet" in caught.value.hint


def test_from_scratch_no_weights_need_be_named() -> None:
    model = ClassifyModel.initialize(ClassifyOptions(backbone="lenet5", strategy="scratch"), ("a", "b"))
    assert model.classes == ("a", "b")


@pytest.mark.parametrize(
    ("strategy", "alone"),
    [("auto", True), ("features", True), ("augmented", False), ("finetune", False), ("full", False)],
)
def test_what_learns_from_features_alone_shares_nothing_out(strategy: str, alone: bool) -> None:
    reason = make_model(strategy=strategy).why_alone()
    assert bool(reason) == alone
    assert not alone or f"strategy {strategy} " in reason
