"""Features of pictures: a first pass against the backbone alone, and the cache's features against a first pass.

Run: python tools/bench/bench_features.py [--pictures 375] [--rounds 5] [--backbone squeezenet1_1]. A first pass reads,
hashes, decodes and resizes every picture, runs the backbone and writes the cache. The backbone alone is given the same
pictures, decoded and resized beforehand, in two ways: in batches of 32 that all threads share, as such loops are mostly
written, and as `extract` does it, with a batch for each thread. From the cache features come twice: of the same files,
and of the same pictures under another folder's name, which have to be read to be known. All take turns. Ratios are
taken within a round, and their median counts; the best is shown beside it, for a busy machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cvtl import backbones
from cvtl.data import Sample
from cvtl.feature_cache import FeatureCache
from cvtl.features import FeatureSpace, extract, pool
from cvtl.images import encode
from cvtl.preprocessing import normalize, resize, resize_to
from cvtl.training.settings import TrainSettings
from cvtl_classify.heads import fit_head
from cvtl_classify.recipes import RECIPES

FLOWERS = Path(__file__).resolve().parents[3] / "shared" / "data" / "classify_flowers"
BATCH = 32
FIRST_PASS_BAR, SECOND_HEAD_BAR = 0.90, 50


def find_pictures(folder: Path, count: int) -> tuple[str, list[Path]]:
    """The shared photographs of flowers, or parts of scikit-learn's, no two alike; in folders by what they show."""
    flowers = sorted(FLOWERS.rglob("*.jpg"), key=lambda file: file.name)
    if flowers:
        return "photographs of flowers", flowers[:count]
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    for number in range(count):
        top, left = random.integers(0, 100), random.integers(0, 150)
        part = torch.from_numpy(photographs[number % 2][top : top + 320, left : left + 427].copy()).permute(2, 0, 1)
        image = resize_to(part, (240, 320)).permute(1, 2, 0).contiguous().numpy()
        file = folder / str(number % 2) / f"{number:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(image, ".jpg"))
    return "parts of photographs", sorted(folder.rglob("*.jpg"))


def plain_pass(backbone: backbones.Backbone, images: Tensor) -> Tensor:
    """The backbone's passes over ready pictures, as they are usually written."""
    with torch.inference_mode():
        batches = (images[first : first + BATCH] for first in range(0, len(images), BATCH))
        return torch.cat([pool(backbone(normalize(batch, backbone.input)), "average") for batch in batches])


def fit_linear(features: npt.NDArray[np.float32], files: Sequence[Path]) -> object:
    """The head that `cvtl train classify --strategy features` fits if nothing else is said."""
    names = sorted({file.parent.name for file in files})
    labels = np.array([names.index(file.parent.name) for file in files])
    recipe = RECIPES["modern"]
    settings = TrainSettings(**recipe.settings("features", "linear"))
    return fit_head("linear", features, labels, len(names), settings=settings, recipe=recipe)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = perf_counter()
    work()
    return perf_counter() - start


def ready_samples(images: Tensor) -> list[Sample]:
    """Samples that are decoded and resized already."""
    return [
        Sample(str(number), partial(np.asarray, image.permute(1, 2, 0).contiguous().numpy()))
        for number, image in enumerate(images)
    ]


def measure(backbone: backbones.Backbone, files: Sequence[Path], rounds: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of each way in each round."""
    space = FeatureSpace(backbone.stages[-1].name)
    samples = [Sample.of_file(str(file), file) for file in files]
    pictures = (torch.from_numpy(sample.read()).permute(2, 0, 1) for sample in samples)
    ready = torch.stack([resize(picture, backbone.input) for picture in pictures])
    ready = ready.contiguous(memory_format=torch.channels_last)
    in_memory = ready_samples(ready)
    root = Path(os.path.commonpath(files))
    (folder / "elsewhere").symlink_to(root, target_is_directory=True)
    moved = [Sample.of_file(str(file), folder / "elsewhere" / file.relative_to(root)) for file in files]

    def features(samples: Sequence[Sample], cache: FeatureCache | None = None) -> npt.NDArray[np.float32]:
        return extract(backbone, samples, [space], input=backbone.input, cache=cache).vectors[space]

    times: dict[str, list[float]] = {name: [] for name in ("plain", "first", "threads", "again", "fitted", "moved")}
    for number in range(rounds + 1):
        cache = FeatureCache(folder / f"{number}.sqlite")
        times["plain"].append(seconds(partial(plain_pass, backbone, ready)))
        times["first"].append(seconds(partial(features, samples, cache)))
        times["threads"].append(seconds(partial(features, in_memory)))
        times["again"].append(seconds(partial(features, samples, cache)))
        times["fitted"].append(times["again"][-1] + seconds(partial(fit_linear, features(samples, cache), files)))
        times["moved"].append(seconds(partial(features, moved, cache)))
    # The first round warms up.
    return {name: values[1:] for name, values in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=375)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="squeezenet1_1")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    backbone = backbones.load(arguments.backbone).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as name:
        kind, files = find_pictures(Path(name) / "pictures", arguments.pictures)
        times = measure(backbone, files, arguments.rounds, Path(name))
    title = f"{len(files)} {kind}, {arguments.backbone}, {torch.get_num_threads()} threads, {arguments.rounds} rounds"
    table = Table("", "seconds", "against", "seconds", "best", "median", "bar", title=title)
    for what, label, against, base_label, bar in (
        ("first", "first pass", "plain", "backbone alone, batches of 32", FIRST_PASS_BAR),
        ("first", "first pass", "threads", "backbone alone, a batch a thread", None),
        ("again", "from the cache", "first", "first pass", SECOND_HEAD_BAR),
        ("fitted", "from the cache, and a linear head fitted", "first", "first pass", None),
        ("moved", "from the cache, pictures moved", "first", "first pass", None),
    ):
        ratios = [base / own for base, own in zip(times[against], times[what], strict=True)]
        verdict = "" if bar is None else f">= {bar} {'ok' if median(ratios) >= bar else 'MISSED'}"
        own, base = f"{median(times[what]):.3f}", f"{median(times[against]):.3f}"
        table.add_row(label, own, base_label, base, f"{max(ratios):.2f}", f"{median(ratios):.2f}", verdict)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
