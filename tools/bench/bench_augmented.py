"""An epoch of `--strategy augmented` against the same loop written plainly with torchvision's transforms.

Run: python tools/bench/bench_augmented.py [--pairs 2] [--epochs 4]. Both train a linear head on a frozen SqueezeNet 1.1
at 224 pixels with the same amount of augmentation, in batches of 64, and validate after each epoch; on the flowers
beside the checkout if they are there, else on generated photographs of 500 x 375. Each is timed inside a process of its
own, behind its imports, and they take turns; the ratio counts, that of processor seconds where others use the cores.
The plain loop runs as people write it, and again with the network's tensors channels last, as cvtl's loop has them:
that ratio is what the pictures' way alone is worth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WEIGHTS = SHARED / "weights" / "squeezenet1_1_imagenet_tvnorm_fp16.pth"
BACKBONE, SIZE, BATCH, WORKERS = "squeezenet1_1", 224, 64, 2
CROP, ROTATION, JITTER, SMOOTHING = 0.5, 10.0, 0.2, 0.1
BAR = 1.3


def make_pictures(folder: Path, *, train: int = 300, val: int = 75) -> None:
    """Parts of scikit-learn's photographs of 500 x 375 as JPEGs: two classes, in the folders of a split."""
    import torch
    from sklearn.datasets import load_sample_images

    from cvtl.images import encode
    from cvtl.preprocessing import resize_to

    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            photograph = load_sample_images().images[number % 2]
            top, left = random.integers(0, 100), random.integers(0, 150)
            part = torch.from_numpy(photograph[top : top + 320, left : left + 427].copy()).permute(2, 0, 1)
            file = folder / split / ("china", "flower")[number % 2] / f"{number:04d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(resize_to(part, (375, 500)).permute(1, 2, 0).contiguous().numpy(), ".jpg"))


Clocks = tuple[float, float]


def clocks() -> Clocks:
    """Seconds on the wall, and of processors, those of ended child processes included."""
    return perf_counter(), sum(os.times()[:4])


def train_by_cvtl(folder: Path, out: Path, epochs: int) -> list[Clocks]:
    """The clocks at the start and at the end of each epoch; the first has the head on plain features before it."""
    import cvtl.training.loop  # noqa: F401, imports take seconds
    from cvtl.data import load_data
    from cvtl.training.folder import TrainRun
    from cvtl.training.settings import TrainSettings
    from cvtl.training.start import with_defaults
    from cvtl_classify.model import ClassifyModel
    from cvtl_classify.options import ClassifyOptions

    ends = []

    class TimedRun(TrainRun):
        def record(self, model: object, figures: object) -> None:
            super().record(model, figures)  # type: ignore[arg-type]
            ends.append(clocks())

    options = ClassifyOptions(
        backbone=BACKBONE,
        weights=str(WEIGHTS) if WEIGHTS.exists() else "none",
        strategy="augmented",
        size=SIZE,
        crop=CROP,
        rotation=ROTATION,
        jitter=JITTER,
        label_smoothing=SMOOTHING,
        cache=False,
    )
    settings = TrainSettings(epochs=epochs + 1, batch_size=BATCH, workers=WORKERS, device="cpu")
    settings = with_defaults(settings, options)
    data = load_data(folder, "classify")
    train_data, val_data = data.split("train"), data.split("val")
    model = ClassifyModel.initialize(options, data.classes)
    start = clocks()
    console = Console(stderr=True, quiet=True)
    run = TimedRun.open(out, model, train_data, val_data, settings, resume=False, console=console)
    model.fit(train_data, val_data, settings, run)
    return [start, *ends[1:]]


def train_plainly(folder: Path, out: Path, epochs: int, *, channels_last: bool = False) -> list[Clocks]:
    """The clocks at the start and at the end of each epoch."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import transforms as T
    from torchvision.datasets import ImageFolder

    from cvtl import backbones

    backbone = backbones.load(BACKBONE, WEIGHTS if WEIGHTS.exists() else None).eval().requires_grad_(False)
    finish = [T.ToTensor(), T.Normalize(backbone.input.mean, backbone.input.std)]
    augment = [
        T.RandomResizedCrop(SIZE, scale=(CROP, 1.0)),
        T.RandomHorizontalFlip(),
        T.RandomRotation(ROTATION),
        T.ColorJitter(JITTER, JITTER, JITTER),
    ]
    train_data = ImageFolder(str(folder / "train"), T.Compose(augment + finish))
    val_data = ImageFolder(str(folder / "val"), T.Compose([T.Resize(SIZE), T.CenterCrop(SIZE), *finish]))
    train_batches = DataLoader(train_data, BATCH, shuffle=True, num_workers=WORKERS)
    val_batches = DataLoader(val_data, BATCH, num_workers=WORKERS)

    head = nn.Linear(backbone.stages[-1].channels, len(train_data.classes))
    model = nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(memory_format=layout)
    loss_of = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    read = [clocks()]
    for _ in range(epochs):
        for images, labels in train_batches:
            loss = loss_of(model(images.contiguous(memory_format=layout)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = 0
        with torch.no_grad():
            for images, labels in val_batches:
                right += int((model(images.contiguous(memory_format=layout)).argmax(1) == labels).sum())
        read.append(clocks())
    return read


def train_plainly_channels_last(folder: Path, out: Path, epochs: int) -> list[Clocks]:
    """The plain loop with the network's tensors as cvtl's loop has them."""
    return train_plainly(folder, out, epochs, channels_last=True)


JOBS: dict[str, Callable[[Path, Path, int], list[Clocks]]] = {
    "cvtl": train_by_cvtl,
    "plain": train_plainly,
    "plain, channels last": train_plainly_channels_last,
}


def in_child(job: str, folder: Path, out: Path, epochs: int) -> tuple[float, float, float]:
    """Seconds to the end of the first epoch, and of a later one, on the wall and of processors."""
    command = [sys.executable, __file__, "--job", job, str(folder), str(out), str(epochs)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = np.diff(json.loads(said.splitlines()[-1]), axis=0)
    later = np.median(seconds[1:], axis=0)
    return float(seconds[0, 0]), float(later[0]), float(later[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job, folder, out, epochs = arguments.job
        print(json.dumps(JOBS[job](Path(folder), Path(out), int(epochs))))
        return
    found: dict[str, list[tuple[float, float, float]]] = {job: [] for job in JOBS}
    with tempfile.TemporaryDirectory() as name:
        pictures = SHARED / "classify_flowers"
        if not pictures.exists():
            pictures = Path(name) / "pictures"
            make_pictures(pictures)
        for pair in range(arguments.pairs):
            for job, figures in found.items():
                figures.append(in_child(job, pictures, Path(name) / f"{job}{pair}", arguments.epochs))
    first, later, processors = (
        {job: median(times[which] for times in figures) for job, figures in found.items()} for which in range(3)
    )
    title = f"frozen SqueezeNet 1.1 at {SIZE}, batches of {BATCH}, {arguments.pairs} rounds, medians"
    table = Table("seconds", *JOBS, "plain / cvtl", "channels last / cvtl", "bar", title=title)
    for row, times, bar in (
        ("to the end of the first epoch", first, None),
        ("a later epoch", later, BAR),
        ("a later epoch, of processors", processors, None),
    ):
        ratio, of_pictures = (times[job] / times["cvtl"] for job in list(JOBS)[1:])
        verdict = "" if bar is None else f">= {bar} {'ok' if ratio >= bar else 'MISSED'}"
        table.add_row(row, *(f"{times[job]:.2f}" for job in JOBS), f"{ratio:.2f}", f"{of_pictures:.2f}", verdict)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
