"""Answers without a model, and pictures to ask for."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from cvtl.images import encode
from cvtl.results import Classification, Detections, Picture, Result
from cvtl.serving.answering import Answers, Order, OrderJob, Outcomes
from cvtl.serving.choices import Choice

PATIENCE = 30


class Canned(Answers):
    """Answers without a model: what the picture's first pixel says, as soon as the test lets it.

    A first pixel of 13 makes it fail.
    """

    name = "canned.safetensors"
    classes = ("dark", "<b>light</b>")

    def __init__(self, task: str = "classify") -> None:
        self.task = task
        self.takes_style = task == "style"
        self.styles = {"waves": picture(90)} if self.takes_style else {}
        self.choices = [Choice("steps", "how many", 5, 1, 50, is_whole=True)] if self.takes_style else []
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()

    def check(self, order: Order) -> None:
        for choice in self.choices:
            choice.check(int(order.chosen.get(choice.name, choice.default)))

    def together(self, order: Order) -> Hashable:
        return "all"

    def work(self, jobs: Sequence[OrderJob]) -> Outcomes:
        self.begun.set()
        assert self.go.wait(PATIENCE)
        return [self._answer(job.request) for job in jobs]

    def _answer(self, order: Order) -> Result | Exception:
        first = int(order.image[0, 0, 0])
        if first == 13:
            return ValueError("the network's output is not finite")
        if self.task == "style":
            return Picture(torch.from_numpy(order.image.copy()).permute(2, 0, 1))
        if self.task == "detect":
            boxes = torch.tensor([[1.0, 2.0, 9.0, 8.0]])
            return Detections(boxes, torch.tensor([0.75]), torch.tensor([int(first > 127)]), self.classes)
        light = first / 255
        return Classification(torch.tensor([1 - light, light]), self.classes)


def picture(grey: int = 200, size_hw: tuple[int, int] = (20, 30)) -> Any:
    """A picture of one shade, (H, W, 3)."""
    return np.full((*size_hw, 3), grey, np.uint8)


def png(grey: int = 200, size_hw: tuple[int, int] = (20, 30)) -> bytes:
    """The same as a file."""
    return encode(picture(grey, size_hw), ".png")
