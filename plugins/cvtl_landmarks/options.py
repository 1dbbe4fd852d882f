"""Options of the landmarks plugin. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from cvtl.options import Options
from cvtl.shared_options import BackboneOptions

Head = Literal["heatmap", "regression"]
Loss = Literal["wing", "smooth-l1"]
Crop = Literal["auto", "picture", "box"]
Pairs = Literal["ask", "guess", "none"]


class PredictOptions(Options):
    """What `cvtl run` may change without training anew."""

    tta: Literal["none", "flip"] = Field(
        "none",
        description="test-time augmentation: flip averages with what is found in the mirrored picture; it needs to "
        "know which points change places",
    )
    threshold: float = Field(0.1, ge=0, le=1, description="points less sure than this are not drawn; rows have all")


class LandmarksOptions(BackboneOptions):
    """How a network for points is built on a backbone, and what it learns from."""

    backbone_rate: float = Field(
        0.3, gt=0, le=1, description="learning rate of the backbone as a part of that of the head"
    )
    head: Head = Field(
        "heatmap",
        description="heatmap: a map for each point, whose mean position is the point (integral regression); "
        "regression: coordinates from a dense layer",
    )
    loss: Loss = Field("wing", description="of the coordinates: wing weighs small errors more than smooth-l1 does")
    hidden: int = Field(256, ge=1, description="head regression: units of its dense layer")
    channels: int = Field(64, ge=1, description="head heatmap: channels of the maps that are merged")
    spread: float = Field(
        1.0, ge=0, description="head heatmap: weight of the term that keeps each map a narrow spot; 0 leaves it out"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="head regression: before its last layer")
    size: int = Field(128, ge=16, description="side of the network's input in pixels")
    resize: Literal["letterbox", "stretch", "crop"] = Field(
        "letterbox", description="how pictures are brought to that size"
    )
    crop: Crop = Field(
        "auto",
        description="picture: each picture is one object; box: points lie in objects' boxes, cut out with a margin; "
        "auto: box where all objects of the data have one",
    )
    margin: float = Field(0.25, ge=0, description="crop box: by what part of its longer side the box is enlarged")
    points: str | None = Field(
        None, description="points.yaml with names, pairs and edges of the points, if it does not lie beside the data"
    )
    pairs: Pairs = Field(
        "ask",
        description="where nothing says which points change places in a mirror: guess them and ask (on a terminal; "
        "elsewhere nothing is mirrored), guess them, or mirror no pictures",
    )
    flip: bool = Field(True, description="mirrored pictures show the same object, too")
    rotation: float = Field(15.0, ge=0, le=180, description="most degrees an augmented picture is turned by")
    scale: float = Field(1.2, ge=1, description="most by which an augmented picture is larger or smaller, as a factor")
    shift: float = Field(0.05, ge=0, le=1, description="most by which it is shifted, as a part of its sides")
    jitter: float = Field(0.3, ge=0, le=1, description="most by which brightness, contrast and saturation change")
    flip_pairs: tuple[tuple[int, int], ...] | None = Field(
        None,
        description="numbers of points that change places in a mirror, as '[[0, 1], [4, 5]]'; as the data say if unset",
    )
    edges: tuple[tuple[int, int], ...] | None = Field(
        None, description="numbers of points to join in drawings; as the data say if unset"
    )
    predict: PredictOptions = Field(PredictOptions(), description="prediction options of the plugin 'landmarks'")

    def train_defaults(self) -> Mapping[str, Any]:
        """What served on 2,000 faces.

        A dense layer wants many small steps: with larger ones most channels of SqueezeNet's last map, which alone it
        sees, came to answer nothing any more.
        """
        steps = {"batch_size": 8, "learning_rate": 3e-4} if self.head == "regression" else {"batch_size": 32}
        return {"epochs": 30, "learning_rate": 1e-3, "weight_decay": 1e-2} | steps
