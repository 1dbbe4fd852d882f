"""How `cvtl train` trains, whatever the plugin. Torch-free: the command line shows these fields."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field

from cvtl.options import Options


def default_workers() -> int:
    """Processes that prepare samples: two, as far as there are cores for them."""
    return min(2, os.cpu_count() or 1)


class TrainSettings(Options):
    """How to train a model.

    Example:
        >>> TrainSettings(epochs=5).batch_size
        64
    """

    epochs: int = Field(default=20, ge=1, description="passes over the training data")
    batch_size: int = Field(
        default=64,
        ge=1,
        description="samples that make one step, on all devices together; fewer need less memory",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="step size at the start")
    optimizer: Literal["adamw", "sgd", "rmsprop", "lbfgs"] = Field(
        default="adamw",
        description="sgd has a momentum of 0.9; lbfgs needs all samples at once, as heads on features have them",
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="pull of the weights towards zero")
    schedule: Literal["cosine", "plateau", "constant"] = Field(
        default="cosine",
        description="of the learning rate: cosine falls to zero over all epochs; plateau divides by ten after three "
        "epochs without a better result; constant stays",
    )
    patience: int | None = Field(default=None, ge=1, description="stop after this many epochs without a better result")
    seed: int = Field(default=0, ge=0, description="the same seed gives the same weights")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:N or mps")
    devices: int = Field(
        default=1,
        ge=1,
        description="processes on each machine that share out every batch, one for each CUDA device, or each with a "
        "part of the CPU's cores; the weights are those of one",
    )
    num_nodes: int = Field(default=1, ge=1, description="machines that share out every batch, each under torchrun")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the computation; auto takes half precision on a CUDA device, float32 elsewhere"
    )
    workers: int = Field(
        default_factory=default_workers,
        ge=0,
        description="processes that read and prepare samples, for each device; 0 does it in the main one; the result "
        "is the same",
    )
    val_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="part of the data kept for validation, if the data has no such part",
    )
    group_by: str | None = Field(
        default=None,
        description="regular expression for what of a picture's name says which person, video or place it belongs to; "
        "what is kept for validation shares none with the rest",
    )
    near_duplicates: bool = Field(
        default=True,
        description="keep pictures that are nearly the same on one side of the validation; false saves a look at all",
    )
