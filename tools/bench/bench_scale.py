"""Many pictures: one run, killed and resumed, in shards and merged; two shards against threads; what Ray costs.

    python tools/bench/bench_scale.py
    python tools/bench/bench_scale.py --only ray --ray-pictures 200 2000

Pictures are files of 32 x 32 in folders of 1,000, weights are a LeNet-5 drawn by a seed; for shards against threads
pictures are of 224 x 224 and the network is a ResNet-18. Each run is a process of its own, started anew: seconds are
of the whole command, peak memory is the system's `VmHWM`.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MAKE_PICTURES = """
import sys
from pathlib import Path
import cv2
import numpy as np
folder, count, side = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(0)
for number in range(count):
    path = folder / f"{number // 1000:04d}" / f"{number:07d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))
"""
MAKE_WEIGHTS = """
import sys
import torch
from cvtl import weights
from cvtl_classify.model import ClassifyModel
from cvtl_classify.options import ClassifyOptions
torch.manual_seed(0)
options = ClassifyOptions(backbone=sys.argv[2], strategy="scratch", size=int(sys.argv[3]), predict={"top_k": 2})
weights.save(ClassifyModel.initialize(options, ["circle", "square", "star", "other"]), sys.argv[1])
"""


@dataclass(frozen=True)
class Took:
    """What a process took.

    Attributes:
        code: its exit code, or minus the signal that ended it.
        seconds: on the clock.
        processor_seconds: of all its threads; not of the workers that Ray starts.
        peak_mib: its largest memory.
        said: what it printed, if that was asked for as JSON.
    """

    code: int
    seconds: float
    processor_seconds: float
    peak_mib: float
    said: dict[str, object]


class Process:
    """A `cvtl` command, begun."""

    def __init__(self, words: Sequence[object], threads: int = 1) -> None:
        self._start = time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "cvtl.cli.main", *map(str, words)]
        self.popen = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self) -> Took:
        """Wait for its end."""
        assert self.popen.stdout is not None
        said = self.popen.stdout.read()
        _, status, usage = os.wait4(self.popen.pid, 0)
        seconds = time.perf_counter() - self._start
        code = os.waitstatus_to_exitcode(status)
        self.popen.returncode = code
        if code > 0 and self.popen.stderr is not None:
            raise RuntimeError(self.popen.stderr.read().decode())
        found = json.loads(said) if said else {}
        return Took(code, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, found)


class Workshop:
    """Pictures, weights and commands in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pictures(self, count: int, side: int = 32) -> Path:
        """A folder with so many."""
        made = self.folder / f"p{side}x{count}"
        if not made.exists():
            subprocess.run([sys.executable, "-c", MAKE_PICTURES, made, str(count), str(side)], check=True)
        return made

    def weights(self, backbone: str, side: int) -> Path:
        """Weights that classify."""
        made = self.folder / f"{backbone}.safetensors"
        if not made.exists():
            subprocess.run([sys.executable, "-c", MAKE_WEIGHTS, made, backbone, str(side)], check=True)
        return made

    def begin(self, out: str, pictures: Path, *more: object, backbone: str = "lenet5", threads: int = 1) -> Process:
        """Begin a run of one thread for decoding and so many for the network."""
        weights = self.weights(backbone, 32 if backbone == "lenet5" else 224)
        words = ["run", "classify", pictures, "--weights", weights, "--out", self.folder / out, "--json"]
        return Process([*words, "--readers", threads, "--device", "cpu", *more], threads)

    def rows(self, out: str) -> Path:
        """A run's rows."""
        return self.folder / out / "rows.jsonl"

    def same(self, out: str, other: str) -> str:
        """Whether two runs have the same rows."""
        return "same bytes" if filecmp.cmp(self.rows(out), self.rows(other), shallow=False) else "OTHER BYTES"


