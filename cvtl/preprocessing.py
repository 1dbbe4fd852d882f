"""From an upright uint8 picture to a network's input, and the way back for coordinates.

The rule belongs to the weights: it is saved with them, and training, prediction and export share it.
Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LETTERBOX_GREY = 114


class InputSpec(BaseModel):
    """How a picture becomes the input of a network.

    Attributes:
        size_hw: height and width of the input in pixels.
        resize: `stretch` ignores the aspect ratio; `letterbox` keeps it and pads with grey, centred; `crop` scales
            the shorter side to fit and cuts the centre.
        interpolation: of the resizer. `opencv` is bilinear as OpenCV does it, to the bit and without antialiasing, for
            networks of others that know their pictures so.
        antialias: whether the resizer averages over what it makes smaller. Networks of others often learnt without, as
            OpenCV's INTER_LINEAR resizes.
        align: where a letterboxed picture lies in the input; what is left is grey.
        mean: subtracted per RGB channel after scaling to [0, 1].
        std: divided by per RGB channel.
        channels: in which order the network takes them.

    Example:
        >>> InputSpec(size_hw=(32, 32)).resize
        'stretch'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_hw: tuple[int, int] = Field(description="height and width in pixels")
    resize: Literal["stretch", "letterbox", "crop"] = "stretch"
    interpolation: Literal["bilinear", "bicubic", "opencv"] = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    antialias: bool = True
    align: Literal["centre", "top-left"] = "centre"
    channels: Literal["rgb", "bgr"] = "rgb"


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in a network's input: `input = picture * scale + offset`, per axis, in pixels.

    Example:
        >>> place((100, 200), InputSpec(size_hw=(50, 50), resize="letterbox"))
        Placement(scale_x=0.25, scale_y=0.25, offset_x=0.0, offset_y=12.0)
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def to_input(self, points: Tensor) -> Tensor:
        """Move points (..., 2) or boxes (..., 4) as x, y pairs from the picture into the input."""
        scale, offset = self._vectors(points)
        return points * scale + offset

    def to_picture(self, points: Tensor) -> Tensor:
        """Move points (..., 2) or boxes (..., 4) as x, y pairs from the input back into the picture."""
        scale, offset = self._vectors(points)
        return (points - offset) / scale

    def _vectors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        pairs = like.shape[-1] // 2
        scale = like.new_tensor([self.scale_x, self.scale_y] * pairs)
        return scale, like.new_tensor([self.offset_x, self.offset_y] * pairs)


def place(image_hw: tuple[int, int], spec: InputSpec) -> Placement:
    """Where a picture of `image_hw` pixels lies in the input that `spec` describes."""
    height, width = image_hw
    new_height, new_width = _scaled_hw(image_hw, spec)
    top, left = _top_left((new_height, new_width), spec)
    return Placement(new_width / width, new_height / height, float(left), float(top))


def resize(image: Tensor, spec: InputSpec) -> Tensor:
    """Bring one picture, or a stack of equal size, to the input's size.

    Args:
        image: uint8 (..., 3, H, W).
        spec: the rule.

    Returns:
        uint8 (..., 3, *spec.size_hw), on the same device. Coordinates follow `place`.
    """
    from torch.nn.functional import pad

    height, width = spec.size_hw
    new_hw = _scaled_hw((image.shape[-2], image.shape[-1]), spec)
    scaled = resize_to(image, new_hw, interpolation=spec.interpolation, antialias=spec.antialias)
    top, left = _top_left(new_hw, spec)
    if spec.resize == "crop":
        return scaled[..., -top : height - top, -left : width - left]
    right, bottom = width - new_hw[1] - left, height - new_hw[0] - top
    return pad(scaled, (left, right, top, bottom), value=LETTERBOX_GREY) if spec.resize == "letterbox" else scaled


def resize_to(
    image: Tensor, size_hw: tuple[int, int], *, interpolation: str = "bilinear", antialias: bool = True
) -> Tensor:
    """The one resizer: uint8 in and out, the same in training, prediction and export.

    Example:
        >>> import torch
        >>> resize_to(torch.zeros(3, 40, 60, dtype=torch.uint8), (20, 30)).shape
        torch.Size([3, 20, 30])
    """
    from torchvision.transforms.v2 import functional as v2

    if tuple(image.shape[-2:]) == tuple(size_hw):
        return image
    if interpolation == "opencv":
        from cvtl.opencv_resizing import resize_as_opencv

        return resize_as_opencv(image, size_hw)
    mode = v2.InterpolationMode(interpolation)
    resized: Tensor = v2.resize(image, list(size_hw), interpolation=mode, antialias=antialias)
    return resized


def normalize(images: Tensor, spec: InputSpec, dtype: torch.dtype | None = None) -> Tensor:
    """Scale uint8 RGB (..., 3, H, W) to [0, 1], subtract the mean, divide by the deviation; on the images' device.

    The channels come out in the order that the network takes them.
    """
    import torch

    dtype = dtype or torch.float32
    mean = torch.tensor(spec.mean, device=images.device, dtype=dtype).view(3, 1, 1)
    std = torch.tensor(spec.std, device=images.device, dtype=dtype).view(3, 1, 1)
    # One multiplication and one addition instead of three passes over the picture.
    normalized = images.to(dtype).mul_(1 / (255 * std)).sub_(mean / std)
    return normalized.flip(-3) if spec.channels == "bgr" else normalized


def prepare(images: Sequence[Tensor], spec: InputSpec) -> Tensor:
    """Resize pictures of any sizes and normalise them as one batch.

    Args:
        images: uint8 (3, H, W) each, on one device.
        spec: the rule.

    Returns:
        float32 (N, 3, *spec.size_hw) on that device.
    """
    import torch

    return normalize(torch.stack([resize(image, spec) for image in images]), spec)


def _top_left(scaled_hw: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    if spec.resize == "letterbox" and spec.align == "top-left":
        return 0, 0
    return (spec.size_hw[0] - scaled_hw[0]) // 2, (spec.size_hw[1] - scaled_hw[1]) // 2


def _scaled_hw(image_hw: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    (height, width), (in_height, in_width) = image_hw, spec.size_hw
    if spec.resize == "stretch":
        return spec.size_hw
    choose = min if spec.resize == "letterbox" else max
    scale = choose(in_height / height, in_width / width)
    # Rounding must not leave a cropped side one pixel short.
    rounded = max(1, round(height * scale)), max(1, round(width * scale))
    return rounded if spec.resize == "letterbox" else (max(rounded[0], in_height), max(rounded[1], in_width))
