"""R-CNN, trained: proposals, the patch of each, and a network that says what a patch shows and where in it.

Source: Girshick et al. 2014, arXiv 1311.2524. Instead of support vector machines on what the network gives, the
network's own last layer tells the classes, and learns the corrections of boxes beside them, as in Fast R-CNN (arXiv
1504.08083). torchvision's `RoIHeads` have the sampling, the loss and the suppression. What differs from Faster R-CNN
is what a region is seen by: its own patch of the picture goes through the whole network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import roi_align

from cvtl.backbones import Backbone
from cvtl.background import map_ahead
from cvtl.data import BoxesTarget, Dataset, Sample
from cvtl.preprocessing import InputSpec, place, prepare
from cvtl.progress import Progress
from cvtl.training.objects import Seen
from cvtl_regions.options import PredictOptions, RegionsOptions
from cvtl_regions.proposals import propose
from cvtl_regions.region_detector import Found, RegionDetector, giving_losses

PROPOSED = -1
"""The label of a box that is proposed, among the objects of a sample."""

TRAINING_PROPOSALS = 1000
"""Most proposals of a training picture, from which regions are drawn in every step."""

# R-CNN shows 16 pixels of what is round a proposal, in a patch of 227.
_CONTEXT = 16 / 227
_OBJECT_IOU, _BACKGROUND_IOU = 0.5, 0.3
_OBJECT_SHARE = 0.25
# Patches that go through the network together where nothing is learnt from them.
_TOGETHER = 64
_READERS = 4


class PatchDetector(RegionDetector):
    """R-CNN over any backbone.

    Args:
        options: side of the patches, and how many a step learns from.
        classes: how many, background not counted.
        backbone: with its weights.

    Example:
        >>> from cvtl import backbones
        >>> detector = PatchDetector(RegionsOptions(patch=32), 2, backbones.load("lenet5")).eval()
        >>> seen = Seen(torch.tensor([[4.0, 4, 20, 20]]), torch.tensor([PROPOSED]))
        >>> ((boxes, _, labels),) = detector.detect(torch.rand(1, 3, 64, 64), [seen], PredictOptions(threshold=0))
        >>> sorted(labels.tolist())
        [0, 1]
    """

    def __init__(self, options: RegionsOptions, classes: int, backbone: Backbone) -> None:
        super().__init__()
        network = PatchNetwork(backbone)
        self.heads = RoIHeads(
            Patches(options.patch),
            network,
            FastRCNNPredictor(backbone.stages[-1].channels, classes + 1),
            fg_iou_thresh=_OBJECT_IOU,
            bg_iou_thresh=_BACKGROUND_IOU,
            batch_size_per_image=options.regions,
            positive_fraction=_OBJECT_SHARE,
            bbox_reg_weights=None,
            score_thresh=options.predict.threshold,
            nms_thresh=options.predict.nms_iou,
            detections_per_img=options.predict.max_detections,
        )

    @property
    def backbone(self) -> Backbone:
        """What patches go through."""
        network = self.heads.box_head
        assert isinstance(network, PatchNetwork)
        return network.backbone

    def losses(self, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        """Cross-entropy over classes and background, and smooth L1 of the corrections, of regions drawn at random.

        A quarter of them, at most, are objects and proposals that overlap one by an IoU of 0.5 or more; the others
        overlap none by more than 0.3.
        """
        given = []
        for seen in targets:
            objects = objects_of(seen)
            given.append({"boxes": objects.boxes.to(images.device), "labels": objects.labels.to(images.device) + 1})
        with giving_losses(self.heads):
            _, terms = self.heads({"images": images}, _proposed(targets, images.device), _sizes(images), given)
        return {name.removeprefix("loss_"): value for name, value in terms.items()}

    def detect(self, images: Tensor, targets: Sequence[Seen], options: PredictOptions) -> list[Found]:
        """What the proposals among the targets' boxes show."""
        heads = self.heads
        heads.score_thresh, heads.nms_thresh = options.threshold, options.nms_iou
        heads.detections_per_img = options.max_detections
        answers, _ = heads({"images": images}, _proposed(targets, images.device), _sizes(images))
        return [(each["boxes"], each["scores"], each["labels"] - 1) for each in answers]

    def find(self, pictures: Sequence[Tensor], input: InputSpec, options: PredictOptions) -> list[Found]:
        """Propose in each picture, and look at the proposals in the network's input."""
        images, targets, found = prepare(pictures, input), [], []
        places = [place((picture.shape[1], picture.shape[2]), input) for picture in pictures]
        for picture, placed in zip(pictures, places, strict=True):
            proposed = propose(picture.permute(1, 2, 0).cpu().numpy(), most=options.proposals)
            moved = placed.to_input(torch.from_numpy(proposed).float())
            targets.append(Seen(moved, torch.full((len(moved),), PROPOSED)))
        for (boxes, scores, labels), placed in zip(self.detect(images, targets, options), places, strict=True):
            found.append((placed.to_picture(boxes), scores, labels))
        return found


