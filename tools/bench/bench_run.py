"""`cvtl run` end to end against its network's forward passes alone: time and peak memory.

Run: python tools/bench/bench_run.py [--pictures 300] [--pairs 2]. The run reads, decodes, resizes, predicts, thins out
and writes rows; the forward passes see levels of the same sizes, decoded, resized and normalised beforehand. Both are
timed inside a process of their own, behind their start-up, and take turns; the ratio counts.
"""

from __future__ import annotations

import argparse
import json
import resource
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

SIZE_HW = (480, 640)
BATCH = 8
PREDICT = {"min_object": 64.0, "max_object": 256.0, "scales_per_octave": 1}
TIME_BAR, MEMORY_BAR = 0.90, 1.3


def make_pictures(folder: Path, count: int) -> None:
    """Parts of scikit-learn's photographs, no two alike, as JPEGs."""
    import torch
    from sklearn.datasets import load_sample_images

    from cvtl.images import encode
    from cvtl.preprocessing import resize_to

    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    for number in range(count):
        photograph = photographs[number % 2]
        top, left = random.integers(0, 100), random.integers(0, 150)
        part = torch.from_numpy(photograph[top : top + 320, left : left + 427].copy()).permute(2, 0, 1)
        image = resize_to(part, SIZE_HW).permute(1, 2, 0).contiguous().numpy()
        (folder / f"{number:04d}.jpg").write_bytes(encode(image, ".jpg"))


def make_weights(path: Path) -> None:
    """A window network on ResNet-18 that, like a trained one, calls nearly every window background."""
    import torch

    from cvtl import weights
    from cvtl_windows.model import WindowsModel
    from cvtl_windows.options import WindowsOptions

    torch.manual_seed(0)
    options = WindowsOptions.model_validate({"backbone": "resnet18", "window": 64, "predict": PREDICT})
    model = WindowsModel.initialize(options, ["background", "object"])
    with torch.no_grad():
        model.classifier.head[-1].bias[-1] = 6.0  # type: ignore[union-attr, index]
    weights.save(model, path)


def run_all(folder: Path, weights: Path, out: Path) -> float:
    """Seconds of the run, as its own report has them."""
    import cvtl
    from cvtl.run_settings import RunSettings

    return cvtl.run([folder], weights, out, settings=RunSettings(batch_size=BATCH, device="cpu")).seconds


def forward_all(folder: Path, weights: Path, out: Path) -> float:
    """Seconds of the network's passes over the same levels, in the same batches."""
    import torch

    import cvtl
    from cvtl.images import read_image
    from cvtl.preprocessing import normalize
    from cvtl_windows.convolutional import to_convolutional
    from cvtl_windows.pyramid import level_image, levels

    model = cvtl.load_model(weights).to(memory_format=torch.channels_last)
    files = sorted(folder.iterdir())
    window = model.input.size_hw
    with torch.inference_mode():
        net = to_convolutional(model.classifier, window)  # type: ignore[arg-type]
        stack = torch.stack([torch.from_numpy(read_image(file)).permute(2, 0, 1) for file in files[:BATCH]])
        ready = [
            normalize(level_image(stack, level, window, net.stride), model.input)
            for level in levels(SIZE_HW, window, **PREDICT)  # type: ignore[arg-type]
        ]
        start = perf_counter()
        for first in range(0, len(files), BATCH):
            count = min(BATCH, len(files) - first)
            for batch in ready:
                net(batch[:count])
        return perf_counter() - start


JOBS: dict[str, Callable[[Path, Path, Path], float]] = {"run": run_all, "forward": forward_all}


def in_child(job: str, folder: Path, weights: Path, out: Path) -> tuple[float, float]:
    """Seconds and peak memory in MiB of one job in a process of its own."""
    command = [sys.executable, __file__, "--job", job, str(folder), str(weights), str(out)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, kibibytes = json.loads(said.splitlines()[-1])
    return seconds, kibibytes / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job, *paths = arguments.job
        seconds = JOBS[job](*map(Path, paths))
        print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
        return
    found: dict[str, list[tuple[float, float]]] = {"run": [], "forward": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        make_pictures(folder / "pictures", arguments.pictures)
        make_weights(folder / "w.safetensors")
        for pair in range(arguments.pairs):
            for job, figures in found.items():
                figures.append(in_child(job, folder / "pictures", folder / "w.safetensors", folder / f"{job}{pair}"))
    times = {job: median(seconds for seconds, _ in figures) for job, figures in found.items()}
    peaks = {job: median(peak for _, peak in figures) for job, figures in found.items()}
    speed, memory = times["forward"] / times["run"], peaks["run"] / peaks["forward"]
    title = f"{arguments.pictures} JPEGs of 640 x 480, ResNet-18 windows of 64, {arguments.pairs} pairs, medians"
    table = Table("", "cvtl run", "forward alone", "ratio", "bar", title=title)
    for name, values, ratio, bar, met in (
        ("seconds", times, speed, f">= {TIME_BAR}", speed >= TIME_BAR),
        ("peak MiB", peaks, memory, f"<= {MEMORY_BAR}", memory <= MEMORY_BAR),
    ):
        verdict = f"{bar} {'ok' if met else 'MISSED'}"
        table.add_row(name, f"{values['run']:.1f}", f"{values['forward']:.1f}", f"{ratio:.3f}", verdict)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
