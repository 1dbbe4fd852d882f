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

from cvtl.drawing import boxes_into, draw_boxes, line_width, to_bgr, to_rgb

if TYPE_CHECKING:
    import supervision

    from cvtl.tracking.motion import Motion

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
        return draw_boxes(image, np.array([[0, 0, width, height]], np.float32), [f"{name} {score:.2f}"], [0])


@dataclass(frozen=True, eq=False)
class Localization:
    """At most one object: whether it is there, what it is, and its box.

    Args:
        present: probability that there is an object.
        scores: float (C,), probabilities of the classes given that there is one.
        box: float (4,), xyxy.
        classes: the C class names.
        measured: float (4,), the box as the model said it, where `box` is smoothed over the frames of a video.
    """

    present: float
    scores: Tensor
    box: Tensor
    classes: tuple[str, ...]
    measured: Tensor | None = None

    def __post_init__(self) -> None:
        _keep(self, "scores", (len(self.classes),), torch.float32)
        _keep(self, "box", (4,), torch.float32)
        if self.measured is not None:
            _keep(self, "measured", (4,), torch.float32)

    def to_dict(self) -> dict[str, Any]:
        """The row form."""
        best = int(self.scores.argmax())
        return {
            "present": _score(self.present),
            "label": self.classes[best],
            "score": _score(float(self.scores[best])),
            "box": _pixels(self.box),
            **({} if self.measured is None else {"measured": _pixels(self.measured)}),
        }

    def draw(self, image: UInt8Image) -> UInt8Image:
        """Draw the box into a copy of the picture (H, W, 3) RGB, if an object is more likely there than not."""
        if self.present < 0.5:
            return image.copy()
        best = int(self.scores.argmax())
        label = f"{self.classes[best]} {self.present * float(self.scores[best]):.2f}"
        return draw_boxes(image, self.box.numpy()[None], [label], [best])


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
        ids: integer (N,), the numbers from 1 that objects keep over a video's frames; -1 for those without one.
        motion: what else earlier frames say: traces, lines and zones with their counts.

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
    ids: Tensor | None = None
    motion: Motion | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        _keep(self, "boxes", (count, 4), torch.float32)
        _keep(self, "scores", (count,), torch.float32)
        _keep(self, "labels", (count,), torch.int64)
        if count and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(f"labels must lie in [0, {len(self.classes)}), not {sorted(set(self.labels.tolist()))}")
        if self.ids is not None:
            _keep(self, "ids", (count,), torch.int64)
        order = torch.argsort(self.scores, descending=True, stable=True)
        for name in ("boxes", "scores", "labels", *(["ids"] if self.ids is not None else [])):
            object.__setattr__(self, name, getattr(self, name)[order])

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, keep: Tensor) -> Detections:
        """Those for which `keep`, boolean (N,), is true."""
        ids = None if self.ids is None else self.ids[keep]
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep], ids=ids)

    def to_dict(self) -> dict[str, Any]:
        """The row form."""
        return {
            "boxes": [_pixels(box) for box in self.boxes],
            "scores": [_score(score) for score in self.scores.tolist()],
            "labels": [self.classes[label] for label in self.labels.tolist()],
            **({} if self.ids is None else {"ids": _numbers(self.ids)}),
            **_counts(self.motion),
        }

    def to_supervision(self) -> supervision.Detections:
        """The same as `supervision.Detections`, class names under `data["class_name"]`."""
        import supervision

        names = np.array([self.classes[label] for label in self.labels.tolist()], dtype=str)
        return supervision.Detections(
            xyxy=self.boxes.numpy(),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            tracker_id=None if self.ids is None else self.ids.numpy(),
            data={"class_name": names},
        )

    def draw(self, image: UInt8Image) -> UInt8Image:
        """Draw boxes, names and scores into a copy of the picture (H, W, 3) RGB."""
        if self.ids is not None:
            return self._draw_followed(image, self.ids)
        pairs = zip(self.labels.tolist(), self.scores.tolist(), strict=True)
        captions = [f"{self.classes[label]} {score:.2f}" for label, score in pairs]
        return draw_boxes(image, self.boxes.numpy(), captions, self.labels.tolist())

    def _draw_followed(self, image: UInt8Image, ids: Tensor) -> UInt8Image:
        drawn = (ids >= 0) | (self.scores >= (0.0 if self.motion is None else self.motion.threshold))
        numbers = _numbers(ids[drawn])
        found = zip(numbers, self.labels[drawn].tolist(), self.scores[drawn].tolist(), strict=True)
        captions = [f"#{n} " * (n is not None) + f"{self.classes[label]} {score:.2f}" for n, label, score in found]
        return draw_boxes(image, self.boxes[drawn].numpy(), captions, numbers, self.motion)


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
        measured: float (N, K, 2), the points as the model said them, where `points` are smoothed over a video's frames.
        ids: integer (N,), as those of `Detections`; only where there are boxes.
        motion: likewise.
    """

    points: Tensor
    visible: Tensor
    names: tuple[str, ...]
    boxes: Tensor | None = None
    edges: tuple[tuple[int, int], ...] = ()
    threshold: float = 0.0
    measured: Tensor | None = None
    ids: Tensor | None = None
    motion: Motion | None = None

    def __post_init__(self) -> None:
        count = len(self.points)
        _keep(self, "points", (count, len(self.names), 2), torch.float32)
        _keep(self, "visible", (count, len(self.names)), torch.float32)
        if self.boxes is not None:
            _keep(self, "boxes", (count, 4), torch.float32)
        elif count != 1:
            raise ValueError(f"without boxes the picture is the one instance, but there are {count}")
        if self.measured is not None:
            _keep(self, "measured", (count, len(self.names), 2), torch.float32)
        if self.ids is not None:
            _keep(self, "ids", (count,), torch.int64)

    def to_dict(self) -> dict[str, Any]:
        """The row form: of the picture, or a list of instances with their boxes."""
        instances: list[dict[str, Any]] = [
            {"points": [_pixels(point) for point in points], "scores": [_score(s) for s in visible.tolist()]}
            for points, visible in zip(self.points, self.visible, strict=True)
        ]
        for place, instance in enumerate(instances):
            if self.measured is not None:
                instance["measured"] = [_pixels(point) for point in self.measured[place]]
            if self.boxes is not None:
                instance["box"] = _pixels(self.boxes[place])
            if self.ids is not None:
                instance["id"] = _numbers(self.ids)[place]
        return instances[0] if self.boxes is None else {"instances": instances, **_counts(self.motion)}

    def to_supervision(self) -> supervision.KeyPoints:
        """The same as `supervision.KeyPoints`."""
        import supervision

        sure = self.visible.numpy() >= self.threshold
        return supervision.KeyPoints(xy=self.points.numpy(), keypoint_confidence=self.visible.numpy(), visible=sure)

    def draw(self, image: UInt8Image) -> UInt8Image:
        """Draw the points, the edges between them and the boxes into a copy of the picture (H, W, 3) RGB."""
        import supervision

        points = self.to_supervision()
        scene = to_bgr(image)
        if self.boxes is not None and len(self.boxes):
            ids = [0] * len(self.boxes) if self.ids is None else _numbers(self.ids)
            captions = [""] * len(ids) if self.ids is None else ["" if each is None else f"#{each}" for each in ids]
            scene = boxes_into(scene, self.boxes.numpy(), captions, ids)
        if self.edges:
            one_based = [(a + 1, b + 1) for a, b in self.edges]
            scene = supervision.EdgeAnnotator(edges=one_based, thickness=line_width(image)).annotate(scene, points)
        scene = supervision.VertexAnnotator(radius=line_width(image) + 1).annotate(scene, points)
        return to_rgb(scene if self.motion is None else self.motion.draw(scene))


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


def _numbers(ids: Tensor) -> list[int | None]:
    return [None if each < 0 else each for each in ids.tolist()]


def _counts(motion: Motion | None) -> dict[str, Any]:
    return {} if motion is None or not motion.shapes else {"counts": motion.counts}
