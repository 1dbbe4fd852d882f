"""Where the work is done: choosing a device, moving pictures to it, and predicting within its memory."""

from __future__ import annotations

import ctypes
import gc
import platform
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from cvtl.errors import OutputError, UsageError

if TYPE_CHECKING:
    from cvtl.model import Model
    from cvtl.results import Result, UInt8Image
    from cvtl.workplace import Workplace

Precision = Literal["float32", "bfloat16", "float16"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT_BLOCK = 2**30


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name, or the best one there is for `auto`.

    Raises:
        UsageError: there is no such device here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    reuse_memory()
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UsageError(f"device '{name}' cannot be used: {reason}", hint="`cvtl doctor` lists the devices") from None
    return device


def reuse_memory() -> None:
    """Let the C library keep freed blocks for the next pass instead of giving them back to the system after each.

    A network asks for the same large blocks for every batch; new ones from the system have to be cleared and mapped
    page by page, which takes longer than the convolutions of a small network. Only glibc can be told; elsewhere, and
    where another allocator stands in for it, nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def mixed_precision(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context to compute in: autocast for the half precisions, nothing for float32."""
    if precision == "float32" and device.type == "cuda":
        # Otherwise convolutions round their inputs to TF32, with ten bits.
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


@dataclass(frozen=True)
class Upload:
    """Pictures on their way to the device.

    Attributes:
        images: uint8 (3, H, W) each, on the device.
        ready: recorded on the copying stream behind the last copy; None where copying does not run beside computing.
    """

    images: list[Tensor]
    ready: torch.cuda.Event | None = None

    def wait(self) -> list[Tensor]:
        """Make the current stream wait for the copies, and give the pictures."""
        if self.ready is not None:
            stream = torch.cuda.current_stream(self.images[0].device)
            stream.wait_event(self.ready)
            for image in self.images:
                image.record_stream(stream)
        return self.images


class Uploader:
    """Moves pictures to a device: from pinned memory on a side stream where there is a GPU.

    Args:
        device: the target.

    Example:
        >>> import numpy as np
        >>> Uploader(torch.device("cpu")).upload([np.zeros((4, 6, 3), np.uint8)]).wait()[0].shape
        torch.Size([3, 4, 6])
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def upload(self, images: Sequence[UInt8Image]) -> Upload:
        """Start moving pictures (H, W, 3) and return at once; `Upload.wait` gives them as (3, H, W)."""
        tensors = [torch.from_numpy(image) for image in images]
        if self._stream is None:
            return Upload([tensor.to(self.device).permute(2, 0, 1) for tensor in tensors])
        with torch.cuda.stream(self._stream):
            moved = [t.pin_memory().to(self.device, non_blocking=True).permute(2, 0, 1) for t in tensors]
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record(self._stream)
        return Upload(moved, ready if moved else None)


class Predictor:
    """Runs a model over batches, in smaller pieces where the device's memory does not suffice.

    Args:
        model: on its device, in evaluation mode.
        precision: of the computation.
    """

    def __init__(self, model: Model, precision: Precision = "float32") -> None:
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.precision = precision
        self.largest_batch: int | None = None
        """Pictures that are known to fit at a time, once memory has run out; None before."""

    def predict(self, images: Sequence[Tensor], places: Sequence[Workplace] = ()) -> list[Result | Exception]:
        """One result for each picture, in order; an exception stands where the model failed on that picture alone.

        Args:
            images: as for `Model.predict`.
            places: for each picture, where a model may keep what it has so far; nothing where nothing is to be kept.
        """
        outcomes: list[Result | Exception] = []
        while len(outcomes) < len(images):
            size = min(self.largest_batch or len(images), len(images) - len(outcomes))
            part = slice(len(outcomes), len(outcomes) + size)
            piece, at = images[part], places[part]
            try:
                outcomes.extend(self._forward(piece, at))
            except (UsageError, OutputError, torch.AcceleratorError):
                # Options that do not fit, a full disk, or a device that answers nothing any more: no picture's fault.
                raise
            except Exception as error:
                # The traceback keeps the failed pass's tensors alive until it is dropped.
                error.__traceback__ = None
                if is_out_of_memory(error):
                    free_memory()
                    if size == 1:
                        outcomes.append(MemoryError("it does not fit the memory"))
                    else:
                        self.largest_batch = size // 2
                elif size == 1:
                    outcomes.append(error)
                else:
                    for number, image in enumerate(piece):
                        outcomes.extend(self.predict([image], at[number : number + 1]))
        return outcomes

    def _forward(self, images: Sequence[Tensor], places: Sequence[Workplace] = ()) -> list[Result]:
        device = images[0].device
        with torch.inference_mode(), mixed_precision(device, self.precision):
            results = self.model.predict_in_steps(images, places) if places else self.model.predict(images)
        if len(results) != len(images):
            raise RuntimeError(f"the model gave {len(results)} results for {len(images)} pictures")
        return results


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's or the machine's memory did not suffice."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def free_memory() -> None:
    """Give back what the allocator keeps, so that a smaller batch can have it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
