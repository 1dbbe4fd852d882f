"""Augmentation by albumentations: what a file may say, and that runs repeat themselves."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.errors import PluginError, UsageError
from cvtl.preprocessing import InputSpec
from cvtl.training.samples import Batch, Loading, training_batches
from cvtl_classify import samples
from cvtl_classify.albumentations_file import Transforms
from cvtl_classify.options import ClassifyOptions

INPUT = InputSpec(size_hw=(28, 28))
Save = Callable[..., str]


@pytest.fixture(scope="module")
def albumentations() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
        return pytest.importorskip("albumentations", reason="the extra cvtl[albumentations] is not installed")


@pytest.fixture
def save(albumentations: Any, tmp_path: Path) -> Save:
    def save(*transforms: Any, name: str = "t.yaml") -> str:
        path = tmp_path / name
        composed = albumentations.Compose(list(transforms))
        albumentations.save(composed, path, data_format="json" if name.endswith("json") else "yaml")
        return str(path)

    return save


def noise(seed: int, size_hw: tuple[int, int] = (32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def made_data(count: int = 10) -> Dataset:
    made = [Sample(f"{i}.png", partial(noise, i, (30 + i, 50 - i)), ClassTarget(i % 2)) for i in range(count)]
    return Dataset(made, ("a", "b"), "made")


def batches(data: Dataset, options: ClassifyOptions, *, workers: int = 0, epoch: int = 0) -> list[Batch]:
    loading = Loading(4, workers=workers, pin=False)
    return list(training_batches(samples.training_samples(data, INPUT, options), loading, seed=7, epoch=epoch))


@pytest.mark.parametrize("name", ["t.json", "t.yaml", "t.yml"])
def test_a_saved_file_does_what_was_saved(albumentations: Any, save: Save, name: str) -> None:
    transforms = Transforms(save(albumentations.Transpose(p=1), albumentations.InvertImg(p=1), name=name))
    image = noise(0, (10, 20))
    np.testing.assert_array_equal(transforms(image.copy(), "a"), 255 - image.transpose(1, 0, 2))


def test_a_single_transform_needs_no_compose(albumentations: Any, tmp_path: Path) -> None:
    albumentations.save(albumentations.InvertImg(p=1), tmp_path / "t.json")
    np.testing.assert_array_equal(Transforms(tmp_path / "t.json")(noise(0), "a"), 255 - noise(0))


def test_pythons_generator_decides_whatever_came_before(albumentations: Any, save: Save) -> None:
    a = albumentations
    path = save(a.RandomResizedCrop((24, 24)), a.HorizontalFlip(), a.GaussNoise(p=1), a.OneOf([a.Blur(), a.CLAHE()]))

    def changed(transforms: Transforms, seed: int) -> np.ndarray:
        random.seed(seed)
        return transforms(noise(0), "a")

    used, fresh = Transforms(path), Transforms(path)
    for seed in range(5):
        changed(used, 100 + seed)
        np.testing.assert_array_equal(changed(used, seed), changed(fresh, seed))
    assert not np.array_equal(changed(used, 1), changed(used, 2))


def test_transforms_are_drawn_independently_of_one_another(albumentations: Any, save: Save) -> None:
    transforms = Transforms(save(albumentations.HorizontalFlip(p=0.5), albumentations.InvertImg(p=0.5)))
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 0] = 10
    random.seed(0)
    seen: Counter[tuple[bool, bool]] = Counter()
    for _ in range(200):
        changed = transforms(image.copy(), "a")
        inverted = bool(changed[0, 1, 0] == 255)
        seen[inverted, bool(changed[0, 0, 0] in (0, 255))] += 1
    assert len(seen) == 4
    assert min(seen.values()) > 25


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_workers_and_memory_do_not_change_what_comes_out(
    albumentations: Any, save: Save, workers: int, kept: bool
) -> None:
    a = albumentations
    path = save(a.RandomCrop(28, 28), a.Rotate(20), a.RandomBrightnessContrast(), a.GaussNoise(p=1))
    options = ClassifyOptions(augment="albumentations", transforms=path)
    data = made_data()
    expected = batches(data, options)
    found = batches(samples.in_memory(data, INPUT, options) if kept else data, options, workers=workers)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(expected, found, strict=True))


def test_every_epoch_draws_anew(albumentations: Any, save: Save) -> None:
    options = ClassifyOptions(augment="albumentations", transforms=save(albumentations.GaussNoise(p=1)))
    data = made_data(4)
    first, second = (batches(data.subset([0]), options, epoch=epoch) for epoch in (0, 1))
    assert not torch.equal(first[0][0], second[0][0])


def test_what_is_in_memory_is_not_written_to(albumentations: Any, save: Save) -> None:
    a = albumentations
    options = ClassifyOptions(augment="albumentations", transforms=save(a.CoarseDropout(p=1), a.InvertImg(p=1)))
    kept = samples.in_memory(made_data(), INPUT, options)
    before = [sample.read().copy() for sample in kept]
    batches(kept, options)
    assert all(np.array_equal(sample.read(), image) for sample, image in zip(kept, before, strict=True))


def test_both_ways_of_augmentation_see_the_same_samples_in_the_same_order(albumentations: Any, save: Save) -> None:
    # Transforms that leave a picture as it is show what they are given.
    by_file = ClassifyOptions(augment="albumentations", transforms=save(albumentations.NoOp()))
    # With an input as large as the device's samples, nothing is left to resize.
    spec = samples.sample_spec(INPUT, ClassifyOptions())
    data, loading = made_data(), Loading(4, workers=0, pin=False)
    seen = samples.ClassSamples(data, spec, Transforms(by_file.transforms), spec)
    given = samples.training_samples(data, INPUT, ClassifyOptions(augment="device"))
    for epoch in (0, 1):
        pairs = zip(*(training_batches(s, loading, seed=7, epoch=epoch) for s in (given, seen)), strict=True)
        for device, file in pairs:
            assert torch.equal(device[0], file[0])
            assert device[1] == file[1]


def test_what_comes_out_is_brought_to_the_input(albumentations: Any, save: Save) -> None:
    path = save(albumentations.RandomCrop(20, 31))
    for images, _ in batches(made_data(), ClassifyOptions(augment="albumentations", transforms=path)):
        assert images.shape[1:] == (3, 28, 28)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda a: a.Normalize(), "make float32 of shape"),
        (lambda a: a.ToTensorV2(), "make a Tensor"),
        (lambda a: a.ToFloat(), "not 8-bit RGB"),
        (lambda a: a.RandomCrop(99, 99), "'x.png' of 32 x 32 pixels: CropSizeError"),
    ],
    ids=["normalize", "tensor", "float", "crop"],
)
def test_transforms_that_make_no_picture_are_refused(
    albumentations: Any, save: Save, transform: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Transforms(save(transform(albumentations)))(noise(0), "x.png")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "just text",
        "[1, 2]",
        "{a: [",
        '{"transform": {}}',
        '{"transform": {"__class_fullname__": "NoSuchTransform", "p": 1}}',
        '{"transform": {"__class_fullname__": "Blur", "p": 1, "blur_limits": 3}}',
        '{"transform": {"__class_fullname__": "Blur", "p": 7}}',
        '{"transform": {"__class_fullname__": "Lambda", "__name__": "f"}}',
        "\0\1",
    ],
    ids=["empty", "text", "list", "broken", "no-name", "unknown", "typo", "range", "lambda", "binary"],
)
@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.usefixtures("albumentations")
def test_a_file_that_is_no_good_is_refused_with_how_to_write_one(tmp_path: Path, content: str, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"t\.(json|yaml)' is no file .* A\.save\("):
        Transforms(path)


@pytest.mark.parametrize("path", ["missing.yaml", "."])
@pytest.mark.usefixtures("albumentations")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="cannot read the transforms"):
        Transforms(tmp_path / path)


def malicious(marker: Path) -> dict[str, str]:
    touch = f"touch {marker}"
    step: dict[str, Any] = {"p": 1, "args": [touch], "command": touch}
    names = ["os.system", "subprocess.Popen", "builtins.eval", "albumentations.os.system", "Lambda"]
    files = {f"{name}.json": json.dumps({"transform": step | {"__class_fullname__": name}}) for name in names}
    files["apply.yaml"] = f"!!python/object/apply:os.system ['{touch}']"
    files["inside.yaml"] = f"transform: {{__class_fullname__: Blur, p: !!python/object/apply:os.system ['{touch}']}}"
    reader = {"p": 1, "reference_images": ["a"], "read_fn": f"__import__('os').system('{touch}')"}
    for name in ("HistogramMatching", "FDA"):
        files[f"{name}.json"] = json.dumps({"transform": reader | {"__class_fullname__": name}})
    return files


@pytest.mark.parametrize("name", sorted(malicious(Path())))
@pytest.mark.usefixtures("albumentations")
def test_a_file_cannot_run_code(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "it-ran"
    (tmp_path / name).write_text(malicious(marker)[name])
    with pytest.raises(UsageError):
        Transforms(tmp_path / name)(noise(0), "a")
    assert not marker.exists()


def test_without_a_file_it_is_said_how_to_write_one() -> None:
    with pytest.raises(UsageError, match=r"needs a file of transforms.*A\.save\(.*--transforms"):
        samples.training_samples(made_data(), INPUT, ClassifyOptions(augment="albumentations"))


def test_without_the_extra_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    (tmp_path / "t.yaml").write_text("")
    with pytest.raises(PluginError, match=r"pip install 'cvtl\[albumentations\]'.*opencv-python-headless.*cvtl doctor"):
        Transforms(tmp_path / "t.yaml")


@pytest.mark.usefixtures("albumentations")
def test_nothing_is_looked_up_on_the_network(tmp_path: Path) -> None:
    script = (
        "import socket\n"
        "def refuse(*args, **keywords): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import warnings; warnings.simplefilter('error')\n"
        "from cvtl_classify.albumentations_file import Transforms\n"
        "from cvtl.errors import UsageError\n"
        "try: Transforms('missing.yaml')\n"
        "except UsageError: print('asked nobody')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "asked nobody\n", done.stderr
