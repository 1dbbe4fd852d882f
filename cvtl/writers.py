"""What becomes of results: rows, and pictures that mirror the input's tree."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from cvtl.files import write_atomically
from cvtl.images import encode
from cvtl.results import Detections, Picture, Row
from cvtl.run_folder import HEATMAPS_FOLDER, PICTURES_FOLDER
from cvtl.sources import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from cvtl.results import Result, UInt8Image
    from cvtl.run_folder import RunFolder

# Pictures with these suffixes keep their name; others become PNGs that are named after them.
_WRITABLE = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_UNKNOWN = ".picture"
_FOREIGN = {*PICTURE_SUFFIXES, _UNKNOWN} - _WRITABLE
_HEATMAP_OPACITY = 0.6


@dataclass(frozen=True)
class Outcome:
    """What is known of one input when the model is done with it.

    Attributes:
        row: without the place of a written picture.
        image: the upright picture, where it is needed for drawing.
        result: what the model said.
    """

    row: Row
    image: UInt8Image | None = None
    result: Result | None = None


class Writer:
    """Writes a run: for each outcome its pictures, then its row, so that a row vouches for its pictures.

    Args:
        folder: the run's folder.
        save_images: whether to write each picture with its result drawn into it.
        save_heatmaps: whether to write each picture once per class with the class's answer laid over it.
    """

    def __init__(self, folder: RunFolder, *, save_images: bool = False, save_heatmaps: bool = False) -> None:
        self.folder = folder
        self.save_images = save_images
        self.save_heatmaps = save_heatmaps

    def write(self, outcomes: list[Outcome]) -> None:
        """Write a block of outcomes.

        Raises:
            OutputError: something cannot be written.
        """
        rows = [self._with_pictures(outcome) for outcome in outcomes]
        self.folder.append([(row.status, row.to_json()) for row in rows])

    def _with_pictures(self, outcome: Outcome) -> Row:
        row, image, result = outcome.row, outcome.image, outcome.result
        if image is None or result is None:
            return row
        name = output_name(row.source, row.frame)
        if self.save_images or isinstance(result, Picture):
            self._save(f"{PICTURES_FOLDER}/{name}", result.draw(image))
        if self.save_heatmaps and isinstance(result, Detections) and result.heatmaps is not None:
            for label, heatmap in zip(result.classes, result.heatmaps.numpy(), strict=True):
                self._save(f"{HEATMAPS_FOLDER}/{_file_name(label)}/{name}", overlay(image, heatmap))
        if isinstance(result, Picture):
            return replace(row, result={"picture": f"{PICTURES_FOLDER}/{name}"})
        return row

    def _save(self, name: str, image: UInt8Image) -> None:
        write_atomically(self.folder.path / name, encode(image, Path(name).suffix))


def output_name(source: str, frame: int | None) -> str:
    """What the picture of a row, or of a video's frame, is called in the output's tree.

    Example:
        >>> output_name("a/b.jpg", None), output_name("clip.mp4", 7)
        ('a/b.jpg', 'clip.mp4/000007.jpg')
    """
    return picture_name(source if frame is None else f"{source}/{frame:06d}.jpg")


def picture_name(source: str) -> str:
    """Where the picture of a row lies in the output's tree: inside it, and never where another row's lies.

    Example:
        >>> picture_name("a/b.jpg"), picture_name("../up.gif"), picture_name("/etc/x.png")
        ('a/b.jpg', '_up/up.gif.png', '_root/etc/x.png')
    """
    path = PurePosixPath(source)
    folders = [_safe_folder(part) for part in path.parts[:-1]]
    # 'a.gif' becomes 'a.gif.png', so a real 'a.gif.png' must become something else, and so on.
    bare = re.sub(r"(\.png)+$", "", path.name, flags=re.IGNORECASE)
    taken = bare != path.name and PurePosixPath(bare).suffix.lower() in _FOREIGN
    suffix = path.suffix.lower()
    if suffix in _WRITABLE:
        ending = ".png" if taken else ""
    else:
        ending = ".png" if suffix in _FOREIGN else f"{_UNKNOWN}.png"
    return "/".join([*folders, path.name + ending])


def overlay(
    image: UInt8Image, heatmap: np.ndarray[Any, np.dtype[np.float32]], opacity: float = _HEATMAP_OPACITY
) -> UInt8Image:
    """Lay a map of values in [0, 1] over a picture, from transparent blue to red, stretched to its size.

    Args:
        image: (H, W, 3) RGB.
        heatmap: float (h, w).
        opacity: of the colours where the map is 1.

    Returns:
        A new picture (H, W, 3) RGB.
    """
    import cv2

    height, width = image.shape[:2]
    smooth = cv2.resize(heatmap.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    weight = (smooth * opacity)[..., None]
    return np.asarray((1 - weight) * image + weight * colours, np.uint8)


def _safe_folder(part: str) -> str:
    names = {"..": "_up", "/": "_root"}
    return names.get(part) or (f"_{part}" if re.fullmatch("_+(up|root)", part) else part)


def _file_name(label: str) -> str:
    """A class name as a folder name; characters that a file system may refuse are written as %XX."""
    return re.sub(r"[^\w .+-]", lambda found: f"%{ord(found[0]):02X}", label).strip() or "%"