def many(shop: Workshop, words: argparse.Namespace) -> None:
    """One run over everything, killed and resumed, in shards and merged."""
    count = words.pictures
    pictures, tenth = shop.pictures(count), shop.pictures(count // 10)
    table(f"{count} pictures of 32 x 32, LeNet-5, 1 thread", "", "seconds", "processor s", "img/s", "peak MiB", "rows")
    small = shop.begin("tenth", tenth).end()
    line("a tenth of them", small, count // 10, lines_in(shop.rows("tenth")))
    whole = shop.begin("whole", pictures).end()
    line("all in one go", whole, count, lines_in(shop.rows("whole")))
    row = shop.rows("whole").stat().st_size / count
    print(f"memory: {whole.peak_mib / small.peak_mib:.3f} of a tenth's; {row:.0f} bytes a row")
    kill_and_resume(shop, pictures, count)
    shards_and_merge(shop, pictures, count)


def kill_and_resume(shop: Workshop, pictures: Path, count: int) -> None:
    """Killed at three points, resumed each time."""
    size = shop.rows("whole").stat().st_size
    for part in (0.2, 0.5, 0.8):
        process = shop.begin("killed", pictures, "--resume")
        while process.popen.poll() is None and not reached(shop.rows("killed"), part * size):
            time.sleep(0.05)
        process.popen.send_signal(signal.SIGKILL)
        process.popen.wait()
        print(f"killed at {lines_in(shop.rows('killed'))} rows")
    last = shop.begin("killed", pictures, "--resume").end()
    line("resumed to the end", last, count - int(str(last.said["resumed"])), lines_in(shop.rows("killed")))
    print(shop.same("killed", "whole"))


def shards_and_merge(shop: Workshop, pictures: Path, count: int) -> None:
    """Four shards, one after the other."""
    for number in range(1, 5):
        took = shop.begin(f"s{number}", pictures, "--shard", f"{number}/4").end()
        line(f"shard {number}/4", took, count // 4, lines_in(shop.rows(f"s{number}")))
    folders = [shop.folder / f"s{number}" for number in (3, 1, 4, 2)]
    merged = Process(["merge", *folders, "--out", shop.folder / "merged", "--json"]).end()
    line("merge", merged, count, lines_in(shop.rows("merged")))
    print(shop.same("merged", "whole"))


def beside(shop: Workshop, words: argparse.Namespace) -> None:
    """Two shards of one thread beside each other against one process."""
    count = words.large_pictures
    pictures = shop.pictures(count, 224)
    table(f"{count} pictures of 224 x 224, ResNet-18", "", "seconds", "processor s", "img/s", "peak MiB", "rows")
    for pair in range(words.pairs):
        for threads in (1, 2):
            name = f"t{threads}-{pair}"
            took = shop.begin(name, pictures, backbone="resnet18", threads=threads).end()
            line(f"one process, {threads} threads", took, count, lines_in(shop.rows(name)))
        start = time.perf_counter()
        names = [f"b{number}-{pair}" for number in (1, 2)]
        begun = [
            shop.begin(name, pictures, "--shard", f"{number}/2", backbone="resnet18")
            for number, name in enumerate(names, start=1)
        ]
        ended = [process.end() for process in begun]
        folders = [shop.folder / name for name in names]
        merged = Process(["merge", *folders, "--out", shop.folder / f"bm-{pair}", "--json"]).end()
        both = Took(
            0,
            time.perf_counter() - start,
            sum(each.processor_seconds for each in [*ended, merged]),
            sum(each.peak_mib for each in ended),
            {},
        )
        line("two shards of 1 thread, and merge", both, count, lines_in(shop.rows(f"bm-{pair}")))
        print(shop.same(f"bm-{pair}", f"t1-{pair}"))


def ray(shop: Workshop, words: argparse.Namespace) -> None:
    """The same pictures by this process and by Ray on this machine."""
    for backbone, side in (("lenet5", 32), ("resnet18", 224)):
        table(
            f"Ray against one process, {backbone}, 1 thread",
            "pictures",
            "local s",
            "ray s",
            "ratio",
            "first row, s",
            "",
        )
        for count in words.ray_pictures:
            if backbone == "resnet18" and count > words.large_pictures:
                continue
            pictures = shop.pictures(count, side)
            local = shop.begin(f"l{side}-{count}", pictures, backbone=backbone).end()
            more = ["--engine", "ray", "--ray-workers", words.ray_workers]
            process = shop.begin(f"r{side}-{count}", pictures, *more, backbone=backbone)
            start = time.perf_counter()
            while process.popen.poll() is None and not reached(shop.rows(f"r{side}-{count}"), 1):
                time.sleep(0.02)
            first = time.perf_counter() - start
            took = process.end()
            ratio = took.seconds / local.seconds
            same = shop.same(f"r{side}-{count}", f"l{side}-{count}")
            figures = f"{count:8}{local.seconds:10.1f}{took.seconds:10.1f}{ratio:8.2f}{first:10.1f}{took.peak_mib:8.0f}"
            print(f"{figures}   {same}", flush=True)


PARTS: dict[str, Callable[[Workshop, argparse.Namespace], None]] = {"many": many, "beside": beside, "ray": ray}


def table(title: str, *columns: str) -> None:
    """Print a title and what stands in the columns."""
    print(f"\n{title}\n" + " | ".join(columns), flush=True)


def line(name: str, took: Took, count: int, rows: int) -> None:
    """Print a line of a table."""
    rate = count / took.seconds
    figures = f"{took.seconds:9.1f}{took.processor_seconds:9.1f}{rate:9.0f}{took.peak_mib:9.0f}{rows:9}"
    print(f"{name:36}{figures}", flush=True)


def reached(path: Path, size: float) -> bool:
    """Whether a file is so large."""
    return path.exists() and path.stat().st_size >= size


def lines_in(path: Path) -> int:
    """How many lines a file has."""
    with open(path, "rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS))
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--large-pictures", type=int, default=2_000)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--ray-pictures", type=int, nargs="*", default=[200, 2_000, 20_000])
    parser.add_argument("--ray-workers", type=int, default=1)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cvtl-scale-") as name:
        for part in words.only:
            PARTS[part](Workshop(Path(name)), words)


if __name__ == "__main__":
    main()
