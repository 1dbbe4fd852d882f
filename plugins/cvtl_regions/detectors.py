"""torchvision's detectors on any backbone, each with the loss and the answers that its own class gives.

They get pictures that are prepared already: what torchvision would do about size and normalisation belongs to the
weights (`cvtl.preprocessing`), and is the same in training and prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from cvtl.backbones import Backbone
from cvtl.backbones.levels import check_side
from cvtl.errors import UsageError
from cvtl.training.objects import Seen
from cvtl_regions.options import PredictOptions, RegionsOptions
from cvtl_regions.pyramid import PlainMaps, Pyramid
from cvtl_regions.region_detector import Found, RegionDetector, giving_losses

_FINEST_STRIDE = 8
# Side of an anchor in cells of its level.
_ANCHOR_CELLS = 4
_OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_SSD_EXTRA_LEVELS = 3
_SSD_ASPECTS = [2, 3]
_ROI_CELLS = 7
# 32 groups, and none of them a single value where a map has a single cell.
_FCOS_CHANNELS = 64


class Prepared(nn.Module):
    """Stands where torchvision's detectors resize and normalise: pictures and answers stay as they are.

    Example:
        >>> import torch
        >>> images, targets = Prepared()(torch.zeros(2, 3, 8, 16))
        >>> images.image_sizes, targets
        ([(8, 16), (8, 16)], None)
    """

    def forward(
        self, images: Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Pictures (N, 3, H, W) of one size, as torchvision hands them on."""
        size_hw = images.shape[-2], images.shape[-1]
        return ImageList(images, [size_hw] * len(images)), targets

    def postprocess(self, found: list[Any], image_hws: object, original_hws: object) -> list[Any]:
        """Boxes stay in pixels of the input."""
        return found


