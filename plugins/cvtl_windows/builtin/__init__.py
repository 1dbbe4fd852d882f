"""The weights that ship with the plugin: handwritten digits, trained by tools/train_builtin.py. Torch-free."""

from __future__ import annotations

from pathlib import Path


def digit_weights() -> Path:
    """The weights that find and read handwritten digits on photographs.

    Example:
        >>> digit_weights().name
        'digits.safetensors'
    """
    return Path(__file__).with_name("digits.safetensors")
