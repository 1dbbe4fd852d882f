"""Videos and cameras end to end, against the network alone on pictures that are ready: frames a second.

Run: python tools/bench/bench_video.py [--frames 300] [--pairs 3] [--threads 1]. A clip of 640 x 480 is read, decoded,
resized, looked at and written; the network's passes see the same frames, resized and normalised beforehand, in batches
of the same size. Both take turns, in one process, behind a warm-up; the ratio counts. The camera is the clip at 60
frames a second, more than the networks can do: of it the newest frames are looked at.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from torch import Tensor

    from cvtl.model import Model

SIZE_WH = (640, 480)
BATCH = 8
CAMERA_RATE = 60.0
BAR = 0.90
NETWORKS = {
    "yolo on squeezenet1_1": ("yolo", "squeezenet1_1", ["car", "bus"]),
    "yolo on resnet18": ("yolo", "resnet18", ["car", "bus"]),
    "localize on resnet18": ("localize", "resnet18", ["car", "bus"]),
}


def make_clip(path: Path, frames: int) -> None:
    """A walk over one of scikit-learn's photographs."""
    from sklearn.datasets import load_sample_images

    from cvtl.video_files import VideoFile

    photograph = np.tile(load_sample_images().images[0], (2, 2, 1))
    video = VideoFile(path, rate=25)
    width, height = SIZE_WH
    for number in range(frames):
        left, top = number % (photograph.shape[1] - width), number % (photograph.shape[0] - height)
        video.write(np.ascontiguousarray(photograph[top : top + height, left : left + width]))
    video.finish()


def make_weights(plugin: str, backbone: str, classes: list[str], path: Path) -> None:
    """Fresh weights: what they find does not matter, and is little."""
    import torch

    from cvtl import weights
    from cvtl.registry import plugins

    torch.manual_seed(0)
    spec = plugins().get(plugin)
    options = spec.options_type().model_validate({"backbone": backbone, "weights": "none"})
    weights.save(spec.model_type().initialize(options, classes), path)


def network_alone(model: Model, ready: Tensor, batch: int) -> float:
    """Seconds of the passes over frames that are ready."""
    import torch

    with torch.inference_mode():
        start = perf_counter()
        for first in range(0, len(ready), batch):
            model.network(ready[first : first + batch])  # type: ignore[operator]
        return perf_counter() - start


def measure(name: str, clip: Path, folder: Path, pairs: int, table: Table) -> None:
    """Add a network's rows."""
    import torch

    import cvtl
    from cvtl.live import Feeds, LiveSettings, LiveSource, VideoAsCamera
    from cvtl.preprocessing import prepare
    from cvtl.run_settings import RunSettings
    from cvtl.sources import open_sources
    from cvtl.streaming import answers

    weights = folder / f"{name.replace(' ', '-')}.safetensors"
    make_weights(*NETWORKS[name], weights)
    model = cvtl.load_model(weights, device="cpu").to(memory_format=torch.channels_last).eval()
    frames = [torch.from_numpy(item.load().image).permute(2, 0, 1) for item in open_sources([clip])]
    ready = torch.cat([prepare([frame], model.input) for frame in frames]).contiguous(memory_format=torch.channels_last)
    del frames
    runs = iter(range(10**6))

    def run(**settings: bool) -> float:
        made = RunSettings(batch_size=BATCH, device="cpu", **settings)
        return cvtl.run([clip], weights, folder / f"{name}-{next(runs)}", settings=made).seconds

    def stream() -> float:
        start = perf_counter()
        count = sum(1 for _ in cvtl.stream(model, clip))
        return (perf_counter() - start) / count * len(ready)

    def camera() -> float:
        def open_clip(source: LiveSource, lost_after: float, max_pixels: int) -> VideoAsCamera:
            return VideoAsCamera(clip, rate=CAMERA_RATE, repeat=True)

        feeds = Feeds([LiveSource("camera/0", 0)], LiveSettings(max_frames=len(ready)), open=open_clip)
        start = perf_counter()
        count = sum(1 for _ in answers(model, feeds, iter(()), None))
        return (perf_counter() - start) / count * len(ready)

    ways: dict[str, tuple[Callable[[], float], int]] = {
        "run": (run, BATCH),
        "run --save-video": (lambda: run(save_video=True), BATCH),
        "stream": (stream, 1),
        "stream of a camera": (camera, 1),
    }
    network_alone(model, ready[: 4 * BATCH], BATCH)
    for way, (seconds, batch) in ways.items():
        ratios, rates = [], []
        for _ in range(pairs):
            alone, whole = network_alone(model, ready, batch), seconds()
            ratios.append(alone / whole)
            rates.append((len(ready) / alone, len(ready) / whole))
        alone_rate, rate = (median(column) for column in zip(*rates, strict=True))
        ratio = median(ratios)
        verdict = "yes" if ratio >= BAR else "no"
        table.add_row(name, way, str(batch), f"{alone_rate:.1f}", f"{rate:.1f}", f"{ratio:.2f}", verdict)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", choices=NETWORKS, help="one network")
    arguments = parser.parse_args()
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    title = f"{arguments.frames} frames of {SIZE_WH[0]} x {SIZE_WH[1]}, {torch.get_num_threads()} threads"
    table = Table("network", "way", "batch", "alone, frames/s", "end to end", "ratio", f">= {BAR}", title=title)
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "clip.mp4"
        make_clip(clip, arguments.frames)
        for network in [arguments.only] if arguments.only else NETWORKS:
            measure(network, clip, Path(name), arguments.pairs, table)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
