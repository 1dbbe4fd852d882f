"""The package `ultralytics`, imported so that nothing else in the process notices. Torch-free until then.

Its import turns OpenCV's threads off, replaces `torch.save` and `PIL.Image.open`, changes print options, warnings and
environment variables, looks up addresses, and writes settings into the user's home. All of that is prevented or undone.
A program that wants its own import of ultralytics to be as usual imports it before it uses this plugin.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from cvtl.errors import PluginError

PACKAGE = "ultralytics"
LICENCE = "AGPL-3.0"
SAFELY = {
    "ULTRALYTICS_SAFE_LOAD": "1",
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "False",
    "YOLO_VERBOSE": "False",
}
"""Environment under which it is imported, here and in the child that opens checkpoints."""


def package_folder() -> Path:
    """Where the package lies; nothing is imported.

    Raises:
        PluginError: it is not installed; the message says how to install it, and what its licence means.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise PluginError(
            f"the plugin '{PACKAGE}' runs the package of that name, which is not installed",
            hint=f"Install it with `pip install 'cvtl[{PACKAGE}]'`. Its licence is {LICENCE}: who passes on a program "
            "that uses it, or offers it over a network, has to offer its whole source under that licence, unless "
            "Ultralytics has sold them another one",
        )
    return Path(spec.origin).parent


def package_version() -> str:
    """Of the package; empty if it is not installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


def module(name: str) -> ModuleType:
    """One of its modules: `module("nn.tasks")`.

    Raises:
        PluginError: the package is not installed, or cannot be imported.
    """
    package_folder()
    full = f"{PACKAGE}.{name}"
    if full in sys.modules:
        return sys.modules[full]
    with undisturbed(), tempfile.TemporaryDirectory(prefix="cvtl-") as settings:
        os.environ.update(SAFELY, YOLO_CONFIG_DIR=settings)
        try:
            return import_module(full)
        except ImportError as error:
            raise PluginError(
                f"the package '{PACKAGE}' cannot be imported: {error}",
                hint=f"Install it anew with `pip install 'cvtl[{PACKAGE}]'`",
            ) from error


@contextmanager
def undisturbed() -> Iterator[None]:
    """What happens inside leaves the process as it was: environment, threads, print options, patched functions."""
    import cv2
    import numpy as np
    import torch
    from PIL import Image

    environment = dict(os.environ)
    threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    printing, numpy_printing = vars(torch._tensor_str.PRINT_OPTS).copy(), np.get_printoptions()
    functions = [
        (owner, name, getattr(owner, name))
        for owner, names in ((torch, ("save", "load")), (Image, ("open",)), (cv2, ("imread", "imwrite", "imshow")))
        for name in names
        if hasattr(owner, name)
    ]
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for owner, name, function in functions:
            setattr(owner, name, function)
        np.set_printoptions(**numpy_printing)
        torch.set_printoptions(**printing)  # type: ignore[no-untyped-call]
        cv2.setNumThreads(cv2_threads)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
