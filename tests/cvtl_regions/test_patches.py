"""R-CNN, trained: patches, what is learnt from them, and the loop that it comes to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_objects import SIDE, made_sample, make_data
from tiny_regions import make_model
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

from cvtl.augmentation import plain_view
from cvtl.data import BoxesTarget, Dataset
from cvtl.preprocessing import normalize
from cvtl.progress import Progress
from cvtl.training.objects import Seen, seen_objects
from cvtl_regions.model import RegionsModel
from cvtl_regions.patches import PROPOSED, PatchDetector, Patches, objects_of, with_proposals


def make_rcnn(**options: object) -> tuple[RegionsModel, PatchDetector]:
    model = make_model(head="rcnn", patch=32, levels=None, **options)
    assert isinstance(model.detector, PatchDetector)
    return model, model.detector


def batch(model: RegionsModel, data: Dataset) -> tuple[Tensor, list[Seen]]:
    samples = model.validation_samples(with_proposals(data, 60, Progress()), seed=0)
    return normalize(torch.stack([image for image, _ in samples]), model.input), [seen for _, seen in samples]


def test_a_patch_shows_its_box_and_a_little_of_what_is_round_it() -> None:
    """Sixteen pixels of 227 on each side, as the paper has it."""
    image = torch.zeros(1, 3, 100, 100)
    image[..., 30:60, 20:80] = 1.0
    (patch,) = Patches(227)({"images": image}, [torch.tensor([[20.0, 30, 80, 60]])], [(100, 100)])
    inside = patch[0, 20:-20, 20:-20]
    assert inside.min() > 0.9
    assert patch[0, :13].max() < 0.1
    assert patch[0, :, -13:].max() < 0.1


def test_beyond_the_picture_a_patch_is_of_the_mean_colour() -> None:
    image = torch.ones(1, 3, 40, 40)
    (patch,) = Patches(64)({"images": image}, [torch.tensor([[0.0, 0, 40, 40]])], [(40, 40)])
    assert patch[:, 0].abs().max() == 0
    assert patch[:, 32, 32].tolist() == [1, 1, 1]


def test_proposals_move_with_the_view_and_are_no_objects() -> None:
    sample = made_sample(4)
    (with_them,) = with_proposals(Dataset([sample], ("a",), "made"), 30, Progress())
    target = with_them.target
    assert isinstance(target, BoxesTarget)
    assert isinstance(sample.target, BoxesTarget)
    model, _ = make_rcnn()
    seen = seen_objects(target, plain_view((0, 0, 90, 60), model.input))
    objects = objects_of(seen)
    expected = seen_objects(sample.target, plain_view((0, 0, 90, 60), model.input))
    assert torch.equal(objects.boxes, expected.boxes)
    assert torch.equal(objects.labels, expected.labels)
    assert torch.equal(seen.labels[len(objects.labels) :], torch.full((30,), PROPOSED))


def test_what_is_found_is_what_the_lectures_loop_finds() -> None:
    """`for roi in propose(image): detector(patch)`, one patch at a time."""
    model, detector = make_rcnn(predict={"threshold": 0.2})
    with torch.no_grad():
        for parameter in detector.heads.box_predictor.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        images, (seen,) = batch(model, make_data(1, first=4))
        (found,) = detector.detect(images, [seen], model.options.predict)
        boxes, scores, labels = [], [], []
        for roi in seen.boxes[seen.labels == PROPOSED]:
            patch = Patches(32)({"images": images}, [roi[None]], None)
            vector = detector.backbone(patch).mean(dim=(2, 3))
            logits, deltas = detector.heads.box_predictor(vector)
            width, height = (roi[2:] - roi[:2]).tolist()
            for label, score in enumerate(F.softmax(logits[0], dim=0)[1:].tolist()):
                dx, dy, dw, dh = (deltas[0].view(-1, 4)[label + 1] / torch.tensor([10.0, 10, 5, 5])).tolist()
                x, y = roi[0] + width / 2 + dx * width, roi[1] + height / 2 + dy * height
                half = torch.tensor([width * np.exp(dw) / 2, height * np.exp(dh) / 2])
                centre = torch.stack([x, y])
                boxes.append(torch.cat([centre - half, centre + half]).clamp(0, SIDE))
                scores.append(score)
                labels.append(label)
    kept = []
    for label in range(3):
        own = [index for index in range(len(labels)) if labels[index] == label and scores[index] > 0.2]
        if own:
            chosen = nms(torch.stack([boxes[i] for i in own]).float(), torch.tensor([scores[i] for i in own]), 0.5)
            kept += [own[i] for i in chosen.tolist()]
    kept.sort(key=lambda index: -scores[index])
    assert len(kept) > 3
    torch.testing.assert_close(found[1], torch.tensor([scores[i] for i in kept]), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0], torch.stack([boxes[i] for i in kept]).float(), rtol=0, atol=1e-3)
    assert found[2].tolist() == [labels[i] for i in kept]


def test_objects_overlap_by_half_and_background_by_less_than_three_tenths() -> None:
    _, detector = make_rcnn()
    there = torch.tensor([[10.0, 10, 30, 30]])
    proposed = [torch.tensor([[10.0, 10, 30, 22], [10, 10, 30, 18], [10, 10, 30, 15], [40, 40, 60, 60]])]
    _, labels = detector.heads.assign_targets_to_proposals(proposed, [there], [torch.tensor([2])])
    assert labels[0].tolist() == [2, -1, 0, 0]


def test_the_loss_is_finite_where_there_are_no_objects_and_where_there_are() -> None:
    model, _ = make_rcnn()
    images, targets = batch(model, make_data(3, first=3))
    empty = [replace(seen, boxes=seen.boxes[seen.labels < 0], labels=seen.labels[seen.labels < 0]) for seen in targets]
    for given in (targets, empty):
        terms = model.train().loss(images, given)
        assert terms.keys() == {"classifier", "box_reg"}
        torch.stack(list(terms.values())).sum().backward()
        assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())
    assert float(model.loss(images, empty)["box_reg"].detach()) == 0


def test_pictures_are_searched_for_proposals_when_they_are_predicted() -> None:
    model, _ = make_rcnn(predict={"threshold": 0.0, "max_detections": 1000})
    images = [torch.from_numpy(made_sample(index).read()).permute(2, 0, 1) for index in (3, 4)]
    with torch.inference_mode():
        many = model.predict(images)
        few = model.with_predict_options(proposals=1).predict(images)
    # One proposal, the whole picture, gives one box of each class.
    assert [len(found) for found in few] == [3, 3]  # type: ignore[arg-type]
    assert all(len(found) > 3 for found in many)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 70])
def test_many_patches_are_looked_at_in_parts_without_a_difference(count: int) -> None:
    _, detector = make_rcnn()
    patches = torch.rand(count, 3, 32, 32)
    at_once = detector.heads.box_head(patches)
    with torch.no_grad():
        in_parts = detector.heads.box_head(patches)
    torch.testing.assert_close(in_parts, at_once)
