"""Objects in a large picture: looked at as a whole, by our tiles, and by supervision's slicer with the same detector.

The picture is a collage of a data set's photographs, so that every object is known and many lie at seams.

    python tools/bench/bench_tiling.py --weights yolox_nano.onnx --data coco/
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import supervision
import torch
from torch import Tensor

import cvtl
from cvtl import boxes as box_ops
from cvtl.data import BoxesTarget, Dataset, Sample, UInt8Image
from cvtl.evaluation.evaluate import evaluate
from cvtl.evaluation.found import FoundBoxes
from cvtl.evaluation.settings import EvalSettings
from cvtl.model import ComposedModel, Model
from cvtl.preprocessing import resize_to
from cvtl.results import Detections, Result
from cvtl.run_settings import TilingSettings
from cvtl.tiling import Tiled


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="of a detector; the built-in digits' if not given")
    parser.add_argument("--data", help="pictures with boxes; generated scenes of digits if not given")
    parser.add_argument("--format", help="of the data, if it should not be guessed")
    parser.add_argument("--columns", type=int, default=4, help="photographs beside each other in a collage")
    parser.add_argument("--cell", type=int, default=480, help="side of the cell for each of them")
    parser.add_argument("--tile", type=int, default=416)
    parser.add_argument("--overlap", type=float, default=0.2)
    parser.add_argument("--threshold", type=float, default=0.01)
    words = parser.parse_args()
    model = load(words.weights)
    model.with_predict_options(threshold=words.threshold)
    data = collages(load_data(words.data, words.format), words.columns, words.cell)
    print(f"{len(data)} collages of {words.columns * words.cell} px, tiles of {words.tile}, overlap {words.overlap}")
    print(f"{'':40}{'AP':>7}{'AP50':>7}{'doubles':>9}{'s':>8}")
    for name, way in ways(model, words.tile, words.overlap, words.cell).items():
        measure(name, way.eval(), data)


def load(weights: str | None) -> Model:
    """The detector."""
    if weights is None:
        from cvtl_windows.builtin import digit_weights

        weights = str(digit_weights())
    return cvtl.load_model(weights).eval()


def load_data(path: str | None, format: str | None) -> Dataset:
    """Pictures with boxes."""
    if path is None:
        from cvtl_datasets.scenes import digit_scenes

        return digit_scenes(64, seed=5, digits="test")
    return cvtl.load_data(path, "detect", format=format)


def collages(data: Dataset, columns: int, cell: int) -> Dataset:
    """Square collages of as many photographs, and their objects."""
    samples = [sample for sample in data if isinstance(sample.target, BoxesTarget)]
    groups = [samples[start : start + columns**2] for start in range(0, len(samples), columns**2)]
    made = [collage(f"{number}.png", group, columns, cell) for number, group in enumerate(groups)]
    return Dataset(made, data.classes, "collages", "nowhere")


def collage(name: str, samples: list[Sample], columns: int, cell: int) -> Sample:
    """Photographs scaled into cells, in rows."""
    canvas = np.full((columns * cell, columns * cell, 3), 114, np.uint8)
    boxes, labels, crowd = [], [], []
    for number, sample in enumerate(samples):
        image, target = sample.read(), sample.target
        assert isinstance(target, BoxesTarget)
        scale = cell / max(image.shape[:2])
        size_hw = (round(image.shape[0] * scale), round(image.shape[1] * scale))
        small = resize_to(torch.from_numpy(image).permute(2, 0, 1), size_hw).permute(1, 2, 0).numpy()
        top, left = number // columns * cell, number % columns * cell
        canvas[top : top + size_hw[0], left : left + size_hw[1]] = small
        boxes.append(target.boxes * scale + [left, top, left, top])
        labels.append(target.labels)
        crowd.append(target.crowd)
    target = BoxesTarget(np.concatenate(boxes), np.concatenate(labels), np.concatenate(crowd))
    return Sample(name, lambda: canvas, target)


class Sliced(ComposedModel):
    """A detector behind supervision's slicer.

    Args:
        detector: is given the slices.
        tile: side of a slice.
        overlap: as a part of it.
        overlap_filter: name of one of supervision's ways to treat boxes that overlap.
        metric: and of how it compares them.
    """

    def __init__(self, detector: Model, tile: int, overlap: float, overlap_filter: str, metric: str) -> None:
        super().__init__(detector.options, detector.classes, detector.input)
        self.plugin = detector.plugin  # type: ignore[misc]
        shared = round(tile * overlap)
        self._detector = detector
        self._slicer = supervision.InferenceSlicer(
            callback=self._look,
            slice_wh=(tile, tile),
            overlap_wh=(shared, shared),
            overlap_filter=getattr(supervision.OverlapFilter, overlap_filter),
            overlap_metric=getattr(supervision.OverlapMetric, metric),
            iou_threshold=0.5,
            thread_workers=1,
        )

    def _look(self, part: UInt8Image) -> supervision.Detections:
        (found,) = self._detector.predict([torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)])
        assert isinstance(found, Detections)
        return found.to_supervision()

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """What the slicer makes of what the detector finds."""
        return [self._one(self._slicer(image.permute(1, 2, 0).numpy())) for image in images]

    def _one(self, found: supervision.Detections) -> Detections:
        order = np.argsort(-found.confidence, kind="stable")
        parts = (found.xyxy[order], found.confidence[order], found.class_id[order].astype(np.int64))
        return Detections(*map(torch.from_numpy, parts), self.classes)


def ways(model: Model, tile: int, overlap: float, cell: int) -> dict[str, Model]:
    """By name, each way to look at a large picture; first without any seam in an object, which none can know."""
    plain = TilingSettings(tile=tile, overlap=overlap, tile_whole=False)
    both = plain.model_copy(update={"tile_whole": True})
    apart = TilingSettings(tile=cell, overlap=0, tile_whole=False)
    found: dict[str, Model] = {
        "each photograph by itself": Tiled(model, apart, batch_size=1),
        "the whole picture": model,
        "our tiles": Tiled(model, plain, batch_size=1),
        "our tiles and the whole picture": Tiled(model, both, batch_size=1),
    }
    for name in ("NON_MAX_SUPPRESSION", "NON_MAX_MERGE"):
        for metric in ("IOU", "IOS"):
            title = f"supervision, {name.lower().replace('_', ' ')}, {metric}"
            found[title] = Sliced(model, tile, overlap, name, metric)
    return found


def measure(name: str, model: Model, data: Dataset) -> None:
    """Print a row: average precision, confident boxes too many, and the time."""
    start = time.perf_counter()
    predictions = cvtl.predict(model, data, device="cpu", batch_size=1)
    seconds = time.perf_counter() - start
    doubles = sum(map(count_doubles, predictions.found, data))
    figures = {each.name: each.value for each in evaluate(predictions, data, EvalSettings(draws=0)).figures}
    print(f"{name:40}{figures['AP']:7.3f}{figures['AP50']:7.3f}{doubles:9d}{seconds:8.1f}", flush=True)


def count_doubles(found: object, sample: Sample) -> int:
    """Boxes of score 0.3 and more that fit no object, but lie in one which a better box has found."""
    assert isinstance(found, FoundBoxes)
    assert isinstance(sample.target, BoxesTarget)
    objects, taken, doubles = torch.from_numpy(sample.target.boxes), set[int](), 0
    for index in np.argsort(-found.scores, kind="stable"):
        if found.scores[index] < 0.3:
            break
        box = torch.from_numpy(found.boxes[index])[None]
        same = torch.from_numpy(sample.target.labels == found.labels[index])
        overlap = box_ops.iou(box, objects)[0] * same
        free = [each for each in overlap.argsort(descending=True).tolist() if each not in taken]
        if free and overlap[free[0]] >= 0.5:
            taken.add(free[0])
            continue
        inside = same & (box_ops.intersection(box, objects)[0] >= 0.8 * box_ops.area(box))
        doubles += any(inside[each] for each in taken)
    return doubles


if __name__ == "__main__":
    main()