class TorchvisionDetector(RegionDetector):
    """One of torchvision's detectors, and how it counts classes.

    Args:
        network: torchvision's, over pictures that are prepared.
        first_label: its number of the first class; 1 where 0 is background.
    """

    def __init__(self, network: FasterRCNN | RetinaNet | FCOS | SSD, first_label: int) -> None:
        super().__init__()
        network.transform = Prepared()
        self.network = network
        self.first_label = first_label

    @property
    def backbone(self) -> Backbone:
        """What the maps are made of."""
        maps = self.network.backbone
        assert isinstance(maps, Pyramid | PlainMaps)
        return maps.backbone

    def losses(self, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        """The terms of torchvision's loss."""
        given = [
            {"boxes": seen.boxes.to(images.device), "labels": seen.labels.to(images.device) + self.first_label}
            for seen in targets
        ]
        network = self.network
        stages = (network.rpn, network.roi_heads) if isinstance(network, FasterRCNN) else ()
        with giving_losses(network, *stages):
            terms: dict[str, Tensor] = network(images, given)
        return {name.removeprefix("loss_"): value for name, value in terms.items()}

    def detect(self, images: Tensor, targets: Sequence[Seen], options: PredictOptions) -> list[Found]:
        """The answers of torchvision's class; they need no targets."""
        _limit(self.network, options)
        answers = self.network(images)
        return [(each["boxes"], each["scores"], each["labels"] - self.first_label) for each in answers]


def build_detector(options: RegionsOptions, classes: int, backbone: Backbone) -> TorchvisionDetector:
    """The detector that options describe, with untrained layers behind the backbone.

    Args:
        options: which one.
        classes: how many, background not counted.
        backbone: with its weights.

    Raises:
        UsageError: the options do not fit one another or the backbone.

    Example:
        >>> import torch
        >>> from cvtl import backbones
        >>> options = RegionsOptions(head="retinanet", levels=1, channels=8)
        >>> detector = build_detector(options, 3, backbones.load("lenet5")).eval()
        >>> [boxes.shape[1] for boxes, _, _ in detector.detect(torch.zeros(2, 3, 32, 32), [], options.predict)]
        [4, 4]
    """
    check_side(options.size, backbone.stages, backbone)
    return _BUILDERS[options.head](options, classes, backbone)


def default_levels(options: RegionsOptions, backbone: Backbone) -> int:
    """How many of the backbone's strides are taken: as said, or those from 8 on, at least one.

    Example:
        >>> from cvtl import backbones
        >>> default_levels(RegionsOptions(), backbones.load("resnet18"))    # strides 8, 16, 32
        3
    """
    strides = {stage.stride for stage in backbone.stages}
    return options.levels or max(1, sum(stride >= _FINEST_STRIDE for stride in strides))


def _faster_rcnn(options: RegionsOptions, classes: int, backbone: Backbone) -> TorchvisionDetector:
    """Ren et al. 2015, arXiv 1506.01497, on a feature pyramid (arXiv 1612.03144)."""
    pyramid = Pyramid(backbone, default_levels(options, backbone), options.channels, LastLevelMaxPool(), 1)
    # torchvision's layers, narrower where the maps are.
    units = 4 * options.channels
    network = FasterRCNN(
        pyramid,
        rpn_anchor_generator=_anchors(options, pyramid, (1.0,)),
        box_roi_pool=MultiScaleRoIAlign(pyramid.merged, _ROI_CELLS, 2),
        box_head=TwoMLPHead(options.channels * _ROI_CELLS**2, units),
        box_predictor=FastRCNNPredictor(units, classes + 1),
        box_batch_size_per_image=options.regions,
    )
    return TorchvisionDetector(network, first_label=1)


def _retinanet(options: RegionsOptions, classes: int, backbone: Backbone) -> TorchvisionDetector:
    """Lin et al. 2017, arXiv 1708.02002."""
    pyramid = _deep_pyramid(options, backbone)
    return TorchvisionDetector(
        RetinaNet(pyramid, classes, anchor_generator=_anchors(options, pyramid, _OCTAVE)), first_label=0
    )


def _fcos(options: RegionsOptions, classes: int, backbone: Backbone) -> TorchvisionDetector:
    """Tian et al. 2019, arXiv 1904.01355: in place of an anchor each cell has a square of its own size."""
    if options.channels % _FCOS_CHANNELS:
        raise UsageError(
            f"--channels {options.channels}: head fcos normalises groups, and wants a multiple of {_FCOS_CHANNELS}"
        )
    if options.anchor_sizes is not None:
        raise UsageError("--anchor-sizes: head fcos has no anchors", hint="Leave it out")
    pyramid = _deep_pyramid(options, backbone)
    cells = AnchorGenerator(tuple((stride,) for stride in pyramid.strides), ((1.0,),) * len(pyramid.strides))
    return TorchvisionDetector(FCOS(pyramid, classes, anchor_generator=cells), first_label=0)


def _ssd(options: RegionsOptions, classes: int, backbone: Backbone) -> TorchvisionDetector:
    """Liu et al. 2016, arXiv 1512.02325."""
    maps = PlainMaps(backbone, default_levels(options, backbone), options.channels, _SSD_EXTRA_LEVELS)
    scales = [min(1.0, side / options.size) for side in _sides(options, maps.strides)]
    boxes = DefaultBoxGenerator([_SSD_ASPECTS] * len(maps.strides), scales=[*scales, 1.0])
    return TorchvisionDetector(SSD(maps, boxes, (options.size, options.size), classes + 1), first_label=1)


_BUILDERS: dict[str, Callable[[RegionsOptions, int, Backbone], TorchvisionDetector]] = {
    "faster_rcnn": _faster_rcnn,
    "retinanet": _retinanet,
    "fcos": _fcos,
    "ssd": _ssd,
}


def _deep_pyramid(options: RegionsOptions, backbone: Backbone) -> Pyramid:
    channels = options.channels
    return Pyramid(backbone, default_levels(options, backbone), channels, LastLevelP6P7(channels, channels), 2)


def _anchors(options: RegionsOptions, pyramid: Pyramid, octave: Sequence[float]) -> AnchorGenerator:
    sizes = tuple(tuple(side * part for part in octave) for side in _sides(options, pyramid.strides))
    return AnchorGenerator(sizes, (options.aspects,) * len(sizes))


def _sides(options: RegionsOptions, strides: Sequence[int]) -> Sequence[float]:
    """The side of each level's anchors, in pixels of the input."""
    if options.anchor_sizes is None:
        return [float(_ANCHOR_CELLS * stride) for stride in strides]
    if len(options.anchor_sizes) != len(strides):
        listed = ", ".join(map(str, strides))
        raise UsageError(
            f"--anchor-sizes has {len(options.anchor_sizes)} sizes, and the {len(strides)} levels, of strides "
            f"{listed}, need one each"
        )
    if min(options.anchor_sizes) <= 0:
        raise UsageError("--anchor-sizes: sides have to be above 0")
    return options.anchor_sizes


def _limit(network: FasterRCNN | RetinaNet | FCOS | SSD, options: PredictOptions) -> None:
    """Tell a detector what of its answers to keep."""
    heads = network
    if isinstance(network, FasterRCNN):
        heads = network.roi_heads
        network.rpn._post_nms_top_n["testing"] = options.proposals
    heads.score_thresh = options.threshold
    heads.nms_thresh = options.nms_iou
    heads.detections_per_img = options.max_detections
