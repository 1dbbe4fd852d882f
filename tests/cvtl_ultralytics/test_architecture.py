"""Tables of layers: found by name, and refused where they hold anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from made_checkpoints import TINY, table

from cvtl.errors import UsageError, WeightsError
from cvtl_ultralytics import networks
from cvtl_ultralytics.architecture import checked, find_architecture


@pytest.mark.parametrize(
    ("name", "head", "scale"),
    [
        ("yolo11n.yaml", "Detect", "n"),
        ("yolo11x", "Detect", "x"),
        ("yolov8s.yaml", "Detect", "s"),
        ("yolov5m-p6", "Detect", "m"),
        ("yolov10n", "v10Detect", "n"),
        ("yolov3-tiny", "Detect", None),
        ("yolov9t", "Detect", None),
        ("rtdetr-l", "RTDETRDecoder", "l"),
    ],
)
def test_ultralytics_own_tables_are_found_by_name_and_scale(name: str, head: str, scale: str | None) -> None:
    found = find_architecture(name)
    assert found["head"][-1][2] == head
    assert found.get("scale") == scale
    assert set(found.get("scales") or ()) == ({scale} if scale else set())


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(TINY | {"scales": {"a": [1, 0.5, 64], "b": [1, 1, 64]}}))
    assert find_architecture(str(path)) == TINY | {"scale": "a", "scales": {"a": [1, 0.5, 64]}}


@pytest.mark.parametrize("name", ["yolo99n.yaml", "nowhere/tiny.yaml", "https://example.org/yolo11.yaml"])
def test_a_table_that_is_not_there_is_told_with_those_that_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"there is no architecture .*yolo11.*yolo26") as caught:
        find_architecture(name)
    assert "seg" not in caught.value.hint


@pytest.mark.parametrize("name", ["yolo11n-seg", "yolov8n-pose", "yolo11n-cls", "yolo11n-obb", "yolov8s-world"])
def test_other_tasks_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match="its head is '"):
        find_architecture(name)


def broken(**changes: Any) -> dict[str, Any]:
    return TINY | changes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "no table"),
        ({"backbone": TINY["backbone"]}, "no 'head'"),
        (broken(backbone=[]), "no 'backbone'"),
        (broken(backbone=[[-1, 1, "Conv"]]), "is not"),
        (broken(backbone=[[-1, 1, "os.system", ["id"]]]), "'os.system' is no layer"),
        (broken(backbone=[[-1, 1, "torchvision.ops.nms", []]]), "is no layer"),
        (broken(backbone=[[-1, 1, "TorchVision", [8, "resnet18"]]]), "would download weights"),
        (broken(activation="__import__('os').system('id')"), "no call like"),
        (broken(activation="nn.SiLU(open('x'))"), "no call like"),
        (broken(activation=3), "no call like"),
        (broken(ch=4), "three channels"),
        (broken(scale="z", scales={"n": [1, 1, 64]}), "no scale 'z'"),
        (table("Segment", 32, 256), "task 'segment'"),
    ],
)
def test_what_is_no_table_of_a_detector_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(given)


@pytest.mark.parametrize(
    "activation", ["nn.SiLU()", "torch.nn.ReLU()", "nn.LeakyReLU(0.1)", "nn.Hardtanh(-1, max_val=2)"]
)
def test_activations_are_calls_with_plain_numbers(activation: str) -> None:
    assert checked(broken(activation=activation))["activation"] == activation


@pytest.mark.parametrize(
    "name", ["check_requirements", "torch_safe_load", "yaml_model_load", "DetectionModel", "nn.Buffer"]
)
def test_names_that_ultralytics_would_look_up_but_are_no_layers_are_refused(name: str) -> None:
    table = checked(broken(backbone=[[-1, 1, name, ["x"]], *TINY["backbone"]]))
    with pytest.raises(WeightsError, match=f"a layer '{name}'"):
        networks.build(table, 3)


def test_a_table_whose_numbers_do_not_fit_together_is_told() -> None:
    table = checked(TINY | {"head": [[[3, 4, 17], 1, "Detect", ["nc"]]]})
    with pytest.raises(WeightsError, match="cannot be built"):
        networks.build(table, 3)
