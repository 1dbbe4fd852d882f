"""What a classifier trains on: the same samples from files and from memory, and with every way of augmentation."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch

from cvtl.data import ClassTarget, Dataset, Sample, UInt8Image, load_data
from cvtl.errors import DataError
from cvtl.preprocessing import InputSpec, resize
from cvtl.progress import Progress
from cvtl.training.samples import Loading, training_batches
from cvtl_classify.options import ClassifyOptions
from cvtl_classify.samples import in_memory, sample_spec, training_samples, validation_samples

Resize = Literal["stretch", "letterbox", "crop"]
SIZES_HW = [(40, 60), (60, 40), (28, 28), (32, 32), (9, 70), (33, 31)]


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Pictures of many sizes, in two classes."""
    random = np.random.default_rng(0)
    for number, size_hw in enumerate(SIZES_HW):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 256, (*size_hw, 3), dtype=np.uint8))
    return load_data(tmp_path, "classify")


class Counting(Progress):
    def __init__(self) -> None:
        self.count = 0

    def advance(self, count: int) -> None:
        self.count += count


@pytest.mark.parametrize("rule", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("augment", ["device", "none"])
def test_samples_from_memory_equal_those_from_files_to_the_bit(
    data: Dataset, rule: Resize, augment: Literal["device", "none"]
) -> None:
    input, options = InputSpec(size_hw=(28, 21), resize=rule), ClassifyOptions(augment=augment)
    kept = in_memory(data, input, options)
    assert kept is not data
    for one, other in zip(training_samples(data, input, options), training_samples(kept, input, options), strict=True):
        assert torch.equal(one[0], other[0])
        assert one[1] == other[1]


def test_validation_samples_are_what_prediction_sees_with_and_without_memory(data: Dataset) -> None:
    input = InputSpec(size_hw=(28, 28), resize="crop")
    kept = in_memory(data, input)
    for index, sample in enumerate(data):
        expected = resize(torch.from_numpy(sample.read()).permute(2, 0, 1), input)
        for samples in (validation_samples(data, input), validation_samples(kept, input)):
            image, target = samples[index]
            assert torch.equal(image, expected)
            assert target == sample.target


@pytest.mark.parametrize(
    ("augment", "size_hw"), [("device", (256, 171)), ("albumentations", (256, 171)), ("none", (224, 150))]
)
def test_training_samples_have_a_margin_where_they_are_cut_later(
    augment: Literal["device", "albumentations", "none"], size_hw: tuple[int, int]
) -> None:
    input = InputSpec(size_hw=(224, 150), resize="crop")
    spec = sample_spec(input, ClassifyOptions(augment=augment))
    assert spec.size_hw == size_hw
    assert spec.resize == "crop"


def test_training_samples_make_batches(data: Dataset) -> None:
    samples = training_samples(data, InputSpec(size_hw=(28, 28)), ClassifyOptions())
    (batch,) = training_batches(samples, Loading(16, workers=0, pin=False), seed=0, epoch=0)
    assert batch[0].shape == (len(data), 3, 32, 32)
    assert batch[0].dtype == torch.uint8
    assert batch[0].is_contiguous()


def test_worker_processes_make_the_same_batches_of_what_is_in_memory(data: Dataset) -> None:
    input, options = InputSpec(size_hw=(28, 28)), ClassifyOptions()
    runs = []
    for kept, workers in ((data, 0), (in_memory(data, input, options), 2)):
        loading = Loading(2, workers=workers, pin=False)
        runs.append(list(training_batches(training_samples(kept, input, options), loading, seed=3, epoch=1)))
    assert all(torch.equal(one[0], other[0]) and one[1] == other[1] for one, other in zip(*runs, strict=True))


def test_pictures_in_memory_are_not_read_again(data: Dataset) -> None:
    reads: list[str] = []

    def read(sample: Sample) -> UInt8Image:
        reads.append(sample.name)
        return sample.read()

    counting = replace(data, samples=[replace(sample, read=partial(read, sample)) for sample in data])
    input = InputSpec(size_hw=(28, 28))
    kept = in_memory(counting, input)
    for _ in range(2):
        list(validation_samples(kept, input))
    assert sorted(reads) == sorted(sample.name for sample in data)


def test_what_does_not_fit_the_budget_stays_where_it_is(data: Dataset) -> None:
    input = InputSpec(size_hw=(28, 28))
    needed = len(data) * 3 * 28 * 28
    assert in_memory(data, input, budget_bytes=needed - 1) is data
    assert in_memory(data, input, budget_bytes=needed) is not data
    margin = in_memory(data, input, ClassifyOptions(), budget_bytes=needed)
    assert margin is data


def test_a_data_set_too_large_for_any_memory_is_not_touched() -> None:
    def read() -> np.ndarray:
        raise AssertionError("nothing is to be read")

    huge = Dataset([Sample("a", read, ClassTarget(0))] * 200_000, ("a",), "made")
    assert in_memory(huge, InputSpec(size_hw=(224, 224))) is huge


def test_what_is_in_memory_is_the_same_data_set_otherwise(data: Dataset) -> None:
    kept = in_memory(data, InputSpec(size_hw=(28, 28)))
    assert kept.digest() == data.digest()
    assert kept.classes == data.classes
    assert [sample.name for sample in kept] == [sample.name for sample in data]
    # Its pictures are not those in the files any more.
    assert {sample.file for sample in kept} == {None}
    assert kept[0].read().shape == (28, 28, 3)


def test_parts_and_copies_of_what_is_in_memory_keep_their_pictures(data: Dataset) -> None:
    input = InputSpec(size_hw=(28, 28))
    kept = in_memory(data, input)
    expected = validation_samples(data, input)[4][0]
    assert torch.equal(validation_samples(kept.subset([4]), input)[0][0], expected)
    assert torch.equal(validation_samples(pickle.loads(pickle.dumps(kept)), input)[4][0], expected)


def test_progress_is_told_of_every_picture(data: Dataset) -> None:
    progress = Counting()
    in_memory(data, InputSpec(size_hw=(28, 28)), progress=progress)
    assert progress.count == len(data)


def test_an_unreadable_picture_is_named_as_it_is_without_memory(data: Dataset) -> None:
    broken = data[2].file
    assert broken is not None
    broken.write_bytes(b"no picture")
    input = InputSpec(size_hw=(28, 28))
    with pytest.raises(DataError) as from_file:
        training_samples(data, input, ClassifyOptions())[2]
    with pytest.raises(DataError) as from_memory:
        in_memory(data, input, ClassifyOptions())
    assert str(from_memory.value) == str(from_file.value)
    assert str(broken) in str(from_memory.value)


def test_no_pictures_need_no_memory(data: Dataset) -> None:
    kept = in_memory(data.subset([]), InputSpec(size_hw=(28, 28)), budget_bytes=0)
    assert len(kept) == len(validation_samples(kept, InputSpec(size_hw=(28, 28)))) == 0
