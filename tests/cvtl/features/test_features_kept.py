"""Features of pictures in the cache: computed once, and those of no other picture, network or preprocessing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pictures import COUNT, LAST, SPACES, plain
from torch import nn

from cvtl import backbones, file_digests
from cvtl.backbones import Backbone
from cvtl.data import Sample
from cvtl.errors import CvtlWarning
from cvtl.feature_cache import FeatureCache
from cvtl.features import FeatureSpace, backbone_digest, extract
from cvtl.preprocessing import InputSpec

# The cache


def test_files_that_are_as_they_were_are_not_even_read(
    lenet: Backbone, samples: list[Sample], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time_ns() + 10**10
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: later)
    first = extract(lenet, samples, SPACES, input=lenet.input, cache=cache)
    monkeypatch.setattr(file_digests, "_read", lambda file: pytest.fail(f"{file} was read"))
    again = extract(lenet, samples, SPACES, input=lenet.input, cache=cache)
    assert (again.computed, again.reused) == (0, COUNT)
    np.testing.assert_array_equal(again.matrix(SPACES), first.matrix(SPACES))


def test_a_picture_that_becomes_another_of_its_size_and_age_is_computed_anew(
    lenet: Backbone, cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time_ns() + 10**10
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: later)
    file, image = tmp_path / "a.bmp", np.zeros((40, 40, 3), np.uint8)
    cv2.imwrite(str(file), image)
    sample, before = Sample.of_file("a", file), file.stat()
    for shade in (0, 200):
        image[10, 10] = shade
        cv2.imwrite(str(file), image)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        for reused in (0, 1):
            found = extract(lenet, [sample], [LAST], input=lenet.input, cache=cache)
            assert found.reused == reused
            expected = plain(lenet, [sample], [LAST], lenet.input)
            np.testing.assert_allclose(found.vectors[LAST], expected, rtol=1e-4, atol=1e-5)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_pictures_that_were_seen_are_not_decoded(
    lenet: Backbone, samples: list[Sample], cache: FeatureCache, decoded: list[str]
) -> None:
    first = extract(lenet, samples, SPACES, input=lenet.input, cache=cache)
    assert sorted(decoded) == sorted(sample.name for sample in samples)
    decoded.clear()
    lenet.register_forward_hook(lambda *_: pytest.fail("the network ran"))
    again = extract(lenet, samples, SPACES, input=lenet.input, cache=cache)
    assert (again.computed, again.reused, decoded) == (0, COUNT, [])
    np.testing.assert_array_equal(again.matrix(SPACES), first.matrix(SPACES))


def test_new_pictures_among_seen_ones_are_computed_alone(
    lenet: Backbone, samples: list[Sample], cache: FeatureCache, decoded: list[str]
) -> None:
    expected = extract(lenet, samples, [LAST], input=lenet.input).vectors[LAST]
    extract(lenet, samples[::2], [LAST], input=lenet.input, cache=cache)
    decoded.clear()
    found = extract(lenet, samples, [LAST], input=lenet.input, cache=cache)
    assert (found.computed, found.reused) == (COUNT // 2, COUNT // 2)
    assert sorted(decoded) == sorted(sample.name for sample in samples[1::2])
    np.testing.assert_array_equal(found.vectors[LAST], expected)


def test_a_picture_is_known_by_its_content_not_by_its_name(
    lenet: Backbone, samples: list[Sample], cache: FeatureCache, tmp_path: Path
) -> None:
    first = extract(lenet, samples, [LAST], input=lenet.input, cache=cache).vectors[LAST]
    for number, sample in enumerate(samples):
        assert sample.file is not None
        shutil.copy(sample.file, tmp_path / f"copy{number}.png")
    shutil.copy(tmp_path / "copy3.png", tmp_path / "copy4.png")
    copies = [Sample.of_file(str(number), tmp_path / f"copy{number}.png") for number in range(COUNT)]
    found = extract(lenet, copies, [LAST], input=lenet.input, cache=cache)
    assert found.reused == COUNT
    np.testing.assert_array_equal(found.vectors[LAST][4], first[3])


def another_space(lenet: Backbone) -> tuple[FeatureSpace, InputSpec]:
    return FeatureSpace("pool2", "max"), lenet.input


def another_stage(lenet: Backbone) -> tuple[FeatureSpace, InputSpec]:
    return FeatureSpace("conv2"), lenet.input


def another_input(lenet: Backbone) -> tuple[FeatureSpace, InputSpec]:
    return LAST, lenet.input.model_copy(update={"std": (0.5, 0.5, 0.5)})


def other_weights(lenet: Backbone) -> tuple[FeatureSpace, InputSpec]:
    with torch.no_grad():
        next(lenet.parameters())[0, 0, 0, 0] += 1e-3
    return LAST, lenet.input


@pytest.mark.parametrize("change", [another_space, another_stage, another_input, other_weights])
def test_other_features_are_not_taken_for_those_that_are_kept(
    lenet: Backbone,
    samples: list[Sample],
    cache: FeatureCache,
    change: Callable[[Backbone], tuple[FeatureSpace, InputSpec]],
) -> None:
    extract(lenet, samples, [LAST], input=lenet.input, cache=cache)
    space, spec = change(lenet)
    found = extract(lenet, samples, [space], input=spec, cache=cache)
    assert found.computed == COUNT
    np.testing.assert_allclose(found.vectors[space], plain(lenet, samples, [space], spec), rtol=1e-4, atol=1e-5)


def test_a_stage_is_reused_whatever_lies_behind_it(lenet: Backbone, samples: list[Sample], cache: FeatureCache) -> None:
    space = FeatureSpace("conv1")
    extract(lenet, samples, [space, FeatureSpace("conv2")], input=lenet.input, cache=cache)
    with torch.no_grad():
        list(lenet.parameters())[2].mul_(2)
    for backbone in (lenet, lenet.cut("conv1"), lenet.cut("conv2")):
        assert extract(backbone, samples, [space], input=lenet.input, cache=cache).reused == COUNT


def test_pictures_that_are_made_are_not_kept(lenet: Backbone, cache: FeatureCache) -> None:
    made = [Sample(str(shade), partial(np.full, (40, 30, 3), shade, np.uint8)) for shade in range(10)]
    for _ in range(2):
        found = extract(lenet, made, [LAST], input=lenet.input, cache=cache)
        assert (found.computed, found.reused) == (10, 0)
        np.testing.assert_allclose(found.vectors[LAST], plain(lenet, made, [LAST], lenet.input), rtol=1e-4, atol=1e-5)
    assert all(each.vectors == 0 for each in cache.info().spaces)


def test_a_damaged_cache_costs_a_note_and_no_features(
    lenet: Backbone, samples: list[Sample], cache: FeatureCache
) -> None:
    expected = extract(lenet, samples, SPACES, input=lenet.input, cache=cache).matrix(SPACES)
    assert cache.path is not None
    cache.path.write_bytes(b"no database" * 1000)
    with pytest.warns(CvtlWarning, match="features are not kept") as said:
        found = extract(lenet, samples, SPACES, input=lenet.input, cache=cache)
    assert len(said) == 1
    assert found.computed == COUNT
    np.testing.assert_array_equal(found.matrix(SPACES), expected)


def test_the_cache_says_what_the_features_are_of(lenet: Backbone, samples: list[Sample], cache: FeatureCache) -> None:
    extract(lenet, samples, SPACES, input=lenet.input, cache=cache)
    held = {
        (each.space.backbone, each.space.stage, each.space.pooling, each.space.input) for each in cache.info().spaces
    }
    assert held == {("lenet5", space.stage, space.pooling, "32 x 32, crop") for space in SPACES}
    assert {each.vectors for each in cache.info().spaces} == {COUNT}


# Digests


def test_a_digest_depends_on_the_layers_up_to_its_stage(lenet: Backbone) -> None:
    names = ["conv1", "conv2", "pool2"]
    before = [backbone_digest(lenet, name) for name in names]
    assert len(set(before)) == 3
    assert [backbone_digest(lenet.cut(name), name) for name in names] == before
    assert [backbone_digest(lenet.to(memory_format=torch.channels_last), name) for name in names] == before
    with torch.no_grad():
        list(lenet.parameters())[2][0, 0, 0, 0] += 1e-3
    assert [backbone_digest(lenet, name) == old for name, old in zip(names, before, strict=True)] == [
        True,
        False,
        False,
    ]


def test_a_digest_depends_on_statistics_and_strides() -> None:
    torch.manual_seed(0)
    backbone = backbones.load("resnet18", cut="stem")
    digests = {backbone_digest(backbone, "stem")}
    norm = next(module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.running_mean is not None
    norm.running_mean[3] += 1
    digests.add(backbone_digest(backbone, "stem"))
    next(module for module in backbone.modules() if isinstance(module, nn.Conv2d)).stride = (1, 1)
    digests.add(backbone_digest(backbone, "stem"))
    assert len(digests) == 3


def test_a_backbone_that_is_no_chain_has_features_and_a_digest(samples: list[Sample], cache: FeatureCache) -> None:
    backbone = backbones.load("test_convnext")
    spaces = [FeatureSpace(backbone.stages[1].name), FeatureSpace(backbone.stages[-1].name)]
    spec = backbone.input.model_copy(update={"size_hw": (32, 32)})
    assert backbone.body is None
    for _ in range(2):
        found = extract(backbone, samples[:5], spaces, input=spec, cache=cache)
        expected = plain(backbone, samples[:5], spaces, spec)
        np.testing.assert_allclose(found.matrix(spaces), expected, rtol=1e-3, atol=1e-4)
    assert found.reused == 5
