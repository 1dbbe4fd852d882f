"""What the tests of features look at: pictures, spaces of LeNet-5, and the features by a plain pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from cvtl.backbones import Backbone
from cvtl.data import Sample
from cvtl.features import FeatureSpace, pool
from cvtl.preprocessing import InputSpec, prepare

LAST = FeatureSpace("pool2")
SPACES = [FeatureSpace("conv1", "grid"), FeatureSpace("conv2", "max"), LAST]
COUNT = 20
# Batches of four, as larger pictures have them.
BATCH = 4


def write_pictures(folder: Path, count: int = COUNT) -> list[Sample]:
    """Colourful pictures of many sizes."""
    random = np.random.default_rng(0)
    folder.mkdir()
    samples = []
    for number in range(count):
        coarse = random.integers(0, 256, (4, 5, 3)).astype(np.uint8)
        path = folder / f"{number}.png"
        assert cv2.imwrite(str(path), cv2.resize(coarse, (int(random.integers(20, 70)), int(random.integers(20, 70)))))
        samples.append(Sample.of_file(path.name, path))
    return samples


def plain(
    backbone: Backbone, samples: Sequence[Sample], spaces: Sequence[FeatureSpace], input: InputSpec
) -> np.ndarray:
    """The features by a pass of each picture alone."""
    rows = []
    for sample in samples:
        with torch.no_grad():
            maps = backbone.features(prepare([torch.from_numpy(sample.read()).permute(2, 0, 1)], input))
        rows.append(torch.cat([pool(maps[space.stage], space.pooling) for space in spaces], dim=1)[0].numpy())
    return np.array(rows)
