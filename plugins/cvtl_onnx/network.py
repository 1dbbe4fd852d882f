"""An ONNX network as a function of tensors; what it knows lies inside onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvtl_onnx.runtime import Facts, open_session


class Network:
    """Runs an ONNX file over batches, as many pictures at a time as the file allows.

    It runs where the pictures lie, on the GPU if the installed onnxruntime can use it, else on the CPU, with as many
    threads as torch has.

    Args:
        path: the file.
        facts: what it says of itself.
    """

    def __init__(self, path: Path, facts: Facts) -> None:
        self.path = path
        self.facts = facts
        self._sessions: dict[str, Any] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """The first output.

        Args:
            images: float (N, 3, H, W), on any device.

        Returns:
            float32 (N, ...), on the CPU.
        """
        batch = images.cpu().numpy().astype(self.facts.input_type)
        session = self._session(images.device.type)
        size = self.facts.input_shape[0] or len(batch)
        parts = [self._run(session, batch[start : start + size], size) for start in range(0, len(batch), size)]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32, copy=False))

    def _run(self, session: Any, batch: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
        missing = size - len(batch)
        full = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)]) if missing else batch
        output: np.ndarray[Any, Any] = session.run(None, {self.facts.input_name: full})[0]
        return output[: len(batch)]

    def _session(self, device: str) -> Any:
        """Opened when it is first needed: until then it is not known where."""
        if device not in self._sessions:
            self._sessions[device] = open_session(self.path, device=device, threads=torch.get_num_threads())
        return self._sessions[device]
