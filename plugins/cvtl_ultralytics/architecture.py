"""Architectures: the tables of layers that Ultralytics builds its networks from. Torch-free.

A table is what a `.yaml` file of theirs holds: `backbone` and `head`, each a list of [from, repeats, module,
arguments], and a few settings. It is kept with the weights. Nothing in it may run code or reach out for files: modules
are layers of networks and activations are calls with plain numbers, which is checked here and, once torch is there,
by `cvtl_ultralytics.networks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cvtl.errors import UsageError
from cvtl_ultralytics.isolation import package_folder

Architecture = dict[str, Any]

DETECT_HEADS = ("Detect", "v10Detect")
RTDETR_HEAD = "RTDETRDecoder"
_SETTINGS = ("nc", "depth_multiple", "width_multiple", "activation", "end2end", "reg_max", "ch")
_OTHER_TASKS = {"segment": "segment", "pose": "pose", "obb": "obb", "classify": "classify", "depth": "depth"}
_MODULE = re.compile(r"(nn\.)?[A-Za-z]\w*")
_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z]\w*\((\w+ *= *)?[-\w.]*(, *(\w+ *= *)?[-\w.]+)*\)")
# It takes weights of its own from the network.
_REACHES_OUT = "TorchVision"
_SCALED = re.compile(r"(yolo(?:e-)?v?\d+)([nslmx])(.*)")


def find_architecture(name: str) -> Architecture:
    """The architecture that a user names.

    Args:
        name: of one of Ultralytics' own files, with or without `.yaml` (`yolo11n`: the table of yolo11 at its scale n);
            or the path of another file.

    Raises:
        UsageError: there is none, or it is not of a detector.
        PluginError: ultralytics, which brings its own ones along, is not installed.
    """
    given = Path(name)
    own = given.suffix in (".yaml", ".yml") and given.is_file()
    path, scale = (given, _scale(given.stem)) if own else _built_in(given)
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"cannot read the architecture '{path}': {reason}", hint="Give a .yaml file") from None
    try:
        return checked(table | {"scale": scale} if scale and isinstance(table, dict) else table)
    except ValueError as error:
        raise UsageError(
            f"--model '{name}' cannot be used: {error}", hint="Give a detector: yolo11n, yolov8s, yolo26n, rtdetr-l"
        ) from None


def checked(table: object) -> Architecture:
    """A table as it may be built, without what the network does not depend on.

    Raises:
        ValueError: it is none, is not of a detector, or has in it what is no layer of a network.

    Example:
        >>> layers = {"backbone": [[-1, 1, "Conv", [8, 3, 8]]], "head": [[[0], 1, "Detect", ["nc"]]]}
        >>> checked({"nc": 2, **layers, "yaml_file": "tiny.yaml"}) == {"nc": 2, **layers}
        True
        >>> checked({"backbone": [[-1, 1, "os.system", ["id"]]], "head": [[[0], 1, "Detect", ["nc"]]]})
        Traceback (most recent call last):
        ValueError: 'os.system' is no layer of a network
    """
    if not isinstance(table, Mapping):
        raise ValueError("it is no table of layers")
    layers = [layer for part in ("backbone", "head") for layer in _layers(table, part)]
    for _, _, module, _ in layers:
        if not _MODULE.fullmatch(module):
            raise ValueError(f"'{module}' is no layer of a network")
        if module == _REACHES_OUT:
            raise ValueError(f"its layer '{module}' would download weights; build on Ultralytics' own layers")
    if head_of(table) not in (*DETECT_HEADS, RTDETR_HEAD):
        raise ValueError(f"its head is '{head_of(table)}', {_what(head_of(table))}")
    activation = table.get("activation")
    if activation is not None and not (isinstance(activation, str) and _ACTIVATION.fullmatch(activation)):
        raise ValueError(f"its activation {activation!r} is no call like 'nn.SiLU()'")
    if table.get("ch", 3) != 3 or table.get("channels", 3) != 3:
        raise ValueError("it takes pictures of other than three channels")
    kept = {name: table[name] for name in _SETTINGS if table.get(name) is not None} | _chosen_scale(table)
    return kept | {
        "backbone": [list(each) for each in table["backbone"]],
        "head": [list(each) for each in table["head"]],
    }


def head_of(table: Mapping[str, Any]) -> str:
    """The name of the last layer, which says what is found."""
    return str(table["head"][-1][2])


def _layers(table: Mapping[str, Any], part: str) -> list[Any]:
    layers = table.get(part)
    if not isinstance(layers, list) or not layers:
        raise ValueError(f"it has no '{part}'")
    for layer in layers:
        fits = isinstance(layer, list | tuple) and len(layer) == 4
        if not (
            fits and isinstance(layer[1], int) and isinstance(layer[2], str) and isinstance(layer[3], list | tuple)
        ):
            raise ValueError(f"{layer!r} in '{part}' is not [from, repeats, module, arguments]")
    return layers


def _chosen_scale(table: Mapping[str, Any]) -> dict[str, Any]:
    """The scale that the table is used at, the first if it does not say, without the others."""
    scales = table.get("scales")
    if not isinstance(scales, Mapping) or not scales:
        return {}
    scale = table.get("scale") or next(iter(scales))
    if scale not in scales:
        raise ValueError(f"it has no scale '{scale}': it has {', '.join(map(str, scales))}")
    return {"scale": scale, "scales": {scale: scales[scale]}}


def _what(head: str) -> str:
    lowered = head.lower()
    task = next((task for word, task in _OTHER_TASKS.items() if word in lowered), None)
    return f"made for the task '{task}', and only detectors are run here" if task else "which is not known here"


def _built_in(given: Path) -> tuple[Path, str]:
    """One of Ultralytics' files, and the scale that its name asks for."""
    folder = package_folder() / "cfg" / "models"
    files = {path.stem: path for path in sorted(folder.rglob("*.yaml"))}
    stem = str(given).removesuffix(".yaml")
    scaled = _SCALED.fullmatch(stem)
    if stem in files:
        return files[stem], _scale(stem)
    if scaled and scaled[1] + scaled[3] in files:
        return files[scaled[1] + scaled[3]], scaled[2]
    families = ", ".join(name for name, path in files.items() if _is_detector(path))
    raise UsageError(
        f"there is no architecture '{given}': it is no file, and none that comes with ultralytics",
        hint=f"Those of detectors are {families}; most take a scale, as in yolo11n or yolov8s",
    )


def _is_detector(path: Path) -> bool:
    try:
        checked(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValueError:
        return False
    return True


def _scale(stem: str) -> str:
    scaled = _SCALED.fullmatch(stem)
    return scaled[2] if scaled else ""
