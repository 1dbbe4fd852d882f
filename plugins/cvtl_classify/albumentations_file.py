"""Augmentation as a file of albumentations' says, picture by picture: the extra `cvtl[albumentations]`.

Importing this module does not import albumentations, which takes seconds.
"""

from __future__ import annotations

import os
import random
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cvtl.data import UInt8Image
from cvtl.errors import PluginError, UsageError

_HOW_TO_WRITE = (
    "Write one in Python: `import albumentations as A; "
    "A.save(A.Compose([A.RandomResizedCrop((224, 224)), A.HorizontalFlip()]), 'transforms.yaml', data_format='yaml')`"
)
_HOW_TO_INSTALL = (
    "Install it with `pip install 'cvtl[albumentations]'`; it brings opencv-python-headless, which writes over "
    "opencv-python's files: `cvtl doctor` says whether OpenCV is whole after that, and what to do if not"
)


class Transforms:
    """The transforms of a file that `albumentations.save` wrote.

    Nothing in the file is executed: it is plain JSON or YAML that names classes of albumentations' and their numbers.

    Args:
        path: the file, `.json`, `.yaml` or `.yml`.

    Raises:
        PluginError: albumentations is not installed, or is broken.
        UsageError: no file is named, or it cannot be read or holds something else.
    """

    def __init__(self, path: str | Path | None) -> None:
        if path is None:
            raise UsageError(
                "--augment albumentations needs a file of transforms",
                hint=f"{_HOW_TO_WRITE}; then name it with --transforms",
            )
        self._path = Path(path)
        self._transform = _load(self._path)

    def __call__(self, image: UInt8Image, name: str) -> UInt8Image:
        """Change a picture; the random numbers are those of Python's global generator.

        Args:
            image: uint8 RGB (H, W, 3), contiguous; it may be written to.
            name: the picture's, for errors.

        Returns:
            uint8 RGB, of whatever size the transforms make.

        Raises:
            UsageError: the transforms fail, or give something else than such a picture.
        """
        seed = random.getrandbits(32)
        # `set_random_seed` would start every transform with the same numbers: mirrored pictures would be bright ones.
        self._transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        cv2.setRNGSeed(seed & 0x7FFFFFFF)
        try:
            changed = self._transform(image=image)["image"]
        except Exception as error:  # albumentations and OpenCV raise whatever they stumble over
            raise UsageError(
                f"the transforms in '{self._path}' fail at the picture '{name}' of {image.shape[1]} x {image.shape[0]} "
                f"pixels: {_first_line(error)}",
                hint="Correct the file, or take the picture out",
            ) from error
        if not (isinstance(changed, np.ndarray) and changed.dtype == np.uint8 and changed.shape[2:] == (3,)):
            raise UsageError(
                f"the transforms in '{self._path}' make {_describe(changed)} of a picture, not 8-bit RGB (H, W, 3)",
                hint="Leave out Normalize, ToFloat and ToTensorV2: cvtl does that, as the network needs it",
            )
        return changed


def _load(path: Path) -> Any:
    # Importing it would contact the package index otherwise.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        import albumentations
    except Exception as error:  # with a broken OpenCV, anything
        raise PluginError(
            f"--augment albumentations cannot import its library: {_first_line(error)}", hint=_HOW_TO_INSTALL
        ) from error
    try:
        with path.open(encoding="utf-8") as file, warnings.catch_warnings():
            # It warns of arguments that it does not know, and leaves them out.
            warnings.simplefilter("error")
            transform = albumentations.load(file, data_format="json" if path.suffix == ".json" else "yaml")
    except OSError as error:
        raise UsageError(f"cannot read the transforms '{path}': {error.strerror}", hint=_HOW_TO_WRITE) from error
    except Exception as error:  # of the parser, the look-up, or the constructor of any transform
        raise UsageError(
            f"'{path}' is no file of albumentations' that can be used: {_first_line(error)}", hint=_HOW_TO_WRITE
        ) from error
    return transform


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return f"a {type(value).__name__}"


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
