"""Losses and answers are those of torchvision's own classes, whatever the backbone."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from made_objects import SIDE
from tiny_regions import HEADS, make_batch, make_model
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from cvtl import backbones
from cvtl.errors import UsageError
from cvtl_regions.detectors import build_detector, default_levels
from cvtl_regions.options import RegionsOptions
from cvtl_regions.pyramid import PlainMaps, Pyramid

FIRST_LABEL = {"faster_rcnn": 1, "retinanet": 0, "fcos": 0, "ssd": 1}


class AsTheyAre(nn.Module):
    """In place of torchvision's transform."""

    def forward(self, images: list[Tensor], targets: Any = None) -> tuple[ImageList, Any]:
        return ImageList(torch.stack(images), [(SIDE, SIDE)] * len(images)), targets

    def postprocess(self, found: Any, *_: Any) -> Any:
        return found


def torchvisions(head: str, maps: nn.Module, classes: int) -> nn.Module:
    """The detector as a user of torchvision would build it, over the same maps: strides 2, 4 and so on."""
    strides = [2, 4, 8, 16, 32]
    aspects = (0.5, 1.0, 2.0)
    limits = {"score_thresh": 0.01, "nms_thresh": 0.5, "detections_per_img": 300}
    match head:
        case "faster_rcnn":
            network: nn.Module = FasterRCNN(
                maps,
                rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,)), (aspects,) * 3),
                box_roi_pool=MultiScaleRoIAlign(["conv2", "pool2"], 7, 2),
                box_head=TwoMLPHead(64 * 49, 256),
                box_predictor=FastRCNNPredictor(256, classes + 1),
                box_batch_size_per_image=128,
                rpn_post_nms_top_n_test=300,
                **{f"box_{name}": value for name, value in limits.items()},
            )
        case "retinanet":
            sizes = tuple(tuple(4 * stride * 2 ** (k / 3) for k in range(3)) for stride in strides[:4])
            network = RetinaNet(maps, classes, anchor_generator=AnchorGenerator(sizes, (aspects,) * 4), **limits)
        case "fcos":
            cells = AnchorGenerator(tuple((stride,) for stride in strides[:4]), ((1.0,),) * 4)
            network = FCOS(maps, classes, anchor_generator=cells, **limits)
        case _:
            scales = [min(1.0, 4 * stride / SIDE) for stride in strides] + [1.0]
            boxes = DefaultBoxGenerator([[2, 3]] * 5, scales=scales)
            network = SSD(maps, boxes, (SIDE, SIDE), classes + 1, **limits)
    network.transform = AsTheyAre()
    return network


def both(head: str) -> tuple[Any, nn.Module]:
    """Ours and torchvision's, with the same weights, far enough from where they start to find something."""
    model = make_model(head=head, predict={"threshold": 0.01})
    own = torchvisions(head, model.detector.network.backbone, len(model.classes))
    with torch.no_grad():
        for parameter in model.detector.network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    own.load_state_dict(model.detector.network.state_dict())
    return model, own


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("training", [True, False])
def test_losses_are_torchvisions_in_either_mode(head: str, training: bool) -> None:
    model, own = both(head)
    images, targets = make_batch(model)
    first = FIRST_LABEL[head]
    given = [{"boxes": seen.boxes, "labels": seen.labels + first} for seen in targets]
    torch.manual_seed(5)
    expected = own.train()(list(images), given)
    torch.manual_seed(5)
    terms = model.train(training).loss(images, targets)
    assert {f"loss_{name}" if f"loss_{name}" in expected else name for name in terms} == expected.keys()
    for (name, value), wanted in zip(terms.items(), expected.values(), strict=True):
        torch.testing.assert_close(value, wanted, msg=name)
        assert value > 0
    assert model.training == training


@pytest.mark.parametrize("head", HEADS)
def test_answers_are_torchvisions_with_the_first_class_as_0(head: str) -> None:
    model, own = both(head)
    images, _ = make_batch(model)
    with torch.no_grad():
        found = model.detector.detect(images, [], model.options.predict)
        expected = own.eval()(list(images))
    assert sum(len(scores) for _, scores, _ in found) > 0
    for (boxes, scores, labels), wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(boxes, wanted["boxes"])
        torch.testing.assert_close(scores, wanted["scores"])
        assert torch.equal(labels, wanted["labels"] - FIRST_LABEL[head])
        assert labels.numel() == 0 or 0 <= int(labels.min()) <= int(labels.max()) < 3


@pytest.mark.parametrize("head", HEADS)
def test_pictures_without_objects_have_a_finite_loss_with_gradients(head: str) -> None:
    model = make_model(head=head).train()
    images, targets = make_batch(model)
    terms = model.loss(images[-1:].repeat(2, 1, 1, 1), [targets[-1]] * 2)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert total.isfinite()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("head", HEADS)
