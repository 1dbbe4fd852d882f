"""The onnx plugins: networks that others exported as ONNX find objects and classify, on onnxruntime.

    import cvtl

    model = cvtl.load_model("yolox_nano.onnx")                           # what the file is, is seen from its outputs
    model = cvtl.load_model("net.onnx", reading={"classes": "names.txt"})

Importing this package imports neither torch nor onnxruntime.
"""

from __future__ import annotations

from cvtl.registry import ForeignWeights, PluginSpec

__all__ = ["classify", "detect"]

_READS = ForeignWeights(
    suffixes=(".onnx",),
    header="cvtl_onnx.reading:read_header",
    load="cvtl_onnx.reading:load",
    options="cvtl_onnx.options:ReadingOptions",
)

detect = PluginSpec(
    name="onnx_detect",
    task="detect",
    summary="detectors that arrive as ONNX: YOLOX, Ultralytics' exports, FastestDet",
    options="cvtl_onnx.options:DetectOptions",
    model="cvtl_onnx.model:OnnxDetector",
    reads=_READS,
    trains=False,
)

classify = PluginSpec(
    name="onnx_classify",
    task="classify",
    summary="classifiers that arrive as ONNX",
    options="cvtl_onnx.options:ClassifyOptions",
    model="cvtl_onnx.model:OnnxClassifier",
    reads=_READS,
    trains=False,
)
