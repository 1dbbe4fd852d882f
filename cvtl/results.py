"""What a model says of one picture, and the row that `cvtl run` writes for one input.

Results are frozen, checked when they are made, and hold CPU tensors. Boxes are `xyxy` and points `x, y`, both in
absolute pixels of the upright picture. Drawing is done by the `supervision` library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    import supervision

UInt8Image = npt.NDArray[np.uint8]
Status = Literal["ok", "unreadable", "truncated", "too_large", "failed"]
TOP_K = 5

# A thousandth of a pixel and a millionth of a probability: below what any model means, above float noise in text.
_PIXEL_DIGITS = 3
_SCORE_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Classification:
    """Class probabilities of a picture.

    Args:
        scores: float (C,), probabilities in [0, 1].
        classes: the C class names.
        top_k: classes that the row form names.

    Example:
        >>> Classification(torch.tensor([0.25, 0.75]), ("daisy", "rose")).to_dict()
        {'labels': ['rose', 'daisy'], 'scores': [0.75, 0.25]}
    """

    scores: Tensor
    classes: tuple[str, ...]
    top_k: int = TOP_K

    def __post_init__(self) -> None:
        _keep(self, "scores", (len(self.classes),), torch.float32)

    def top(self, k: int = TOP_K) -> list[tuple[str, float]]:
        """The `k` most probable classes, best first; equal scores in class order."""
        order = torch.argsort(self.scores, descending=True, stable=True)[:k]
        return [(self.classes[i], float(self.scores[i])) for i in order.tolist()]

    def to_dict(self) -> dict[str, Any]:
        """The row form: the `top_k` most probable classes, best first."""
        best = self.top(self.top_k)
        return {"labels": [name for name, _ in best], "scores": [_score(score) for _, score in best]}

    def to_supervision(self) -> supervision.Classifications:
        """The same as `supervision.Classifications`."""
        import supervision

        ids = np.arange(len(self.classes))
        return supervision.Classifications(class_id=ids, confidence=self.scores.numpy())

    def draw(self, image: UInt8Image) -> UInt8Image:
        """Write the best class into a copy of the picture (H, W, 3) RGB."""
        name, score = self.top(1)[0]
        height, width = image.shape[:2]
        return _draw_boxes(image, np.array([[0, 0, width, height]], np.float32), [f"{name} {score:.2f}"], [0])


@dataclass(frozen=True, eq=False)
class Localization:
    """At most one object: whether it is there, what it is, and its box.

    Args:
        present: probability that there is an object.
        scores: float (C,), probabilities of the classes given that there is one.
        box: float (4,), xyxy.
        classes: the C class names.
    """

    present: float
    scores: Tensor
    box: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        _keep(self, "scores", (len(self.classes),), torch.float32)
        _keep(self, "box", (4,), torch.float32)

    def to_dict(self) -> dict[str, Any]:
        """The row form."""
        best = int(self.scores.argmax())
        return {
            "present": _score(self.present),
            "label": self.classes[best],
            "score": _score(float(self.scores[best])),
            "box": _pixels(self.box),
        }

    def draw(self, image: UInt8Image) -> UInt8Image:
        """Draw the box into a copy of the picture (H, W, 3) RGB, if an object is more likely there than not."""
        if self.present < 0.5:
            return image.copy()
        best = int(self.scores.argmax())
        label = f"{self.classes[best]} {self.present * float(self.scores[best]):.2f}"
        return _draw_boxes(image, self.box.numpy()[None], [label], [best])


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in a picture, best first.

    Args:
        boxes: float (N, 4), xyxy.
        scores: float (N,), probabilities in [0, 1]; sorted here, best first, ties in the order given.
        labels: integer (N,), indices into `classes`.
        classes: the class names; background is never one of them.
        heatmaps: float (C, h, w) in [0, 1], how strongly each class answers at each place, stretched over the picture;
            only where the model was asked for them.

    Example:
        >>> boxes = torch.tensor([[0, 0, 4, 4], [2, 2, 9, 9.5]])
        >>> Detections(boxes, torch.tensor([0.5, 0.75]), torch.tensor([0, 0]), ("car",)).to_dict()
        {'boxes': [[2.0, 2.0, 9.0, 9.5], [0.0, 0.0, 4.0, 4.0]], 'scores': [0.75, 0.5], 'labels': ['car', 'car']}
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    heatmaps: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        _keep(self, "boxes", (count, 4), torch.float32)
        _keep(self, "scores", (count,), torch.float32)
        _keep(self, "labels", (count,), torch.int64)
        if count and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(f"labels must lie in [0, {len(self.classes)}), not {sorted(set(self.labels.tolist()))}")
        order = torch.argsort(self.scores, descending=True, stable=True)
        for name in ("boxes", "scores", "labels"):
            object.__setattr__(self, name, getattr(self, name)[order])

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, keep: Tensor) -> Detections:
        """Those for which `keep`, boolean (N,), is true."""
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep])

    def to_dict(self) -> dict[str, Any]:
        """The row form."""
        return {
            "boxes": [_pixels(box) for box in self.boxes],
            "scores": [_score(score) for score in self.scores.tolist()],
            "labels": [self.classes[label] for label in self.labels.tolist()],
        }

    def to_supervision(self) -> supervision.Detections:
        """The same as `supervision.Detections`, class names under `data["class_name"]`."""
        import supervision

        names = np.array([self.classes[label] for label in self.labels.tolist()], dtype=str)
        return supervision.Detections(
            xyxy=self.boxes.numpy(),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": names},
        )

    def draw(self, image: UInt8Image) -> UInt8Image:
        """Draw boxes, names and scores into a copy of the picture (H, W, 3) RGB."""
        pairs = zip(self.labels.tolist(), self.scores.tolist(), strict=True)
        captions = [f"{self.classes[label]} {score:.2f}" for label, score in pairs]
        return _draw_boxes(image, self.boxes.numpy(), captions, self.labels.tolist())


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Named points of the instances in a picture.

    Args:
        points: float (N, K, 2), x and y.
        visible: float (N, K), probabilities that the point is there.
        names: the K names of the points.
        boxes: float (N, 4), xyxy, where the instances came from boxes; None where the picture is the instance (N = 1).
        edges: pairs of point indices to join in drawings.
        threshold: points that are less probable are not drawn, nor edges to them.
    """

    points: Tensor
    visible: Tensor
    names: tuple[str, ...]
    boxes: Tensor | None = None
    edges: tuple[tuple[int, int], ...] = ()
    threshold: float = 0.0

    def __post_init__(self) -> None:
        count = len(self.points)
        _keep(self, "points", (count, len(self.names), 2), torch.float32)
        _keep(self, "visible", (count, len(self.names)), torch.float32)
        if self.boxes is not None:
            _keep(self, "boxes", (count, 4), torch.float32)
        elif count != 1:
            raise ValueError(f"without boxes the picture is the one instance, but there are {count}")

    def to_dict(self) -> dict[str, Any]:
        """The row form: of the picture, or a list of instances with their boxes."""
        instances: list[dict[str, Any]] = [
            {"points": [_pixels(point) for point in points], "scores": [_score(s) for s in visible.tolist()]}
            for points, visible in zip(self.points, self.visible, strict=True)
        ]
        if self.boxes is None:
            return instances[0]
        for instance, box in zip(instances, self.boxes, strict=True):
            instance["box"] = _pixels(box)
        return {"instances": instances}

    def to_supervision(self) -> supervision.KeyPoints:
        """The same as `supervision.KeyPoints`."""
        import supervision

        sure = self.visible.numpy() >= self.threshold
        return supervision.KeyPoints(xy=self.points.numpy(), keypoint_confidence=self.visible.numpy(), visible=sure)

    def draw(self, image: UInt8Image) -> UInt8Image:
        """Draw the points, the edges between them and the boxes into a copy of the picture (H, W, 3) RGB."""
        import supervision

        points = self.to_supervision()
        scene = _to_bgr(image)
        if self.boxes is not None and len(self.boxes):
            found = supervision.Detections(xyxy=self.boxes.numpy(), class_id=np.zeros(len(self.boxes), int))
            scene = supervision.BoxAnnotator(thickness=_line(image)).annotate(scene, found)
        if self.edges:
            one_based = [(a + 1, b + 1) for a, b in self.edges]
            scene = supervision.EdgeAnnotator(edges=one_based, thickness=_line(image)).annotate(scene, points)
        scene = supervision.VertexAnnotator(radius=_line(image) + 1).annotate(scene, points)
        return _to_rgb(scene)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the result.

    Args:
        image: uint8 (3, H, W), RGB.
    """

    image: Tensor

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[0] != 3 or self.image.dtype != torch.uint8:
            raise ValueError(f"image must be uint8 (3, H, W), not {self.image.dtype} {tuple(self.image.shape)}")
        object.__setattr__(self, "image", self.image.detach().cpu())

    def to_dict(self) -> dict[str, Any]:
        """The row form; whoever writes the picture fills in where it lies."""
        return {"picture": None}

    def draw(self, image: UInt8Image) -> UInt8Image:
        """The picture itself, (H, W, 3) RGB; `image` is not looked at."""
        return self.image.permute(1, 2, 0).contiguous().numpy()


Result = Classification | Localization | Detections | Landmarks | Picture


@dataclass(frozen=True, kw_only=True)
class Row:
    """What `cvtl run` says of one input: one line of `rows.jsonl`.

    Attributes:
        source: path relative to the input, with forward slashes.
        status: `ok`, or why there is no result.
        error: what was wrong, where the status is not `ok`.
        width: of the upright picture in pixels, where its header could be read.
        height: likewise.
        task: the task that was run.
        result: the result's row form, where the status is `ok`.
        frame: number of the frame in a video, from 0.
        time: of the frame, in seconds from the video's start.

    Example:
        >>> Row(source="a/x.jpg", status="unreadable", error="it is empty", task="detect").to_json()
        '{"source": "a/x.jpg", "frame": null, "time": null, "status": "unreadable", "error": "it is empty",
          "width": null, "height": null, "task": "detect", "result": null}'
    """

    source: str
    status: Status
    task: str
    error: str | None = None
    width: int | None = None
    height: int | None = None
    result: dict[str, Any] | None = None
    frame: int | None = None
    time: float | None = None

    def to_json(self) -> str:
        """One line of JSON without the line's end; the same row always gives the same bytes."""
        text = json.dumps(
            {
                "source": self.source,
                "frame": self.frame,
                "time": self.time,
                "status": self.status,
                "error": self.error,
                "width": self.width,
                "height": self.height,
                "task": self.task,
                "result": self.result,
            },
            ensure_ascii=False,
        )
        # File names on POSIX need not be UTF-8; what is not becomes a JSON escape that reads back the same.
        return text.encode(errors="backslashreplace").decode()


