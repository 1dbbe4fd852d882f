"""Where predictions come from: a file, or a model that is run over a data set; and writing them down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvtl.background import ahead
from cvtl.data import Dataset, Sample, UInt8Image
from cvtl.errors import DataError
from cvtl.evaluation.alignment import no_class_in_common, unknown_classes, without_answer
from cvtl.evaluation.coco_results import read_coco_results
from cvtl.evaluation.found import Found, FoundBoxes, FoundClasses, FoundObject, FoundPoints, Ints, Predictions
from cvtl.evaluation.rows import read_rows
from cvtl.files import write_atomically
from cvtl.progress import Progress
from cvtl.run_folder import ROWS_NAME
from cvtl.tasks import TaskName

if TYPE_CHECKING:
    from cvtl.model import Model
    from cvtl.results import Result

_READERS = 4


def read_predictions(path: str | Path, dataset: Dataset, task: TaskName | None = None) -> Predictions:
    """Read predictions from a file and put them beside a data set's samples.

    Args:
        path: COCO results (a JSON list of boxes or keypoints), the `rows.jsonl` of a run, or a run's folder.
        dataset: what they are about. COCO results refer to it by COCO's numbers of pictures and classes, rows by names:
            a row's `source` is the sample whose name is the same, or the only one where one path ends with the other.
        task: what they are expected to be of.

    Returns:
        One answer for each sample, or None; the notes tell what does not fit.

    Raises:
        DataError: the file is missing or malformed (the line is named), has two rows for one picture, or no picture
            or no class in common with the data set.
        UsageError: it is of another task, or the data set does not have the numbers that COCO results need.
    """
    path = Path(path)
    file = path / ROWS_NAME if path.is_dir() else path
    try:
        with open(file, "rb") as stream:
            start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except OSError as error:
        raise DataError(
            f"cannot read predictions from '{file}': {error.strerror}",
            hint="Give COCO results, the rows.jsonl of a run, or the folder of a run",
        ) from error
    if start == b"[":
        return read_coco_results(file, dataset, task)
    return read_rows(file, dataset, task)


def write_rows(predictions: Predictions, dataset: Dataset, path: str | Path) -> Path:
    """Write predictions as rows in the form of `cvtl run`, in full precision, for `read_predictions` to read again.

    Args:
        predictions: one answer for each sample.
        dataset: what they are about; rows bear its samples' names.
        path: the file.

    Raises:
        OutputError: it cannot be written.
    """
    from cvtl.results import Row

    lines = []
    for sample, found in zip(dataset, predictions.found, strict=True):
        width, height = sample.annotated_wh or (None, None)
        row = Row(
            source=sample.name,
            status="failed" if found is None else "ok",
            error="there is no answer" if found is None else None,
            width=width,
            height=height,
            task=predictions.task,
            result=None if found is None else _row_form(found, dataset.classes),
        )
        lines.append(row.to_json() + "\n")
    return write_atomically(path, "".join(lines))


def predict(
    model: Model | str | Path,
    dataset: Dataset,
    *,
    device: str = "auto",
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Predictions:
    """Run a model over a data set's pictures.

    Args:
        model: a model, or a weights file. Its classes are matched with the data set's by name, its points by order.
        dataset: samples with targets of the model's task.
        device: where to compute.
        batch_size: pictures that are predicted together.
        progress: is told how it gets on.

    Returns:
        One answer for each sample; None, with a note, where the picture could not be read or the model failed.

    Raises:
        DataError: the data set's targets are of another task, or it has no class in common with the model.
        WeightsError: the weights cannot be used.
        UsageError: there is no such device, or the model's task has no figures.
    """
    from cvtl import weights
    from cvtl.devices import Predictor, Uploader, choose_device
    from cvtl.evaluation.evaluate import check_targets
    from cvtl.registry import plugins

    where = choose_device(device)
    name = model.plugin if not isinstance(model, (str, Path)) else str(model)
    model = weights.load(model, device=where) if isinstance(model, (str, Path)) else model.to(where)
    task = plugins().get(model.plugin).task
    check_targets(dataset, task)
    labels = _labels(name, model.classes, dataset, task)
    predictor, uploader, progress = Predictor(model), Uploader(where), progress or Progress()
    found: list[Found | None] = []
    errors: dict[str, Exception] = {}
    progress.start(0)
    try:
        with (
            ThreadPoolExecutor(_READERS, "cvtl-decode") as pool,
            ahead(_batches(dataset, pool, batch_size), depth=1) as batches,
        ):
            for batch in batches:
                images = uploader.upload([image for _, image in batch if isinstance(image, np.ndarray)]).wait()
                answers = iter(predictor.predict(images) if images else [])
                for sample, image in batch:
                    answer = next(answers) if isinstance(image, np.ndarray) else image
                    if isinstance(answer, Exception):
                        errors[sample.name] = answer
                    found.append(None if isinstance(answer, Exception) else _found(answer, labels))
                progress.advance(len(batch))
    finally:
        progress.finish()
    unknown = Counter(name for name, label in zip(model.classes, labels, strict=True) if label < 0)
    notes = without_answer(list(errors), len(dataset), "have no answer") + unknown_classes(unknown, "in all")
    notes += [f"The first error: {error}" for error in islice(errors.values(), 1)]
    return Predictions(name=name, task=task, found=found, notes=tuple(notes))


def _batches(
    dataset: Dataset, pool: ThreadPoolExecutor, size: int
) -> Iterator[list[tuple[Sample, UInt8Image | DataError]]]:
    samples = iter(dataset)
    while batch := list(islice(samples, size)):
        yield list(zip(batch, pool.map(_read, batch), strict=True))


def _read(sample: Sample) -> UInt8Image | DataError:
    try:
        return sample.read()
    except DataError as error:
        return error


def _labels(name: str, classes: Sequence[str], dataset: Dataset, task: TaskName) -> Ints:
    """The data set's label for each of the model's, -1 for classes that it does not have."""
    if task == "landmarks":
        if len(classes) != len(dataset.classes):
            raise DataError(
                f"'{name}' finds {len(classes)} points, the data set '{dataset.root}' has {len(dataset.classes)}",
                hint="Use a data set of the same points in the same order",
            )
        return np.arange(len(classes))
    known = {each: label for label, each in enumerate(dataset.classes)}
    labels = np.array([known.get(each, -1) for each in classes], np.int64)
    if not (labels >= 0).any():
        raise no_class_in_common(name, classes, dataset)
    return labels


def _found(result: Result, labels: Ints) -> Found:
    from cvtl.results import TOP_K, Classification, Detections, Landmarks, Localization

    if isinstance(result, Classification):
        scores = result.scores.double().numpy()
        best = np.argsort(-scores, kind="stable")[:TOP_K]
        return FoundClasses(labels[best], scores[best])
    if isinstance(result, Localization):
        best_label = int(result.scores.argmax())
        score = float(result.scores[best_label])
        return FoundObject(result.present, int(labels[best_label]), score, result.box.double().numpy())
    if isinstance(result, Detections):
        known = labels[result.labels.numpy()] >= 0
        boxes, scores = result.boxes.double().numpy(), result.scores.double().numpy()
        return FoundBoxes(boxes[known], scores[known], labels[result.labels.numpy()][known])
    assert isinstance(result, Landmarks)
    found_boxes = None if result.boxes is None else result.boxes.double().numpy()
    return FoundPoints(result.points.double().numpy(), result.visible.double().numpy(), found_boxes)


def _row_form(found: Found, classes: Sequence[str]) -> dict[str, Any]:
    if isinstance(found, FoundClasses):
        # A class that the data set does not have has lost its name; it reads back as such.
        names = [classes[label] if label >= 0 else None for label in found.labels.tolist()]
        return {"labels": names, "scores": found.scores.tolist()}
    if isinstance(found, FoundObject):
        label = classes[found.label] if found.label >= 0 else None
        return {"present": found.present, "label": label, "score": found.score, "box": found.box.tolist()}
    if isinstance(found, FoundBoxes):
        names = [classes[label] for label in found.labels.tolist()]
        return {"boxes": found.boxes.tolist(), "scores": found.scores.tolist(), "labels": names}
    instances: list[dict[str, Any]] = [
        {"points": points.tolist(), "scores": scores.tolist()}
        for points, scores in zip(found.points, found.scores, strict=True)
    ]
    if found.boxes is not None:
        for instance, box in zip(instances, found.boxes, strict=True):
            instance["box"] = box.tolist()
    return {"instances": instances}
