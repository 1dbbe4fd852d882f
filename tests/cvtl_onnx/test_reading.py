"""What an ONNX file is: read from it, or said of it; and what is said of one that cannot be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_onnx import constant_net, grey_net, mean_net, two_outputs

from cvtl import weights
from cvtl.errors import CvtlError, OptionsError, PluginError, UsageError, WeightsError

YOLOX = np.zeros((21, 5 + 2), np.float32)  # for 32 x 32
ANCHORS = np.zeros((4 + 2, 21), np.float32)
BOXES = np.zeros((300, 6), np.float32)
GRID = np.zeros((5 + 2, 2, 2), np.float32)
LOGITS = np.array([3.0, -1.0], np.float32)
ULTRALYTICS = {"author": "Ultralytics", "task": "detect", "names": "{0: 'cat', 1: 'dog'}", "license": "AGPL-3.0"}


def read(path: Path, **reading: Any) -> weights.Header:
    return weights.read_header(path, reading)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


@pytest.mark.parametrize(
    ("output", "layout", "resize", "align", "channels", "nms_iou"),
    [
        (YOLOX, "yolox", "letterbox", "top-left", "bgr", 0.65),
        (ANCHORS, "ultralytics", "letterbox", "centre", "rgb", 0.7),
        (GRID, "fastestdet", "stretch", "centre", "bgr", 0.45),
    ],
)
def test_a_detector_is_recognised_and_fed_as_its_makers_do(
    net: Path, output: Any, layout: str, resize: str, align: str, channels: str, nms_iou: float
) -> None:
    header = read(constant_net(net, output))
    assert (header.plugin, header.task) == ("onnx_detect", "detect")
    assert header.options["layout"] == layout
    assert header.options["predict"]["nms_iou"] == nms_iou
    assert header.input.size_hw == (32, 32)
    assert (header.input.resize, header.input.align, header.input.channels) == (resize, align, channels)
    assert not header.input.antialias


def test_an_ultralytics_export_says_its_names_and_licence(net: Path) -> None:
    for output in (ANCHORS, BOXES):
        header = read(constant_net(net, output, metadata=ULTRALYTICS))
        assert header.classes == ("cat", "dog")
        assert header.licence == "AGPL-3.0"
        assert header.options["layout"] == "ultralytics"


def test_a_classifier_is_recognised(net: Path) -> None:
    header = read(constant_net(net, LOGITS))
    assert (header.plugin, header.task, header.input.resize) == ("onnx_classify", "classify", "crop")
    assert header.input.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [([3.0, -1.0], "logits"), ([0.25, 0.75], "probabilities"), ([0.4, 0.4], "logits"), ([1.5, -0.5], "logits")],
)
def test_a_classifier_is_asked_whether_it_gives_probabilities(net: Path, answer: list[float], expected: str) -> None:
    assert read(constant_net(net, np.array(answer, np.float32))).options["scores"] == expected
    assert read(net, scores="logits").options["scores"] == "logits"


def test_classifiers_of_ultralytics_take_pictures_from_0_to_1(net: Path) -> None:
    header = read(constant_net(net, LOGITS, metadata=ULTRALYTICS | {"task": "classify", "imgsz": "[32, 32]"}))
    assert header.input.mean == (0, 0, 0)
    assert header.input.std == (1, 1, 1)


def test_what_is_said_of_the_preprocessing_goes_before_what_is_usual(net: Path) -> None:
    said = {"mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3), "channels": "bgr", "resize": "stretch"}
    made = read(constant_net(net, LOGITS), **said).input
    assert {name: getattr(made, name) for name in said} == said


@pytest.mark.parametrize(
    ("metadata", "reading", "expected"),
    [
        ({}, {}, (224, 224)),
        ({"imgsz": "[64, 96]"}, {}, (64, 96)),
        ({"imgsz": "[64, 96]"}, {"size": (32,)}, (32, 32)),
        ({"imgsz": "__import__('os')"}, {"size": (32, 48)}, (32, 48)),
    ],
)
def test_the_size_of_a_network_that_takes_any_is_said_or_usual(
    net: Path, metadata: dict[str, str], reading: dict[str, Any], expected: tuple[int, int]
) -> None:
    path = constant_net(net, LOGITS, size_hw=("height", "width"), batch="N", metadata=metadata)
    assert read(path, **reading).input.size_hw == expected


def test_shapes_that_the_file_leaves_open_are_found_by_running_it(net: Path) -> None:
    path = constant_net(net, ANCHORS, size_hw=("h", "w"), batch="N", states_output=False)
    assert read(path, size=(32,)).options["layout"] == "ultralytics"


def test_another_size_than_the_files_is_refused(net: Path) -> None:
    with pytest.raises(UsageError, match="takes pictures of 32 x 32 only, not 64 x 64"):
        read(constant_net(net, YOLOX), size=(64,))


def test_class_names_stand_in_a_file_beside_the_weights(net: Path) -> None:
    constant_net(net, YOLOX)
    (net.parent / "coco_classes.txt").write_text("cat\n\n dog \n")
    assert read(net).classes == ("cat", "dog")


def test_a_file_beside_the_weights_that_has_another_number_of_names_is_not_theirs(net: Path) -> None:
    constant_net(net, YOLOX)
    (net.parent / "coco_classes.txt").write_text("cat\ndog\ncow\n")
    assert read(net).classes == ("0", "1")


def test_of_several_files_that_which_is_called_like_the_weights_counts(net: Path) -> None:
    constant_net(net, YOLOX)
    (net.parent / "a_classes.txt").write_text("cat\ndog\n")
    (net.parent / "b_classes.txt").write_text("cow\npig\n")
    with pytest.raises(WeightsError, match=r"may be those in a_classes.txt or b_classes.txt.* --classes"):
        read(net)
    (net.parent / "net_classes.txt").write_text("hen\nowl\n")
    assert read(net).classes == ("hen", "owl")


def test_named_classes_go_before_the_metadata_and_these_before_a_file_beside(net: Path, tmp_path: Path) -> None:
    constant_net(net, ANCHORS, metadata=ULTRALYTICS)
    (net.parent / "classes.txt").write_text("hen\nowl\n")
    assert read(net).classes == ("cat", "dog")
    named = tmp_path / "names.txt"
    named.write_text("cow\npig\n")
    assert read(net, classes=str(named)).classes == ("cow", "pig")


@pytest.mark.parametrize("names", ["nonsense(", "{0: 'cat', 5: 'dog'}", "[1, 2]", "7", "open('x', 'w')", "{}"])
def test_names_in_the_metadata_that_are_none_are_passed_over(net: Path, names: str) -> None:
    assert read(constant_net(net, ANCHORS, metadata={"names": names})).classes == ("0", "1")


def test_named_classes_must_fit(net: Path, tmp_path: Path) -> None:
    constant_net(net, YOLOX)
    with pytest.raises(UsageError, match=r"cannot read the class names in 'nowhere\.txt'"):
        read(net, classes="nowhere.txt")
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    with pytest.raises(UsageError, match=r"three.txt' names 3 classes, but '.*' gives 2"):
        read(net, classes=str(tmp_path / "three.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="it is no UTF-8 text"):
        read(net, classes=str(tmp_path / "binary.txt"))


def test_end_to_end_outputs_need_names(net: Path) -> None:
    with pytest.raises(WeightsError, match=r"does not say which classes it knows.*--classes FILE"):
        read(constant_net(net, BOXES))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"no network at all, but a text that is long enough to be one\n" * 9, "truncated, or no ONNX file at all"),
        (b"\x80\x04pickle", "truncated, or no ONNX file at all"),
        (None, "there is no weights file"),
    ],
)
def test_files_that_are_no_onnx_are_named(net: Path, content: bytes | None, expected: str) -> None:
    if content is not None:
        net.write_bytes(content)
    for attempt in (weights.read_header, weights.load):
        with pytest.raises(WeightsError, match=rf"net.onnx.*{expected}|{expected} '.*net.onnx'"):
            attempt(net)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_named(net: Path, share: float) -> None:
    content = constant_net(net, YOLOX).read_bytes()
    net.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=r"cannot read '.*net.onnx'"):
        weights.read_header(net)


def test_a_second_file_with_the_weights_is_read_and_missed(net: Path) -> None:
    from onnx import load, save

    model = load(str(constant_net(net, YOLOX)))
    save(model, str(net), save_as_external_data=True, location="net.onnx.data", size_threshold=100)
    assert read(net).options["layout"] == "yolox"
    assert weights.load(net).device.type == "cpu"
    net.with_name("net.onnx.data").rename(net.with_name("elsewhere"))
    net.touch()
    with pytest.raises(WeightsError, match=r"cannot read '.*net.onnx'.*second file beside it"):
        read(net)


def test_a_folder_is_no_weights_file(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(WeightsError, match="is a folder"):
        weights.read_header(tmp_path / "net.onnx")


def test_an_unknown_layout_is_told_with_the_outputs_and_the_known_ones(net: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        read(two_outputs(net))
    said = str(caught.value)
    assert "net.onnx' gives masks 1 x 3 x 8 x 8, edges 1 x 3 x 8 x 8 for pictures of 8 x 8" in said
    assert all(f"{name} (N x " in said for name in ("yolox", "ultralytics", "fastestdet", "classifier"))
    assert "--layout" in said


def test_a_named_layout_must_fit_the_outputs(net: Path) -> None:
    with pytest.raises(UsageError, match=r"gives output 1 x 21 x 7 .* not of the layout 'ultralytics'"):
        read(constant_net(net, YOLOX), layout="ultralytics")


def test_exports_of_ultralytics_for_other_tasks_are_refused(net: Path) -> None:
    with pytest.raises(WeightsError, match="exported for the task 'pose'"):
        read(constant_net(net, ANCHORS, metadata=ULTRALYTICS | {"task": "pose"}))


def test_a_network_that_takes_no_colour_pictures_is_refused(net: Path) -> None:
    with pytest.raises(WeightsError, match=r"takes images tensor\(float\) 1 x 1 x 8 x 8, not one batch of pictures"):
        read(grey_net(net))


def test_a_network_that_fails_on_the_usual_size_says_how_to_name_another(net: Path) -> None:
    from onnx import load, save

    model = load(str(mean_net(net, size_hw=("h", "w"))))
    model.graph.node[0].CopyFrom(_reshape_for(8))
    model.graph.initializer.append(_shape_of(8))
    save(model, str(net))
    with pytest.raises(WeightsError, match=r"fails on a picture of 224 x 224.*--size"):
        read(net)
    assert read(net, size=(8,)).input.size_hw == (8, 8)


def _reshape_for(side: int) -> Any:
    from onnx import helper

    return helper.make_node("Reshape", ["images", "shape"], ["mean"])


def _shape_of(side: int) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array([1, 3 * side * side]), "shape")


def test_options_that_do_not_exist_are_refused(net: Path) -> None:
    constant_net(net, YOLOX)
    with pytest.raises(OptionsError, match="option 'format': there is no such option"):
        read(net, format="yolox")
    with pytest.raises(OptionsError, match="option 'layout'"):
        read(net, layout="yolov9")


def test_the_suffix_may_be_in_capitals(net: Path) -> None:
    other = net.with_name("NET.ONNX")
    shutil.move(constant_net(net, YOLOX), other)
    assert read(other).task == "detect"


def test_a_file_that_changes_is_read_anew(net: Path) -> None:
    assert read(constant_net(net, YOLOX)).options["layout"] == "yolox"
    assert read(constant_net(net, ANCHORS)).options["layout"] == "ultralytics"


def test_without_onnxruntime_one_line_says_how_to_install_it(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constant_net(net, YOLOX)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PluginError, match=r"run by onnxruntime, .*pip install 'cvtl\[export\]'") as caught:
        weights.read_header(net)
    assert isinstance(caught.value, CvtlError)
    assert "\n" not in str(caught.value)


def test_reading_a_header_imports_no_torch_and_listing_no_onnxruntime(net: Path) -> None:
    constant_net(net, YOLOX)
    code = (
        "import sys, cvtl.registry; [list(cvtl.registry.plugins().listings())]; "
        "print('onnxruntime' in sys.modules); from cvtl import weights; "
        f"print(weights.read_header({str(net)!r}).task, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "detect", "False"]


def test_telemetry_is_off_before_onnxruntime_is_imported(net: Path) -> None:
    code = (
        "import os, builtins, sys\n"
        "os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "real = builtins.__import__\n"
        "def note(name, *rest):\n"
        "    if name == 'onnxruntime' and name not in sys.modules:\n"
        "        print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = note\n"
        f"from cvtl import weights; weights.read_header({str(constant_net(net, YOLOX))!r})"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["1"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_connection_is_made_and_nothing_is_kept(net: Path, tmp_path: Path) -> None:
    constant_net(net, YOLOX)
    home = tmp_path / "home"
    home.mkdir()
    code = f"import time; from cvtl import weights; weights.load({str(net)!r}); time.sleep(1)"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "TMPDIR": str(home)}
    trace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(tmp_path / "trace")]
    done = subprocess.run([*trace, sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in (tmp_path / "trace").read_text()
    assert not [path for path in home.rglob("*") if "onnx" in path.name.lower()]