def _keep(owner: object, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    value: Tensor = getattr(owner, name)
    if tuple(value.shape) != shape and not (value.numel() == 0 and 0 in shape):
        raise ValueError(f"{type(owner).__name__}.{name} must have shape {shape}, not {tuple(value.shape)}")
    kept = value.detach().to("cpu", dtype).reshape(shape)
    if dtype.is_floating_point and not bool(kept.isfinite().all()):
        raise ValueError(f"{type(owner).__name__}.{name} has values that are not finite")
    object.__setattr__(owner, name, kept)


def _pixels(values: Tensor) -> list[float]:
    return [round(value, _PIXEL_DIGITS) for value in values.tolist()]


def _score(value: float) -> float:
    return round(value, _SCORE_DIGITS)


def _line(image: UInt8Image) -> int:
    shorter_side: int = min(image.shape[:2])
    return max(1, round(shorter_side / 300))


def _draw_boxes(
    image: UInt8Image, boxes: npt.NDArray[np.float32], captions: list[str], labels: list[int]
) -> UInt8Image:
    import cv2
    import supervision

    found = supervision.Detections(xyxy=boxes.reshape(-1, 4), class_id=np.array(labels, int).reshape(-1))
    scale = max(0.35, min(image.shape[:2]) / 1000)
    scene = supervision.BoxAnnotator(thickness=_line(image)).annotate(_to_bgr(image), found)
    writer = supervision.LabelAnnotator(text_scale=scale, text_padding=2, text_thickness=_line(image))
    drawn = writer.annotate(scene, found, labels=captions)
    # In its place: a very large picture should not be in memory once more.
    cv2.cvtColor(drawn, cv2.COLOR_BGR2RGB, dst=drawn)
    return drawn


def _to_bgr(image: UInt8Image) -> UInt8Image:
    return np.ascontiguousarray(image[..., ::-1])


def _to_rgb(image: UInt8Image) -> UInt8Image:
    return np.ascontiguousarray(image[..., ::-1])