class Patches(nn.Module):
    """Cuts out what lies in boxes, with a little of what is round them, and warps it to squares.

    It stands where `RoIHeads` cut out of maps. Beyond the picture there is the mean colour, which is 0.

    Args:
        side: of the squares, in pixels.

    Example:
        >>> images = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 40, 40)
        >>> Patches(16)({"images": images}, [torch.tensor([[10.0, 10, 20, 30]])], [(40, 40)])[0, :, 8, 8]
        tensor([0., 1., 2.])
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, features: Mapping[str, Tensor], boxes: list[Tensor], image_hws: object) -> Tensor:
        """Patches (K, 3, side, side) of the boxes of all pictures, in order."""
        # A box is to be side - 2 * context pixels of the patch.
        margin = _CONTEXT / (1 - 2 * _CONTEXT)
        wider = []
        for each in boxes:
            border = margin * (each[:, 2:] - each[:, :2])
            wider.append(torch.cat([each[:, :2] - border, each[:, 2:] + border], dim=1))
        patches: Tensor = roi_align(features["images"], wider, self.side, aligned=True)
        return patches


class PatchNetwork(nn.Module):
    """A backbone and the mean over its last map: a vector for each patch.

    Args:
        backbone: with its weights.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, patches: Tensor) -> Tensor:
        """Patches (K, 3, side, side) to vectors (K, C)."""
        parts = [patches] if torch.is_grad_enabled() else torch.split(patches, _TOGETHER)
        return torch.cat([self.backbone(part).mean(dim=(2, 3)) for part in parts])


def with_proposals(data: Dataset, most: int, progress: Progress) -> Dataset:
    """A data set whose samples have proposals among their boxes, labelled `PROPOSED`: views move them along.

    Args:
        data: whose targets are boxes.
        most: proposals of a picture.
        progress: is told of each picture that is done; whoever calls starts and finishes it.

    Raises:
        DataError: a picture cannot be read.
    """
    samples = []
    for sample in map_ahead(partial(_with_proposals, most=most), data, _READERS):
        samples.append(sample)
        progress.advance(1)
    return replace(data, samples=samples)


def objects_of(seen: Seen) -> Seen:
    """The objects of a sample without its proposals.

    Example:
        >>> objects_of(Seen(torch.rand(3, 4), torch.tensor([2, PROPOSED, 0]))).labels
        tensor([2, 0])
    """
    real = seen.labels != PROPOSED
    return Seen(seen.boxes[real], seen.labels[real])


def _with_proposals(sample: Sample, most: int) -> Sample:
    target = sample.target
    assert isinstance(target, BoxesTarget)
    proposed = propose(sample.read(), most=most)
    none = np.zeros(len(proposed), bool)
    return replace(
        sample,
        target=BoxesTarget(
            np.concatenate([target.boxes, proposed]),
            np.concatenate([target.labels, np.full(len(proposed), PROPOSED)]),
            np.concatenate([target.crowd, none]),
            np.concatenate([target.difficult, none]),
            np.concatenate([target.areas, (proposed[:, 2:] - proposed[:, :2]).prod(axis=1)]),
        ),
    )


def _proposed(targets: Sequence[Seen], device: torch.device) -> list[Tensor]:
    return [seen.boxes[seen.labels == PROPOSED].to(device) for seen in targets]


def _sizes(images: Tensor) -> list[tuple[int, int]]:
    return [(images.shape[-2], images.shape[-1])] * len(images)
