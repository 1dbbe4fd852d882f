"""Memory in training many classes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

PICTURES_PER_CLASS = 10


def write_classes(folder: Path, classes: int) -> Path:
    """Class folders of noise; every picture is its own."""
    random = np.random.default_rng(classes)
    for number in range(classes):
        place = folder / f"class{number:04d}"
        place.mkdir(parents=True)
        for index in range(PICTURES_PER_CLASS):
            picture = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            picture[..., number % 3] //= 1 + number % 7
            assert cv2.imwrite(str(place / f"{index}.png"), picture)
    return folder


def peak_megabytes(folder: Path) -> float:
    """Of a process that trains on a folder."""
    out = folder.with_name(f"{folder.name}-run")
    command = [sys.executable, "-m", "cvtl.cli.main", "train", "classify", str(folder), "--out", str(out), "--quiet"]
    command += ["--backbone", "lenet5", "--weights", "none", "--strategy", "features", "--epochs", "2"]
    command += ["--near-duplicates=false", "--device", "cpu"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return usage.ru_maxrss / 1024


@pytest.mark.slow
def test_ten_times_the_pictures_and_classes_need_little_more_memory(tmp_path: Path) -> None:
    few = peak_megabytes(write_classes(tmp_path / "few", 100))
    many = peak_megabytes(write_classes(tmp_path / "many", 1000))
    print(f"{few:.0f} MB with 1,000 pictures, {many:.0f} MB with 10,000")
    assert many < few + 120
