"""What the processes of one training say to one another: by gloo between CPUs, by NCCL between CUDA devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cvtl.devices import choose_device
from cvtl.errors import CvtlError, TrainingError, UsageError
from cvtl.training.launching import LOST_CODE, OUR_LAUNCH, Place
from cvtl.training.settings import TrainSettings

T = TypeVar("T")

_MOST_WAITING = timedelta(minutes=30)
"""After which a process gives another one up that it has not lost, but does not hear of."""


class Processes:
    """The processes of one training, as one of them sees them. One alone talks to nobody.

    Args:
        number: this one's; 0 leads.
        count: of all; more than one have been connected by `joined`.

    Example:
        >>> alone = Processes()
        >>> alone.leads, alone.lead(lambda: "decided"), alone.gather("said")
        (True, 'decided', ['said'])
    """

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number = number
        self.count = count

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.number == 0

    def lead(self, decide: Callable[[], T]) -> T:
        """What the leading process finds, told to all.

        The others end with its exit code if it fails; what was wrong is for the leading process to say.

        Args:
            decide: called in the leading process alone. What it gives has to be picklable.
        """
        if self.count == 1:
            return decide()
        if not self.leads:
            found, code = _told([None, None])
            if code is not None:
                raise SystemExit(code)
            return found  # type: ignore[no-any-return]
        try:
            decided = decide()
        except Exception as error:
            _told([None, int(error.exit_code) if isinstance(error, CvtlError) else 1])
            raise
        _told([decided, None])
        return decided

    def gather(self, value: T) -> list[T]:
        """What each process says, in their order. It has to be picklable."""
        if self.count == 1:
            return [value]
        said: list[Any] = [None] * self.count
        with _exchange():
            dist.all_gather_object(said, value)
        return said

    def agree_on(self, value: object, what: str) -> None:
        """Make sure that all have the same.

        Raises:
            TrainingError: they do not.
        """
        said = self.gather(value)
        if any(each != said[0] for each in said):
            listed = ", ".join(map(str, said))
            raise TrainingError(
                f"the processes of the training differ in {what}: {listed}",
                hint="Give all machines the same data, the same files and the same versions of libraries",
            )

    def stack(self, values: Tensor) -> Tensor:
        """The values (K,) of each process, (count, K)."""
        if self.count == 1:
            return values[None]
        found = [torch.empty_like(values) for _ in range(self.count)]
        with _exchange():
            dist.all_gather(found, values.contiguous())
        return torch.stack(found)

    def add(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        total = values.clone(memory_format=torch.contiguous_format)
        if self.count > 1:
            with _exchange():
                dist.all_reduce(total)
        return total

    @torch.no_grad()
    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give each parameter the sum of its gradients in all processes; none where no process has one."""
        if self.count == 1:
            return
        # Between CPUs, so that nobody waits for a device to know it.
        there = self.add(torch.tensor([float(each.grad is not None) for each in parameters])).tolist()
        alike: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
        for parameter, known in zip(parameters, there, strict=True):
            if known:
                alike.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for group in alike.values():
            own = [torch.zeros_like(each) if each.grad is None else each.grad for each in group]
            summed = self.add(torch.cat([each.reshape(-1) for each in own]))
            for parameter, gradient, part in zip(
                group, own, torch.split(summed, [each.numel() for each in own]), strict=True
            ):
                parameter.grad = gradient.copy_(part.view(gradient.shape))

    @torch.no_grad()
    def start_alike(self, module: nn.Module) -> None:
        """Give a module the state that it has in the leading process."""
        if self.count == 1:
            return
        for tensor in module.state_dict().values():
            value = tensor.contiguous()
            with _exchange():
                dist.broadcast(value, 0)
            tensor.copy_(value)


@contextmanager
def joined(place: Place, settings: TrainSettings) -> Iterator[tuple[Processes, TrainSettings]]:
    """The processes of a training, connected, and its settings with the device of this one.

    Args:
        place: of this process.
        settings: of the training.

    Raises:
        UsageError: there is no such device for each of them, or the batch is too small.
        TrainingError: the others cannot be reached.
    """
    if place.processes == 1:
        yield Processes(), settings
        return
    if settings.batch_size < place.processes:
        raise UsageError(
            f"a batch of {settings.batch_size} cannot be shared out among {place.processes} processes",
            hint="Give a larger --batch-size: it is that of all of them together",
        )
    device = _own_device(place, settings)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _exchange():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_MOST_WAITING)
    processes = Processes(place.process, place.processes)
    try:
        processes.agree_on(device.type, "their devices")
        yield processes, settings.model_copy(update={"device": str(device)})
        # The leading process writes the report while the others wait.
        processes.gather(None)
    finally:
        dist.destroy_process_group()


def _own_device(place: Place, settings: TrainSettings) -> torch.device:
    name = settings.device
    if name in ("auto", "cuda") and torch.cuda.is_available():
        if torch.cuda.device_count() < settings.devices:
            raise UsageError(
                f"--devices {settings.devices} are more CUDA devices than there are: {torch.cuda.device_count()}",
                hint="Give fewer, or --device cpu for as many processes",
            )
        return torch.device("cuda", place.local)
    device = choose_device(name)
    if device.type != "cpu":
        raise UsageError(
            f"a training on several devices cannot take '{device}'",
            hint="Give --device cpu, or cuda without a number, which takes the first ones",
        )
    return device


def _told(values: list[Any]) -> list[Any]:
    """The values of the leading process."""
    with _exchange():
        dist.broadcast_object_list(values)
    return values


@contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if OUR_LAUNCH in os.environ:
            # The one that ended first has said why.
            raise SystemExit(LOST_CODE) from error
        raise TrainingError(
            f"another process of this training ended or cannot be reached ({str(error).partition(chr(10))[0][:200]})",
            hint="What it said has the reason; go on with --resume",
        ) from error
