"""Writing COCO JSON as a stream: one file for each split, never held in memory."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np

from cvtl.data import BoxesTarget, Dataset, PointsTarget, Sample
from cvtl.errors import UsageError
from cvtl_datasets.points_file import save_points_file
from cvtl_datasets.writing import PictureWriter, write_pictures


def save(dataset: Dataset, out: Path, advance: Callable[[int], None]) -> Mapping[str, int]:
    """Write OUT/annotations/instances_SPLIT.json and OUT/images/SPLIT; SPLIT is `all` for samples without one.

    Ids of pictures are kept where the data have them, unique in each split, those of classes where they have them.

    Args:
        dataset: of boxes.
        out: a new or empty folder.
        advance: called with 1 after each sample.

    Returns:
        What COCO cannot hold, and what happened to pictures: each with its count.

    Raises:
        UsageError: the data set is not of boxes.
    """
    ids = dataset.category_ids or range(1, len(dataset.classes) + 1)
    categories = [{"id": id_, "name": name} for id_, name in zip(ids, dataset.classes, strict=True)]

    def annotations(target: BoxesTarget, lost: Counter[str]) -> Iterator[dict[str, Any]]:
        lost["difficult"] += int(target.difficult.sum())
        columns = target.boxes.tolist(), target.labels.tolist(), target.crowd.tolist(), target.areas.tolist()
        for box, label, crowd, area in zip(*columns, strict=True):
            yield {"category_id": ids[label], "bbox": _xywh(box), "area": area, "iscrowd": int(crowd)}

    return _save(dataset, out, advance, "instances", BoxesTarget, categories, annotations)


def save_keypoints(dataset: Dataset, out: Path, advance: Callable[[int], None]) -> Mapping[str, int]:
    """Write OUT/annotations/person_keypoints_SPLIT.json and OUT/images/SPLIT, likewise.

    The one category is called `object`. Objects whose boxes are not known are written without `bbox` and `area`. What
    else the data set says of its points is written to OUT/points.yaml.

    Args:
        dataset: of points.
        out: a new or empty folder.
        advance: called with 1 after each sample.

    Returns:
        What COCO cannot hold, and what happened to pictures: each with its count.

    Raises:
        UsageError: the data set is not of points.
    """
    skeleton = [[start + 1, end + 1] for start, end in dataset.edges]
    category = {"id": 1, "name": "object", "keypoints": dataset.classes, "skeleton": skeleton}

    def annotations(target: PointsTarget, lost: Counter[str]) -> Iterator[dict[str, Any]]:
        visible = target.visible[..., None]
        # What is said of missing points means nothing: COCO says 0.
        triples = np.concatenate([np.where(visible, target.points, 0), 2 * visible], axis=2)
        keypoints = triples.reshape(len(triples), 3 * len(dataset.classes)).tolist()
        boxes = [None] * len(visible) if target.boxes is None else target.boxes.tolist()
        for points, shown, box in zip(keypoints, target.visible.sum(axis=1).tolist(), boxes, strict=True):
            lost["object without points"] += not shown
            annotation = {"category_id": 1, "keypoints": points, "num_keypoints": shown, "iscrowd": 0}
            if box:
                x, y, width, height = _xywh(box)
                annotation |= {"bbox": [x, y, width, height], "area": width * height}
            yield annotation

    lost = _save(dataset, out, advance, "person_keypoints", PointsTarget, [category], annotations)
    save_points_file(replace(dataset, edges=()), out)
    return lost


def _save(
    dataset: Dataset,
    out: Path,
    advance: Callable[[int], None],
    kind: str,
    target_type: type[BoxesTarget] | type[PointsTarget],
    categories: Sequence[Mapping[str, Any]],
    annotations: Callable[[Any, Counter[str]], Iterator[dict[str, Any]]],
) -> Mapping[str, int]:
    if any(not isinstance(sample.target, target_type | None) for sample in dataset):
        held = "boxes" if target_type is BoxesTarget else "points of objects"
        raise UsageError(f"COCO's {kind} files hold {held}, and nothing else", hint="Choose another format with --to")
    keeps_ids = _has_ids(dataset)
    image_numbers, numbers = count(1), count(1)
    writer = PictureWriter(out / "images")
    lost: Counter[str] = Counter()
    with ExitStack() as stack:
        files: dict[str, tuple[_Items, _Items]] = {}
        for sample, picture in write_pictures(dataset, writer, advance, _split_name):
            split = _split_name(sample)
            if split not in files:
                path = out / "annotations" / f"{kind}_{split}.json"
                files[split] = stack.enter_context(_coco_json(path, categories))
            images, all_annotations = files[split]
            image_id = sample.image_id if keeps_ids else next(image_numbers)
            size = {"width": picture.width, "height": picture.height}
            images.write({"id": image_id, "file_name": picture.name, **size})
            if sample.target is None:
                lost["picture without a target"] += 1
                continue
            for annotation in annotations(sample.target, lost):
                all_annotations.write({"id": next(numbers), "image_id": image_id, **annotation})
    return +(lost + writer.counts)


def _split_name(sample: Sample) -> str:
    return sample.split or "all"


def _has_ids(dataset: Dataset) -> bool:
    """Whether every sample has an id that no other of its split has."""
    ids = {(sample.split, sample.image_id) for sample in dataset if sample.image_id is not None}
    return len(ids) == len(dataset)


def _xywh(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]


class _Items:
    """The items of a JSON list, written one by one."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._before = "\n"

    def write(self, item: Mapping[str, Any]) -> None:
        self._stream.write(self._before + json.dumps(item))
        self._before = ",\n"


@contextmanager
def _coco_json(path: Path, categories: Sequence[Mapping[str, Any]]) -> Iterator[tuple[_Items, _Items]]:
    """Write a file whose images and annotations come by turns: annotations wait in a nameless one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="\n") as file, tempfile.TemporaryFile("w+", dir=path.parent) as annotations:
        file.write(f'{{"categories": {json.dumps(categories)},\n"images": [')
        yield _Items(file), _Items(annotations)
        file.write('],\n"annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        file.write("]}\n")
