"""Devices: choosing one, moving pictures to it, predicting within its memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvtl import weights
from cvtl.devices import Predictor, Uploader, choose_device, is_out_of_memory, mixed_precision
from cvtl.errors import UsageError
from cvtl.results import Detections

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


class Counting(torch.nn.Module):
    """Notes the size of every batch, and has room for `capacity` pictures."""

    def __init__(self, capacity: int | None = None, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.capacity, self.error, self.batches = capacity, error, list[int]()

    def predict(self, images: Sequence[Tensor]) -> list[Any]:
        self.batches.append(len(images))
        if self.capacity is not None and len(images) > self.capacity:
            raise self.error("no room")
        return [int(image[0, 0, 0]) for image in images]


def pictures(count: int) -> list[Tensor]:
    return [torch.full((3, 4, 5), value, dtype=torch.uint8) for value in range(count)]


def test_auto_takes_what_there_is() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "cpu:"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"device '{name}' cannot be used"):
        choose_device(name)


def test_pictures_arrive_unchanged_with_channels_first() -> None:
    images = [np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(3)]
    arrived = Uploader(torch.device("cpu")).upload(images).wait()
    for image, tensor in zip(images, arrived, strict=True):
        assert np.array_equal(tensor.permute(1, 2, 0).numpy(), image)


def test_no_pictures_are_moved_for_a_block_of_bad_inputs() -> None:
    assert Uploader(choose_device()).upload([]).wait() == []


def test_without_trouble_a_batch_goes_through_whole() -> None:
    model = Counting()
    assert Predictor(model).predict(pictures(5)) == [0, 1, 2, 3, 4]  # type: ignore[arg-type]
    assert model.batches == [5]


def test_when_memory_runs_out_batches_are_halved_and_stay_small() -> None:
    model = Counting(capacity=3)
    predictor = Predictor(model)  # type: ignore[arg-type]
    assert predictor.predict(pictures(8)) == list(range(8))
    assert predictor.predict(pictures(8)) == list(range(8))
    assert model.batches == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]


def test_another_error_is_laid_at_the_one_picture_that_causes_it() -> None:
    class Picky(Counting):
        def predict(self, images: Sequence[Tensor]) -> list[Any]:
            if any(int(image[0, 0, 0]) == 2 for image in images):
                raise ValueError("not this one")
            return super().predict(images)

    found = Predictor(Picky()).predict(pictures(4))  # type: ignore[arg-type]
    assert [found[0], found[1], found[3]] == [0, 1, 3]
    assert isinstance(found[2], ValueError)


def test_too_few_results_are_an_error_not_a_shift() -> None:
    class Forgetful(Counting):
        def predict(self, images: Sequence[Tensor]) -> list[Any]:
            return super().predict(images)[1:]

    found = Predictor(Forgetful()).predict(pictures(3))  # type: ignore[arg-type]
    assert all(isinstance(each, RuntimeError) for each in found)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("allocate memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_half_precision_computes_in_it_and_float32_does_not() -> None:
    product = torch.nn.Linear(4, 4)
    with torch.no_grad(), mixed_precision(torch.device("cpu"), "bfloat16"):
        assert product(torch.zeros(1, 4)).dtype == torch.bfloat16
    with torch.no_grad(), mixed_precision(torch.device("cpu"), "float32"):
        assert product(torch.zeros(1, 4)).dtype == torch.float32


@pytest.mark.gpu
@needs_gpu
def test_pictures_arrive_on_the_gpu_unchanged() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (480, 640, 3), dtype=np.uint8) for i in range(8)]
    arrived = Uploader(torch.device("cuda")).upload(images).wait()
    for image, tensor in zip(images, arrived, strict=True):
        assert tensor.is_cuda
        assert np.array_equal(tensor.permute(1, 2, 0).cpu().numpy(), image)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 5e-2), ("float16", 1e-2)])
def test_the_gpu_says_what_the_cpu_says(precision: Any, tolerance: float) -> None:
    from cvtl_datasets.scenes import sample_scene
    from cvtl_windows.builtin import digit_weights

    found: dict[str, Detections] = {}
    for device in ("cpu", "cuda"):
        model = weights.load(Path(digit_weights()), device=device)
        images = Uploader(torch.device(device)).upload([sample_scene()]).wait()
        (result,) = Predictor(model, precision if device == "cuda" else "float32").predict(images)
        assert isinstance(result, Detections)
        found[device] = result
    assert found["cuda"].labels.tolist() == found["cpu"].labels.tolist()
    assert torch.allclose(found["cuda"].scores, found["cpu"].scores, atol=tolerance)
