"""Weights on the live picture of a camera, or on a video: points, boxes, classes, whatever the weights find.

    python tools/demo_webcam.py --weights faces/best.safetensors [--detector faces_boxes.safetensors] [0 | clip.mp4]

In the window `q` ends it and `s` keeps the picture. Without a display an annotated video is written instead.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

import cvtl
from cvtl.cascade import with_detector
from cvtl.data import UInt8Image
from cvtl.devices import choose_device
from cvtl.errors import CvtlError
from cvtl.model import Model
from cvtl.run_settings import DetectorSettings

WINDOW = "cvtl: q quits, s saves"
_USUAL_RATE = 25.0


def main() -> int:
    """Show or write what is found; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="0", help="number of a camera, or a video file")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--detector", help="weights that find the objects, where there are several")
    parser.add_argument("--out", type=Path, default=Path("webcam.avi"), help="video to write where there is no display")
    parser.add_argument("--frames", type=int, help="stop after so many")
    arguments = parser.parse_args()
    try:
        device = choose_device()
        alone = cvtl.load_model(arguments.weights, device=device)
        model = with_detector(alone, DetectorSettings(detector=arguments.detector), device=device)
    except CvtlError as error:
        print(error, file=sys.stderr)
        return 1
    capture = cv2.VideoCapture(int(arguments.source) if arguments.source.isdigit() else arguments.source)
    if not capture.isOpened():
        print(f"there is no camera or video '{arguments.source}'", file=sys.stderr)
        return 1
    drawn = annotated(capture, model, arguments.frames)
    count = show(drawn) if has_display() else write(drawn, arguments.out, capture.get(cv2.CAP_PROP_FPS))
    print(f"{count} frames")
    return 0


def has_display() -> bool:
    """Whether a window can be opened; trying without a display would end the process."""
    there = sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return bool(cv2.currentUIFramework()) and there


def annotated(capture: cv2.VideoCapture, model: Model, most: int | None = None) -> Iterator[UInt8Image]:
    """Each frame (H, W, 3) RGB with what the model finds drawn into it, and how many there are in a second."""
    device = model.device
    number, begun = 0, time.perf_counter()
    while most is None or number < most:
        there, frame = capture.read()
        if not there:
            return
        image = np.ascontiguousarray(frame[..., ::-1])
        with torch.inference_mode():
            (found,) = model.predict([torch.from_numpy(image).permute(2, 0, 1).to(device)])
        number += 1
        picture = found.draw(image)
        rate = f"{number / (time.perf_counter() - begun):.1f} frames/s"
        cv2.putText(picture, rate, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        yield picture


def show(pictures: Iterator[UInt8Image]) -> int:
    """Show pictures in a window until there are no more or somebody presses q; how many were shown."""
    count = 0
    for count, picture in enumerate(pictures, start=1):
        cv2.imshow(WINDOW, picture[..., ::-1])
        key = cv2.waitKey(1) & 0xFF
        if key == ord("s"):
            cv2.imwrite(f"webcam-{count:06d}.png", picture[..., ::-1])
        if key == ord("q"):
            break
    cv2.destroyAllWindows()
    return count


def write(pictures: Iterator[UInt8Image], path: Path, rate: float) -> int:
    """Write pictures as a video (Motion JPEG, which OpenCV always has); how many they were."""
    writer, count = None, 0
    for count, picture in enumerate(pictures, start=1):  # noqa: B007
        if writer is None:
            size_wh = picture.shape[1], picture.shape[0]
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate or _USUAL_RATE, size_wh)
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    if writer is not None:
        writer.release()
        print(f"There is no display; the pictures are in {path}")
    return count


if __name__ == "__main__":
    sys.exit(main())