def test_every_layer_takes_part_in_the_loss(head: str) -> None:
    model = make_model(head=head).train()
    torch.stack(list(model.loss(*make_batch(model)).values())).sum().backward()
    assert [name for name, each in model.named_parameters() if each.grad is None] == []


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_any_backbone_carries_any_head(head: str, name: str) -> None:
    options = RegionsOptions(head=head, backbone=name, channels=64, size=128)
    detector = build_detector(options, 2, backbones.load(name)).eval()
    with torch.no_grad():
        found = detector.detect(torch.rand(1, 3, 128, 128), [], options.predict)
    assert [len(each) for each in found] == [3]


def test_maps_have_a_cell_for_each_stride_and_the_same_channels() -> None:
    model = make_model(head="retinanet", backbone="squeezenet1_1", size=128)
    pyramid = model.detector.network.backbone
    assert isinstance(pyramid, Pyramid)
    assert pyramid.strides == (8, 16, 32, 64)
    with torch.no_grad():
        maps = pyramid(torch.rand(2, 3, 128, 128))
    assert [tuple(each.shape) for each in maps.values()] == [(2, 64, 128 // s, 128 // s) for s in pyramid.strides]


def test_merged_maps_are_of_one_scale_however_large_the_backbones_values_are() -> None:
    pyramid = make_model(head="faster_rcnn").detector.network.backbone
    assert isinstance(pyramid, Pyramid)
    images = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        before = [each.std() for each in pyramid(images).values()]
        for parameter in pyramid.backbone.body[-1].parameters():  # type: ignore[index]
            parameter *= 1000
        after = [each.std() for each in pyramid(images).values()]
    assert all(0.3 < value < 3 for value in [*before, *after])


def test_plain_maps_are_brought_to_the_scale_of_ssd() -> None:
    maps = make_model(head="ssd").detector.network.backbone
    assert isinstance(maps, PlainMaps)
    with torch.no_grad():
        found = maps(torch.rand(1, 3, SIDE, SIDE))
    norms = found["conv2"].norm(dim=1)
    torch.testing.assert_close(norms[norms > 1], torch.full_like(norms[norms > 1], 20.0))


@pytest.mark.parametrize(("name", "levels"), [("resnet18", 3), ("squeezenet1_1", 2), ("lenet5", 1)])
def test_levels_are_those_from_stride_8_on_unless_it_is_said(name: str, levels: int) -> None:
    backbone = backbones.load(name)
    assert default_levels(RegionsOptions(), backbone) == levels
    assert default_levels(RegionsOptions(levels=2), backbone) == 2


def test_given_anchors_are_dealt_to_the_levels_the_finest_first() -> None:
    network = make_model(anchor_sizes=(12.0, 24.0, 48.0), aspects=(1.0, 4.0)).detector.network
    assert isinstance(network, FasterRCNN)
    cells = network.rpn.anchor_generator.cell_anchors
    sides = [[tuple((box[2:] - box[:2]).tolist()) for box in level] for level in cells]
    assert sides == [[(12, 12), (6, 24)], [(24, 24), (12, 48)], [(48, 48), (24, 96)]]


def test_ssds_boxes_are_as_large_as_said() -> None:
    network = make_model(head="ssd", levels=1, anchor_sizes=(8.0, 16.0, 32.0, 64.0)).detector.network
    assert isinstance(network, SSD)
    assert network.anchor_generator.scales == [8 / SIDE, 16 / SIDE, 32 / SIDE, 1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "fcos", "channels": 96}, "--channels 96: head fcos .* multiple of 64"),
        ({"head": "fcos", "anchor_sizes": (8.0,)}, "head fcos has no anchors"),
        ({"anchor_sizes": (8.0, 16.0)}, "has 2 sizes, and the 3 levels, of strides 2, 4, 8, need one each"),
        ({"anchor_sizes": (8.0, 0.0, 3.0)}, "sides have to be above 0"),
        ({"levels": 4}, "4 levels need as many strides"),
        ({"size": 66}, "--size 66 is no multiple of 4"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_model(**options)


def test_limits_are_those_of_each_call() -> None:
    model, _ = both("faster_rcnn")
    images, _ = make_batch(model)
    detect = partial(model.detector.detect, images, [])
    options = model.options.predict
    with torch.no_grad():
        everything = detect(options.model_copy(update={"threshold": 0.0, "max_detections": 10_000}))
        few = detect(options.model_copy(update={"threshold": 0.0, "max_detections": 5}))
        sure = detect(options.model_copy(update={"threshold": 0.4}))
        thinned = detect(options.model_copy(update={"threshold": 0.0, "max_detections": 10_000, "nms_iou": 0.1}))
        narrow = detect(options.model_copy(update={"threshold": 0.0, "max_detections": 10_000, "proposals": 3}))
    for all_, five, certain, apart, near in zip(everything, few, sure, thinned, narrow, strict=True):
        assert len(five[1]) == 5
        assert torch.equal(five[1], all_[1][:5])
        assert torch.equal(certain[1], all_[1][all_[1] > 0.4])
        assert len(apart[1]) < len(all_[1])
        # One box of each class for each region.
        assert len(near[1]) <= 3 * 3
    assert math.isfinite(sum(float(each[1].sum()) for each in everything))
