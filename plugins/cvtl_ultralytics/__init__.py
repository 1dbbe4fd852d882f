"""The ultralytics plugin: Ultralytics' YOLO and RT-DETR networks, from their checkpoints or trained here.

    import cvtl

    model = cvtl.load_model("yolo11n.pt")       # opened in a process of its own, in Ultralytics' safe mode

The package `ultralytics`, which is licensed under AGPL-3.0, is needed on use only; importing this package imports
neither it nor torch.
"""

from __future__ import annotations

from cvtl.registry import ForeignWeights, PluginSpec

__all__ = ["plugin"]

plugin = PluginSpec(
    name="ultralytics",
    task="detect",
    summary="Ultralytics' detectors, YOLOv3 to YOLO26 and RT-DETR, with their .pt files (AGPL-3.0)",
    options="cvtl_ultralytics.options:UltralyticsOptions",
    model="cvtl_ultralytics.model:UltralyticsModel",
    reads=ForeignWeights(
        suffixes=(".pt",),
        header="cvtl_ultralytics.reading:read_header",
        load="cvtl_ultralytics.reading:load",
    ),
)
