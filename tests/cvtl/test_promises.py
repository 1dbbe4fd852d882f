"""The promises of the design that no other file tests.

One row per input, resumption, exit codes, weights that run no code, plugins that break nothing else, the same weights
from the same seed: test_pipeline, test_resume, cli/, test_checkpoints, test_registry, training/.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import cvtl
from cvtl.data import load_data
from cvtl.images import read_image
from cvtl.preprocessing import InputSpec, resize
from cvtl.run_settings import RunSettings

MakeFolder = Callable[[Path, int], Path]
WritePicture = Callable[..., Path]

NO_NETWORK = """
import sys

def refuse(event, arguments):
    local = event == "socket.connect" and isinstance(arguments[1], (str, bytes))
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto") and not local:
        sys.stderr.write(f"NETWORK: {event} {arguments}\\n")
        sys.stderr.flush()
        import os
        os._exit(99)

sys.addaudithook(refuse)
"""

PEAK = """
import resource, sys
from cvtl.cli.main import main
code = main(sys.argv[1:])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["plugins"],
        ["doctor"],
        ["backbones", "resnet18"],
        ["run", "--help"],
        ["run", "detect", "--help", "--weights", "{glow}"],
        ["run", "detect", "{pictures}", "--weights", "{glow}", "--out", "{out}", "--save-images"],
        ["train", "glow", "{classes}", "--epochs", "1", "--out", "{out}", "--workers", "1"],
        ["info", "{glow}"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_nothing_is_looked_up_on_the_network(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder, write_picture: WritePicture, words: list[str]
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(NO_NETWORK)
    for number in range(8):
        write_picture(tmp_path / "classes" / ("dark" if number < 4 else "light") / f"{number}.png", grey=30 * number)
    names = {
        "glow": glow,
        "pictures": make_messy_folder(tmp_path / "pictures", 12),
        "classes": tmp_path / "classes",
        "out": tmp_path / "out",
    }
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'hook'}{os.pathsep}{os.environ['PYTHONPATH']}"}
    command = [sys.executable, "-m", "cvtl.cli.main", *(word.format(**names) for word in words)]
    child = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "NETWORK" not in child.stderr
    assert child.returncode in (0, 3), child.stderr


def test_the_network_guard_of_these_tests_does_catch_a_connection(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    code = "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert child.returncode == 99
    assert "NETWORK" in child.stderr


@pytest.mark.slow
def test_memory_stays_flat_however_many_inputs(glow: Path, tmp_path: Path, write_picture: WritePicture) -> None:
    peaks = []
    for count in (2_000, 20_000):
        original = write_picture(tmp_path / "original.jpg", size_hw=(48, 64))
        folder = tmp_path / f"of{count}"
        for number in range(count):
            path = folder / f"{number % 50:02d}" / f"{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(original, path)
        words = [
            "run",
            "detect",
            str(folder),
            "--weights",
            str(glow),
            "--out",
            str(tmp_path / f"out{count}"),
            "--quiet",
        ]
        child = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=True)
        code, kibibytes = child.stdout.split()
        assert code == "0"
        assert len((tmp_path / f"out{count}" / "rows.jsonl").read_bytes().splitlines()) == count
        peaks.append(int(kibibytes))
    assert peaks[1] <= 1.1 * peaks[0]


def sideways(folder: Path, orientation: int) -> Path:
    """A picture whose EXIF header says how it is to be turned; upright it is 40 high, 60 wide, red at the left."""
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:, :30, 0] = 255
    stored = {1: upright, 3: upright[::-1, ::-1], 6: np.rot90(upright, 1), 8: np.rot90(upright, -1)}[orientation]
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(stored[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 100])[
        1
    ].tobytes()
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01" + tag + b"\x00\x00\x00\x00"
    app1 = b"Exif\x00\x00" + tiff
    path = folder / f"o{orientation}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded[:2] + b"\xff\xe1" + (len(app1) + 2).to_bytes(2, "big") + app1 + encoded[2:])
    return path


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pictures_are_upright_in_files_lists_and_training_alike(glow: Path, tmp_path: Path, orientation: int) -> None:
    path = sideways(tmp_path / "data" / "a", orientation)
    sideways(tmp_path / "data" / "b", 1)
    (tmp_path / "list.txt").write_text(str(path))
    trained_on = load_data(tmp_path / "data")[0].read()
    for name, source in {"file": path, "list": tmp_path / "list.txt", "folder": path.parent}.items():
        cvtl.run([source], glow, tmp_path / name)
        (row,) = (tmp_path / name / "rows.jsonl").read_text().splitlines()
        assert (json.loads(row)["width"], json.loads(row)["height"]) == (60, 40)
    image = read_image(path)
    assert np.array_equal(image, trained_on)
    assert image.shape == (40, 60, 3)
    assert image[:, :25, 0].min() > 200
    assert image[:, 35:, 0].max() < 60


def test_training_and_prediction_share_one_resizer(tmp_path: Path, write_picture: WritePicture) -> None:
    from cvtl_windows.crops import CropSamples

    for name in ("background", "thing"):
        write_picture(tmp_path / name / "x.png", size_hw=(71, 53))
    data = load_data(tmp_path)
    spec = InputSpec(size_hw=(32, 32))
    image, _ = CropSamples(data, ("thing",), spec)[1]
    assert torch.equal(image, resize(torch.from_numpy(data[1].read()).permute(2, 0, 1), spec))


@pytest.mark.parametrize("readers", [1, 2, 7])
def test_rows_do_not_depend_on_how_many_threads_read(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder, readers: int
) -> None:
    folder = make_messy_folder(tmp_path / "pictures", 60)
    cvtl.run([folder], glow, tmp_path / "one", settings=RunSettings(readers=1, batch_size=4))
    cvtl.run([folder], glow, tmp_path / "out", settings=RunSettings(readers=readers, batch_size=4))
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == (tmp_path / "one" / "rows.jsonl").read_bytes()
