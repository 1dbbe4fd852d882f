"""The lectures' loop, `for roi in propose(image): detector(patch)`, with any classifier as the detector of a patch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cvtl import boxes
from cvtl.data import UInt8Image
from cvtl.errors import UsageError
from cvtl.model import Model
from cvtl.options import make_options
from cvtl.preprocessing import InputSpec
from cvtl.registry import plugins
from cvtl.results import Classification, Detections
from cvtl.training.objects import Seen
from cvtl_regions.options import PredictOptions
from cvtl_regions.proposals import Floats, propose
from cvtl_regions.region_detector import Found, RegionDetector

Propose = Callable[[UInt8Image], Floats]
LookAt = Callable[[Sequence[Tensor]], Tensor]

# Patches that go through the classifier together.
_TOGETHER = 64


def detect(
    image: UInt8Image,
    detector: LookAt,
    classes: Sequence[str],
    *,
    propose: Propose = propose,
    options: PredictOptions | None = None,
) -> Detections:
    """The objects in a picture, found by looking at every region that may hold one.

    Source: Girshick et al. 2014, arXiv 1311.2524, without the corrections of boxes.

    Args:
        image: (H, W, 3) RGB.
        detector: patches, uint8 (3, h, w) each, to probabilities (N, C) of the classes; what they lack to 1 is
            background's.
        classes: C names.
        propose: picture to boxes (N, 4), xyxy in its pixels.
        options: how sure, how near to one another, how many.

    Returns:
        Detections whose boxes are proposals.

    Example:
        >>> import numpy as np
        >>> image = np.zeros((40, 60, 3), np.uint8)
        >>> image[10:30, 20:40] = 255
        >>> def bright(patches):
        ...     return torch.stack([patch.float().mean() / 255 for patch in patches])[:, None]
        >>> detect(image, bright, ["lamp"], options=PredictOptions(max_detections=1)).boxes.tolist()
        [[20.0, 10.0, 40.0, 30.0]]
    """
    options = options or PredictOptions()
    picture = torch.from_numpy(image).permute(2, 0, 1)
    regions = torch.from_numpy(propose(image)[: options.proposals]).float()
    scores = torch.zeros(0, len(classes))
    # Many at a time, for a network takes little longer over them than over one.
    for rois in torch.split(regions, _TOGETHER) if len(regions) else ():
        scores = torch.cat([scores, detector([_cut(picture, roi) for roi in rois])])
    which, labels = torch.where(scores >= options.threshold)
    return _thinned_out(regions[which], scores[which, labels], labels, classes, options)


class ClassifierDetector(RegionDetector):
    """Any classifier as the detector of a patch. It is run as it is, and learns nothing.

    Args:
        classifier: a model of any plugin whose `predict` gives `Classification`s.
        classes: those of its classes that are objects; all others are background.

    Raises:
        UsageError: it does not know a class, or knows nothing else.
    """

    def __init__(self, classifier: Model, classes: Sequence[str]) -> None:
        super().__init__()
        unknown = sorted(set(classes) - set(classifier.classes))
        if unknown:
            raise UsageError(
                f"the classifier does not know {', '.join(unknown)}",
                hint=f"It knows {', '.join(classifier.classes)}; data and classifier have to call classes alike",
            )
        if len(classes) == len(classifier.classes):
            raise UsageError(
                f"each of the classifier's classes ({', '.join(classes)}) is an object, so every region would be one",
                hint="Train it with a class more, of patches without an object, by a name that the data do not have",
            )
        self.classifier = classifier
        self.classes = tuple(classes)
        self.columns = [classifier.classes.index(name) for name in classes]

    @property
    def backbone(self) -> None:
        """Nothing learns."""
        return

    def look_at(self, patches: Sequence[Tensor]) -> Tensor:
        """Patches, uint8 (3, h, w) each, to probabilities (N, C) of the objects."""
        scores = []
        for answer in self.classifier.predict([patch.to(self.classifier.device) for patch in patches]):
            assert isinstance(answer, Classification)
            scores.append(answer.scores[self.columns])
        return torch.stack(scores)

    def find(self, pictures: Sequence[Tensor], input: InputSpec, options: PredictOptions) -> list[Found]:
        """The loop, in each picture."""
        found = []
        for picture in pictures:
            image = picture.permute(1, 2, 0).cpu().numpy()
            answer = detect(image, self.look_at, self.classes, options=options)
            found.append((answer.boxes, answer.scores, answer.labels))
        return found

    def losses(self, images: Tensor, targets: Sequence[Seen]) -> dict[str, Tensor]:
        """There are none."""
        raise _learns_nothing()

    def detect(self, images: Tensor, targets: Sequence[Seen], options: PredictOptions) -> list[Found]:
        """It looks at whole pictures only, in `find`."""
        raise _learns_nothing()


def header_of(classifier: Model) -> dict[str, Any]:
    """What has to be known of a classifier to make it again, without its weights, in plain values."""
    return {
        "plugin": classifier.plugin,
        "options": classifier.options.model_dump(mode="json"),
        "classes": list(classifier.classes),
        "input": classifier.input.model_dump(mode="json"),
    }


def classifier_from(header: Mapping[str, Any]) -> Model:
    """The classifier of `header_of`, with weights that are still to be read.

    Raises:
        PluginError: its plugin is not installed or broken.
        OptionsError: its plugin no longer takes such options.
    """
    spec = plugins().get(header["plugin"])
    options = make_options(spec.options_type(), header["options"])
    made: Model = spec.model_type()(options, header["classes"], InputSpec.model_validate(header["input"]))
    return made


def _learns_nothing() -> UsageError:
    return UsageError("a classifier that is run as it is does not learn", hint="Leave out --classifier to train one")


def _cut(picture: Tensor, roi: Tensor) -> Tensor:
    """All pixels that a region touches, at least one."""
    left, top = roi[:2].floor().long().tolist()
    right, bottom = roi[2:].ceil().long().tolist()
    return picture[:, top : max(bottom, top + 1), left : max(right, left + 1)]


def _thinned_out(
    found: Tensor, scores: Tensor, labels: Tensor, classes: Sequence[str], options: PredictOptions
) -> Detections:
    kept = boxes.nms(found, scores, labels, iou_threshold=options.nms_iou)[: options.max_detections]
    return Detections(found[kept], scores[kept], labels[kept], tuple(classes))
