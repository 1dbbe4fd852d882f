"""Small networks of Ultralytics', and checkpoints of them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from made_objects import CLASSES, SIDE, make_data
from torch import nn

from cvtl.training import TrainReport, TrainSettings, train
from cvtl.training.samples import seed_all
from cvtl_ultralytics import isolation, networks
from cvtl_ultralytics.architecture import Architecture, checked
from cvtl_ultralytics.model import UltralyticsModel
from cvtl_ultralytics.options import UltralyticsOptions

_LAYERS: list[list[Any]] = [
    [-1, 1, "Conv", [16, 3, 2]],
    [-1, 1, "Conv", [16, 3, 2]],
    [-1, 1, "Conv", [32, 3, 2]],
    [-1, 1, "C2f", [32, True]],
    [-1, 1, "Conv", [64, 3, 2]],
    [-1, 1, "Conv", [64, 3, 2]],
]


def table(head: str = "Detect", *more: Any, **settings: Any) -> Architecture:
    """The layers of a tiny network with strides 8, 16 and 32."""
    return {"nc": 3, **settings, "backbone": deepcopy(_LAYERS), "head": [[[3, 4, 5], 1, head, ["nc", *more]]]}


TINY = table()
TINY_V10 = table("v10Detect")
TINY_26 = table(end2end=True, reg_max=1)
TINY_DETR = table("RTDETRDecoder", 32, 20, 4, 4, 2, 64)
TINIES = {"v8": TINY, "v10": TINY_V10, "26": TINY_26, "rtdetr": TINY_DETR}


def make_network(architecture: Architecture, seed: int = 0, classes: int = 3) -> nn.Module:
    """A network whose answers are not all alike, as those of fresh weights are."""
    torch.manual_seed(seed)
    network = networks.build(checked(architecture), classes)
    enliven(network)
    return network


@torch.no_grad()
def enliven(network: nn.Module, images: torch.Tensor | None = None) -> None:
    """Statistics of pictures, (N, 3, H, W) or noise, and last layers that tell places apart."""
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    network.train()
    network(torch.rand(2, 3, 96, 96) if images is None else images)
    network.eval()
    for norm in norms:
        norm.momentum = 0.03
    head = networks.head(network)
    for name, bias, spread in (("cv2", 2, 0.5), ("one2one_cv2", 2, 0.5), ("cv3", -2, 2), ("one2one_cv3", -2, 2)):
        for branch in getattr(head, name, None) or ():
            branch[-1].weight.normal_(0, spread / branch[-1].in_channels ** 0.5)
            branch[-1].bias.fill_(bias)


def save_checkpoint(network: nn.Module, path: Path, *, task: str = "detect", names: Any = None, **more: Any) -> Path:
    """Write a network as Ultralytics' trainer does."""
    saved: Any = deepcopy(network).half()
    saved.names, saved.task, saved.args = names or dict(enumerate(CLASSES)), task, {"task": task, "imgsz": SIDE}
    content = {
        "epoch": -1,
        "model": None,
        "ema": saved,
        "optimizer": None,
        "train_args": {"task": task, "imgsz": SIDE, "data": "coco.yaml"},
        "train_metrics": {"metrics/mAP50(B)": 0.5, "fitness": 0.25},
        "date": "2026-11-29T00:00:00",
        "version": "8.4.190",
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
        **more,
    }
    torch.save(content, path)
    return path


def make_model(architecture: Architecture | str = TINY, seed: int = 0, **options: Any) -> UltralyticsModel:
    """A detector with random weights."""
    seed_all(seed)
    made = UltralyticsOptions(model=architecture, **{"size": SIDE} | options)
    return UltralyticsModel.initialize(made, CLASSES).eval()


def train_tiny(
    folder: Path, architecture: Architecture = TINY, *, resume: bool = False, options: Any = None, **settings: Any
) -> TrainReport:
    """Train one."""
    made = TrainSettings(
        **{"epochs": 2, "batch_size": 8, "workers": 0, "device": "cpu", "schedule": "constant"} | settings
    )
    model = make_model(architecture, made.seed, **(options or {}))
    return train(model, make_data(16), make_data(8, first=1000), made, folder, resume=resume, quiet=True)


def tasks() -> Any:
    """Ultralytics' `nn.tasks`."""
    return isolation.module("nn.tasks")
