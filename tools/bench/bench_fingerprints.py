"""The search for near-duplicates: pictures a second, and the time and memory of comparing their fingerprints.

Run: python tools/bench/bench_fingerprints.py [--pictures 1000] [--fingerprints 20000 100000]. The pictures are noise at
several scales, saved as JPEG of 640 x 480; of the fingerprints one in ten has a near-duplicate.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from cvtl.data import Sample
from cvtl.fingerprints import Fingerprint, fingerprints, near_duplicates
from cvtl.images import encode

WH = (640, 480)


def make_pictures(folder: Path, count: int) -> list[Sample]:
    """JPEGs, no two alike."""
    random = np.random.default_rng(0)
    samples = []
    for number in range(count):
        layers = [random.normal(0, 20, (side * 3 // 4, side, 3)).astype(np.float32) for side in (8, 32, 128)]
        image = 128 + sum(cv2.resize(layer, WH, interpolation=cv2.INTER_CUBIC) for layer in layers)
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(encode(np.clip(image, 0, 255).astype(np.uint8), ".jpg"))
        samples.append(Sample.of_file(path.name, path))
    return samples


def make_fingerprints(count: int) -> list[Fingerprint | None]:
    """Random ones, the last tenth those of the first but for three bits."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 256, (count, 32), dtype=np.uint8)
    hashes[-(count // 10) :] = hashes[: count // 10]
    hashes[-(count // 10) :, 31] ^= 7
    return [Fingerprint(random.bytes(32), each.tobytes(), 40) for each in hashes]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--fingerprints", type=int, nargs="*", default=[20_000, 100_000])
    options = parser.parse_args()
    table = Table("what", "seconds", "result", "peak memory so far")

    def measure(what: str, start: float, result: str) -> None:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        table.add_row(what, f"{perf_counter() - start:.2f}", result, f"{memory:.0f} MB")

    with tempfile.TemporaryDirectory() as folder:
        samples = make_pictures(Path(folder), options.pictures)
        start = perf_counter()
        found = fingerprints(samples, lambda count: None)
        rate = len(found) / (perf_counter() - start)
        measure(f"{len(found)} pictures of {WH[0]} x {WH[1]}", start, f"{rate:.0f} img/s")
    for count in options.fingerprints:
        made = make_fingerprints(count)
        start = perf_counter()
        groups = near_duplicates(made)
        assert len(groups) == count // 10
        measure(f"{count} fingerprints compared", start, f"{len(groups)} groups")
    Console().print(table)


if __name__ == "__main__":
    main()
