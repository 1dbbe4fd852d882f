"""The model: what it predicts, what it saves, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from made_objects import CLASSES, SIDE, made_sample
from tiny_yolo import NETWORK, make_model
from torch import Tensor

from cvtl import boxes, weights
from cvtl.boxes import clip_to_image
from cvtl.data import BoxesTarget
from cvtl.errors import DataError, UsageError
from cvtl.results import Detections
from cvtl.training.objects import Seen
from cvtl.training.samples import RandomStream, seed_all
from cvtl_yolo import YoloModel, YoloOptions
from cvtl_yolo.grid import encode, flat, slots_of


def pictures(*sizes_hw: tuple[int, int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (3, *hw), generator=generator, dtype=torch.uint8) for hw in sizes_hw]


def predict(model: YoloModel, images: list[Tensor]) -> list[Detections]:
    with torch.inference_mode():
        found = model.predict(images)
    assert all(isinstance(each, Detections) for each in found)
    return found  # type: ignore[return-value]


class Saying(torch.nn.Module):
    """In place of a network: outputs that say what a grid says."""

    def __init__(self, model: YoloModel, levels: list[Tensor]) -> None:
        super().__init__()
        self.stages = model.network.stages
        slots = slots_of(model.grid(), levels[0])
        answers = flat(levels)
        outputs = (answers.clamp(1e-6, 1 - 1e-6)).logit()
        outputs[:, 1:3] = ((answers[:, 1:3] + 0.5) / 2).logit()
        cells = (slots.anchors / slots.strides).flip(-1)
        outputs[:, 3:5] = torch.where(answers[:, 3:5] > 0, answers[:, 3:5] / cells, 1).log()
        parts = outputs.split([len(level.flatten(0, 2)) for level in levels])
        self.outputs = [part.view(level.shape)[None] for part, level in zip(parts, levels, strict=True)]

    def forward(self, images: Tensor) -> list[Tensor]:
        return [level.expand(len(images), *level.shape[1:]) for level in self.outputs]


def test_boxes_come_back_in_pixels_of_the_picture_whatever_its_size() -> None:
    model = make_model()
    # The input of 64 x 64 shows a picture of 100 x 200 between bars of 16.
    in_input = torch.tensor([[10.0, 20, 30, 40], [40, 30, 60, 44]])
    model.network = Saying(model, encode(in_input, torch.tensor([0, 2]), model.grid())[0])  # type: ignore[assignment]
    (found,) = predict(model, pictures((100, 200)))
    expected = (in_input - torch.tensor([0.0, 16, 0, 16])) * 200 / 64
    order = found.labels.argsort()
    torch.testing.assert_close(found.boxes[order], expected, rtol=0, atol=1e-2)
    assert found.labels[order].tolist() == [0, 2]
    assert found.scores.min() > 0.99


def test_boxes_are_cut_to_the_picture_and_those_in_the_grey_bars_are_gone() -> None:
    model = make_model()
    in_input = torch.tensor([[-8.0, 20, 20, 40], [40, 2, 60, 14]])
    model.network = Saying(model, encode(in_input, torch.tensor([0, 1]), model.grid())[0])  # type: ignore[assignment]
    (found,) = predict(model, pictures((100, 200)))
    assert found.labels.tolist() == [0]
    assert found.boxes[0, 0] == 0


@pytest.mark.parametrize("loss", ["modern", "squared"])
@pytest.mark.parametrize(("levels", "anchors"), [(1, 1), (2, 3)])
def test_one_result_for_each_picture_and_best_first(loss: str, levels: int, anchors: int) -> None:
    model = make_model(loss=loss, levels=levels, anchors=anchors, predict={"threshold": 0.0})
    images = pictures((40, 90), (64, 64), (200, 31))
    for found, image in zip(predict(model, images), images, strict=True):
        assert len(found) > 0
        assert (found.scores.diff() <= 0).all()
        assert torch.equal(found.boxes, clip_to_image(found.boxes, (image.shape[1], image.shape[2])))
        assert found.classes == CLASSES


def test_pictures_do_not_influence_one_another() -> None:
    model, images = make_model(predict={"threshold": 0.0}), pictures((40, 90), (64, 64))
    together, alone = predict(model, images), [predict(model, [image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=1e-3)


def test_prediction_options_say_what_is_kept() -> None:
    model, images = make_model(predict={"threshold": 0.0, "max_detections": 10_000}), pictures((64, 64))

    def kept(**changes: Any) -> Detections:
        return predict(model.with_predict_options(**changes), images)[0]

    everything = kept(nms_iou=1.0)
    assert len(kept(nms_iou=0.3)) < len(everything)
    assert len(kept(max_detections=5)) == 5
    middle = float(everything.scores.median())
    assert kept(threshold=middle, max_detections=300).scores.min() >= middle
    soft = kept(nms="soft", threshold=0.001)
    assert len(soft) > 0


def test_hard_suppression_leaves_no_two_boxes_of_a_class_that_overlap_more() -> None:
    (found,) = predict(make_model(predict={"threshold": 0.0, "nms_iou": 0.4}), pictures((64, 64)))
    for label in found.labels.unique():
        own = found.boxes[found.labels == label]
        assert (boxes.iou(own, own) - torch.eye(len(own))).max() <= 0.4 + 1e-6


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    model = make_model(anchor_sizes=[[float(8 + i), float(20 - i)] for i in range(6)], predict={"threshold": 0.001})
    loaded = weights.load(weights.save(model, tmp_path / "w.safetensors"))
    assert isinstance(loaded, YoloModel)
    assert loaded.grid() == model.grid()
    images = pictures((50, 70))
    (one,), (other,) = predict(model, images), predict(loaded, images)
    assert torch.equal(one.boxes, other.boxes)
    assert torch.equal(one.scores, other.scores)


def test_anchors_are_dealt_to_the_levels_in_order() -> None:
    model = make_model(levels=2, anchors=2, anchor_sizes=[[1, 2], [3, 4], [5, 6], [7, 8]])
    fine, coarse = model.grid().levels
    assert (fine.stride, fine.anchors) == (2, ((1, 2), (3, 4)))
    assert (coarse.stride, coarse.anchors) == (4, ((5, 6), (7, 8)))


def test_whole_batches_change_their_size_by_the_generator_of_the_step() -> None:
    model = make_model(multi_scale=2.0, jitter=0.0)
    images = torch.stack(pictures((SIDE, SIDE), (SIDE, SIDE)))
    sides = []
    for step in range(40):
        seed_all(0, RandomStream.STEP, 0, step)
        once = model.augment(images)
        seed_all(0, RandomStream.STEP, 0, step)
        assert torch.equal(once, model.augment(images))
        sides.append(once.shape[-1])
        assert once.shape == (2, 3, sides[-1], sides[-1])
    assert min(sides) >= SIDE / 2
    assert max(sides) <= SIDE * 2
    assert all(side % 4 == 0 for side in sides)
    assert len(set(sides)) > 10


def test_without_variation_batches_stay_as_they_are() -> None:
    images = torch.stack(pictures((SIDE, SIDE)))
    assert torch.equal(make_model(multi_scale=1.0, jitter=0.0).augment(images), images)


def test_objects_grow_with_their_batch() -> None:
    model = make_model()
    seen = [Seen(torch.tensor([[8.0, 16, 24, 48]]), torch.tensor([1])), Seen(torch.zeros(0, 4), torch.zeros(0).long())]
    objects = model._objects(seen, (96, 128), torch.device("cpu"))
    assert objects.boxes.tolist() == [[16, 24, 48, 72]]
    assert objects.pictures.tolist() == [0]


def test_a_picture_of_another_size_than_the_input_can_be_trained_on() -> None:
    model = make_model().train()
    target = made_sample(3).target
    assert isinstance(target, BoxesTarget)
    seen = Seen(torch.tensor([[8.0, 16, 24, 48]]), torch.tensor([1]))
    terms = model.loss(torch.rand(2, 3, 96, 96), [seen, seen])
    assert all(term.isfinite() for term in terms.values())


def test_the_backbone_learns_at_its_own_rate_and_frozen_stages_do_not() -> None:
    groups = make_model(backbone_rate=0.1).parameter_groups()
    assert [factor for factor, _ in groups] == [1.0, 0.1]
    assert [factor for factor, _ in make_model(freeze="all").parameter_groups()] == [1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 66}, r"--size 66 is no multiple of 4"),
        ({"levels": 3, "cut": "conv2"}, "3 levels need as many strides"),
        ({"weights": None}, "nothing says where the weights"),
        ({"anchor_sizes": [[1.0, 2.0]]}, "has 1 sizes, and 2 levels with 3 anchors each need 6"),
        ({"anchor_sizes": [[1.0, 2.0]] * 5 + [[0.0, 3.0]]}, "have to be above 0"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        YoloModel.initialize(YoloOptions(**NETWORK | options), CLASSES)


def test_without_classes_there_is_nothing_to_find() -> None:
    with pytest.raises(DataError, match="no classes"):
        YoloModel.initialize(YoloOptions(**NETWORK), ())


def test_outputs_that_are_no_numbers_are_an_error_and_not_an_empty_picture() -> None:
    model = make_model()
    with torch.no_grad():
        model.network.output[0].bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(ValueError, match="not finite"):
        predict(model, pictures((64, 64)))


def test_importing_the_package_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, cvtl_yolo; cvtl_yolo.plugin.options_type(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
