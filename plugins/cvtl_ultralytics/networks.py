"""Ultralytics' networks, built from tables of layers, and their losses."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import Tensor, nn

from cvtl.checkpoints import load_into
from cvtl.errors import WeightsError
from cvtl_ultralytics import isolation
from cvtl_ultralytics.architecture import RTDETR_HEAD, Architecture, head_of

# Weights of the terms of the loss: Ultralytics' defaults, `cfg/default.yaml`.
_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}
_LAYERS = f"{isolation.PACKAGE}.nn.modules"


def build(architecture: Architecture, classes: int) -> nn.Module:
    """A network with random weights, by torch's global generator.

    Args:
        architecture: checked, as `cvtl_ultralytics.architecture` gives it.
        classes: how many it tells apart.

    Returns:
        An `ultralytics.nn.tasks.DetectionModel` or `RTDETRDetectionModel`, in evaluation mode.

    Raises:
        PluginError: ultralytics is not installed.
        WeightsError: the table names what is no layer, or its numbers do not fit together.
    """
    tasks = isolation.module("nn.tasks")
    for _, _, name, _ in (*architecture["backbone"], *architecture["head"]):
        _check_layer(tasks, name)
    kind = tasks.RTDETRDetectionModel if head_of(architecture) == RTDETR_HEAD else tasks.DetectionModel
    try:
        network: nn.Module = kind({**architecture, "nc": classes}, ch=3, nc=classes, verbose=False)
    # What a table that does not fit together makes torch or Ultralytics stumble over.
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AssertionError, AttributeError) as error:
        raise WeightsError(f"the network cannot be built from its table of layers: {error}") from error
    # What their losses look up on the network.
    vars(network).update(args=SimpleNamespace(**_GAINS), nc=classes)
    return network.eval()


def _check_layer(tasks: ModuleType, name: str) -> None:
    """Refuse names that Ultralytics would look up but that are no layers of networks: functions of its module, say."""
    found = getattr(nn, name[3:], None) if name.startswith("nn.") else getattr(tasks, name, None)
    sound = isinstance(found, type) and issubclass(found, nn.Module)
    if not (sound and found.__module__.startswith((_LAYERS, "torch.nn.modules"))):
        raise WeightsError(
            f"the network has a layer '{name}', which ultralytics {isolation.package_version()} does not know",
            hint="Upgrade ultralytics, or use the version that the weights come from",
        )


def is_rtdetr(network: nn.Module) -> bool:
    """Whether its head is RT-DETR's."""
    return type(head(network)).__name__ == RTDETR_HEAD


def head(network: Any) -> Any:
    """The last layer, which gives the answers."""
    return network.model[-1]


def has_single_answers(network: nn.Module) -> bool:
    """Whether it has a second head that gives one box for each object and needs no suppression."""
    return getattr(head(network), "one2one_cv2", None) is not None


def load(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fill a network with the tensors of a checkpoint.

    Raises:
        WeightsError: they do not fit; the message says which.
    """
    if not any(".bn." in name for name in tensors) and any(".bn." in name for name in network.state_dict()):
        raise WeightsError(
            f"'{source}' was saved with its batch normalisations folded into other layers",
            hint="Give the checkpoint as training wrote it, which has them",
        )
    load_into(network, tensors, source, hint=f"It comes from another version of {isolation.PACKAGE}: use that one")


def take_over(network: nn.Module, tensors: Mapping[str, Tensor], *, classes_too: bool) -> int:
    """Copy the tensors whose names and shapes fit, and say how many did.

    Args:
        network: to be filled.
        tensors: of another one.
        classes_too: also those that tell classes apart, which mean nothing where classes are others.
    """
    wanted = network.state_dict()
    telling = () if classes_too else _class_layers(network)
    fitting = {
        name: tensor
        for name, tensor in tensors.items()
        if name in wanted and wanted[name].shape == tensor.shape and not name.startswith(telling)
    }
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


def _class_layers(network: nn.Module) -> tuple[str, ...]:
    """Beginnings of the names of what has a row for each class."""
    last: Any = head(network)
    place = f"model.{len(network.model) - 1}."  # type: ignore[arg-type]
    if is_rtdetr(network):
        return tuple(place + part for part in ("enc_score_head", "dec_score_head", "denoising_class_embed"))
    branches = [part for part in ("cv3", "one2one_cv3") if getattr(last, part, None) is not None]
    return tuple(
        f"{place}{part}.{level}.{len(branch) - 1}."
        for part in branches
        for level, branch in enumerate(getattr(last, part))
    )
