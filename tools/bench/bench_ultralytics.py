"""Boxes of Ultralytics' networks here and in Ultralytics' own hands, on its two photographs.

Run: python tools/bench/bench_ultralytics.py [yolo11n yolo26n ...] [--learn 250]. For each architecture with random
weights, fresh ones and ones that answer differently in different places: how far boxes of all places differ, before
suppression, in pixels of the photograph, between cvtl (its pictures, the network as it is) and Ultralytics
(`LetterBox`, the network with its normalisations folded). With `--learn N` a YOLO11n learns the objects of the two
photographs, which YOLOX-nano beside the checkout finds, in N steps at 320 pixels; then the detections of both are
compared one to one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from cvtl import weights
from cvtl.images import read_image
from cvtl.preprocessing import normalize, prepare, resize
from cvtl.results import Detections
from cvtl.training.objects import Seen
from cvtl.training.samples import seed_all
from cvtl_ultralytics import isolation, networks
from cvtl_ultralytics.architecture import find_architecture
from cvtl_ultralytics.framing import tight_window
from cvtl_ultralytics.model import UltralyticsModel
from cvtl_ultralytics.options import UltralyticsOptions
from cvtl_ultralytics.reading import input_of

FAMILIES = "yolov3-tiny yolov5n yolov6n yolov8n yolov9t yolov10n yolo11n yolo12n yolo26n".split()  # noqa: SIM905
PICTURES = ("bus.jpg", "zidane.jpg")
YOLOX = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights" / "yolox_nano.onnx"


def photographs() -> list[Tensor]:
    """Both, uint8 (3, H, W)."""
    folder = isolation.package_folder() / "assets"
    return [torch.from_numpy(read_image(folder / name)).permute(2, 0, 1) for name in PICTURES]


def make(name: str, classes: list[str], side: int) -> UltralyticsModel:
    """A model with fresh weights."""
    seed_all(0)
    architecture = find_architecture(name)
    options = UltralyticsOptions(model=architecture, size=side)
    return UltralyticsModel(options, classes, input_of(architecture, side)).eval()


@torch.no_grad()
def enliven(network: nn.Module, images: Tensor) -> None:
    """Statistics of the pictures, and random last layers."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
            norm.reset_running_stats()
    network.train()
    network(images)
    network.eval()
    head = networks.head(network)
    for part, spread, bias in (
        ("cv2", 0.2, 2.0),
        ("one2one_cv2", 0.2, 2.0),
        ("cv3", 1.0, -3.0),
        ("one2one_cv3", 1.0, -3.0),
    ):
        for branch in getattr(head, part, None) or ():
            branch[-1].weight.normal_(0, spread / branch[-1].in_channels ** 0.5)
            branch[-1].bias.normal_(bias, float(part.endswith("cv2") and head.reg_max > 1))


@torch.inference_mode()
def largest_difference(model: UltralyticsModel) -> float:
    """In pixels of the photographs, over all places of both."""
    folded: Any = deepcopy(model.network).fuse(verbose=False).eval()  # type: ignore[operator]
    letterbox = isolation.module("data.augment").LetterBox(model.input.size_hw, auto=True, stride=32)
    for network in (model.network, folded):
        networks.head(network).end2end = False
    largest = 0.0
    for image in photographs():
        window = tight_window((image.shape[1], image.shape[2]), model.input, 32)
        whole = resize(image, model.input)
        part = whole[:, window.top : window.top + window.height, window.left : window.left + window.width]
        theirs = torch.from_numpy(letterbox(image=image.permute(1, 2, 0).numpy())).permute(2, 0, 1)
        ours, expected = model.network(normalize(part[None], model.input))[0], folded(theirs[None] / 255)[0]
        scale = max(model.input.size_hw) / max(image.shape)
        largest = max(largest, float((ours - expected)[:, :4].abs().max()) / scale)
    return largest


def learn(steps: int, file: Path) -> None:
    """Train a YOLO11n on what YOLOX-nano finds in both photographs, and compare detections."""
    images = photographs()
    teacher = weights.load(YOLOX).with_predict_options(threshold=0.4)
    with torch.inference_mode():
        found = teacher.predict(images)
    model = make("yolo11n", list(teacher.classes), 320)
    batch = prepare(images, model.input)
    targets = [_as_seen(each, image, model) for each, image in zip(found, images, strict=True)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            # A few hundred steps are to suffice.
            norm.momentum = 0.1
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.stack(list(model.loss(batch, targets).values())).sum()
        loss.backward()
        optimizer.step()
    model.eval().with_predict_options(threshold=0.25)
    print(f"yolo11n after {steps} steps on both photographs: loss {float(loss.detach()):.2f}")
    network: Any = deepcopy(model.network).half()
    network.names, network.task, network.args = dict(enumerate(model.classes)), "detect", {"task": "detect"}
    torch.save({"model": network, "train_args": {"imgsz": 320}, "version": isolation.package_version()}, file)
    _compare(weights.load(file).with_predict_options(threshold=0.25), file)


def _as_seen(found: Any, image: Tensor, model: UltralyticsModel) -> Seen:
    from cvtl.preprocessing import place

    return Seen(place((image.shape[1], image.shape[2]), model.input).to_input(found.boxes), found.labels)


def _compare(model: Any, file: Path) -> None:
    with isolation.undisturbed():
        os.environ.update(isolation.SAFELY)
        theirs = isolation.module("models").YOLO(file)
        for name, image in zip(PICTURES, photographs(), strict=True):
            with torch.inference_mode():
                (ours,) = model.predict([image])
            assert isinstance(ours, Detections)
            bgr = cv2.cvtColor(image.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2BGR)
            expected = theirs.predict(bgr, verbose=False, device="cpu")[0].boxes.data
            same = len(ours) > 0 and len(ours) == len(expected) and ours.labels.tolist() == expected[:, 5].tolist()
            moved = float((ours.boxes - expected[:, :4]).abs().max()) if same else float("nan")
            print(
                f"{name}: {len(ours)} detections here, {len(expected)} there; boxes differ by up to {moved:.4f} pixels"
            )


def main() -> None:
    """Print a line for each architecture, and what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=FAMILIES)
    parser.add_argument("--learn", type=int, default=0)
    parser.add_argument("--side", type=int, default=640)
    options = parser.parse_args()
    for name in options.names if not options.learn else ():
        model = make(name, [str(number) for number in range(80)], options.side)
        fresh = largest_difference(model)
        enliven(model.network, prepare(photographs(), model.input))
        print(f"{name}: fresh weights {fresh:.4f}, lively ones {largest_difference(model):.4f} pixels", flush=True)
    if options.learn:
        with tempfile.TemporaryDirectory() as folder:
            learn(options.learn, Path(folder) / "learnt.pt")


if __name__ == "__main__":
    main()
