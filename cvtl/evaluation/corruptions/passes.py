"""A model run over corrupted pictures: each is decoded once and corrupted many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from cvtl.background import ahead
from cvtl.data import ClassTarget, Dataset, Sample, UInt8Image
from cvtl.errors import DataError
from cvtl.evaluation.asking import AskedModel
from cvtl.evaluation.corruptions.kinds import STRENGTHS, corrupt
from cvtl.evaluation.corruptions.settings import Kind
from cvtl.evaluation.found import Found, Predictions
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, place, resize_to
from cvtl.progress import Progress

Case = tuple[Kind, int]
"""What is done to pictures, and how strongly."""

_READERS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class CorruptedPredictions:
    """What a model found in pictures as they are and as they become.

    Attributes:
        clean: predictions of the pictures as they are.
        corrupted: of the corrupted ones.
        read: gives a sample's picture as the model saw it, as it is or corrupted.
    """

    clean: Predictions
    corrupted: Mapping[Case, Predictions]
    read: Callable[[Sample, Case | None], UInt8Image]


def choose_pictures(dataset: Dataset, most: int, seed: int) -> Dataset:
    """At most so many of the samples that something is known about, of every class its share.

    Example:
        >>> from cvtl.data import Sample
        >>> samples = [Sample(f"{i}.jpg", lambda: None, ClassTarget(int(i >= 80))) for i in range(100)]
        >>> chosen = choose_pictures(Dataset(samples, ("often", "seldom"), "example"), 10, seed=0)
        >>> [sample.target.label for sample in chosen]
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    """
    random = np.random.default_rng(seed)
    known = [i for i, sample in enumerate(dataset) if sample.target is not None]
    strata: dict[int | None, list[int]] = {}
    for i in random.permutation(known).tolist():
        target = dataset[i].target
        strata.setdefault(target.label if isinstance(target, ClassTarget) else None, []).append(i)
    # The members of a class are spread over [0, 1); up to any bound, each class then has its share.
    places = {i: (rank + random.random()) / len(each) for each in strata.values() for rank, i in enumerate(each)}
    return dataset.subset(sorted(sorted(places, key=places.__getitem__)[:most]))


def predict_corrupted(
    model: Model | str | Path,
    dataset: Dataset,
    kinds: Sequence[Kind],
    *,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 8,
    progress: Progress | None = None,
    name: str | None = None,
) -> CorruptedPredictions:
    """Run a model over a data set's pictures as they are, and corrupted in every way at every strength.

    A picture that is to be classified is made as small as the network sees it before it is corrupted, if it is larger:
    noise of single pixels means the same in a photograph of any size. Where boxes or points are to be found, it keeps
    its size.

    Args:
        model: a model, or a weights file, as `cvtl.predict` takes it.
        dataset: samples with targets of the model's task.
        kinds: of corruptions.
        seed: of their chance.
        device: where to compute.
        batch_size: pictures that are decoded, and predicted, together; memory holds so many.
        progress: is told of each picture once for each way it is looked at: `1 + 5 * len(kinds)` times.
        name: what to call the model in messages, as for `cvtl.predict`.

    Raises:
        CvtlError: as `cvtl.predict` does.
    """
    asked, progress = AskedModel(model, dataset, device, name), progress or Progress()
    view = _View(asked.model.input if asked.task == "classify" else None, seed)
    corrupted: dict[Case, list[Found | Exception]] = {(kind, strength): [] for kind in kinds for strength in STRENGTHS}
    clean: list[Found | Exception] = []
    progress.start(0)
    try:
        with (
            ThreadPoolExecutor(_READERS, "cvtl-decode") as pool,
            ahead(_batches(dataset, pool, batch_size, view, list(corrupted)), depth=1) as batches,
        ):
            for case, images in batches:
                answers = clean if case is None else corrupted[case]
                answers += asked.answer(images)
                progress.advance(len(images))
    finally:
        progress.finish()
    return CorruptedPredictions(
        clean=asked.predictions(clean),
        corrupted={case: asked.predictions(answers) for case, answers in corrupted.items()},
        read=view.read,
    )


@dataclass(frozen=True)
class _View:
    """How pictures are seen.

    Attributes:
        input: what larger pictures are made as small as; None if they keep their size.
        seed: of the corruptions.
    """

    input: InputSpec | None
    seed: int

    def read(self, sample: Sample, case: Case | None = None) -> UInt8Image:
        image = sample.read()
        image = image if self.input is None else shrink(image, self.input)
        return image if case is None else self.corrupt(sample, image, case)

    def corrupt(self, sample: Sample, image: UInt8Image, case: Case) -> UInt8Image:
        kind, strength = case
        return corrupt(image, kind, strength, seed=self.seed, name=sample.name)


def shrink(image: UInt8Image, input: InputSpec) -> UInt8Image:
    """Make a picture (H, W, 3) as small as a network sees it, with the network's own resizer; never larger.

    Example:
        >>> shrink(np.zeros((400, 600, 3), np.uint8), InputSpec(size_hw=(100, 100), resize="crop")).shape
        (100, 150, 3)
    """
    height, width = image.shape[:2]
    seen = place((height, width), input)
    scale_x, scale_y = seen.scale_x, seen.scale_y
    if input.resize == "stretch":
        # The proportions are kept: a circle is to stay one when it is turned.
        scale_x = scale_y = max(scale_x, scale_y)
    size_hw = (max(1, round(height * scale_y)), max(1, round(width * scale_x)))
    if size_hw[0] >= height and size_hw[1] >= width:
        return image
    small = resize_to(torch.from_numpy(image).permute(2, 0, 1), size_hw, interpolation=input.interpolation)
    return np.ascontiguousarray(small.permute(1, 2, 0).numpy())


def _batches(
    dataset: Dataset, pool: ThreadPoolExecutor, size: int, view: _View, cases: Sequence[Case]
) -> Iterator[tuple[Case | None, list[UInt8Image | DataError]]]:
    """Batches of pictures as they are, each followed by what they become."""

    def read(sample: Sample) -> UInt8Image | DataError:
        try:
            return view.read(sample)
        except DataError as error:
            return error

    def spoil(case: Case, sample: Sample, picture: UInt8Image | DataError) -> UInt8Image | DataError:
        try:
            return picture if isinstance(picture, DataError) else view.corrupt(sample, picture, case)
        except DataError as error:
            return error

    samples = iter(dataset)
    while batch := list(islice(samples, size)):
        pictures = list(pool.map(read, batch))
        yield None, pictures
        for case in cases:
            yield case, list(pool.map(partial(spoil, case), batch, pictures))
