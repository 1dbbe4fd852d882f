"""Features of pictures: equal to plain passes, the same to the bit whatever the company, never the fault of others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from pictures import BATCH, COUNT, LAST, SPACES, plain, write_pictures
from torch import Tensor

from cvtl import backbones, features
from cvtl.backbones import Backbone
from cvtl.data import Sample
from cvtl.errors import DataError, UsageError
from cvtl.feature_cache import FeatureCache
from cvtl.features import FeatureSpace, Pooling, extract, pool, width
from cvtl.progress import Progress

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


# Pooling


def slow_pool(maps: Tensor, pooling: Pooling) -> list[list[float]]:
    count, channels, height, w = maps.shape
    rows = []
    for n in range(count):
        row = []
        for c in range(channels):
            each = maps[n, c].double()
            if pooling == "average":
                row.append(sum(float(value) for value in each.flatten()) / (height * w))
            elif pooling == "max":
                row.append(max(float(value) for value in each.flatten()))
            else:
                for top, bottom in ((0, (height + 1) // 2), (height // 2, height)):
                    for left, right in ((0, (w + 1) // 2), (w // 2, w)):
                        part = each[top:bottom, left:right]
                        row.append(float(part.sum()) / part.numel())
        rows.append(row)
    return rows


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 2, 7, 5), (3, 1, 1, 1), (0, 4, 3, 3)])
def test_pooling_equals_a_slow_loop(pooling: Pooling, shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = pool(maps, pooling)
    assert found.shape == (shape[0], width(shape[1], pooling))
    np.testing.assert_allclose(found.numpy().tolist(), slow_pool(maps, pooling), rtol=1e-5, atol=1e-6)


# What extract gives


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_features_equal_those_of_each_picture_alone(lenet: Backbone, samples: list[Sample], resize: str) -> None:
    spec = lenet.input.model_copy(update={"resize": resize})
    found = extract(lenet, samples, SPACES, input=spec)
    assert (found.computed, found.reused, found.errors) == (COUNT, 0, {})
    matrix = found.matrix(SPACES)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, plain(lenet, samples, SPACES, spec), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "side"), [("lenet5", 32), ("squeezenet1_1", 64), ("test_resnet", 96)])
def test_features_are_the_same_to_the_bit_in_whatever_company(
    tmp_path: Path,
    cache: FeatureCache,
    threads: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    side: int,
) -> None:
    monkeypatch.setattr(features, "_CPU_PIXELS", BATCH * side**2)
    torch.manual_seed(0)
    backbone = backbones.load(name)
    spec = backbone.input.model_copy(update={"size_hw": (side, side)})
    spaces = [FeatureSpace(stage.name, pooling) for stage in backbone.stages for pooling in POOLINGS]
    samples = write_pictures(tmp_path / "pictures", 9)
    extracted = partial(extract, backbone, spaces=spaces, input=spec)
    reference = extracted(samples).matrix(spaces)
    order = [4, 1, 7, 0, 8, 3]
    for kept in (None, cache, cache):
        for chosen in (range(9), order, [5], [2, 6]):
            found = extracted([samples[index] for index in chosen], cache=kept).matrix(spaces)
            np.testing.assert_array_equal(found, reference[list(chosen)])
    for count in (1, 2, 3):
        threads(count)
        for batch_size in (1, 32):
            np.testing.assert_array_equal(extracted(samples, batch_size=batch_size).matrix(spaces), reference)


def test_one_space_alone_has_the_same_features_as_beside_others(lenet: Backbone, samples: list[Sample]) -> None:
    together = extract(lenet, samples, SPACES, input=lenet.input)
    for space in SPACES:
        alone = extract(lenet, samples, [space], input=lenet.input)
        np.testing.assert_array_equal(alone.vectors[space], together.vectors[space])


def test_the_backbone_is_left_as_it_was(lenet: Backbone, samples: list[Sample]) -> None:
    lenet.freeze(below="conv2")
    lenet.train()
    modes = [module.training for module in lenet.modules()]
    extract(lenet, samples, [FeatureSpace("conv1"), FeatureSpace("conv2")], input=lenet.input)
    assert [module.training for module in lenet.modules()] == modes
    lenet(torch.zeros(1, 3, 32, 32)).sum().backward()
    assert [parameter.grad is not None for parameter in lenet.parameters()] == [False, False, True, True]


def test_it_computes_in_evaluation_mode(samples: list[Sample]) -> None:
    backbone = backbones.load("resnet18", cut="stem").train()
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    spec = backbone.input.model_copy(update={"size_hw": (32, 32)})
    found = extract(backbone, samples[:3], [FeatureSpace("stem")], input=spec)
    backbone.eval()
    expected = plain(backbone, samples[:3], [FeatureSpace("stem")], spec)
    np.testing.assert_allclose(found.vectors[FeatureSpace("stem")], expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


def test_torch_has_as_many_threads_as_before(
    lenet: Backbone, samples: list[Sample], threads: Callable[[int], None]
) -> None:
    threads(3)
    extract(lenet, samples, [LAST], input=lenet.input)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), seen) == (3, [3])


def test_stages_behind_the_last_one_asked_for_do_not_run(lenet: Backbone, samples: list[Sample]) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it ran")

    lenet.get_submodule("body.conv2").register_forward_hook(refuse)
    assert extract(lenet, samples, [FeatureSpace("conv1")], input=lenet.input).computed == COUNT


def test_no_pictures_have_no_features(lenet: Backbone, cache: FeatureCache) -> None:
    for kept in (None, cache):
        found = extract(lenet, [], SPACES, input=lenet.input, cache=kept)
        assert found.matrix(SPACES).shape == (0, 24 + 16 + 16)


def test_an_unknown_stage_is_refused(lenet: Backbone, samples: list[Sample]) -> None:
    with pytest.raises(UsageError, match=r"no stage 'conv9'.*conv1, conv2, pool2"):
        extract(lenet, samples, [FeatureSpace("conv9")], input=lenet.input)


class Counting(Progress):
    def __init__(self) -> None:
        self.done = 0
        self.told: list[str] = []

    def start(self, done: int) -> None:
        self.told.append("start")

    def advance(self, count: int) -> None:
        self.done += count

    def finish(self) -> None:
        self.told.append("finish")


def test_progress_is_told_of_every_picture_once(
    lenet: Backbone, samples: list[Sample], cache: FeatureCache, tmp_path: Path
) -> None:
    mixed = [*samples, Sample.of_file("missing", tmp_path / "missing.png")]
    extract(lenet, samples[:7], [LAST], input=lenet.input, cache=cache)
    progress = Counting()
    extract(lenet, mixed, [LAST], input=lenet.input, cache=cache, progress=progress)
    assert (progress.done, progress.told) == (COUNT + 1, [])


def test_pictures_are_read_only_so_far_ahead(lenet: Backbone) -> None:
    progress, lock = Counting(), threading.Lock()
    most = read = 0

    def picture() -> np.ndarray:
        nonlocal read, most
        with lock:
            read += 1
            most = max(most, read - progress.done)
        return np.zeros((32, 32, 3), np.uint8)

    made = [Sample(str(number), picture) for number in range(600)]
    extract(lenet, made, [LAST], input=lenet.input, progress=progress)
    assert read == 600
    assert most <= BATCH * (features._AHEAD + 1) * max(torch.get_num_threads(), features.default_readers())


# Pictures that cannot be read


def test_unreadable_pictures_leave_the_others_alone(
    lenet: Backbone, samples: list[Sample], cache: FeatureCache, tmp_path: Path
) -> None:
    expected = extract(lenet, samples, SPACES, input=lenet.input).matrix(SPACES)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    bad = {0: "bad.png", 5: "missing.png", 6: "empty.png", 22: "bad.png"}
    mixed, good = list(samples), [index for index in range(COUNT + len(bad)) if index not in bad]
    for index, name in bad.items():
        mixed.insert(index, Sample.of_file(name, tmp_path / name))
    for kept in (None, cache, cache):
        found = extract(lenet, mixed, SPACES, input=lenet.input, cache=kept)
        matrix = found.matrix(SPACES)
        np.testing.assert_array_equal(matrix[good], expected)
        assert np.isnan(matrix[list(bad)]).all()
        assert found.computed + found.reused == COUNT
        assert found.errors.keys() == bad.keys()
        for index, error in found.errors.items():
            with pytest.raises(DataError) as raised:
                mixed[index].read()
            assert str(error) == str(raised.value)
    assert found.reused == COUNT


def test_a_reader_that_fails_otherwise_is_no_pictures_fault(lenet: Backbone) -> None:
    def fail() -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        extract(lenet, [Sample("a", fail)] * 100, [LAST], input=lenet.input)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_the_same_features_to_rounding(lenet: Backbone, samples: list[Sample], cache: FeatureCache) -> None:
    on_cpu = extract(lenet, samples, SPACES, input=lenet.input, cache=cache).matrix(SPACES)
    found = extract(lenet, samples, SPACES, input=lenet.input, cache=cache, device="cuda", batch_size=8)
    assert found.computed == COUNT
    np.testing.assert_allclose(found.matrix(SPACES), on_cpu, rtol=1e-3, atol=1e-4)
