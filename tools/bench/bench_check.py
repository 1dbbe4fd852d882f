"""`cvtl data check` on few and on many pictures: its memory must not grow with their number.

Run: python tools/bench/bench_check.py [--few 2000] [--many 20000]. The pictures are JPEGs of 160 x 120 in class
folders, a tenth of them saved twice with another quality; each check runs in a process of its own and is timed behind
its start-up.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

SIZE_WH = (160, 120)
CLASSES = ("cat", "dog")
# What is kept of a picture: a sample, its fingerprint, what was found.
KIBIBYTES_A_PICTURE = 4.0


def make_pictures(folder: Path, count: int) -> None:
    """Coloured clouds, no two alike, and of every tenth a near duplicate."""
    random = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number in range(count):
        if number % 10 != 9:
            clouds = random.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        image = cv2.resize(clouds, SIZE_WH, interpolation=cv2.INTER_CUBIC)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95 if number % 10 != 9 else 60]
        cv2.imwrite(str(folder / CLASSES[number % 2] / f"{number:06d}.jpg"), image, quality)


def check_all(folder: Path) -> tuple[float, int]:
    """Seconds of the check, and how many findings there are."""
    from cvtl.data import load_data
    from cvtl_datasets.checks import check

    start = perf_counter()
    found = check(load_data(folder))
    return perf_counter() - start, len(found)


def in_child(folder: Path) -> tuple[float, int, float]:
    """Seconds, findings, and peak memory in MiB of a check in a process of its own."""
    said = subprocess.run(
        [sys.executable, __file__, "--job", str(folder)], check=True, capture_output=True, text=True
    ).stdout
    seconds, findings, kibibytes = json.loads(said)
    return seconds, findings, kibibytes / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps([*check_all(Path(arguments.job)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
        return
    table = Table("pictures", "seconds", "img/s", "findings", "peak MiB", title=f"check of JPEGs of {SIZE_WH}")
    peaks = []
    for count in (arguments.few, arguments.many):
        with tempfile.TemporaryDirectory() as name:
            make_pictures(Path(name), count)
            seconds, findings, peak = in_child(Path(name))
        peaks.append(peak)
        table.add_row(f"{count}", f"{seconds:.1f}", f"{count / seconds:.0f}", f"{findings}", f"{peak:.1f}")
    console = Console(width=100)
    console.print(table)
    growth = (peaks[1] - peaks[0]) * 1024 / (arguments.many - arguments.few)
    verdict = "ok" if growth <= KIBIBYTES_A_PICTURE else "MISSED"
    console.print(f"memory for one picture more: {growth:.2f} KiB, bar <= {KIBIBYTES_A_PICTURE} {verdict}")


if __name__ == "__main__":
    main()
