"""How long commands take to start: whole processes, alternating with an empty Python.

Run: python tools/bench/bench_startup.py [--rounds 7].
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from statistics import median
from time import perf_counter

from rich.console import Console
from rich.table import Table

CVTL = [sys.executable, "-m", "cvtl.cli.main"]
BARS = {"cvtl --help": 0.4}


def seconds(command: list[str], folder: str) -> float:
    """Wall time of one process."""
    start = perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env=os.environ)
    return perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        "cvtl --help": [*CVTL, "--help"],
        "cvtl plugins": [*CVTL, "plugins"],
        "cvtl run detect --help": [*CVTL, "run", "detect", "--help"],
        "cvtl train windows --help": [*CVTL, "train", "windows", "--help"],
        "cvtl run detect (the demo)": [*CVTL, "run", "detect"],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds + 1):
            for name, command in commands.items():
                found[name].append(seconds(command, folder))
    table = Table("command", "seconds", "of an empty Python", "bar", title=f"start-up, medians of {rounds} rounds")
    empty = median(found["python -c pass"][1:])
    for name, times in found.items():
        middle = median(times[1:])
        bar = f"< {BARS[name]} {'ok' if middle < BARS[name] else 'MISSED'}" if name in BARS else ""
        table.add_row(name, f"{middle:.3f}", f"{middle / empty:.1f}x", bar)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
