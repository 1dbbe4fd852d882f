"""The picture of docs/style.md: a photograph that comes with scikit-learn, a generated style, and what becomes of them.

python tools/paint_docs_picture.py --weights vgg19.pth --out docs/pictures/style.jpg
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_sample_image

from cvtl.data import UInt8Image
from cvtl.files import write_atomically
from cvtl.making import make
from cvtl.results import Picture

HEIGHT, WIDTH = 320, 480
STROKES = 9000
STEPS, STEP_LENGTH = 14, 3.0
PALETTE = np.array(
    [[16, 24, 66], [28, 58, 124], [52, 110, 168], [140, 186, 204], [236, 200, 92], [246, 236, 190], [196, 92, 44]],
    np.float64,
)
GAP = 6
QUALITY = 82


def generated_style(seed: int = 3) -> UInt8Image:
    """Brush strokes along a field of swirls, (HEIGHT, WIDTH, 3) RGB."""
    random = np.random.default_rng(seed)
    angles, shades = (smooth_noise(random, scale) for scale in (90, 60))
    canvas = np.full((HEIGHT, WIDTH, 3), PALETTE[1], np.uint8)
    for _ in range(STROKES):
        points = stroke(random.uniform((0, 0), (WIDTH, HEIGHT)), angles)
        x, y = points[0]
        place = shades[int(y) % HEIGHT, int(x) % WIDTH] * (len(PALETTE) - 1) + random.normal(0, 0.5)
        colour = PALETTE[int(np.clip(round(place), 0, len(PALETTE) - 1))] + random.normal(0, 10)
        line = points.round().astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, tuple(colour.clip(0, 255)), int(random.integers(2, 5)), cv2.LINE_AA)
    return canvas


def smooth_noise(random: np.random.Generator, scale: float) -> npt.NDArray[np.float64]:
    """Values in [0, 1], each as frequent as the others, that change over about `scale` pixels."""
    noise = cv2.GaussianBlur(random.normal(size=(HEIGHT, WIDTH)), (0, 0), scale / 3)
    ranks: npt.NDArray[np.int64] = np.argsort(np.argsort(noise, axis=None)).reshape(noise.shape)
    return ranks / noise.size


def stroke(start: npt.NDArray[np.float64], angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A line that follows the field from a point on: (STEPS, 2), x and y."""
    points = [start]
    for _ in range(STEPS - 1):
        x, y = points[-1]
        angle = angles[int(y) % HEIGHT, int(x) % WIDTH] * 4 * np.pi
        points.append(points[-1] + STEP_LENGTH * np.array([np.cos(angle), np.sin(angle)]))
    return np.array(points)


def main() -> None:
    """Paint, and write the three pictures side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="of VGG-19, or of its first layers")
    parser.add_argument("--style", type=Path, default=Path("generated-style.png"), help="where to write the style")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    style = generated_style()
    cv2.imwrite(str(options.style), style[..., ::-1])
    china: UInt8Image = cv2.resize(load_sample_image("china.jpg"), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    made = make("style", {"style": [str(options.style)], "weights": options.weights, "size": WIDTH})
    (painted,) = made.model.predict([torch.from_numpy(china).permute(2, 0, 1)])
    assert isinstance(painted, Picture)
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    sheet = np.hstack([china, gap, style, gap, painted.draw(china)])
    done, content = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done, "JPEG holds any picture of this size"
    write_atomically(options.out, content.tobytes())


if __name__ == "__main__":
    main()
