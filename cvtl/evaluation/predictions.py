"""Where predictions come from: a file, or a model that is run over a data set; and writing them down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl.background import ahead
from cvtl.data import Dataset, Sample, UInt8Image
from cvtl.errors import DataError
from cvtl.evaluation.coco_results import read_coco_results
from cvtl.evaluation.found import Found, FoundBoxes, FoundClasses, FoundObject, Predictions
from cvtl.evaluation.rows import read_rows
from cvtl.files import write_atomically
from cvtl.progress import Progress
from cvtl.run_folder import ROWS_NAME
from cvtl.tasks import TaskName

if TYPE_CHECKING:
    from cvtl.evaluation.asking import AskedModel
    from cvtl.model import Model

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
    name: str | None = None,
) -> Predictions:
    """Run a model over a data set's pictures.

    Args:
        model: a model, or a weights file. Its classes are matched with the data set's by name, its points by order.
        dataset: samples with targets of the model's task.
        device: where to compute.
        batch_size: pictures that are predicted together.
        progress: is told how it gets on.
        name: what to call the model in messages; the weights file's or the plugin's if not given.

    Returns:
        One answer for each sample; None, with a note, where the picture could not be read or the model failed.

    Raises:
        DataError: the data set's targets are of another task, or it has no class in common with the model.
        WeightsError: the weights cannot be used.
        UsageError: there is no such device, or the model's task has no figures.
    """
    from cvtl.evaluation.asking import AskedModel

    asked, progress = AskedModel(model, dataset, device, name), progress or Progress()
    progress.start(0)
    try:
        answers = _predict_samples(asked, batch_size, progress) or _predict_pictures(asked, batch_size, progress)
    finally:
        progress.finish()
    return asked.predictions(answers)


def _predict_samples(asked: AskedModel, batch_size: int, progress: Progress) -> list[Found | Exception]:
    """The answers of a model that has a better way than by decoded pictures; nothing of others."""
    import torch

    with torch.inference_mode():
        results = asked.model.predict_samples(asked.dataset, batch_size=batch_size, progress=progress)
        return [asked.found(result) for result in results or ()]


def _predict_pictures(asked: AskedModel, batch_size: int, progress: Progress) -> list[Found | Exception]:
    answers: list[Found | Exception] = []
    with (
        ThreadPoolExecutor(_READERS, "cvtl-decode") as pool,
        ahead(_batches(asked.dataset, pool, batch_size), depth=1) as batches,
    ):
        for images in batches:
            answers += asked.answer(images)
            progress.advance(len(images))
    return answers


def _batches(dataset: Dataset, pool: ThreadPoolExecutor, size: int) -> Iterator[list[UInt8Image | DataError]]:
    samples = iter(dataset)
    while batch := list(islice(samples, size)):
        yield list(pool.map(_read, batch))


def _read(sample: Sample) -> UInt8Image | DataError:
    try:
        return sample.read()
    except DataError as error:
        return error


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
