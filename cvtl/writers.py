"""What becomes of results: rows, and pictures that mirror the input's tree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from cvtl.addresses import address_path
from cvtl.files import write_atomically
from cvtl.images import encode
from cvtl.results import Detections, Picture, Row
from cvtl.run_folder import HEATMAPS_FOLDER, PICTURES_FOLDER, VIDEOS_FOLDER
from cvtl.sources import PICTURE_SUFFIXES
from cvtl.video_files import LIVE_RATE, USUAL_RATE, VIDEO_SUFFIX, VideoFile
from cvtl.videos import names_video

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
        rate: frames a second of the video that it is a frame of.
        arrived: when a live source gave it, on the clock of `time.perf_counter`.
    """

    row: Row
    image: UInt8Image | None = None
    result: Result | None = None
    rate: float | None = None
    arrived: float | None = None

    @cached_property
    def drawn(self) -> UInt8Image | None:
        """The picture with the result in it; as it is where there is no result."""
        return self.image if self.image is None or self.result is None else self.result.draw(self.image)


@dataclass(frozen=True)
class Rendered:
    """What is to be written of one input.

    Attributes:
        row: with the place of a written picture.
        files: encoded pictures, by their place in the run's folder.
    """

    row: Row
    files: Mapping[str, bytes]


def render(outcome: Outcome, *, save_images: bool, save_heatmaps: bool) -> Rendered:
    """The row of an outcome, and the pictures that it vouches for.

    Args:
        outcome: what is known of the input.
        save_images: whether there is to be a picture with the result drawn into it.
        save_heatmaps: whether there is to be a picture per class with the class's answer laid over it.
    """
    row, image, result = outcome.row, outcome.image, outcome.result
    if image is None or result is None or outcome.drawn is None:
        return Rendered(row, {})
    name = output_name(row.source, row.frame)
    pictures = {}
    if save_images or isinstance(result, Picture):
        pictures[f"{PICTURES_FOLDER}/{name}"] = outcome.drawn
    if save_heatmaps and isinstance(result, Detections) and result.heatmaps is not None:
        for label, heatmap in zip(result.classes, result.heatmaps.numpy(), strict=True):
            pictures[f"{HEATMAPS_FOLDER}/{_file_name(label)}/{name}"] = overlay(image, heatmap)
    if isinstance(result, Picture):
        row = replace(row, result={"picture": f"{PICTURES_FOLDER}/{name}"})
    return Rendered(row, {path: encode(picture, Path(path).suffix) for path, picture in pictures.items()})


class Writer:
    """Writes a run: for each outcome its pictures, then its row, so that a row vouches for its pictures.

    Args:
        folder: the run's folder.
        save_images: whether to write each picture with its result drawn into it.
        save_heatmaps: whether to write each picture once per class with the class's answer laid over it.
        save_video: whether to write frames with their results as videos, and pictures that are no frames as
            `save_images` does.
    """

    def __init__(
        self, folder: RunFolder, *, save_images: bool = False, save_heatmaps: bool = False, save_video: bool = False
    ) -> None:
        self.folder = folder
        self.save_images = save_images
        self.save_heatmaps = save_heatmaps
        self.save_video = save_video
        self._videos: dict[str, VideoFile] = {}

    def write(self, outcomes: list[Outcome]) -> None:
        """Write a block of outcomes.

        Raises:
            OutputError: something cannot be written.
        """
        rendered = []
        for outcome in outcomes:
            if self.save_video:
                self._film(outcome)
            pictured = self.save_images or (self.save_video and outcome.row.frame is None)
            rendered.append(render(outcome, save_images=pictured, save_heatmaps=self.save_heatmaps))
        self.put(rendered)

    def put(self, rendered: Sequence[Rendered]) -> None:
        """Write a block of what is rendered already.

        Raises:
            OutputError: something cannot be written.
        """
        for each in rendered:
            for name, content in each.files.items():
                write_atomically(self.folder.path / name, content)
        self.folder.append([(each.row.status, each.row.to_json()) for each in rendered])

    def close(self, *, whole: bool) -> None:
        """Finish the videos.

        Args:
            whole: whether they have come to their end; otherwise they are left as unfinished.

        Raises:
            OutputError: one of them is not whole on the disk.
        """
        videos, self._videos = self._videos, {}
        for video in videos.values():
            if whole:
                video.finish()
            else:
                video.abandon()

    def _film(self, outcome: Outcome) -> None:
        """Add a frame to its video; the video before it is over, unless it is a live source's."""
        row = outcome.row
        live = outcome.arrived is not None
        if not live:
            over = [name for name, video in self._videos.items() if not video.live]
            for name in over:
                if name != row.source or row.frame in (None, 0):
                    self._videos.pop(name).finish()
        if row.frame is None or outcome.drawn is None:
            return
        if row.source not in self._videos:
            path = self.folder.path / VIDEOS_FOLDER / video_name(row.source)
            self._videos[row.source] = VideoFile(path, LIVE_RATE if live else outcome.rate or USUAL_RATE, live=live)
        self._videos[row.source].write(outcome.drawn, row.time if live else None)


def output_name(source: str, frame: int | None) -> str:
    """What the picture of a row, or of a video's frame, is called in the output's tree.

    Example:
        >>> output_name("a/b.jpg", None), output_name("clip.mp4", 7)
        ('a/b.jpg', 'clip.mp4/000007.jpg')
    """
    path = address_path(source)
    return picture_name(path if frame is None else f"{path}/{frame:06d}.jpg")


def video_name(source: str) -> str:
    """What the video of a source is called in the output's tree.

    Example:
        >>> video_name("a/clip.mp4"), video_name("clip.avi"), video_name("rtsp://10.0.0.7:554/door")
        ('a/clip.mp4', 'clip.avi.mp4', 'rtsp/10.0.0.7_554/door.mp4')
    """
    path = PurePosixPath(address_path(source))
    # 'a.avi' becomes 'a.avi.mp4', so a real 'a.avi.mp4' must become something else, and so on.
    bare = re.sub(r"(\.mp4)+$", "", path.name, flags=re.IGNORECASE)
    plain = path.suffix.lower() == VIDEO_SUFFIX and not names_video(bare)
    return "/".join([*map(_safe_folder, path.parts[:-1]), path.name + ("" if plain else VIDEO_SUFFIX)])


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
